"""Outlines of Python files: what a file offers, still Python, with the place of everything that was cut."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.files.outlines import outline

REPOSITORY = Path(__file__).resolve().parents[4]
SOURCES = sorted((REPOSITORY / "agent_tools" / "workspace").rglob("*.py"))

EXAMPLE = '''"""A module."""

import os

LIMIT = 3
"""Of something."""


@decorated(1)
class Thing(Base):
    """A thing.

    Attributes:
        size: of it.
    """

    size: int = 0

    def grow(
        self,
        by: int,
    ) -> None:
        """Grow.

        Args:
            by: so much.
        """
        self.size += by
        self.check()

    @property
    def large(self) -> bool:
        return self.size > LIMIT


async def work(x):
    # why
    @inner
    def step():
        pass
    await step()


def _hidden(x):
    """Not for others."""
    y = x
    return y
'''


def test_signatures_and_what_is_said_of_them_stay_and_bodies_are_named_by_their_lines():
    assert (
        outline(EXAMPLE)
        == '''"""A module."""
import os
LIMIT = 3
"""Of something."""
@decorated(1)
class Thing(Base):
    """A thing.
    Attributes:
        size: of it.
    """
    size: int = 0
    def grow(
        self,
        by: int,
    ) -> None:
        """Grow."""
        ...  # 24-29
    @property
    def large(self) -> bool:
        return self.size > LIMIT
async def work(x):
    # why
    ...  # 38-41
def _hidden(x):
    ...  # 45-47
'''
    )


@pytest.mark.parametrize(
    "text",
    [
        "def f(): return 1\n",
        "def f(): return g(\n    1,\n)\n",
        "def f(): pass; x = 1\n",
        'def f():\n    """d"""; x = 1\n    return x\n',
        "class A: pass\n",
        "x = 1\r\ndef f():\r\n\ta = 1\r\n\treturn a\r\n",
        'def f():\n    """\u00e4\u00f6\n\n    \u4e2d"""\n    return 1\n',
        "def f():\n    'one'\n    x = 1\n    return x\n",
        "if True:\n    def f():\n        return 1\n",
        "",
    ],
)
def test_an_outline_of_any_form_is_still_python(text):
    short = outline(text)
    assert short is not None
    assert names(ast.parse(short)) == names(ast.parse(text))


@pytest.mark.parametrize("text", ["def f(:", "\0", "(" * 500, "x = '"])
def test_what_is_not_python_has_no_outline(text):
    assert outline(text) is None


def test_a_long_table_keeps_its_ends():
    text = "TABLE = (\n" + "    1,\n" * 50 + ")\n"
    assert outline(text) == "TABLE = (\n    ...  # 2-51\n)\n"


def test_odd_escapes_of_others_raise_no_warning():
    assert outline("x = '\\d'\n") == "x = '\\d'\n"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_module_of_a_room_has_an_outline_with_all_its_names(path):
    text = path.read_text()
    short = outline(text)
    assert short is not None
    assert names(ast.parse(short)) == names(ast.parse(text))
    lines = text.split("\n")
    for first, last in re.findall(r"^ *\.\.\.  # (\d+)-(\d+)$", short, re.MULTILINE):
        assert 0 < int(first) < int(last) <= len(lines)


def names(tree: ast.Module) -> list[str]:
    """Functions of a module and of its classes."""
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    return [node.name for body in bodies for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@given(st.text(alphabet="def f():\n    x='\"#\\;@", max_size=80))
def test_no_text_makes_it_fail(text):
    short = outline(text)
    assert short is None or isinstance(short, str)
