"""A real server process and a real client: progress, cancelling, and a start that waits for nothing heavy."""

import os
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from agent_tools.jobs.processes import end_all, marked
from tests.agent_tools.test_server import stdio

TOP = Path(__file__).parents[3]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_progress_of_a_test_run_reaches_the_client(repository, mode):
    (repository / "test_slow.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_n(n): time.sleep(0.5)\n"
    )
    seen: list[tuple[float, str | None]] = []

    async def note(progress: float, _total: float | None, message: str | None) -> None:
        seen.append((progress, message))

    async def run() -> None:
        async with Client(stdio(repository), mode=mode) as client:
            answer = await client.call_tool("test_run", {"paths": ["test_slow.py"]}, progress_callback=note)
            assert answer.structured_content is not None
            assert answer.structured_content["passed"] == 4

    anyio.run(run)
    assert len(seen) >= 2
    assert sorted(seen) == seen
    assert seen[-1][1] is not None
    assert "tests" in seen[-1][1]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_cancelled_test_run_ends_within_two_seconds_with_all_that_it_started(repository, mode):
    marker = f"cancel-{os.getpid()}-{mode}"
    (repository / "test_slow.py").write_text(
        "import subprocess, sys, time\n"
        "def test_slow():\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)\n"
        "    time.sleep(300)\n"
    )
    server: list[int] = []

    def running() -> int:
        return len([process for process in marked("TEST_MARKER", marker) if process.pid not in server])

    async def run() -> float:
        parameters = stdio(repository).model_copy(update={"env": {"TEST_MARKER": marker}})
        async with Client(parameters, mode=mode) as client:
            await client.list_tools()
            server.extend(process.pid for process in marked("TEST_MARKER", marker))
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "test_run", {"paths": ["test_slow.py"]})
                with anyio.fail_after(120):
                    # pytest and what its test started
                    while running() < 2:
                        await anyio.sleep(0.1)
                started = time.monotonic()
                group.cancel_scope.cancel()
            with anyio.fail_after(30):
                while running():
                    await anyio.sleep(0.05)
            seconds = time.monotonic() - started
            assert not (await client.call_tool("git_status", {})).is_error
            return seconds

    assert anyio.run(run) < 2.0


def test_the_command_that_serves_imports_what_the_first_answer_needs_and_no_more():
    code = (
        "import sys\n"
        "sys.argv = ['agent-tools', '--root', '.', 'serve', '--toolsets', 'none']\n"
        "from agent_tools.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 1\n"
        "names = ('agent_tools.workflows.', 'agent_tools.measure', 'numpy', 'jinja2', 'scipy', 'duckdb')\n"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
    assert "There is no toolset 'none'" in answer.stderr


def test_a_server_that_only_reads_says_so_over_stdio_too(repository):
    async def run() -> None:
        async with Client(stdio(repository, "--read-only", "--toolsets", "sql")) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert "sql_query" in names
            assert "test_run" not in names

    anyio.run(run)


def test_a_disk_that_takes_nothing_is_a_sentence_and_the_server_goes_on(repository):
    """A limit of no bytes per file refuses every write as a full disk does."""
    plain = stdio(repository)
    words = ["-c", 'ulimit -f 0; exec "$@"', "sh", plain.command, *plain.args]
    limited = plain.model_copy(update={"command": "sh", "args": words})

    async def run() -> None:
        async with Client(limited) as client:
            answer = await client.call_tool("session_start", {"name": "main", "goal": "g"})
            assert answer.is_error
            assert "could not be opened (File too large); make room" in answer.content[0].text
            assert not (await client.call_tool("git_status", {})).is_error

    anyio.run(run)


def test_a_damaged_record_is_named_by_the_list_and_the_others_are_shown(repository):
    records = repository / "logs/2026-11-21_main/records"
    records.mkdir(parents=True)
    (records / "20261121T200622Z-benchmark-3fa9c1.json").write_text('{"schema_version": ')

    async def run() -> None:
        async with Client(stdio(repository)) as client:
            answer = await client.call_tool("record_list", {})
            assert answer.structured_content is not None
            assert "20261121T200622Z-benchmark-3fa9c1" in str(answer.structured_content["unreadable"])
            refusal = await client.call_tool("record_show", {"record": "20261121T200622Z-benchmark-3fa9c1"})
            assert refusal.is_error
            assert "\n" not in refusal.content[0].text

    anyio.run(run)


def test_a_server_killed_in_mid_call_is_an_error_for_its_client_and_the_next_one_finds_all_as_it_was(repository):
    marker = f"killed-{os.getpid()}"
    (repository / "test_slow.py").write_text("import time\ndef test_slow(): time.sleep(300)\n")
    parameters = stdio(repository).model_copy(update={"env": {"TEST_MARKER": marker}})

    async def killed() -> None:
        async with Client(parameters) as client:
            await client.list_tools()
            (server,) = marked("TEST_MARKER", marker)
            async with anyio.create_task_group() as group:
                group.start_soon(call_that_fails, client)
                with anyio.fail_after(120):
                    while len(marked("TEST_MARKER", marker)) < 2:
                        await anyio.sleep(0.1)
                server.kill()

    async def call_that_fails(client: Client) -> None:
        with pytest.raises(MCPError):
            await client.call_tool("test_run", {"paths": ["test_slow.py"]})

    async def after() -> None:
        async with Client(stdio(repository)) as client:
            answer = await client.call_tool("git_status", {})
            assert answer.structured_content is not None
            assert "test_slow.py" in answer.structured_content["untracked"]
            with anyio.fail_after(30):
                while marked("TEST_MARKER", marker):
                    await anyio.sleep(0.1)

    try:
        anyio.run(killed)
        anyio.run(after)
    finally:
        end_all(lambda: marked("TEST_MARKER", marker))
