"""Where a name occurs in a file of Python, by its syntax: defined, imported, called, or referred to otherwise."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Literal

from agent_tools.workspace.python_syntax import UNPARSABLE, parse_python

UseKind = Literal["definition", "import", "call", "reference", "setting", "mention", "test"]


@dataclass(frozen=True)
class Use:
    """One occurrence: its line, what it is, and the function or class around it ('' at the top of a file)."""

    line: int
    kind: UseKind
    inside: str


def python_uses(text: str, name: str) -> list[Use] | None:
    """Return where a name is used; None where the text is not valid Python.

    Args:
        text: a whole file.
        name: plain, or qualified by its class (`CacheTier.get`): then it is only defined there, and an attribute of
            another known class is left out. What an object's class is cannot be told otherwise.
    """
    try:
        finder = _Finder(name)
        finder.visit(parse_python(text))
    except UNPARSABLE:
        return None
    seen: dict[tuple[int, str], Use] = {}
    for use in sorted(finder.uses, key=lambda use: (use.line, _ORDER.index(use.kind))):
        seen.setdefault((use.line, use.inside), use)
    return list(seen.values())


_ORDER: tuple[UseKind, ...] = ("definition", "import", "call", "reference", "setting", "mention", "test")


class _Finder(ast.NodeVisitor):
    """Walks a module and remembers in which definition it is."""

    def __init__(self, name: str) -> None:
        self.owner, _, self.name = name.rpartition(".")
        self.owner = self.owner.rpartition(".")[2]
        self.scope: list[ast.AST] = []
        self.uses: list[Use] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._definition(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._definition(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if self.name in (alias.name.rpartition(".")[2], alias.asname):
                self._add(alias.lineno, "import")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if (node.module or "").rpartition(".")[2] == self.name:
            self._add(node.lineno, "import")
        for alias in node.names:
            if self.name in (alias.name, alias.asname):
                self._add(alias.lineno, "import")

    def visit_Call(self, node: ast.Call) -> None:
        if self._is_meant(node.func):
            self._add(node.func.end_lineno or node.lineno, "call")
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == self.name and self._is_meant(node):
            stored = isinstance(node.ctx, ast.Store) and not self._in_function()
            self._add(node.lineno, "definition" if stored else "reference")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._is_meant(node):
            self._add(node.end_lineno or node.lineno, "reference")
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg == self.name and not self.owner:
            self._add(node.lineno, "reference")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        # A dotted path in a string is how configurations and entry points name code.
        if isinstance(node.value, str) and len(node.value) < 300 and node.value.endswith(f".{self.name}"):
            self._add(node.lineno, "reference")

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if node.name == self.name and (not self.owner or self._class_around() == self.owner):
            self._add(node.lineno, "definition")
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.scope.append(node)
        for child in ast.iter_child_nodes(node):
            if child not in node.decorator_list:
                self.visit(child)
        self.scope.pop()

    def _is_meant(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id == self.name and (not self.owner or self._class_around() == self.owner)
        if not isinstance(node, ast.Attribute) or node.attr != self.name:
            return False
        receiver = node.value.id if isinstance(node.value, ast.Name) else ""
        if self.owner and receiver in ("self", "cls"):
            return self._class_around() == self.owner or not self._class_defines()
        return not self.owner or receiver == self.owner or not receiver[:1].isupper()

    def _class_around(self) -> str:
        return next((node.name for node in reversed(self.scope) if isinstance(node, ast.ClassDef)), "")

    def _class_defines(self) -> bool:
        """Whether the class around has its own attribute of this name, so that `self` means that one."""
        body = next((node.body for node in reversed(self.scope) if isinstance(node, ast.ClassDef)), [])
        return any(getattr(node, "name", "") == self.name for node in body)

    def _in_function(self) -> bool:
        return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in self.scope)

    def _add(self, line: int, kind: UseKind) -> None:
        inside = ".".join(getattr(node, "name", "") for node in self.scope)
        self.uses.append(Use(line, kind, inside))
