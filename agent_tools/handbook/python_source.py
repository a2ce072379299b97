"""What Python files say of themselves, read without importing them: docstrings, signatures, fields and imports.

Texts are taken as they are written, so that every version of Python reads the same. Standard library only.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent_tools.handbook.blocks import DocumentError, read_text

Function = ast.FunctionDef | ast.AsyncFunctionDef

_SECTION = re.compile(r"(Args|Attributes):")
_ENTRY = re.compile(r"(?P<names>\w+(?:, \w+)*): (?P<text>.*)")


@dataclass(frozen=True)
class Source:
    """One Python file, parsed. `name` is the module's, such as `ocr.datasets.base`; a package has its own name."""

    name: str
    text: str
    tree: ast.Module

    @functools.cached_property
    def _lines(self) -> list[bytes]:
        # the tree counts columns in bytes
        return self.text.encode().split(b"\n")

    def segment(self, node: ast.expr) -> str:
        """An expression as it is written, on one line."""
        last = node.end_lineno or node.lineno
        lines = self._lines[node.lineno - 1 : last]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return " ".join(b" ".join(lines).decode().split())


def module_name(path: Path, root: Path) -> str:
    """The name by which a file below the root is imported."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_source(path: Path, root: Path) -> Source:
    """Parse a file below the root.

    Raises:
        DocumentError: it is gone, or it is not Python.
    """
    where = path.relative_to(root).as_posix()
    if not path.is_file():
        raise DocumentError(f"{where} is gone, but a page of the handbook describes it; restore it or change the page.")
    text = read_text(path)
    try:
        return Source(module_name(path, root), text, ast.parse(text))
    except SyntaxError as error:
        raise DocumentError(f"{where}, line {error.lineno} is not Python ({error.msg}); mend it.") from error


def find_module(name: str, root: Path) -> Path | None:
    """The file of a module or package below the root; None where there is none."""
    place = root.joinpath(*name.split("."))
    found = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in found if path.is_file()), None)


def first_paragraph(node: ast.Module | ast.ClassDef | Function) -> str:
    """The first paragraph of a docstring on one line; '' where there is no docstring."""
    return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())


def documented(docstring: str) -> dict[str, str]:
    """Name -> meaning of every entry in the sections `Args:` and `Attributes:` of a docstring."""
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in inspect.cleandoc(docstring).split("\n"):
        depth = len(line) - len(line.lstrip())
        if line and depth == 0:
            inside, names = _SECTION.fullmatch(line) is not None, []
        elif inside and depth == 4 and (entry := _ENTRY.fullmatch(line.strip())):
            names = entry["names"].split(", ")
            found |= dict.fromkeys(names, entry["text"])
        elif inside and line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def signature(function: Function, source: Source, method: bool = False) -> str:
    """The parameters and the result as written; of a method, without the object or class that it is bound to."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    none_before = [None] * (len(positional) - len(given.defaults))
    parts = [
        _parameter(one, default, source)
        for one, default in zip(positional, [*none_before, *given.defaults], strict=True)
    ]
    if given.posonlyargs:
        parts.insert(len(given.posonlyargs), "/")
    if given.vararg is not None or given.kwonlyargs:
        parts.append(f"*{_parameter(given.vararg, None, source)}" if given.vararg is not None else "*")
    keywords = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parts += [_parameter(one, default, source) for one, default in keywords]
    if given.kwarg is not None:
        parts.append(f"**{_parameter(given.kwarg, None, source)}")
    result = f" -> {source.segment(function.returns)}" if function.returns is not None else ""
    return f"({', '.join(parts[_bound(function, method) :])}){result}"


def _bound(function: Function, method: bool) -> int:
    return 1 if method and "staticmethod" not in decorators(function) else 0


def _parameter(given: ast.arg, default: ast.expr | None, source: Source) -> str:
    annotation = f": {source.segment(given.annotation)}" if given.annotation is not None else ""
    if default is None:
        return f"{given.arg}{annotation}"
    equals = " = " if annotation else "="
    return f"{given.arg}{annotation}{equals}{source.segment(default)}"


def decorators(node: Function | ast.ClassDef) -> list[str]:
    """The last name of every decorator: `dataclass` of `@dataclasses.dataclass(frozen=True)`."""
    called = (one.func if isinstance(one, ast.Call) else one for one in node.decorator_list)
    return [one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in called]


def fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    """The public fields that the body of a class declares, in order."""
    declared = (one for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name))
    return [one for one in declared if not _name(one).startswith("_") and "ClassVar" not in ast.dump(one.annotation)]


def _name(field: ast.AnnAssign) -> str:
    return field.target.id if isinstance(field.target, ast.Name) else ""


def field_line(field: ast.AnnAssign, source: Source) -> str:
    """A field with its type: `rounds: int`."""
    return f"{_name(field)}: {source.segment(field.annotation)}"


def field_description(field: ast.AnnAssign) -> tuple[str, str]:
    """A field's name, and the text of `Field(description=...)`; '' where it has none."""
    given = field.value.keywords if isinstance(field.value, ast.Call) else []
    texts = [word.value.value for word in given if word.arg == "description" and isinstance(word.value, ast.Constant)]
    return _name(field), str(texts[0]) if texts else ""


def imported_modules(source: Source, known: frozenset[str]) -> set[str]:
    """The modules among `known` that a file imports, wherever in it the import stands."""
    names = itertools.chain.from_iterable(_imported(node, source.name) for node in ast.walk(source.tree))
    return {found for name in names if (found := _longest_known(name, known))} - {source.name}


def _imported(node: ast.AST, importer: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = importer.split(".")[: -node.level] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        # what is taken from a package may itself be a module
        yield from (f"{module}.{alias.name}" for alias in node.names)


def _longest_known(name: str, known: frozenset[str]) -> str:
    parts = name.split(".")
    candidates = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((candidate for candidate in candidates if candidate in known), "")
