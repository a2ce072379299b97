"""Files in units: what can be found in Python, Markdown, YAML, TOML and makefiles, and what breaks none of it."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.search.code_units import is_test, units_of

MODULE = '''"""What the module is for."""

import os

LIMIT = 3
"""How many at most."""


@decorated
class Store(Base):
    """Keeps things."""

    size: int = 0

    def get(self, key: str) -> str:
        """Return one thing.

        More of it.
        """
        return self.things[key]

    class Inner:
        async def run(self): pass


def main():
    def inner():
        return secret_word
    return inner()
'''


def by_name(path: str, text: str):
    return {unit.name: unit for unit in units_of(path, text).units}


def test_a_python_file_is_its_module_classes_functions_and_constants():
    units = by_name("a/b.py", MODULE)
    assert {name: unit.kind for name, unit in units.items()} == {
        "": "module",
        "LIMIT": "constant",
        "Store": "class",
        "Store.get": "function",
        "Store.Inner": "class",
        "Store.Inner.run": "function",
        "main": "function",
    }
    assert units[""].signature == "a.b"
    assert units["LIMIT"].says == "How many at most."
    get = units["Store.get"]
    assert (get.line, get.signature, get.headline) == (15, "def get(self, key: str) -> str", "Return one thing.")
    assert "Keeps things." in get.owner
    assert "What the module is for." in get.owner


def test_every_line_belongs_to_one_unit_and_docstrings_to_none():
    units = by_name("a/b.py", MODULE)
    assert "import os" in units[""].body
    assert "things[key]" in units["Store.get"].body
    assert "things[key]" not in units["Store"].body + units[""].body
    assert "size: int" in units["Store"].body
    assert "decorated" in units["Store"].body
    assert "secret_word" in units["main"].body
    assert not any("Return one thing" in unit.body for unit in units.values())


@pytest.mark.parametrize(
    "text",
    [
        "def broken(:\n  word",
        "x = '\0'",
        "(" * 5000,
        "-" * 200_000 + "1",
        "x." * 50_000 + "y",
        "def f():\n\treturn\n  1",
    ],
)
def test_a_file_that_is_no_python_is_found_as_text_and_said_so(text):
    found = units_of("a.py", text)
    assert "not valid Python" in found.problem
    assert [unit.kind for unit in found.units] == ["file"]
    assert found.units[0].body == text


def test_a_wrong_escape_in_a_file_that_is_read_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert units_of("a.py", "x = '\\d'\n").problem == ""


def test_a_docstring_with_half_a_character_can_be_stored():
    (_, unit) = units_of("a.py", 'def f():\n    """\\ud800 x"""\n').units
    unit.headline.encode()


def test_headings_hold_their_sections_and_code_in_fences_is_no_heading():
    text = "# One\n\nFirst words.\n\n```sh\n# no heading\n```\n\n## Two ##\nlast\n"
    units = by_name("a.md", text)
    assert {name: (unit.line, unit.end_line) for name, unit in units.items() if name} == {"One": (1, 8), "Two": (9, 11)}
    assert units["One"].headline == "First words."
    assert "no heading" in units["One"].body


def test_keys_of_yaml_and_toml_have_their_comments():
    yaml = by_name("a.yaml", "# about\n# the seed\nseed: 1  # of everything\nother:\n  deep: 2\n")
    assert yaml["seed"].says == "of everything about the seed"
    assert "deep: 2" in yaml["other"].body
    toml = by_name("a.toml", "[tool.x]\nline-length = 120\n[[list]]\n")
    assert set(toml) == {"", "tool.x", "tool.x.line-length", "list"}


def test_targets_of_make_are_found_and_variables_are_not():
    units = by_name("Makefile", "VAR := 1\n# Runs the checks.\nlint: setup\n\truff check\n")
    assert set(units) == {"", "lint"}
    assert units["lint"].says == "Runs the checks."


def test_data_is_found_by_its_name_alone():
    (unit,) = units_of("a.json", '{"word": 1}').units
    assert (unit.kind, unit.body) == ("file", "")


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("tests/x.py", True),
        ("a/test_x.py", True),
        ("a/x_test.py", True),
        ("conftest.py", True),
        ("a/contest.py", False),
    ],
)
def test_tests_are_known_by_the_usual_names(path, test):
    assert is_test(path) is test


@given(st.sampled_from(["a.py", "a.md", "a.yaml", "a.toml", "Makefile", "a.sh"]), st.text())
def test_any_text_in_any_format_gives_units_inside_of_the_file(path, text):
    for unit in units_of(path, text).units:
        assert 1 <= unit.line <= unit.end_line <= text.count("\n") + 1
