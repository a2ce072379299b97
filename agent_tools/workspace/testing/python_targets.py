"""One function, method or class of the project as its source has it; nothing is imported or executed."""

from __future__ import annotations

import ast
import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.python_syntax import UNPARSABLE, parse_python
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

Kind = Literal["function", "method", "classmethod", "staticmethod", "property", "class"]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Definition = FunctionNode | ast.ClassDef

SECTIONS = re.compile(r"(Args|Arguments|Attributes|Returns|Yields|Raises|Examples?|Notes?):", re.IGNORECASE)
FIELD_CLASSES = frozenset({"dataclass", "BaseModel", "NamedTuple", "TypedDict"})


class TargetError(WorkbenchError):
    """A target that cannot be found or imported by name."""


@dataclass(frozen=True)
class Parameter:
    """One parameter that a caller may give."""

    name: str
    annotation: ast.expr | None
    required: bool
    positional_only: bool = False


@dataclass(frozen=True)
class Target:
    """What is to be tested.

    Attributes:
        name: without its class.
        owner: the class of a method; '' for anything else.
        kind: how it is called.
        parameters: without `self` and without `*args` and `**kwargs`; of a class: of its constructor.
        returns: the annotation.
        sentences: what its docstring says before the first section.
        raises: error name and when, from the docstring.
        is_async: whether a call has to be awaited.
        is_manager: whether it is used in a `with`.
        is_generator: whether it has to be iterated.
    """

    name: str
    owner: str
    kind: Kind
    parameters: tuple[Parameter, ...]
    returns: ast.expr | None
    sentences: tuple[str, ...]
    raises: tuple[tuple[str, str], ...]
    is_async: bool = False
    is_manager: bool = False
    is_generator: bool = False


@dataclass
class SourceModule:
    """A file of the project and the names that it binds.

    Attributes:
        root: the repository.
        path: absolute.
        name: dotted, as a test imports it.
        definitions: functions and classes at its top level.
        imports: name -> (module, name there; '' for the module itself); without those for type checkers only.
        aliases: name -> what is assigned to it.
    """

    root: Root
    path: Path
    name: str
    definitions: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    aliases: dict[str, ast.expr] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Root, path: Path) -> SourceModule:
        """Parse a file.

        Raises:
            TargetError: it is no Python that can be parsed, or no test could import it by name.
        """
        module = cls(root, path, _dotted(root, path))
        try:
            tree = parse_python(path.read_bytes())
        except (OSError, *UNPARSABLE) as error:
            raise TargetError(f"{root.relative(path)} cannot be parsed: {error}.") from error
        for node in _top_level(tree.body):
            module._bind(node)
        return module

    def _bind(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self.definitions.setdefault(node.name, node)
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, "")
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                self.imports[alias.asname or alias.name] = (node.module, alias.name)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self.aliases[node.targets[0].id] = node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            self.aliases[node.target.id] = node.value

    def origin(self, name: str) -> tuple[SourceModule, str] | None:
        """Return the module of the project that defines `name`, and the name there; None for anything else."""
        if name in self.definitions or name in self.aliases:
            return self, name
        module, original = self.imports.get(name, ("", ""))
        path = module_file(self.root, module) if original else None
        if path is None or path == self.path:
            return None
        try:
            return SourceModule.read(self.root, path).origin(original)
        except TargetError:
            return None

    def targets(self, names: list[str]) -> list[Target]:
        """Return what `names` (a function, a class, or a class and its method) is: of a class also its public methods.

        Raises:
            TargetError: there is none; the nearest are named.
        """
        if not names:
            raise TargetError(f"Name a function or class of {self.name}: {_listed([*self.definitions])}.")
        node = self.definitions.get(names[0]) or self._missing(names[0], self.definitions)
        if isinstance(node, ast.ClassDef):
            return self._of_class(node, names[1:])
        if len(names) > 1:
            raise TargetError(f"{names[0]} is a function; it has no '{names[1]}'.")
        return [_of_function(node, "")]

    def _of_class(self, node: ast.ClassDef, rest: list[str]) -> list[Target]:
        methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
        if rest:
            method = methods.get(rest[0]) or self._missing(f"{node.name}.{rest[0]}", methods)
            return [_of_function(method, node.name)]
        public = [method for name, method in methods.items() if not name.startswith("_")]
        return [self.constructor(node), *(_of_function(method, node.name) for method in public)]

    def constructor(self, node: ast.ClassDef) -> Target:
        """The class as what makes its objects."""
        methods = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        parameters = _parameters(methods[0].args, skip=1) if methods else tuple(_fields(node))
        sentences, raises = _documented(node)
        return Target(node.name, "", "class", parameters, None, sentences, raises)

    def _missing(self, name: str, known: dict[str, Definition] | dict[str, FunctionNode]) -> FunctionNode:
        near = difflib.get_close_matches(name.rpartition(".")[2], known, n=3, cutoff=0.4) or list(known)
        raise TargetError(f"{self.name} has no '{shown(name)}'; it has {_listed(near)}.")


def find_target(root: Root, text: str) -> tuple[SourceModule, list[str]]:
    """Return the module that `FILE.py::NAME`, `FILE.py::CLASS.METHOD` or a dotted path names, and the names inside it.

    Raises:
        TargetError: no such module in the repository.
        RootError: a file outside of the root, or one that does not exist.
    """
    if "::" in text or text.endswith(".py") or "/" in text:
        file, _, rest = text.partition("::")
        return SourceModule.read(root, root.resolve(file)), re.split(r"::|\.", rest) if rest else []
    parts = text.split(".")
    if not all(part.isidentifier() for part in parts):
        raise TargetError(f"{shown(text)!r} is no target; name it like pkg/module.py::function or pkg.module.function.")
    for length in range(len(parts), 0, -1):
        if path := module_file(root, ".".join(parts[:length])):
            return SourceModule.read(root, path), parts[length:]
    raise TargetError(f"No module here is the beginning of '{text}'; name it like pkg/module.py::function.")


def module_file(root: Root, dotted: str) -> Path | None:
    """Return the file of a module of the project; None where the project has none of this name."""
    for base in (root.path, root.path / "src"):
        place = base.joinpath(*dotted.split(".")) if dotted else base
        for candidate in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if dotted and os.path.isfile(candidate) and candidate.resolve().is_relative_to(root.path):
                return candidate
    return None


def _dotted(root: Root, path: Path) -> str:
    parts = list(path.relative_to(root.path).with_suffix("").parts)
    parts = parts[1:] if parts[0] == "src" else parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    if path.suffix != ".py" or not parts or not all(part.isidentifier() for part in parts):
        raise TargetError(f"{root.relative(path)} is no Python module that a test could import by its name.")
    return ".".join(parts)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What importing binds: in branches too, but not what only type checkers read."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            yield from _top_level([*node.body, *node.orelse])
        if isinstance(node, ast.Try):
            yield from _top_level(node.body)


def _of_function(node: FunctionNode, owner: str) -> Target:
    decorators = {_last_name(decorator) for decorator in node.decorator_list}
    kind: Kind = "method" if owner else "function"
    for special in ("classmethod", "staticmethod"):
        kind = special if special in decorators else kind
    kind = "property" if decorators & {"property", "cached_property"} else kind
    sentences, raises = _documented(node)
    return Target(
        node.name,
        owner,
        kind,
        _parameters(node.args, skip=1 if owner and kind != "staticmethod" else 0),
        node.returns,
        sentences,
        raises,
        is_async=isinstance(node, ast.AsyncFunctionDef) or "asynccontextmanager" in decorators,
        is_manager=bool(decorators & {"contextmanager", "asynccontextmanager"}),
        is_generator=any(isinstance(part, ast.Yield | ast.YieldFrom) for part in _own_nodes(node)),
    )


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield part
            yield from _own_nodes(part)


def _parameters(arguments: ast.arguments, skip: int) -> tuple[Parameter, ...]:
    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    found = [
        Parameter(part.arg, part.annotation, place < first_default, place < len(arguments.posonlyargs))
        for place, part in enumerate(positional)
    ]
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return (*found[skip:], *(Parameter(part.arg, part.annotation, default is None) for part, default in named))


def _fields(node: ast.ClassDef) -> Iterator[Parameter]:
    if not FIELD_CLASSES & {_last_name(part) for part in [*node.decorator_list, *node.bases]}:
        return
    for part in node.body:
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        if not part.target.id.startswith("_") and "ClassVar" not in ast.dump(part.annotation):
            yield Parameter(part.target.id, part.annotation, part.value is None)


def _last_name(node: ast.expr) -> str:
    called = node.func if isinstance(node, ast.Call) else node
    return str(getattr(called, "attr", getattr(called, "id", "")))


def _documented(node: Definition) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The sentences before the first section, and the entries under `Raises:`."""
    lines = (ast.get_docstring(node) or "").splitlines()
    heads = [place for place, line in enumerate(lines) if SECTIONS.fullmatch(line.strip())]
    text = "\n".join(lines[: heads[0] if heads else len(lines)])
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    sentences = [one for paragraph in paragraphs for one in re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph) if one]
    raises = [part for head in heads if lines[head].strip() == "Raises:" for part in _entries(lines[head + 1 :])]
    return tuple(sentences), tuple(raises)


def _entries(lines: list[str]) -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    for line in lines:
        if not line.strip() or SECTIONS.fullmatch(line.strip()):
            break
        name = re.match(r"\s+([A-Za-z_][\w.]*(?:, [A-Za-z_][\w.]*)*): (.*)", line)
        if name:
            entries += [(one, name[2].strip()) for one in name[1].split(", ")]
        elif entries:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
    return entries


def _listed(names: list[str]) -> str:
    return ", ".join(map(shown, names[:30])) or "nothing that can be tested"
