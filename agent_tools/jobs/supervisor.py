"""The process that stands over one job: `python -m agent_tools.jobs.supervisor JOB_FOLDER ROOT`.

It detaches from whoever started it, runs the job's command in a session of its own, beats its heart, and writes the
last word: exit code, or why it ended the job. What the job leaves running is ended with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agent_tools.jobs.local import (
    JOB_VARIABLE,
    PROGRESS_VARIABLE,
    RESULT_VARIABLE,
    JobState,
    JobStatus,
    end_processes,
    own_start,
    read_state,
    write_state,
)

HEARTBEAT_SECONDS = 1.0
LOG_LIMIT = 64 << 20


def main() -> int:
    """Detach, run the job to its end, and say how it ended."""
    folder, root = Path(sys.argv[1]), Path(sys.argv[2])
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(ready, 1) else 1
    os.close(ready)
    os.setsid()
    signal.signal(signal.SIGTERM, _terminated)
    _run(folder, root, tell)
    # Nothing of the starter's is left to flush or to close in this copy of it.
    os._exit(0)


def _run(folder: Path, root: Path, tell: int) -> None:
    state = read_state(folder).model_copy(
        update={"status": "running", "supervisor_pid": os.getpid(), "supervisor_started": own_start()}
    )
    write_state(folder, state)
    (folder / "heartbeat").touch()
    with (folder / "log.txt").open("ab") as log:
        _redirect_streams(log.fileno())
        child = _start(state, folder, root, log.fileno())
        os.write(tell, b"1")
        os.close(tell)
        if child is None:
            _last_word(folder, state, "failed", 127, f"{state.command[0]} cannot be started")
            return
        _watch(folder, state, child)


def _redirect_streams(log: int) -> None:
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _start(state: JobState, folder: Path, root: Path, log: int) -> subprocess.Popen[bytes] | None:
    environment = os.environ | {
        JOB_VARIABLE: state.id,
        PROGRESS_VARIABLE: str(folder / "progress.jsonl"),
        RESULT_VARIABLE: str(folder / "result.json"),
        "PYTHONUNBUFFERED": "1",
    }
    try:
        return subprocess.Popen(
            state.command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError:
        return None


def _watch(folder: Path, state: JobState, child: subprocess.Popen[bytes]) -> None:
    verdict: tuple[JobStatus, str] = ("failed", "the supervisor was told to end")
    try:
        reason = _wait(folder, state, child)
        verdict = _verdict(folder, child.poll(), reason)
    finally:
        end_processes(state.id)
        code = child.wait()
        _last_word(folder, state, verdict[0], code, verdict[1])


def _wait(folder: Path, state: JobState, child: subprocess.Popen[bytes]) -> str:
    """Wait for the job; return why it has to be ended early, or nothing."""
    deadline = time.monotonic() + state.limit_seconds
    while True:
        try:
            child.wait(timeout=HEARTBEAT_SECONDS)
            return ""
        except subprocess.TimeoutExpired:
            _beat(folder)
        if time.monotonic() > deadline:
            return f"ended after its limit of {state.limit_seconds:.0f} s"
        if (folder / "log.txt").stat().st_size > LOG_LIMIT:
            return f"ended because its log grew over {LOG_LIMIT >> 20} MiB"


def _verdict(folder: Path, code: int | None, reason: str) -> tuple[JobStatus, str]:
    if (folder / "cancel").exists():
        return "cancelled", "cancelled on request"
    if reason:
        return "failed", reason
    return ("finished", "") if code == 0 else ("failed", f"the command ended with exit code {code}")


def _beat(folder: Path) -> None:
    try:
        os.utime(folder / "heartbeat")
    except OSError:
        # Only looked at by people; the job itself goes on.
        return


def _last_word(folder: Path, state: JobState, status: JobStatus, code: int, message: str) -> None:
    final = state.model_copy(update={"status": status, "exit_code": code, "ended": _utc(), "message": message})
    # A disk that is full now may have room in a moment; without this word the job reads as lost.
    for pause in (0.1, 1.0, 10.0, 0.0):
        try:
            write_state(folder, final)
            return
        except OSError:
            time.sleep(pause)


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
