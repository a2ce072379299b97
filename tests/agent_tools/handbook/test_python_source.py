"""What is read from Python files without importing them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook.api import read_api
from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.parameters import definition_says, parameter_meanings
from agent_tools.handbook.python_source import Source, documented, imported_modules, read_source, signature


def source(text: str, name: str = "a.b") -> Source:
    return Source(name, text, ast.parse(text))


def function(text: str) -> tuple[ast.FunctionDef, Source]:
    read = source(text)
    (node,) = read.tree.body
    assert isinstance(node, ast.FunctionDef)
    return node, read


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


ANNOTATION = st.sampled_from(["", ": int", ": dict[str, int] | None", ": 'Größe'"])
NAMES = ["a", "b", "c", "größe", "e", "f"]


@st.composite
def signatures(draw: st.DrawFn) -> str:
    """A valid list of parameters and a result, in the usual spacing."""
    names = iter(NAMES)
    with_defaults = False
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        annotation = draw(ANNOTATION)
        with_defaults = with_defaults or draw(st.booleans())
        equals = " = " if annotation else "="
        parts.append(next(names) + annotation + (f"{equals}(1, 'x')" if with_defaults else ""))
    if parts and draw(st.booleans()):
        parts.insert(draw(st.integers(1, len(parts))), "/")
    if draw(st.booleans()):
        parts += ["*", next(names) + draw(ANNOTATION)]
    elif draw(st.booleans()):
        parts.append("*" + next(names) + draw(ANNOTATION))
    if draw(st.booleans()):
        parts.append("**" + next(names) + draw(ANNOTATION))
    return f"({', '.join(parts)})" + draw(st.sampled_from(["", " -> None", " -> list[str]"]))


@given(signatures())
def test_a_signature_reads_as_it_is_written(text):
    assert signature(*function(f"def do{text}: ...")) == text


def test_a_signature_over_several_lines_stands_on_one():
    text = "def do(\n    a: dict[\n        str, int\n    ] = {},\n    *,\n    b=None,\n) -> None: ...\n"
    assert signature(*function(text)) == "(a: dict[ str, int ] = {}, *, b=None) -> None"


@pytest.mark.parametrize(
    ("decorator", "shown"), [("", "(a)"), ("@classmethod\n", "(a)"), ("@staticmethod\n", "(self, a)")]
)
def test_a_method_is_shown_without_what_it_is_bound_to(decorator, shown):
    node, read = function(f"{decorator}def do(self, a): ...")
    assert signature(node, read, method=True) == shown


def test_entries_of_a_docstring_are_joined_and_other_sections_are_left_out():
    text = """Do it.

    Args:
        a: the first,
            over two lines.
        b, c: two: of them.

    Returns:
        d: nothing.
    """
    assert documented(text) == {"a": "the first, over two lines.", "b": "two: of them.", "c": "two: of them."}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import x.y\n", {"x.y"}),
        ("from x import y, z\n", {"x", "x.y"}),
        ("from x.y import Name\n", {"x.y"}),
        ("def f():\n    import x.y\n", {"x.y"}),
        ("if TYPE_CHECKING:\n    from x.y import Name\n", {"x.y"}),
        ("from . import b, c\n", {"a.c"}),
        ("from .c import Name\n", {"a.c"}),
        ("import json\nfrom xy import z\n", set()),
        ("import a.b\n", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(text, found):
    assert imported_modules(source(text), frozenset({"a", "a.b", "a.c", "x", "x.y"})) == found


def test_a_file_that_is_gone_or_is_not_python_is_named(tmp_path):
    write(tmp_path, {"a/b.py": "def (:\n"})
    with pytest.raises(DocumentError, match=r"a/b\.py, line 1 is not Python"):
        read_source(tmp_path / "a/b.py", tmp_path)
    with pytest.raises(DocumentError, match=r"a/c\.py is gone"):
        read_source(tmp_path / "a/c.py", tmp_path)


def test_meanings_come_from_fields_and_docstrings_through_bases_and_packages(tmp_path):
    write(
        tmp_path,
        {
            "p/__init__.py": "from p.impl import Own\n",
            "p/base.py": 'class Base:\n    """B.\n\n    Args:\n        size: of.\n        kept: as before.\n    """\n',
            "p/impl.py": (
                "from pydantic import Field\nfrom p.base import Base\n\n"
                'class Own(Base):\n    """It.\n\n    More.\n    """\n'
                '    size: int = Field(3, ge=1, description="its "\n        "own size")\n    plain: int = 0\n\n'
                'def make(a):\n    """Make.\n\n    Args:\n        a: what from.\n    """\n'
            ),
        },
    )
    assert parameter_meanings("p.Own", tmp_path) == {"size": "its own size", "kept": "as before."}
    assert parameter_meanings("p.impl.make", tmp_path) == {"a": "what from."}
    assert definition_says("p.Own", tmp_path) == "It."
    for unknown in ("p.Gone", "torch.optim.AdamW", "p", ""):
        assert parameter_meanings(unknown, tmp_path) == {}


def test_the_api_has_what_is_public_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("agent_tools.handbook.api.LISTED", ("m/*.py",))
    write(
        tmp_path,
        {
            "m/a.py": (
                '"""A module.\n\nMore of it."""\n\n'
                '@dataclass\nclass Box:\n    """Holds."""\n    side: int = 3\n    _hidden: int = 0\n'
                "    COUNT: ClassVar[int] = 0\n"
                '    @property\n    def area(self) -> int:\n        """Of all."""\n'
                "    def _secret(self): ...\n"
                "class Made:\n    def __init__(self, a: int) -> None: ...\n    def use(self, b=1): ...\n"
                "class Trouble(Error):\n    pass\n"
                "def _private(): ...\nasync def go(a, *, b): ...\n"
            ),
            "m/b.py": "X = 1\n",
        },
    )
    (module,) = read_api(tmp_path)
    assert (module["name"], module["path"], module["says"]) == ("m.a", "m/a.py", "A module.")
    assert [(member["call"], member["says"]) for member in module["members"]] == [
        ("Box(side: int)", "Holds."),
        ("Box.area: int", "Of all."),
        ("Made(a: int)", ""),
        ("Made.use(b=1)", ""),
        ("Trouble", ""),
        ("go(a, *, b)", ""),
    ]
