"""The server over HTTP, as a real process: who comes in, who does not, and what becomes of calls of the vanished."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import psutil
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from agent_tools.jobs.processes import marked
from agent_tools.server.http import TOKEN_VARIABLE, Door, DoorError, door

TOKEN = "0123456789abcdef0123456789abcdef"
TOP = Path(__file__).parents[3]


@dataclass(frozen=True)
class Served:
    url: str
    process: subprocess.Popen[str]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


@contextmanager
def served(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server of its own on a free port, ended at the end."""
    command = [sys.executable, "-m", "agent_tools.cli", "--root", str(folder), "serve", "--http", "--port", "0"]
    with subprocess.Popen(
        [*command, *options],
        cwd=TOP,
        env={**os.environ, **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("serving on http://"), said + process.stderr.read()
        try:
            yield Served(said.split()[-1], process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def refused_start(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "agent_tools.cli", "--root", str(folder), "serve", *options]
    done = subprocess.run(
        command,
        cwd=TOP,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def post(one: Served, headers: Mapping[str, str], host: str = "") -> int:
    """The status that a raw request gets, whatever it says of itself."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "raw", "version": "1"},
        },
    }
    connection = http.client.HTTPConnection(*one.address, timeout=30)
    connection.putrequest("POST", "/mcp", skip_host=True)
    text = json.dumps(body).encode()
    given = {
        "Host": host or "{}:{}".format(*one.address),
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(text)),
        **headers,
    }
    for name, value in given.items():
        connection.putheader(name, value)
    connection.endheaders(text)
    status = connection.getresponse().status
    connection.close()
    return status


@contextmanager
def token_in_file(tmp_path: Path, token: str = TOKEN, mode: int = 0o600) -> Iterator[Path]:
    path = tmp_path / "token"
    path.write_text(token + "\n")
    path.chmod(mode)
    yield path


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_two_clients_at_once_list_call_and_read(repository, mode):
    async def use(url: str) -> None:
        async with Client(url, mode=mode) as client:
            assert "git_status" in {tool.name for tool in (await client.list_tools()).tools}
            for _ in range(3):
                answer = await client.call_tool("git_status", {})
                assert answer.structured_content is not None
                assert answer.structured_content["branch"] == "main"
            refusal = await client.call_tool("git_status", {"path": "x"})
            assert refusal.is_error

    async def run(url: str) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(use, url)
            group.start_soon(use, url)

    with served(repository) as one:
        anyio.run(run, one.url)


def test_a_page_of_another_name_or_origin_does_not_get_in(repository):
    with served(repository) as one:
        port = one.address[1]
        assert post(one, {}) == 200
        assert post(one, {}, host=f"localhost:{port}") == 200
        assert post(one, {}, host=f"evil.example:{port}") == 421
        assert post(one, {}, host="127.0.0.1.evil.example") == 421
        assert post(one, {"Origin": "http://evil.example"}) == 403
        assert post(one, {"Origin": "null"}) == 403
        assert post(one, {"Origin": f"http://localhost:{port}"}) == 200


def test_without_the_token_nobody_gets_in_and_with_it_under_an_allowed_name_only(repository, tmp_path):
    with (
        token_in_file(tmp_path) as file,
        served(repository, "--token-file", str(file), "--allow-host", "box.lan") as one,
    ):
        assert post(one, {}) == 401
        assert post(one, {"Authorization": "Bearer "}) == 401
        assert post(one, {"Authorization": f"Bearer {TOKEN[:-1]}"}) == 401
        assert post(one, {"Authorization": f"Basic {TOKEN}"}) == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert post(one, right) == 200
        assert post(one, right, host="box.lan") == 200
        assert post(one, right, host="box.lan:8443") == 200
        assert post(one, right | {"Origin": "https://box.lan"}, host="box.lan") == 200
        assert post(one, right, host="other.lan") == 421


def test_the_token_of_the_environment_works_and_no_process_of_a_tool_sees_it(repository):
    (repository / "test_env.py").write_text(
        f"import os\ndef test_gone():\n    assert {TOKEN_VARIABLE!r} not in os.environ\n"
        f"    assert {TOKEN!r} not in str(dict(os.environ))\n"
    )

    async def run(url: str) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as http_client,
            Client(streamable_http_client(url, http_client=http_client)) as client,
        ):
            answer = await client.call_tool("test_run", {"paths": ["test_env.py"]})
            assert answer.structured_content is not None
            assert (answer.structured_content["passed"], answer.structured_content["failed"]) == (1, 0), answer

    with served(repository, environment={TOKEN_VARIABLE: TOKEN}) as one:
        assert post(one, {}) == 401
        anyio.run(run, one.url)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--http", "--host", "0.0.0.0"], "clients must send a token"),
        (["--http", "--host", "::"], "clients must send a token"),
        (["--http", "--allow-host", "box.lan"], "clients must send a token"),
        (["--host", "0.0.0.0"], "are for --http"),
        (["--token-file", "x"], "are for --http"),
        (["--http", "--toolsets", "sq"], "did you mean 'sql'"),
    ],
)
def test_a_door_that_would_stand_open_is_not_opened(repository, options, said):
    assert said in refused_start(repository, *options)


def test_a_port_in_use_is_a_sentence(repository):
    with served(repository) as one:
        assert "cannot be listened on" in refused_start(repository, "--http", "--port", str(one.address[1]))


def opened(tmp_path: Path, host: str = "127.0.0.1", allowed: tuple[str, ...] = (), file: Path | None = None) -> Door:
    return door(host, 0, file, allowed, {})


def test_another_address_needs_a_token_and_names(tmp_path):
    with token_in_file(tmp_path) as file:
        with pytest.raises(DoorError, match="--allow-host"):
            opened(tmp_path, "0.0.0.0", file=file)
        found = opened(tmp_path, "0.0.0.0", ("box.lan", "box.lan:8443"), file)
    assert {"box.lan", "box.lan:*", "box.lan:8443"} < set(found.names)
    assert "*" not in found.names


@pytest.mark.parametrize("name", ["", "*", "http://box.lan", "box lan", "box.lan/x", "a@b"])
def test_a_name_that_is_no_name_is_refused(tmp_path, name):
    with token_in_file(tmp_path) as file, pytest.raises(DoorError, match="--allow-host"):
        opened(tmp_path, allowed=(name,), file=file)


@pytest.mark.parametrize(
    ("token", "mode", "said"),
    [
        ("short", 0o600, "needs 16 or more"),
        ("", 0o600, "is empty"),
        ("sixteen letters and blanks", 0o600, "without spaces"),
        (TOKEN, 0o644, "chmod 600"),
    ],
)
def test_a_token_that_others_could_know_is_refused(tmp_path, token, mode, said):
    with token_in_file(tmp_path, token, mode) as file, pytest.raises(DoorError, match=said):
        opened(tmp_path, file=file)


def test_a_missing_token_file_is_a_sentence(tmp_path):
    with pytest.raises(DoorError, match="cannot be read"):
        opened(tmp_path, file=tmp_path / "none")


def test_the_token_cannot_be_given_where_every_process_can_read_it():
    listed = subprocess.run(
        [sys.executable, "-m", "agent_tools.cli", "serve", "--help"],
        cwd=TOP,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=True,
    ).stdout
    assert "--token-file" in listed
    assert "--token " not in listed


VANISHING = """
import sys, anyio
from mcp.client import Client
async def run():
    async with Client(sys.argv[1], mode=sys.argv[2]) as client:
        print("calling", flush=True)
        await client.call_tool("test_run", {"paths": ["test_slow.py"]})
anyio.run(run)
"""


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_processes_of_a_client_that_vanished_end_within_seconds(repository, mode):
    marker = f"gone-{os.getpid()}-{mode}"
    (repository / "test_slow.py").write_text("import time\ndef test_slow(): time.sleep(300)\n")
    with served(repository, environment={"TEST_MARKER": marker}) as one:
        server = one.process.pid
        with subprocess.Popen([sys.executable, "-c", VANISHING, one.url, mode], cwd=TOP) as client:
            await_that(lambda: bool(_of_calls(marker, server)), 120)
            client.kill()
        await_that(lambda: not _of_calls(marker, server), 5)
        assert post(one, {}) == 200


def test_a_cancelled_call_ends_its_processes(repository):
    marker = f"cancelled-{os.getpid()}"
    (repository / "test_slow.py").write_text("import time\ndef test_slow(): time.sleep(300)\n")

    async def run(one: Served, mode: Any) -> None:
        async with Client(one.url, mode=mode) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "test_run", {"paths": ["test_slow.py"]})
                with anyio.fail_after(120):
                    while not _of_calls(marker, one.process.pid):
                        await anyio.sleep(0.1)
                group.cancel_scope.cancel()
            with anyio.fail_after(5):
                while _of_calls(marker, one.process.pid):
                    await anyio.sleep(0.1)

    with served(repository, environment={"TEST_MARKER": marker}) as one:
        anyio.run(run, one, "auto")
        anyio.run(run, one, "legacy")


def _of_calls(marker: str, server: int) -> list[psutil.Process]:
    return [process for process in marked("TEST_MARKER", marker) if process.pid != server]


def await_that(holds: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def test_the_server_ends_soon_after_it_is_told_to_though_a_client_is_connected(repository):
    async def run(one: Served) -> int:
        # What the client says to a server that is gone is its own affair.
        with suppress(Exception):
            async with Client(one.url, mode="legacy") as client:
                await client.list_tools()
                one.process.send_signal(signal.SIGTERM)
                return await anyio.to_thread.run_sync(one.process.wait, 20)
        return one.process.wait(1)

    with served(repository) as one:
        assert anyio.run(run, one) in (0, -signal.SIGTERM)
