"""Opening what a caller named: a regular file inside the root, never by way of a link that was put there meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path, PurePath
from typing import BinaryIO

from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root

# Without O_NONBLOCK the opening of a named pipe would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC

_KINDS = (
    (stat.S_ISDIR, "a folder; file_find with 'FOLDER/*' lists its files"),
    (stat.S_ISLNK, "a link that was put there while it was opened; try again"),
    (stat.S_ISFIFO, "a named pipe; name a regular file"),
    (stat.S_ISSOCK, "a socket; name a regular file"),
)


class FileError(WorkbenchError):
    """A file that cannot be read, found or packed as it was asked for."""


def open_file(root: Root, text: str) -> BinaryIO:
    """Open a regular file in the root, or in one of its data folders (named by its absolute path), for reading.

    Raises:
        RootError: it lies elsewhere or does not exist.
        FileError: it is no regular file, cannot be read, or changed its place meanwhile.
    """
    path = root.resolve_data(text) if root.data and os.path.isabs(text) else root.resolve(text)
    top = next(folder for folder in (root.path, *root.data) if path.is_relative_to(folder))
    return open_below(str(top), path.relative_to(top), text)


def open_listed(root: Root, path: str) -> BinaryIO:
    """Open a file by a path that was listed below the root; a link that leads to a file inside is followed.

    Raises:
        FileError: it is gone, no regular file, leads outside, or cannot be read.
    """
    try:
        place = PurePath(os.path.realpath(root.path / path)).relative_to(root.path)
    except (OSError, ValueError) as error:
        raise FileError(f"'{path}' leads outside of the repository.") from error
    return open_below(str(root.path), place, path)


def read_whole(top: Path, path: str, most: int) -> bytes:
    """Return the bytes of a regular file by its path below a folder, at most `most` of them.

    Raises:
        FileNotFoundError: it is gone.
        FileError: it is no regular file, cannot be read, or a part of its path is a link.
    """
    try:
        with open_below(str(top), PurePath(path), path) as stream:
            return stream.read(most)
    except FileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise error.__cause__ from None
        raise


def open_below(top: str, path: PurePath, name: str) -> BinaryIO:
    """Open a regular file by its path below a folder, one part at a time and through no link.

    Args:
        top: absolute path of the folder, without links.
        path: relative to it, without links and `..`.
        name: what a caller calls the file.

    Raises:
        FileError: it is no regular file, cannot be read, or a part of its path is a link.
    """
    *folders, last = path.parts or (".",)
    try:
        with contextlib.ExitStack() as opened:
            above = _opened(top, None, opened)
            for part in folders:
                above = _opened(part, above, opened)
            _check_kind(os.stat(last, dir_fd=above, follow_symlinks=False), name)
            descriptor = os.open(last, _FILE, dir_fd=above)
    except OSError as error:
        raise FileError(_refusal(name, error)) from error
    stream = os.fdopen(descriptor, "rb")
    try:
        _check_kind(os.fstat(descriptor), name)
    except FileError:
        stream.close()
        raise
    return stream


def _opened(part: str, above: int | None, opened: contextlib.ExitStack) -> int:
    descriptor = os.open(part, _FOLDER, dir_fd=above)
    opened.callback(os.close, descriptor)
    return descriptor


def _check_kind(found: os.stat_result, name: str) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    kind = next((words for test, words in _KINDS if test(found.st_mode)), "a device; name a regular file")
    raise FileError(f"'{name}' is {kind}.")


def _refusal(name: str, error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return f"'{name}' changed its place while it was opened (a link stands in its path now); try again."
    if error.errno == errno.ENOENT:
        return f"'{name}' does not exist; file_find finds files by name."
    return f"'{name}' cannot be read: {error.strerror}."
