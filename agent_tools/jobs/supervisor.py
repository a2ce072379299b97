"""The process that stands over one job: `python -m agent_tools.jobs.supervisor JOB_FOLDER ROOT`.

It detaches from whoever started it, waits until the machine is free, runs the job's command in a session of its own,
beats its heart, and writes the last word: exit code, or why it ended the job. What the job leaves running is ended with
it. In a SLURM allocation, `stand_over` does the same without detaching.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from agent_tools.jobs.folders import WAITING, JobError, JobState, JobStatus, all_folders, now, read_state, write_state
from agent_tools.jobs.local import (
    JOB_VARIABLE,
    PROGRESS_VARIABLE,
    RESULT_VARIABLE,
    RESUME_VARIABLE,
    end_processes,
    observed,
)
from agent_tools.jobs.machine_lock import POLL_SECONDS, measuring
from agent_tools.jobs.processes import own_start
from agent_tools.records.errors import WorkbenchError

HEARTBEAT_SECONDS = 1.0
LOG_LIMIT = 64 << 20
NOT_STARTED = 127
TOLD = "the supervisor was told to end"

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""SIGUSR2 is how SLURM, through submitit, announces the end of an allocation."""


class _Told(BaseException):
    """The supervisor was told to end; no handler of errors on the way may swallow that."""


def main() -> int:
    """Detach, stand over the job, and let the starter go once the job runs or is in the queue."""
    folder, root = Path(sys.argv[1]), Path(sys.argv[2])
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(ready, 1) else 1
    os.close(ready)
    os.setsid()
    _redirect_streams(folder / "log.txt")
    _Supervisor(folder, root, tell).stand_over()
    # Nothing of the starter's is left to flush or to close in this copy of it.
    os._exit(0)


def stand_over(folder: Path, root: Path) -> None:
    """Run the job in `folder` to its end, in this process."""
    _Supervisor(folder, root).stand_over()


class _Supervisor:
    """One job from its turn to its last word; nobody else writes its state."""

    def __init__(self, folder: Path, root: Path, tell: int = -1) -> None:
        self.folder = folder
        self.root = root
        self.tell = tell
        self.state = read_state(folder)
        self.child: subprocess.Popen[bytes] | None = None

    def stand_over(self) -> None:
        """Wait for the job's turn, run it, and write its last word whatever happens."""
        _on_ending_signals(_told_to_end)
        try:
            self._write(
                supervisor_pid=os.getpid(),
                supervisor_started=own_start(),
                slurm_id=os.environ.get("SLURM_JOB_ID", "") if self.state.runner == "slurm" else "",
            )
            self._beat()
            with self._turn() as kept:
                self._run(kept)
        except _Told:
            self._last_word(TOLD)
        except (WorkbenchError, OSError) as error:
            self._last_word(str(error))
        self._ready()

    @contextmanager
    def _turn(self) -> Iterator[tuple[int, ...]]:
        """Wait until the jobs before this one are through and the machine is free; yield what keeps it."""
        if not self.state.measuring:
            yield ()
            return
        if self.state.runner == "local":
            # SLURM has an order of its own.
            self._await_those_before()
        with measuring(self.state.title, self._queued, job=self.state.id) as kept:
            yield kept

    def _await_those_before(self) -> None:
        before = _waiting_before(self.state, self.root)
        while before:
            first = _waiting(before[0])
            if first is None:
                del before[0]
                continue
            self._queued(f"waiting for job {first.id} ({first.title}), which was queued before it")
            time.sleep(POLL_SECONDS)

    def _queued(self, message: str) -> None:
        if self.state.message != message:
            self._write(status="queued", message=message)
            self._beat()
            self._ready()

    def _run(self, kept: tuple[int, ...]) -> None:
        reason = "the supervisor failed"
        try:
            reason = self._command_ended(kept)
        except _Told:
            reason = TOLD
        finally:
            # While the machine is still this job's: what it left may disturb the next one.
            _on_ending_signals(signal.SIG_IGN)
            cancelled = self._is_cancelled()
            end_processes(self.state.id)
            self._last_word(reason, cancelled)

    def _command_ended(self, kept: tuple[int, ...]) -> str:
        """Run the command; return why it has to be ended early, or nothing."""
        if self._is_cancelled():
            return TOLD
        self._write(status="running", message="")
        try:
            self.child = self._start(kept)
        except OSError as error:
            return f"{self.state.command[0]} cannot be started ({error.strerror})"
        self._ready()
        return self._wait(self.child)

    def _start(self, kept: tuple[int, ...]) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            JOB_VARIABLE: self.state.id,
            PROGRESS_VARIABLE: str(self.folder / "progress.jsonl"),
            RESULT_VARIABLE: str(self.folder / "result.json"),
            RESUME_VARIABLE: str(self.folder / "resume.json"),
            "PYTHONUNBUFFERED": "1",
        }
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                self.state.command,
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=kept,
            )

    def _wait(self, child: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + self.state.limit_seconds
        while True:
            try:
                child.wait(timeout=HEARTBEAT_SECONDS)
                return ""
            except subprocess.TimeoutExpired:
                self._beat()
            if self._is_cancelled():
                # Whoever cancels from another machine cannot end the processes there.
                return TOLD
            if time.monotonic() > deadline:
                return f"ended after its limit of {self.state.limit_seconds:.0f} s"
            if (self.folder / "log.txt").stat().st_size > LOG_LIMIT:
                return f"ended because its log grew over {LOG_LIMIT >> 20} MiB"

    def _last_word(self, reason: str, cancelled: bool | None = None) -> None:
        code = NOT_STARTED if self.child is None else self.child.wait()
        status, message = _verdict(code, reason, self._is_cancelled() if cancelled is None else cancelled)
        # A disk that is full now may have room in a moment; without this word the job reads as lost.
        for pause in (0.1, 1.0, 10.0, 0.0):
            try:
                self._write(status=status, exit_code=code, ended=now(), message=message)
                return
            except OSError:
                time.sleep(pause)

    def _is_cancelled(self) -> bool:
        return (self.folder / "cancel").exists()

    def _write(self, **fields: Any) -> None:
        state = self.state.changed(**fields)
        write_state(self.folder, state)
        self.state = state

    def _beat(self) -> None:
        # Only looked at by people: a full disk does not end the job.
        with suppress(OSError):
            (self.folder / "heartbeat").touch()

    def _ready(self) -> None:
        if self.tell >= 0:
            os.write(self.tell, b"1")
            os.close(self.tell)
            self.tell = -1


def _redirect_streams(log: Path) -> None:
    with open(os.devnull, "rb") as nothing, log.open("ab") as stream:
        os.dup2(nothing.fileno(), 0)
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)


def _waiting_before(state: JobState, root: Path) -> list[Path]:
    """Return the folders of the jobs of this repository that were made before `state` and still wait, oldest first."""
    others = [(other.created, folder) for folder in all_folders(root) if (other := _waiting(folder)) is not None]
    return [folder for created, folder in sorted(others) if created < state.created]


def _waiting(folder: Path) -> JobState | None:
    """Return the state of a job that waits for the machine here; None where the folder's job does not."""
    try:
        state = observed(folder)
    except JobError:
        return None
    return state if state.status in WAITING and state.measuring and state.runner == "local" else None


def _verdict(code: int, reason: str, cancelled: bool) -> tuple[JobStatus, str]:
    if cancelled:
        return "cancelled", "cancelled on request"
    if reason:
        return "failed", reason
    return ("finished", "") if code == 0 else ("failed", f"the command ended with exit code {code}")


def _on_ending_signals(action: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for number in ENDING_SIGNALS:
        signal.signal(number, action)


def _told_to_end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Once is enough: a second signal must not cut off the last word.
    _on_ending_signals(signal.SIG_IGN)
    raise _Told


if __name__ == "__main__":
    sys.exit(main())
