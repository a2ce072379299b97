"""The table of tools: every row complete, small, and honest about its arguments."""

import inspect
import json
import re
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.catalog import CATALOG, UnknownTool, call, find
from agent_tools.results import ToolResult
from agent_tools.tool import INJECTED, ArgumentError, Tool
from agent_tools.workspace.root import Root

ROWS = pytest.mark.parametrize("tool", CATALOG, ids=lambda tool: tool.name)

MAIN_JOB = {
    *(
        "train_run",
        "config_show",
        "features_check",
        "bench_run",
        "bench_compare",
        "record_list",
        "record_show",
        "profile_run",
    ),
    *("job_status", "job_cancel", "git_status", "git_diff", "git_log", "test_run", "docs_render", "docs_check"),
    *(
        "session_start",
        "session_note",
        "session_handover",
        "file_read",
        "file_find",
        "git_branch",
        "git_commit",
        "code_search",
    ),
}


def test_the_default_toolset_is_the_one_that_the_project_promises():
    assert {tool.name for tool in CATALOG if tool.surface == "mcp" and tool.toolset == "default"} == MAIN_JOB


def test_names_are_unique_nouns_and_verbs():
    names = [tool.name for tool in CATALOG]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+_[a-z]+", tool.name) for tool in CATALOG if tool.surface == "mcp")


@ROWS
def test_every_tool_returns_a_flat_model(tool):
    assert issubclass(tool.result, ToolResult)
    schema = tool.result.model_json_schema()
    assert "$defs" not in schema
    assert len(json.dumps(schema)) / 4 < 600


@ROWS
def test_every_parameter_of_a_tool_on_the_server_is_described_or_plain(tool):
    for name, parameter in tool.parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty, name


@ROWS
def test_every_description_is_short_and_those_on_the_server_say_when_to_use_the_tool(tool):
    assert 20 < len(tool.description) < 2000
    if tool.surface == "mcp":
        assert re.search(r"\b(Use|Poll|first step|Not for|Check|Quote)\b", tool.description), tool.description


@ROWS
def test_a_tool_that_destroys_is_not_called_read_only(tool):
    assert not (tool.read_only and tool.destructive)


def test_reading_tools_have_a_limit():
    endless = [
        tool.name for tool in CATALOG if tool.read_only and tool.surface == "mcp" and "limit" not in tool.parameters
    ]
    assert endless == ["features_check"]


def test_an_unknown_argument_names_the_nearest_and_all_valid_ones():
    with pytest.raises(ArgumentError, match=r"no argument 'limt'; did you mean 'limit'\? It has: paths, revision"):
        find("git_log").check({"limt": 3})


def test_what_is_filled_in_by_the_program_cannot_be_given_by_the_caller():
    for tool in CATALOG:
        for name in INJECTED:
            with pytest.raises(ArgumentError, match=f"no argument '{name}'"):
                tool.check({name: "/"})


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("git_log", {"limit": 0}, "git_log: limit is 0; input should be greater than or equal to 1."),
        ("git_log", {"limit": "many"}, "git_log: limit is 'many'"),
        (
            "git_log",
            {"response_format": "short"},
            "response_format is 'short'; input should be 'concise' or 'detailed'.",
        ),
        ("record_show", {}, "record_show needs the argument 'record'."),
        ("git_diff", {"paths": [1]}, "git_diff: paths.0 is 1"),
        ("bench_run", {"rounds": 10**9}, "rounds is 1000000000"),
        ("git_log", {"limit": True}, "limit is True; input should be a valid integer."),
        ("git_log", {"limit": 2.5}, "limit is 2.5; input should be a valid integer."),
        ("git_diff", {"staged": 1}, "staged is 1; input should be a valid boolean."),
        ("git_diff", {"paths": "a"}, "paths is 'a'; input should be a valid list."),
        ("git_diff", {"paths": "[" * 100_000}, "input should be a valid list."),
    ],
)
def test_an_unusable_value_is_one_sentence_with_the_value(name, arguments, said):
    with pytest.raises(ArgumentError) as refusal:
        find(name).check(arguments)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "pydantic" not in str(refusal.value)


def test_a_list_sent_as_its_text_is_understood():
    assert find("git_diff").check({"paths": '["a", "b"]'})["paths"] == ("a", "b")


def test_numbers_sent_as_text_and_whole_numbers_sent_as_floats_are_understood():
    given = find("git_diff").check({"limit": "3", "staged": "true"})
    assert (given["limit"], given["staged"]) == (3, True)
    assert find("git_log").check({"limit": 3.0})["limit"] == 3
    assert find("bench_compare").check({"effect": 1})["effect"] == 1


def test_an_unknown_tool_names_the_nearest():
    with pytest.raises(UnknownTool, match="git_status"):
        find("git_statu")


@given(
    st.dictionaries(st.text(max_size=12), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4))
)
def test_any_arguments_are_accepted_or_refused_with_one_sentence(arguments):
    for tool in CATALOG:
        said = refusal(tool, arguments)
        assert said == "" or ("\n" not in said and len(said) < 1000)


def refusal(tool: Tool, arguments: dict) -> str:
    try:
        tool.check(arguments)
    except ArgumentError as error:
        return str(error)
    return ""


def test_a_new_row_is_all_that_a_new_tool_needs(tmp_path: Path):
    class Echo(ToolResult):
        said: str

        def summary(self) -> str:
            return self.said

    def echo(root: Root, word: str, times: int = 2) -> Echo:
        """Say a word again."""
        return Echo(said=f"{root.path.name}: {word * times}")

    tool = Tool("word_echo", echo, "Echo", read_only=True)
    result = anyio.run(call, tool, Root.at(tmp_path), {"word": "ab"})
    assert result.summary() == f"{tmp_path.name}: abab"
