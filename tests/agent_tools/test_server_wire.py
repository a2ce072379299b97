"""Lines that no client of the SDK would write: the server answers or passes over them, and goes on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agent_tools.small_projects import REPOSITORY

ABOUT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
HANDSHAKE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": ABOUT}
DEEP = b"[" * 100_000 + b"]" * 100_000

CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"git_status","arguments":%b}}'
LINES = [
    *(b"", b"no json", b"\xff\xfe\x00", b"{", b"null", b"[]", b"{}", b"0", b'"text"', DEEP, b'{"a":' * 50_000),
    b'{"jsonrpc":"1.0","id":900,"method":"tools/list"}',
    b'{"jsonrpc":"2.0","id":901,"method":"no/such"}',
    b'{"jsonrpc":"2.0","id":902,"method":"tools/call"}',
    b'{"jsonrpc":"2.0","id":903,"method":"tools/call","params":[]}',
    b'{"jsonrpc":"2.0","id":904,"method":"tools/call","params":{"name":7,"arguments":{}}}',
    b'{"jsonrpc":"2.0","id":905,"result":{}}',
    b'{"jsonrpc":"2.0","id":{"a":1},"method":"tools/list"}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345}}',
    CALL % (906, b'{"limit":1e999}'),
    CALL % (907, b'{"limit":NaN}'),
    CALL % (908, b'{"limit":' + b"9" * 6000 + b"}"),
    CALL % (909, b'{"limit":' + DEEP + b"}"),
    CALL % (910, b'{"response_format":"\\ud800"}'),
    CALL % (911, b'{"response_format":"\\u0000"}'),
    CALL % (912, b'{"limit":1,"limit":2}'),
    CALL % (913, b'{"response_format":"' + b"x" * 5_000_000 + b'"}'),
]
REFUSED = (901, 902, 904, 906, 907, 911, 913)
"""What is no request, or holds a text or a number that is none, the SDK passes over without an answer."""


def until(process: subprocess.Popen[bytes], wanted: int, seen: dict[int, Any]) -> None:
    """Read answers until the wanted one is there; a line that is no JSON object fails here."""
    assert process.stdout is not None
    while wanted not in seen:
        line = process.stdout.readline()
        assert line, f"the server ended before it answered {wanted}"
        message = json.loads(line)
        if isinstance(message.get("id"), int):
            seen[message["id"]] = message


@pytest.mark.timeout(120)
def test_whatever_line_comes_the_next_call_is_answered(repository: Path) -> None:
    command = [sys.executable, "-m", "agent_tools.cli", "--root", str(repository), "serve"]
    pipe = subprocess.PIPE
    seen: dict[int, Any] = {}
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(HANDSHAKE).encode() + b"\n")
        process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        for number, line in enumerate(LINES):
            process.stdin.write(line + b"\n" + CALL % (1000 + number, b"{}") + b"\n")
            process.stdin.flush()
            until(process, 1000 + number, seen)
            assert seen[1000 + number]["result"]["structuredContent"]["branch"] == "main", line[:80]
        process.stdin.close()
        assert process.wait() == 0
    for number in REFUSED:
        answer = seen[number]
        assert len(json.dumps(answer)) < 5000
        assert "error" in answer or answer["result"]["isError"], answer
