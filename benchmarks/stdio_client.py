"""A small MCP client over stdin and stdout, the same for every server that is timed.

It writes one JSON line and waits for the answer with the same id, so that no library of either side is in the figures.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.harness import BenchmarkError

PROTOCOL = "2025-06-18"
"""Of the handshake with `initialize`, which servers of both generations answer."""

PATIENCE_SECONDS = 60.0
"""For one answer; a server that takes longer is ended."""


class StdioServer:
    """A server's process with the handshake done.

    Attributes:
        start_seconds: from before the process was started to the first answered `tools/list`.
        tools: the `tools/list` result of that.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start the server and list its tools.

        Raises:
            BenchmarkError: it cannot be started, ends, or does not answer.
        """
        self._requests = 0
        begun = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise BenchmarkError(f"{command[0]} cannot be started: {error.strerror}") from error
        try:
            client = {"name": "benchmark", "version": "1"}
            self.request("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client})
            self._send({"method": "notifications/initialized"})
            self.tools = self.request("tools/list", {})
        except BaseException:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - begun

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return its result.

        Raises:
            BenchmarkError: the answer is an error, or there is none within `PATIENCE_SECONDS`.
        """
        self._requests += 1
        watchdog = threading.Timer(PATIENCE_SECONDS, self._process.kill)
        watchdog.start()
        try:
            self._send({"id": self._requests, "method": method, "params": params})
            answer = self._answer(method)
        finally:
            watchdog.cancel()
        if "result" not in answer:
            raise BenchmarkError(f"{method} was answered with {json.dumps(answer.get('error'))[:300]}")
        result: dict[str, Any] = answer["result"]
        return result

    def call(self, tool: str, arguments: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Call a tool; return the seconds until its answer was there, and the result.

        Raises:
            BenchmarkError: the tool refused.
        """
        begun = time.perf_counter()
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        seconds = time.perf_counter() - begun
        if result.get("isError"):
            raise BenchmarkError(f"{tool} refused: {json.dumps(result['content'])[:300]}")
        return seconds, result

    def close(self) -> None:
        """Close the server's input and wait until it has ended; one that stays is killed."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101  # for the type checker
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise BenchmarkError("the server ended before it was asked") from error

    def _answer(self, method: str) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  # for the type checker
        for line in self._process.stdout:
            message: dict[str, Any] = json.loads(line)
            # Others are the server's notifications and its own requests.
            if message.get("id") == self._requests and "method" not in message:
                return message
        raise BenchmarkError(f"the server ended, or was ended after {PATIENCE_SECONDS:.0f} s, in {method}")

    def __enter__(self) -> StdioServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
