"""Reading the files of a repository: never through a link, never a device, never outside of the root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path


def stamped(top: Path, paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the regular files among `paths` (relative to `top`) that no link leads to."""
    real = {"": True}
    for folder, group in groupby(paths, key=lambda path: path.rpartition("/")[0]):
        for path in group if _is_real_folder(top, folder, real) else ():
            try:
                found = os.lstat(f"{top}/{path}")
            except (OSError, ValueError):
                continue
            if stat.S_ISREG(found.st_mode):
                yield path, found


def _is_real_folder(top: Path, folder: str, real: dict[str, bool]) -> bool:
    known = real.get(folder)
    if known is None:
        known = _is_real_folder(top, folder.rpartition("/")[0], real) and not os.path.islink(f"{top}/{folder}")
        real[folder] = known
    return known


def read_whole(top: Path, path: str, most: int) -> bytes:
    """Return the bytes of a regular file below `top`, at most `most` of them.

    Raises:
        OSError: it is gone, cannot be read, is no regular file, or is reached through a link.
    """
    place = f"{top}/{path}"
    # NONBLOCK: opening a pipe must not wait for its other end.
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        opened = os.fstat(descriptor)
        real = os.path.realpath(place)
        if not stat.S_ISREG(opened.st_mode) or real != place or not os.path.samestat(opened, os.lstat(real)):
            raise OSError(0, "not a plain file of the repository", path)
        return stream.read(most)
