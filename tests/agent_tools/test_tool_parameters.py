"""What the page of tools says of a parameter is what the command line and the server take."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Literal

import click
import pytest
import typer
from pydantic import Field

from agent_tools.catalog import CATALOG, tool_facts
from agent_tools.cli import build_app
from agent_tools.results import Positional
from agent_tools.tool_parameters import MEANINGS, ToolParameter, described

FACTS = {facts["name"]: facts for facts in tool_facts()}


def command(words: str) -> click.Command:
    """The command that the words behind `agent-tools` lead to."""
    found: click.Command = typer.main.get_command(build_app())
    for word in words.split()[1:]:
        assert hasattr(found, "commands")
        found = found.commands[word]
    return found


@pytest.mark.parametrize("name", FACTS)
def test_every_word_and_option_of_a_command_stands_on_the_page_as_the_command_takes_it(name):
    shown = {row["name"]: row["word"] for row in FACTS[name]["parameters"]}
    taken = {}
    for parameter in command(FACTS[name]["command"]).params:
        if parameter.name in {"help", "as_json"}:
            continue
        if parameter.param_type_name == "argument":
            word = parameter.name.upper()
            taken[parameter.name] = word if parameter.required else f"[{word}]{'...' if parameter.nargs == -1 else ''}"
        else:
            taken[parameter.name] = " / ".join([*parameter.opts, *parameter.secondary_opts])
    assert shown == taken


def test_the_page_has_every_tool_once_and_is_plain_data():
    assert list(FACTS) == [tool.name for tool in CATALOG]
    assert json.loads(json.dumps(tool_facts())) == tool_facts()


def test_every_parameter_has_a_meaning_and_no_meaning_waits_for_a_parameter_that_is_gone():
    rows = [(name, row) for name, facts in FACTS.items() for row in facts["parameters"]]
    assert [(name, row["name"]) for name, row in rows if not row["meaning"]] == []
    assert MEANINGS.keys() <= {row["name"] for _, row in rows}


def test_a_tool_that_does_its_work_on_the_command_line_is_shown_as_the_command_has_it():
    (facts,) = [facts for facts in tool_facts() if facts["name"] == "bench_compare"]
    assert facts["usage"] == "agent-tools bench compare [OPTIONS] [A] [B] [OVERRIDES]..."
    assert facts["hints"] == ["writes", "open world"]


def parameters() -> list[ToolParameter]:
    def tool(
        record: Annotated[str, Field(description="its id")],
        other: Annotated[str, Positional] = "",
        limit: Annotated[int, Field(ge=1, lt=9)] = 3,
        sort: Literal["a", "b"] = "a",
        names: tuple[str, ...] = (),
        share: float | None = None,
        docs: bool = True,
    ) -> None: ...

    return described(inspect.signature(tool, eval_str=True).parameters.values())


def test_types_limits_and_defaults_are_words_that_do_not_depend_on_python():
    assert [(one.word, one.type_name, one.default_text, one.meaning) for one in parameters()] == [
        ("RECORD", "str", "", "its id"),
        ("[OTHER]", "str", '""', ""),
        ("--limit", "int, >= 1, < 9", "3", "entries shown at most"),
        ("--sort", '"a" | "b"', '"a"', ""),
        ("[NAMES]...", "list of str", "[]", ""),
        ("--share", "float | null", "null", ""),
        ("--docs / --no-docs", "bool", "true", ""),
    ]


def test_a_keyword_only_string_is_an_option():
    def tool(*, word: str = "") -> None: ...

    assert [one.word for one in described(inspect.signature(tool, eval_str=True).parameters.values())] == ["--word"]
