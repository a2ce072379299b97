"""Processes that cannot get away: bounded in time and output, and ended together with everything they started."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO

import anyio
import anyio.abc
import anyio.to_thread
import psutil

import agent_tools
from agent_tools.records.errors import WorkbenchError

CALL_VARIABLE = "AGENT_TOOLS_CALL"
"""Marks the processes of one bounded call; every descendant inherits it, whatever session it moves to."""

PROGRAM = str(Path(agent_tools.__file__).resolve().parents[1])
"""The folder that holds the program which runs now."""

GRACE_SECONDS = 1.2
"""Between the polite signal and the final one: enough for a ladder to end its trainer and to record its whole rounds.

With the sweep after it a cancel stays under 2 s."""

DRAIN_SECONDS = 1.0
"""For the last output after a program ended; longer means that something it left holds the pipe."""


class ProcessError(WorkbenchError):
    """A program that could not be started."""


@dataclass(frozen=True)
class Finished:
    """What a bounded process left: its exit code (negative: ended by that signal) and its output up to the cap."""

    exit_code: int
    output: bytes
    errors: bytes
    timed_out: bool
    truncated: bool


def marked(variable: str, value: str) -> list[psutil.Process]:
    """Return the live processes, this one excepted, whose environment has `variable=value`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def marks(variable: str) -> set[str]:
    """Return the values that `variable` has in the environments of live processes, this one excepted."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.environ().get(variable, ""))
        except (psutil.Error, OSError):
            continue
    return found - {""}


def is_alive(pid: int, started: float) -> bool:
    """Tell whether the process `pid`, started at `started` (seconds since the epoch), still runs; a zombie does not."""
    try:
        process = psutil.Process(pid)
        # The kernel counts in ticks since boot: the same process reads up to a second apart after a clock correction.
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 2
    except psutil.Error:
        return False


def own_start() -> float:
    """Return when this process started, in seconds since the epoch."""
    return psutil.Process().create_time()


def end_all(find: Callable[[], list[psutil.Process]], grace: float = GRACE_SECONDS, limit: float = 1.8) -> int:
    """End every process that `find` names, and those they start meanwhile; return how many outlived `limit` seconds."""
    deadline = time.monotonic() + limit
    victims = find()
    _signal(victims, signal.SIGTERM)
    psutil.wait_procs(victims, timeout=grace)
    while (victims := find()) and time.monotonic() < deadline:
        _signal(victims, signal.SIGKILL)
        psutil.wait_procs(victims, timeout=0.1)
    return len(victims)


def end_abandoned() -> int:
    """End the processes of bounded calls whose own process was killed before it could; return how many there were."""
    abandoned = [token for token in marks(CALL_VARIABLE) if _owner_is_gone(token)]
    victims = [process for token in abandoned for process in marked(CALL_VARIABLE, token)]
    for token in abandoned:
        end_all(partial(marked, CALL_VARIABLE, token), grace=0)
    return len(victims)


def _owner_is_gone(token: str) -> bool:
    owner = re.fullmatch(r"(\d{1,9})\.(\d{1,12})\.[0-9a-f]+", token)
    return owner is not None and not is_alive(int(owner[1]), float(owner[2]))


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue


async def run_bounded(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float,
    output_cap: int,
    watch: Callable[[], Awaitable[None]] | None = None,
    stdin: int | IO[bytes] = DEVNULL,
) -> Finished:
    """Run a program without a shell or a terminal, in its own session, and end its whole tree on any way out.

    Args:
        command: program and arguments.
        folder: working directory.
        environment: the whole environment of the program; nothing is inherited beside it.
        seconds: time limit; reaching it ends the tree and sets `timed_out`.
        output_cap: bytes kept of each stream; a longer output ends the tree and sets `truncated`.
        watch: called twice a second while the program runs.
        stdin: an open file that it reads; nothing by default.

    Raises:
        ProcessError: the program does not exist or cannot be executed.
    """
    token = f"{os.getpid()}.{own_start():.0f}.{secrets.token_hex(8)}"
    marked_environment = {**environment, CALL_VARIABLE: token}
    try:
        # Whole or not at all: a caller that is cancelled between fork and return would have nothing to end.
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                command,
                stdin=stdin,
                stdout=PIPE,
                stderr=PIPE,
                cwd=folder,
                env=marked_environment,
                start_new_session=True,
            )
    except OSError as error:
        raise ProcessError(f"{command[0]} cannot be started ({error.strerror}); is it installed?") from error
    streams = _Capture(process, output_cap)
    complete = False
    try:
        with anyio.move_on_after(seconds) as limit:
            complete = await streams.collect(watch)
    finally:
        with anyio.CancelScope(shield=True):
            if not complete:
                await anyio.to_thread.run_sync(_end_tree, process.pid, token)
            await process.aclose()
    code = process.returncode if process.returncode is not None else -signal.SIGKILL
    return Finished(code, bytes(streams.output), bytes(streams.errors), limit.cancelled_caught, streams.truncated)


def own_module(module: str) -> list[str]:
    """The words that run a module of this program; nothing in the working directory stands in for one of ours.

    `PROGRAM` has to be on the `PYTHONPATH` of whoever runs them.
    """
    return [sys.executable, "-P", "-m", module]


def with_program(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the modules of this program are found, before those of any other copy of it."""
    path = os.pathsep.join(filter(None, (PROGRAM, environment.get("PYTHONPATH", ""))))
    return {**environment, "PYTHONPATH": path}


async def run_own_module(
    module: str,
    job: str,
    *,
    folder: Path,
    seconds: float,
    output_cap: int,
    variables: Mapping[str, str] | None = None,
    watch: Callable[[], Awaitable[None]] | None = None,
) -> Finished:
    """Run a module of this program in a bounded process that inherits nothing but what `variables` name.

    Args:
        module: its dotted name.
        job: its one argument.
        folder: working directory; a module in it never stands in for one of ours.
        seconds: see `run_bounded`, as `output_cap` and `watch`.
        variables: for its environment.

    Raises:
        ProcessError: the interpreter cannot be started.
    """
    return await run_bounded(
        [*own_module(module), job],
        folder=folder,
        environment={"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": PROGRAM, **(variables or {})},
        seconds=seconds,
        output_cap=output_cap,
        watch=watch,
    )


def _end_tree(pid: int, token: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    end_all(lambda: marked(CALL_VARIABLE, token), grace=0)


class _Capture:
    """Reads both streams of a process, each up to a cap."""

    def __init__(self, process: anyio.abc.Process, cap: int) -> None:
        self.process = process
        self.cap = cap
        self.output = bytearray()
        self.errors = bytearray()
        self.truncated = False

    async def collect(self, watch: Callable[[], Awaitable[None]] | None) -> bool:
        """Read until the process ends; False when the cap stopped it, or when something it left holds its streams."""
        async with anyio.create_task_group() as group:
            if watch is not None:
                group.start_soon(self._watch, watch)
            with anyio.CancelScope() as drain:
                async with anyio.create_task_group() as readers:
                    readers.start_soon(self._read, self.process.stdout, self.output)
                    readers.start_soon(self._read, self.process.stderr, self.errors)
                    await self.process.wait()
                    drain.deadline = anyio.current_time() + DRAIN_SECONDS
            group.cancel_scope.cancel()
        return not self.truncated and not drain.cancelled_caught

    async def _read(self, stream: anyio.abc.ByteReceiveStream | None, kept: bytearray) -> None:
        while stream is not None and len(kept) < self.cap:
            try:
                chunk = await stream.receive()
            except anyio.EndOfStream:
                return
            kept += chunk[: self.cap - len(kept)]
        self.truncated = True
        self.process.kill()

    async def _watch(self, watch: Callable[[], Awaitable[None]]) -> None:
        while True:
            await anyio.sleep(0.5)
            await watch()
