"""One measurement at a time on a machine: two at once would time each other.

The kernel's lock on one file decides, so it is free the moment that its last holder is gone, however it went. The word
in the file only says who holds it, for whoever waits; it may be stale and is never trusted alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent_tools.jobs.processes import is_alive, own_start
from agent_tools.records.errors import WorkbenchError

PATH_VARIABLE = "AGENT_TOOLS_MACHINE_LOCK"
HOLDER_VARIABLE = "AGENT_TOOLS_MEASURING"
"""Handed on to every process that a holder starts: what they measure is its measurement."""

POLL_SECONDS = 0.25
WORD_BYTES = 4096
OPEN_TRIES = 100

WaitMessage = Callable[[str], None]


class LockError(WorkbenchError):
    """A lock that cannot be opened."""


class WaitCancelled(WorkbenchError):
    """The wait for the machine was cancelled; nothing was measured."""


class Holder(BaseModel):
    """The word in the lock file. `job` is empty for a command; `started` is when `pid` started, in epoch seconds."""

    model_config = ConfigDict(frozen=True)

    job: str = Field(default="", max_length=60)
    title: str = Field(max_length=200)
    pid: int = Field(gt=0)
    started: float
    since: datetime

    @property
    def key(self) -> str:
        """What names this holder, and no later one, to the processes it starts."""
        return f"{self.job or 'command'}:{self.pid}:{self.started:.2f}"

    def described(self) -> str:
        """Say who measures, since when by the local clock, and how to end it where nothing else will."""
        title = "".join(letter for letter in self.title if letter.isprintable())
        name = f"job {self.job} ({title})" if self.job else f"a command ({title}, process {self.pid})"
        if self.job and not is_alive(self.pid, self.started):
            return f"{name}, which lost its supervisor while its processes still run; end them with job_cancel"
        return f"{name}, which measures on this machine since {self.since.astimezone():%H:%M}"


def lock_path() -> Path:
    """Return where the lock of this machine is."""
    return Path(os.environ.get(PATH_VARIABLE) or Path(tempfile.gettempdir()) / "agent-tools-measuring.lock")


@contextmanager
def measuring(
    title: str,
    wait_message: WaitMessage | None = None,
    cancel: threading.Event | None = None,
    *,
    job: str = "",
) -> Iterator[tuple[int, ...]]:
    """Have the machine to oneself; wait for whoever has it now.

    Re-entrant in a process, and nothing to wait for inside of a job or command that holds it already.

    Args:
        title: what is measured, for whoever has to wait; every user of the machine can read it.
        wait_message: told who is waited for, once for each holder.
        cancel: ends the wait once it is set.
        job: the id of the job that a supervisor takes the lock for.

    Yields:
        The descriptors that keep the lock, to be handed to a child that shall keep it too; none inside of a holder.

    Raises:
        LockError: the lock file cannot be used.
        WaitCancelled: `cancel` was set while waiting.
    """
    word = Holder(job=job, title=title[:200], pid=os.getpid(), started=own_start(), since=datetime.now(UTC))
    told = ""
    while not _OWN.enter(word):
        said = _waiting_for(_OWN.word())
        if wait_message is not None and said != told:
            wait_message(said)
            told = said
        _pause(cancel, said)
    try:
        yield _OWN.descriptors()
    finally:
        _OWN.leave()


def waited_for() -> str:
    """Say who measures on this machine now; '' while nobody does.

    Raises:
        LockError: the lock file cannot be used.
    """
    descriptor = _locked()
    if descriptor < 0:
        return _waiting_for(_OWN.word())
    os.close(descriptor)
    return ""


class _OwnLock:
    """The lock as this process holds it, however many of its threads and calls do."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._depth = 0
        self._descriptor = -1
        self._handed_on: str | None = None

    def enter(self, word: Holder) -> bool:
        with self._guard:
            if self._depth == 0 and not self._take(word):
                return False
            self._depth += 1
            return True

    def leave(self) -> None:
        with self._guard:
            self._depth -= 1
            if self._depth == 0 and self._descriptor >= 0:
                self._give_back()

    def descriptors(self) -> tuple[int, ...]:
        return (self._descriptor,) if self._descriptor >= 0 else ()

    def word(self) -> Holder | None:
        with _opened() as descriptor:
            return _read_word(descriptor)

    def _take(self, word: Holder) -> bool:
        descriptor = _locked()
        if descriptor < 0:
            holder = self.word()
            # A supervisor starts a job of its own, whoever started it.
            return not word.job and holder is not None and holder.key == os.environ.get(HOLDER_VARIABLE)
        _write_word(descriptor, word.model_dump_json())
        self._descriptor = descriptor
        self._handed_on = os.environ.get(HOLDER_VARIABLE)
        os.environ[HOLDER_VARIABLE] = word.key
        return True

    def _give_back(self) -> None:
        if self._handed_on is None:
            os.environ.pop(HOLDER_VARIABLE, None)
        else:
            os.environ[HOLDER_VARIABLE] = self._handed_on
        # Closed, never unlocked: a process that was handed the descriptor and still runs keeps the lock.
        os.close(self._descriptor)
        self._descriptor = -1


_OWN = _OwnLock()


def _waiting_for(holder: Holder | None) -> str:
    return f"waiting for {holder.described() if holder else 'another process that measures on this machine'}"


def _pause(cancel: threading.Event | None, said: str) -> None:
    if cancel is None:
        time.sleep(POLL_SECONDS)
    elif cancel.wait(POLL_SECONDS):
        raise WaitCancelled(f"Cancelled while {said}; nothing was measured.")


def _locked() -> int:
    """Return a locked descriptor, or -1 while somebody else has the lock."""
    for _ in range(OPEN_TRIES):
        descriptor = _open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return -1
        if _is_current(descriptor):
            return descriptor
        os.close(descriptor)
    raise LockError(f"{lock_path()} is removed again and again; set {PATH_VARIABLE} to a file that stays.")


def _is_current(descriptor: int) -> bool:
    """Tell whether the path still leads to the locked file: one that was removed locks nobody out."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(lock_path(), follow_symlinks=False))
    except FileNotFoundError:
        return False


@contextmanager
def _opened() -> Iterator[int]:
    descriptor = _open()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open() -> int:
    path = lock_path()
    # No link that somebody planted in a folder which all users can write to.
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = _open_or_make(path, flags)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        reason = "it is no plain file"
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
    raise LockError(
        f"The lock of this machine, {path}, cannot be used ({reason}); "
        f"remove it, have its owner make it writable for all, or set {PATH_VARIABLE} to another file."
    )


def _open_or_make(path: Path, flags: int) -> int:
    while True:
        try:
            # First without O_CREAT: kernels refuse that for a file of another user in a folder such as /tmp.
            return os.open(path, flags)
        except FileNotFoundError:
            try:
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            os.fchmod(descriptor, 0o666)
            return descriptor


def _read_word(descriptor: int) -> Holder | None:
    try:
        return Holder.model_validate(json.loads(os.pread(descriptor, WORD_BYTES, 0)))
    except (ValueError, ValidationError, RecursionError):
        return None


def _write_word(descriptor: int, text: str) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise LockError(f"{lock_path()} cannot be written ({error.strerror}); free space there.") from error
