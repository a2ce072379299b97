"""The server as a client sees it: in memory and over stdio."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from agent_tools import catalog, server
from agent_tools.jobs import folders
from agent_tools.jobs.processes import marked
from agent_tools.results import CHARACTER_LIMIT, ToolResult
from agent_tools.server import WorkbenchServer
from agent_tools.workspace.root import Root


def call(folder: Path, name: str, arguments: dict[str, Any] | None = None, mode: str = "auto") -> Any:
    async def run() -> Any:
        async with Client(WorkbenchServer(Root.at(folder)), mode=mode) as client:
            return await client.call_tool(name, arguments or {})

    return anyio.run(run)


def refused(result: Any) -> str:
    assert result.is_error
    assert result.structured_content is None
    text = result.content[0].text
    for leak in ("Traceback", 'File "', "pydantic", "site-packages"):
        assert leak not in text
    return text


def listed() -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        async with Client(WorkbenchServer(Root.at(Path.cwd()))) as client:
            tools = (await client.list_tools()).tools
            return [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in tools]

    return anyio.run(run)


def test_the_list_of_tools_fits_the_budget_of_a_context():
    tools = listed()
    assert len(tools) <= 24
    assert len(json.dumps({"tools": tools})) / 4 <= 7000


def test_every_tool_is_announced_in_full():
    for tool in listed():
        name = tool["name"]
        assert tool["title"], name
        assert set(tool["annotations"]) == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}, name
        assert len(tool["description"].encode()) < 2048, name
        assert tool["inputSchema"]["additionalProperties"] is False, name
        assert tool["outputSchema"]["type"] == "object", name
        assert "$defs" not in tool["outputSchema"], name
        assert len(json.dumps(tool["outputSchema"])) / 4 <= 280, name


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_call_gives_short_text_and_structured_content(repository, mode):
    result = call(repository, "git_status", mode=mode)
    assert not result.is_error
    assert result.structured_content["branch"] == "main"
    assert result.structured_content["untrusted"] is True
    assert result.content[0].text.startswith("main at ")
    assert len(result.content[0].text) < 200


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_unknown_argument_is_refused_and_nothing_runs(repository, mode):
    assert "did you mean 'limit'" in refused(call(repository, "git_status", {"limitt": 1}, mode))
    refused(call(repository, "train_run", {"override": ["a=1"]}, mode))
    assert not (repository / "outputs").exists()


@pytest.mark.parametrize("name", ["no_such_tool", "bench_ladder", "train_now", "", "__init__"])
def test_a_tool_that_is_not_offered_cannot_be_called(repository, name):
    refused(call(repository, name))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("git_diff", {"paths": ["../../etc/passwd"]}),
        ("git_log", {"paths": ["/etc"]}),
        ("test_run", {"paths": ["/etc"]}),
        ("docs_render", {"folder": "../elsewhere"}),
        ("bench_run", {"data": "/etc"}),
        ("bench_run", {"checkpoint": "../../weights.ckpt"}),
        ("train_run", {"overrides": ["dataset_base_path=/etc/"]}),
        ("train_run", {"overrides": ["cache_dir=../elsewhere"]}),
        ("train_run", {"overrides": ["preset=../../x"]}),
        ("config_show", {"overrides": ["datasets={a:[/etc/x]}"]}),
    ],
)
def test_a_path_outside_of_the_root_is_refused_everywhere(repository, name, arguments):
    said = refused(call(repository, name, arguments))
    assert "outside" in said or "'..'" in said or "'/'" in said
    assert not (repository / "outputs" / "jobs").exists()


@pytest.mark.parametrize(
    "override",
    [
        "--multirun",
        "-m",
        "hydra.run.dir=x",
        "+hydra/launcher=x",
        "x._target_=os.system",
        "+x={_target_:os.system}",
        "a=${oc.env:HOME}",
        "run_id=x",
        "output_dir=x",
        "cache_dir=~/x",
        "a=b\nc=d",
        "",
        "=1",
    ],
)
def test_an_override_that_does_more_than_set_a_value_is_refused(repository, override):
    refused(call(repository, "train_run", {"overrides": [override]}))
    assert not (repository / "outputs" / "jobs").exists()


def test_unknown_ids_are_sentences_that_say_how_to_go_on(repository):
    assert "agent-tools record list" in refused(
        call(repository, "record_show", {"record": "20260101T000000Z-train-abc"})
    )
    assert "job_status without an id" in refused(call(repository, "job_status", {"job": "nope"}))
    assert "job_status without an id" in refused(call(repository, "job_cancel", {"job": "../.."}))
    assert "agent-tools train run" in refused(call(repository, "features_check"))
    refused(call(repository, "profile_run", {"run": "../../etc"}))
    refused(call(repository, "docs_render", {"records": ["../../x"]}))
    refused(call(repository, "bench_run", {"ladder": "mian"}))
    refused(call(repository, "bench_run", {"session": "../../x"}))


def _with_row(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    rows = (catalog.Tool("test_row", function, "A row", read_only=True),)
    monkeypatch.setattr(server, "CATALOG", rows)
    monkeypatch.setattr(catalog, "CATALOG", rows)


class Said(ToolResult):
    text: str

    def summary(self) -> str:
        return "said"


def test_an_unexpected_error_shows_a_reference_and_keeps_its_text_in_the_log(repository, monkeypatch, caplog):
    def broken(root: Root) -> Said:
        """Break."""
        raise RuntimeError("secret detail of the inside")

    _with_row(monkeypatch, broken)
    with caplog.at_level(logging.ERROR):
        said = refused(call(repository, "test_row"))
    assert "secret" not in said
    reference = said.rstrip(".").split()[-1]
    assert any(reference in record.getMessage() and record.exc_info for record in caplog.records)


def test_a_full_disk_is_named_without_a_path(repository, monkeypatch):
    def full(root: Root) -> Said:
        """Fill."""
        raise OSError(28, "No space left on device", "/somewhere/private")

    _with_row(monkeypatch, full)
    said = refused(call(repository, "test_row"))
    assert "No space left on device" in said
    assert "private" not in said


def test_a_result_over_the_limit_becomes_a_sentence(repository, monkeypatch):
    def long(root: Root) -> Said:
        """Talk."""
        return Said(text="x" * (CHARACTER_LIMIT + 1))

    _with_row(monkeypatch, long)
    assert "50000 characters" in refused(call(repository, "test_row"))


def test_progress_reaches_the_client(repository, monkeypatch):
    async def slow(root: Root, report: catalog.Report) -> Said:
        """Go on."""
        await report(1, 2, "half")
        await report(2, 2, "whole")
        return Said(text="done")

    _with_row(monkeypatch, slow)
    seen: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async def run() -> None:
        async with Client(WorkbenchServer(Root.at(repository))) as client:
            await client.call_tool("test_row", {}, progress_callback=note)

    anyio.run(run)
    assert seen == [(1, 2, "half"), (2, 2, "whole")]


def test_two_clients_at_once_get_their_own_answers(repository):
    async def run() -> None:
        shared = WorkbenchServer(Root.at(repository))
        async with Client(shared) as one, Client(shared) as two, anyio.create_task_group() as group:
            for client in (one, two) * 5:
                group.start_soon(_check_status, client)

    anyio.run(run)


async def _check_status(client: Client) -> None:
    result = await client.call_tool("git_status", {})
    assert result.structured_content is not None
    assert result.structured_content["branch"] == "main"


# --- over stdio --------------------------------------------------------------------------------------------------


def stdio(folder: Path) -> StdioServerParameters:
    """The server as `.mcp.json` starts it, on another repository."""
    arguments = ["-m", "agent_tools.cli", "--root", str(folder), "serve"]
    return StdioServerParameters(command=sys.executable, args=arguments, cwd=Path(__file__).parents[2])


def test_over_stdio_the_server_lists_calls_and_refuses(repository):
    async def run() -> None:
        async with Client(stdio(repository)) as client:
            assert len((await client.list_tools()).tools) == 20
            await _check_status(client)
            refused(await client.call_tool("git_status", {"path": "x"}))

    anyio.run(run)


def test_a_second_client_and_one_that_vanishes_disturb_nobody(repository):
    async def run() -> None:
        async with Client(stdio(repository)) as one:
            process = await anyio.open_process(
                [sys.executable, "-m", "agent_tools.cli", "--root", str(repository), "serve"],
                cwd=Path(__file__).parents[2],
                stderr=subprocess.DEVNULL,
            )
            assert process.stdin is not None
            await process.stdin.send(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"git_st')
            await process.stdin.aclose()
            with anyio.fail_after(120):
                await process.wait()
            await process.aclose()
            await _check_status(one)

    anyio.run(run)


def test_a_client_that_vanishes_in_a_test_run_leaves_no_process(repository):
    marker = f"vanish-{os.getpid()}"
    (repository / "test_slow.py").write_text("import time\ndef test_slow(): time.sleep(300)\n")
    environment = {"TEST_MARKER": marker}

    async def run() -> None:
        parameters = stdio(repository).model_copy(update={"env": environment})
        async with Client(parameters) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "test_run", {"paths": ["test_slow.py"]})
            with anyio.fail_after(150):
                while not _pytest_runs(marker):
                    await anyio.sleep(0.1)
            group.cancel_scope.cancel()

    anyio.run(run)
    deadline = time.monotonic() + 30
    while _pytest_runs(marker):
        assert time.monotonic() < deadline, _pytest_runs(marker)
        time.sleep(0.1)


def _pytest_runs(marker: str) -> list[psutil.Process]:
    return marked("TEST_MARKER", marker)


def test_a_server_killed_in_mid_job_loses_nothing(repository):
    report = "from agent_tools.jobs.local import Reporter; Reporter().result({'record_id': 'r'})"
    code = f"import time; time.sleep(1.5); {report}"
    starter = (
        "import sys; from pathlib import Path; from agent_tools.jobs import runners\n"
        "from agent_tools.workspace.root import Root\n"
        "from agent_tools.server import serve\n"
        f"root = Path({str(repository)!r})\n"
        f"print(runners.start([sys.executable, '-c', {code!r}], 'long', root).id, file=sys.stderr, flush=True)\n"
        "serve(Root.at(root))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        job_id = process.stderr.readline().strip()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 120
    while (answer := call(repository, "job_status", {"job": job_id}).structured_content)["status"] in folders.ACTIVE:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (answer["status"], answer["result"]) == ("finished", {"record_id": "r"})


def test_starting_imports_nothing_heavy():
    code = (
        "import sys, agent_tools.server\n"
        "heavy = ('torch', 'pytorch_lightning', 'albumentations', 'cv2', 'scipy', 'duckdb', 'matplotlib', 'typer')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_committed_client_configuration_starts_this_server():
    configuration = json.loads((Path(__file__).parents[2] / ".mcp.json").read_text())
    (entry,) = configuration["mcpServers"].values()
    assert entry == {"command": ".venv/bin/agent-tools", "args": ["serve"]}
