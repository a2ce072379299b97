"""Resources, prompts and completion as a client sees them."""

import base64
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from agent_tools.server import WorkbenchServer
from agent_tools.workflows import resources
from agent_tools.workflows.resources import HANDBOOK, KINDS
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root

JOB = "20261121T200622Z-train-3fa9c1"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def root(repository: Path) -> Root:
    log = repository / f"outputs/jobs/{JOB}/log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {n}\n" for n in range(1, 11)))
    page = repository / "docs/ai_handbook/02_dev_guide/testing.md"
    page.parent.mkdir(parents=True)
    page.write_text("# Testing\n")
    return Root.at(repository)


def ask(root: Root, question: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    async def run() -> Any:
        async with Client(WorkbenchServer(root), mode=mode) as client:
            return await question(client)

    return anyio.run(run)


def refusal(root: Root, question: Callable[[Client], Awaitable[Any]]) -> str:
    async def run() -> str:
        async with Client(WorkbenchServer(root)) as client:
            with pytest.raises(MCPError) as error:
                await question(client)
            return error.value.error.message

    said = anyio.run(run)
    for leak in ("Traceback", 'File "', "pydantic", "site-packages"):
        assert leak not in said
    return said


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_what_is_listed_can_be_read(root, mode):
    async def run(client: Client) -> None:
        listed = (await client.list_resources()).resources
        assert [one.name for one in listed] == ["handbook/02_dev_guide/testing.md", f"jobs/{JOB}"]
        for one in listed:
            (content,) = (await client.read_resource(str(one.uri))).contents
            assert content.mime_type == one.mime_type
            assert content.text

    ask(root, run, mode)


def test_every_kind_is_announced_with_a_template_and_a_reason(root):
    templates = ask(root, lambda client: client.list_resource_templates()).resource_templates
    assert [one.uri_template for one in templates] == [kind.template for kind in KINDS]
    assert all(one.title and one.description for one in templates)


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("", "line 1", "line 10"),
        ("?start=9", "line 9", "line 10"),
        ("?lines=1", "line 1", "[lines 1 to 1 of 10"),
        ("?start=2&lines=2", "line 2", "[lines 2 to 3 of 10"),
        ("?lines=2&start=2", "line 2", "[lines 2 to 3 of 10"),
    ],
)
def test_a_range_is_asked_for_in_the_address(root, query, first, last):
    result = ask(root, lambda client: client.read_resource(f"workbench://jobs/{JOB}/log{query}"))
    lines = result.contents[0].text.splitlines()
    assert lines[0] == first
    assert lines[-1].startswith(last)


def test_a_picture_comes_as_bytes_with_its_type(root):
    name = Path(keep(root, "plot.png", PNG)).name
    (content,) = ask(root, lambda client: client.read_resource(f"workbench://kept/{name}")).contents
    assert (base64.b64decode(content.blob), content.mime_type) == (PNG, "image/png")


@pytest.mark.parametrize(
    "uri",
    [
        "workbench://handbook/../../a.txt",
        "workbench://handbook/%2e%2e/%2e%2e/a.txt",
        "workbench://handbook//etc/passwd",
        "workbench://kept/..%2f..%2fa.txt",
        "workbench://logs/%00",
        "workbench://jobs/../log",
        "workbench://records/nope",
        "workbench://nothing/x",
        "file:///etc/passwd",
        "",
        f"workbench://jobs/{JOB}/log?start=x",
        f"workbench://jobs/{JOB}/log?strat=1",
        f"workbench://jobs/{JOB}/log?start=1&x=2",
    ],
)
def test_an_address_that_leads_nowhere_or_out_is_one_sentence(root, uri):
    said = refusal(root, lambda client: client.read_resource(uri))
    assert said
    assert "\n" not in said
    assert "root:" not in said


def test_an_unexpected_error_shows_a_reference_only(root, monkeypatch, caplog):
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(resources, "read", broken)
    with caplog.at_level(logging.ERROR):
        said = refusal(root, lambda client: client.read_resource(f"workbench://jobs/{JOB}/log"))
    assert "secret" not in said
    assert any(said.rstrip(".").split()[-1] in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_prompts_are_listed_with_their_arguments_and_rendered(root, mode):
    async def run(client: Client) -> None:
        listed = {one.name: one for one in (await client.list_prompts()).prompts}
        assert set(listed) == {"continue_session", "plan_optimisation", "write_findings", "review_commit"}
        assert all(one.title and one.description for one in listed.values())
        assert [(one.name, one.required) for one in listed["plan_optimisation"].arguments or []] == [("goal", True)]
        answer = await client.get_prompt("plan_optimisation", {"goal": "halve the warm epoch"})
        assert "halve the warm epoch" in answer.messages[0].content.text
        assert "`profile_run`" in answer.messages[0].content.text

    ask(root, run, mode)


def test_where_only_reading_is_allowed_a_prompt_names_the_command_line(root):
    async def run() -> str:
        async with Client(WorkbenchServer(root, read_only=True)) as client:
            return (await client.get_prompt("review_commit", {})).messages[0].content.text

    text = anyio.run(run)
    assert "`agent-tools test run` (in a shell)" in text
    assert "`git_status`" in text


def test_a_prompt_that_cannot_be_rendered_says_why(root):
    assert "needs the argument 'goal'" in refusal(root, lambda client: client.get_prompt("plan_optimisation", {}))
    assert "There is no prompt 'x'" in refusal(root, lambda client: client.get_prompt("x", {}))


def test_names_are_completed_for_addresses_and_for_prompts(root):
    async def run(client: Client) -> None:
        of_pages = ResourceTemplateReference(type="ref/resource", uri=HANDBOOK.template)
        answer = await client.complete(of_pages, {"name": "page", "value": "02"})
        assert answer.completion.values == ["02_dev_guide/testing.md"]
        nothing = await client.complete(of_pages, {"name": "start", "value": ""})
        assert nothing.completion.values == []
        of_prompt = PromptReference(type="ref/prompt", name="write_findings")
        assert (await client.complete(of_prompt, {"name": "record", "value": ""})).completion.values == []

    ask(root, run)


def test_listing_tools_reads_no_record_and_no_document(root, monkeypatch):
    monkeypatch.setattr("agent_tools.server._reading", lambda: pytest.fail("was read"))
    assert ask(root, lambda client: client.list_tools()).tools
