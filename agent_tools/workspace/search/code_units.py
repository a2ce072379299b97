"""What a file consists of, as units that can be found: functions, classes, constants, headings, keys, targets."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from agent_tools.workspace.python_syntax import UNPARSABLE, parse_python
from agent_tools.workspace.search.document_units import Section, sections_of

Kind = Literal["function", "class", "constant", "module", "heading", "config", "target", "file"]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.Module | ast.ClassDef

SAYS_CHARACTERS = 300
SIGNATURE_CHARACTERS = 400

PROSE = ("heading", "config", "target", "file")

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".tsv", ".svg", ".lock", ".xml", ".ipynb", ".min.js", ".map"})
"""Found by name alone: what they hold is data, and would drown the code."""


@dataclass(frozen=True)
class Unit:
    """One thing that can be found.

    Attributes:
        kind: what it is; a method is a function.
        name: qualified within its file, such as `CacheTier.get`; '' for a whole file.
        line: its first line, counted from 1.
        end_line: its last line.
        signature: how it is declared, on one line.
        says: its docstring or comment.
        owner: what it is part of says of itself.
        body: its text without what is a unit of its own.
    """

    kind: Kind
    name: str
    line: int
    end_line: int
    signature: str = ""
    says: str = ""
    owner: str = ""
    body: str = ""

    @property
    def headline(self) -> str:
        """The first line of what it says."""
        first = self.says.strip().partition("\n")[0].strip()[:SAYS_CHARACTERS]
        return first.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class FileUnits:
    """The units of one file; `problem` says why it is indexed by less than its structure, '' if nothing is wrong."""

    units: list[Unit] = field(default_factory=list)
    problem: str = ""


def units_of(path: str, text: str) -> FileUnits:
    """Return the units of a text file, known by its path relative to the root."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in DATA_SUFFIXES:
        return named_only()
    if suffix in (".py", ".pyi"):
        try:
            return FileUnits(_python_units(path, text))
        except UNPARSABLE as error:
            where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            return FileUnits([_whole(text)], f"indexed as plain text: not valid Python{where}")
    return FileUnits([_of_section(section) for section in sections_of(path, text)])


def named_only(problem: str = "") -> FileUnits:
    """Return the units of a file that is found by its name alone."""
    return FileUnits([Unit("file", "", 1, 1)], problem)


def is_test(path: str) -> bool:
    """Tell whether a file holds tests, by the usual names."""
    parts = PurePosixPath(path).parts
    name = parts[-1] if parts else ""
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py" or "tests" in parts[:-1]


def _of_section(section: Section) -> Unit:
    return Unit(
        section.kind, section.name, section.line, section.end_line, says=section.says, body=section.body,
        owner=section.owner,
    )  # fmt: skip


def _whole(text: str) -> Unit:
    return Unit("file", "", 1, text.count("\n") + 1, body=text)


def _python_units(path: str, text: str) -> list[Unit]:
    tree = parse_python(text)
    lines = text.split("\n")
    module = ast.get_docstring(tree) or ""
    reader = _Reader(lines, module.partition("\n")[0])
    own = reader.own_text(tree, 1, len(lines))
    name = PurePosixPath(path).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    return [Unit("module", "", 1, len(lines), signature=name, says=module, body=own), *reader.units(tree, "", "")]


@dataclass(frozen=True)
class _Reader:
    """Reads the definitions of one file. Functions inside of functions belong to the outer one."""

    lines: Sequence[str]
    module_says: str

    def units(self, scope: Scope, prefix: str, owner: str) -> Iterator[Unit]:
        for place, node in enumerate(scope.body):
            if isinstance(node, Function):
                yield self._function(node, prefix, owner)
            elif isinstance(node, ast.ClassDef):
                yield self._class(node, prefix, owner)
                says = (ast.get_docstring(node) or "").partition("\n")[0]
                yield from self.units(node, f"{prefix}{node.name}.", f"{owner} {node.name} {says}")
            elif not prefix and (name := _constant(node)):
                yield self._constant(node, name, _string(scope.body[place + 1 : place + 2]))

    def own_text(self, scope: Scope, first: int, last: int) -> str:
        """The lines of a scope that belong to no definition inside of it, nor to its docstring."""
        taken = set[int]()
        for node in scope.body:
            if isinstance(node, Function | ast.ClassDef) or (node is scope.body[0] and _string([node])):
                taken.update(range(_first_line(node), (node.end_lineno or node.lineno) + 1))
        return "\n".join(self.lines[number - 1] for number in range(first, last + 1) if number not in taken)

    def _function(self, node: Function, prefix: str, owner: str) -> Unit:
        start, end = _first_line(node), node.end_lineno or node.lineno
        says = ast.get_docstring(node) or ""
        after = (node.body[0].end_lineno or node.lineno) if says else self._header_end(node)
        body = "\n".join([*self.lines[start - 1 : node.lineno - 1], *self.lines[after:end]])
        return self._unit("function", node, prefix, owner, says, body)

    def _class(self, node: ast.ClassDef, prefix: str, owner: str) -> Unit:
        says = ast.get_docstring(node) or ""
        return self._unit(
            "class", node, prefix, owner, says, self.own_text(node, _first_line(node), node.end_lineno or 0)
        )

    def _unit(self, kind: Kind, node: Function | ast.ClassDef, prefix: str, owner: str, says: str, body: str) -> Unit:
        header = " ".join(" ".join(self.lines[node.lineno - 1 : self._header_end(node)]).split())
        return Unit(
            kind, prefix + node.name, node.lineno, node.end_lineno or node.lineno,
            signature=header[:SIGNATURE_CHARACTERS].removesuffix(":"), says=says, owner=self._said(owner), body=body,
        )  # fmt: skip

    def _header_end(self, node: Function | ast.ClassDef) -> int:
        return max(node.lineno, node.body[0].lineno - 1)

    def _constant(self, node: ast.stmt, name: str, says: str) -> Unit:
        last = node.end_lineno or node.lineno
        body = "\n".join(self.lines[node.lineno - 1 : last])
        first = " ".join(self.lines[node.lineno - 1].split())[:SIGNATURE_CHARACTERS]
        return Unit("constant", name, node.lineno, last, first, says, self._said(""), body)

    def _said(self, owner: str) -> str:
        return f"{owner} {self.module_says}".strip()


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _constant(node: ast.stmt) -> str:
    """The name that a statement of a module gives to a value; '' where it is none to look for."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return names[0] if len(names) == len(targets) == 1 and not names[0].startswith("__") else ""


def _string(nodes: Sequence[ast.stmt]) -> str:
    node = nodes[0] if nodes else None
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""
