"""What is announced: agrees with the functions, fits its budget, and can be chosen."""

import json
import subprocess
import sys
from typing import Annotated

import anyio
import pytest
from mcp.client import Client

from agent_tools import announcement, catalog
from agent_tools.announcement import ToolsetError, announced, announcements, list_text, not_served, served_tools
from agent_tools.catalog import find
from agent_tools.results import CommandOnly, ToolResult
from agent_tools.server import WorkbenchServer
from agent_tools.tool import ArgumentError, Tool
from agent_tools.workspace.root import Root

ON_SERVER = [tool for tool in catalog.CATALOG if tool.surface == "mcp"]


class Said(ToolResult):
    text: str

    def summary(self) -> str:
        return self.text


def say(root: Root, word: str, loud: Annotated[bool, CommandOnly] = False) -> Said:
    """Say a word."""
    return Said(text=word.upper() if loud else word)


ROW = Tool("word_say", say, "Say", read_only=True)


def test_what_is_announced_is_what_the_functions_say():
    assert announcement.LIST.read_text("utf-8") == list_text(), (
        "tools_list.json is not what the functions say: if that is meant, run `python -m agent_tools.announcement`"
    )


def test_a_tool_that_the_file_does_not_know_yet_is_described_by_its_function():
    (entry,) = announcements([ROW])
    assert entry == announced(ROW)
    assert entry["inputSchema"]["properties"] == {"word": {"type": "string"}}


def test_a_tool_of_the_file_is_announced_without_importing_what_it_is_made_of():
    code = (
        "import sys\n"
        "from agent_tools import announcement as a\n"
        "assert len(a.announcements(a.served_tools(['all'], False))) > 18\n"
        "names = ('agent_tools.workflows.', 'agent_tools.workspace.git.runner', 'numpy')\n"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_schema_says_of_every_parameter_what_it_takes():
    for tool in ON_SERVER:
        schema = announced(tool)["inputSchema"]
        assert set(schema["properties"]) == set(tool.offered), tool.name
        required = {name for name, given in tool.offered.items() if given.default is given.empty}
        assert set(schema.get("required", [])) == required, tool.name
        assert all("type" in part or "anyOf" in part for part in schema["properties"].values()), tool.name


def test_what_a_client_cannot_give_has_a_default():
    for tool in ON_SERVER:
        kept_back = set(tool.parameters) - set(tool.offered)
        assert all(tool.parameters[name].default is not tool.parameters[name].empty for name in kept_back), tool.name


def test_what_only_the_command_line_takes_is_refused_with_the_command(tmp_path):
    with pytest.raises(ArgumentError, match=r"`agent-tools word say --loud`\. Here it has: word\."):
        ROW.check_offered({"word": "x", "loud": True})
    assert ROW.check({"word": "x", "loud": True}) == {"word": "x", "loud": True}

    async def run() -> str:
        async with Client(WorkbenchServer(Root.at(tmp_path))) as client:
            return (await client.call_tool("bench_compare", {"a": "HEAD", "alpha": 0.1})).content[0].text

    assert "`agent-tools bench compare --alpha`" in anyio.run(run)
    assert not (tmp_path / "outputs").exists()


def test_the_default_toolset_is_always_served_and_others_are_added_by_name():
    default = {tool.name for tool in served_tools((), read_only=False)}
    with_sql = {tool.name for tool in served_tools(["sql"], read_only=False)}
    assert {"sql_query", "sql_schema"} == with_sql - default
    assert default < with_sql
    assert {tool.name for tool in served_tools(["all"], read_only=False)} == {tool.name for tool in ON_SERVER}


@pytest.mark.parametrize("name", ["sq", "SQL", "", "default,sql", "../x"])
def test_an_unknown_toolset_is_refused_and_all_are_named(name):
    with pytest.raises(ToolsetError, match=r"default, .*sql.*'all'"):
        served_tools([name], read_only=False)


def test_a_near_miss_is_named():
    with pytest.raises(ToolsetError, match="did you mean 'sql'"):
        served_tools(["sqll"], read_only=False)


def test_who_may_only_read_gets_no_tool_that_writes():
    assert all(tool.read_only for tool in served_tools(["all"], read_only=True))
    names = {tool.name for tool in served_tools((), read_only=True)}
    assert {"git_status", "record_show"} < names
    assert not {"train_run", "test_run", "job_cancel", "session_note"} & names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train_run", "--read-only"),
        ("sql_query", "--toolsets sql"),
        ("bench_ladder", "`agent-tools bench ladder`"),
    ],
)
def test_what_is_not_served_says_why_and_what_to_do(name, said):
    assert said in str(not_served(find(name)))


def test_a_writing_tool_is_neither_listed_nor_run_where_only_reading_is_allowed(tmp_path):
    async def run() -> None:
        async with Client(WorkbenchServer(Root.at(tmp_path), ["all"], read_only=True)) as client:
            tools = (await client.list_tools()).tools
            assert tools
            assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
            assert "only reads" in (client.instructions or "")
            answer = await client.call_tool("session_note", {"kind": "goal", "text": "x"})
            assert answer.is_error
            assert "--read-only" in answer.content[0].text

    anyio.run(run)
    assert not list(tmp_path.iterdir())


def test_every_row_names_a_function_that_there_is():
    for tool in catalog.CATALOG:
        assert callable(tool.function)
        assert callable(tool.command.function)


def test_the_file_has_every_tool_of_the_server_in_the_order_of_the_catalogue():
    entries = json.loads(announcement.LIST.read_text("utf-8"))
    assert [entry["name"] for entry in entries] == [tool.name for tool in ON_SERVER]
