"""What a build may see: the files of one folder of the repository, less what .dockerignore names, as one archive."""

from __future__ import annotations

import os
import stat
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root

MOST_BYTES = 512 << 20
MOST_FILES = 100_000
NEVER = ("outputs", ".git")
"""At the top of the repository: what can be made again, and the history. No image needs them."""

MIB = 1 << 20
ENTRIES_NAMED = 3


class ContextError(WorkbenchError):
    """A folder that cannot be sent to a builder."""


@dataclass(frozen=True)
class BuildContext:
    """The files of a context, by path relative to its folder."""

    folder: Path
    files: tuple[str, ...]
    size: int

    def write(self, stream: IO[bytes]) -> None:
        """Write the archive. Files belong to root in it, whoever owns them here."""
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name in self.files:
                self._add(archive, name)

    def _add(self, archive: tarfile.TarFile, name: str) -> None:
        path = self.folder / name
        info = archive.gettarinfo(path, arcname=name)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        if not info.isfile():
            archive.addfile(info)
            return
        # Not followed: a file that has become a link meanwhile could lead anywhere.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as content:
            info = archive.gettarinfo(arcname=name, fileobj=content)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            archive.addfile(info, content)


def collect(root: Root, folder: Path, dockerfile: str) -> BuildContext:
    """Look at every file of a context.

    Args:
        root: the repository; its `NEVER` folders are left out.
        folder: the context, inside the root.
        dockerfile: relative to the folder; it is sent even where .dockerignore names it.

    Raises:
        ContextError: too large (its largest entries are named), or a link in it leads out of the root.
    """
    from docker.utils.build import exclude_paths  # noqa: PLC0415 - an extra

    patterns = [*_ignored(root, folder), *_never(root, folder)]
    names = sorted(exclude_paths(str(folder), patterns, dockerfile=dockerfile))
    sizes = dict(_sizes(root, folder, names))
    _check_size(sizes)
    return BuildContext(folder, tuple(sizes), sum(sizes.values()))


def _ignored(root: Root, folder: Path) -> list[str]:
    path = folder / ".dockerignore"
    if not path.exists():
        return []
    lines = root.resolve(root.relative(path)).read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _never(root: Root, folder: Path) -> list[str]:
    inside = [root.path / name for name in NEVER if (root.path / name).is_relative_to(folder)]
    return ["**/.git", *(path.relative_to(folder).as_posix() for path in inside)]


def _sizes(root: Root, folder: Path, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Files, folders and links; sockets, pipes and devices are nothing that can be sent."""
    for name in names:
        path = folder / name
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):
            _check_link(root, path)
        if stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode) or stat.S_ISLNK(state.st_mode):
            yield name, state.st_size if stat.S_ISREG(state.st_mode) else 0


def _check_link(root: Root, path: Path) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(root.path):
        raise ContextError(
            f"'{root.relative(path)}' is a link out of the repository, which would be broken in an image; "
            "name it, or its folder, in .dockerignore."
        )


def _check_size(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    if total <= MOST_BYTES and len(sizes) <= MOST_FILES:
        return
    largest, counts = Counter[str](), Counter[str]()
    for name, size in sizes.items():
        largest[name.partition("/")[0]] += size
        counts[name.partition("/")[0]] += 1
    named = ", ".join(
        f"{name} ({size / MIB:.0f} MiB, {counts[name]} files)" for name, size in largest.most_common(ENTRIES_NAMED)
    )
    raise ContextError(
        f"The context is {total / MIB:.0f} MiB in {len(sizes)} files ({MOST_BYTES >> 20} MiB and {MOST_FILES} at "
        f"most); the largest: {named}. Name what the image does not need in .dockerignore."
    )
