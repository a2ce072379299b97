"""A child process that cannot outlive whoever measures it nor run past its limit, and ends with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent_tools.records.errors import WorkbenchError

POLL_SECONDS = 0.05
GRACE_SECONDS = 0.4

_GUARD = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this run is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Ties a run to its starter: where the starter is killed without a chance to clean up, Linux ends the run
too (PR_SET_PDEATHSIG survives execv). A `preexec_fn` would do the same but is unsafe in a server with threads."""


class RunCancelled(WorkbenchError):
    """The run was cancelled by the caller; its process group is gone."""


class RunTooLong(WorkbenchError):
    """The run was ended at its limit of time."""


class Ends:
    """What ends a run before its time: a cancel event, a limit of seconds, or neither."""

    def __init__(self, cancel: threading.Event | None, limit_seconds: float | None) -> None:
        self.cancel, self.limit, self.started = cancel, limit_seconds, time.monotonic()

    def check(self) -> None:
        """Raise where the run has to end now.

        Raises:
            RunCancelled: the event is set.
            RunTooLong: the limit is reached.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise RunCancelled("The run was cancelled; what it had written so far is kept.")
        if self.limit is not None and time.monotonic() - self.started > self.limit:
            raise RunTooLong(f"The run was ended at its limit of {self.limit:g} s: it hangs, or has too much data.")


def run_guarded(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    ends: Ends,
    output: Path | None = None,
    watch: Callable[[], None] | None = None,
) -> int:
    """Run a command to its end in a process group of its own, and return its exit status.

    Args:
        command: program and arguments; never a shell.
        folder: working directory.
        environment: the whole environment of the process.
        log: file that takes what the process prints, added at its end.
        ends: what ends it early.
        output: file that takes standard output alone, so that the log gets the rest; None: both go to the log.
        watch: called about once a second, and once at the end.

    Raises:
        RunCancelled, RunTooLong: `ends` said so; the whole group is gone.
        OSError: the files cannot be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guarded = [sys.executable, "-c", _GUARD, str(os.getpid()), *command]
    with contextlib.ExitStack() as files:
        stream = files.enter_context(log.open("ab"))
        process = subprocess.Popen(
            guarded,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=files.enter_context(output.open("wb")) if output else stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        return _wait(process, watch or (lambda: None), ends)
    finally:
        end_group(process)


def _wait(process: subprocess.Popen[bytes], watch: Callable[[], None], ends: Ends) -> int:
    next_look = time.monotonic() + 1.0
    while True:
        try:
            code = process.wait(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        if code is not None or time.monotonic() >= next_look:
            watch()
            next_look = time.monotonic() + 1.0
        if code == 0:
            return code
        # Before the exit code: whoever cancels may have ended the run as well.
        ends.check()
        if code is not None:
            return code


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything in its group: asked first, killed after `GRACE_SECONDS`."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
