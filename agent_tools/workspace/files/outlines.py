"""A Python file without the bodies of its functions: what it offers, in a fraction of the tokens.

Lines stay as they are written; what is cut is named by its line numbers, so that it can be read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent_tools.workspace.python_syntax import UNPARSABLE, parse_python

MOST_STATEMENT_LINES = 8
"""A longer assignment or call outside of functions (a table, say) keeps its first and its last line."""

_TABLES = (ast.Assign, ast.AnnAssign, ast.Expr)

LEAST_CUT_LINES = 2
"""A shorter body is no longer than what would stand for it."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


@dataclass(frozen=True)
class _Cut:
    """Lines to leave out, both ends included.

    Attributes:
        first: number of the first.
        last: number of the last.
        indent: spaces or tabs before what stands for them.
        closing: what closes the docstring in front of them, if they are cut inside of it.
    """

    first: int
    last: int
    indent: str = "    "
    closing: str = ""


def outline(text: str) -> str | None:
    """Return the file with bodies cut: imports, constants, classes, signatures, first paragraphs of docstrings.

    Private functions keep their signature only. None where it is not Python.
    """
    try:
        tree = parse_python(text)
    except UNPARSABLE:
        return None
    lines = _LINE_END.split(text)
    kept, after = list[str](), 0
    for cut in _cuts(tree.body, lines):
        kept += lines[after : cut.first - 1]
        kept[-1] += cut.closing
        kept.append(f"{cut.indent}...  # {cut.first}-{cut.last}")
        after = cut.last
    return _BLANK_LINES.sub("\n", "\n".join([*kept, *lines[after:]]))


def _cuts(body: Sequence[ast.stmt], lines: list[str]) -> Iterator[_Cut]:
    for node in body:
        last = node.end_lineno or node.lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            cut = _function_cut(node, last, lines)
            if cut is not None and cut.last - cut.first + 1 >= LEAST_CUT_LINES:
                yield cut
        elif isinstance(node, ast.ClassDef):
            yield from _cuts(node.body, lines)
        elif isinstance(node, _TABLES) and last - node.lineno >= MOST_STATEMENT_LINES and not _is_docstring(node):
            yield _Cut(node.lineno + 1, last - 1)


def _function_cut(node: ast.FunctionDef | ast.AsyncFunctionDef, last: int, lines: list[str]) -> _Cut | None:
    start = node.body[0]
    if not _starts_line(start, lines):
        # A body on the line of its `def` cannot be cut by lines.
        return None
    # The tree counts columns in bytes, and an indent has no others.
    indent = lines[start.lineno - 1][: start.col_offset]
    if not _is_docstring(start):
        return _Cut(_first_line(start), last, indent)
    if node.name.startswith("_") and not node.name.endswith("__"):
        return _Cut(start.lineno, last, indent)
    ends = start.end_lineno or start.lineno
    closing = lines[ends - 1].rstrip()[-3:]
    blank = next((line for line in range(start.lineno + 1, ends) if not lines[line - 1].strip()), None)
    if blank is not None and closing in ('"""', "'''"):
        return _Cut(blank, last, indent, closing)
    rest = node.body[1:]
    return _Cut(_first_line(rest[0]), last, indent) if rest and _starts_line(rest[0], lines) else None


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])


def _starts_line(node: ast.stmt, lines: list[str]) -> bool:
    return not lines[node.lineno - 1].encode()[: node.col_offset].strip()


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
