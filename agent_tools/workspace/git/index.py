"""The file that holds a repository's index: read, copied, and replaced under git's own lock."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import anyio

from agent_tools.workspace.git.runner import GitError, locked

LOCK_SECONDS = 1.0
"""How long another git may hold the index before that is an error."""


@dataclass(frozen=True)
class Index:
    """An index file as it was read.

    Attributes:
        content: all of it.
        modified_ns: when it was written. git takes an entry for changed if its file is not older than this, so a copy
            keeps it.
        mode: permission bits.
    """

    content: bytes
    modified_ns: int
    mode: int


def read_index(path: Path) -> Index | None:
    """Read an index; None where there is none yet."""
    try:
        # Before the content: if somebody writes in between, the copy looks too old, which only costs time.
        stat = path.stat()
        return Index(path.read_bytes(), stat.st_mtime_ns, stat.st_mode & 0o777)
    except FileNotFoundError:
        return None


def write_index(path: Path, index: Index | None) -> None:
    """Write an index for git to work on; None removes it."""
    if index is None:
        path.unlink(missing_ok=True)
        return
    path.write_bytes(index.content)
    path.chmod(index.mode)
    os.utime(path, ns=(index.modified_ns, index.modified_ns))


async def replace_index(path: Path, old: Index | None, new: Index | None) -> bool:
    """Replace a repository's index in one step, unless it is no longer what it was.

    Args:
        path: of the index.
        old: what has to be there; None: nothing.
        new: what takes its place; None: nothing.

    Returns:
        Whether it was replaced.

    Raises:
        GitError: another git holds the lock.
    """
    lock = path.with_name(f"{path.name}.lock")
    await _take(lock)
    held = True
    try:
        now = read_index(path)
        if (now and now.content) != (old and old.content):
            return False
        write_index(lock if new else path, new)
        if new is not None:
            lock.replace(path)
            held = False
        return True
    finally:
        if held:
            lock.unlink()


async def _take(lock: Path) -> None:
    deadline = anyio.current_time() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError as error:
            if anyio.current_time() > deadline:
                raise GitError(locked(str(lock))) from error
            await anyio.sleep(0.05)
        else:
            return
