"""A folder at a glance: its tree with sizes, and what each file says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import anyio.to_thread
from pydantic import Field

from agent_tools.results import Cursor, RepositoryText, offset, page
from agent_tools.workspace.files.finding import checked_folder, is_shown
from agent_tools.workspace.files.listing import list_files, with_facts
from agent_tools.workspace.files.opening import FileError, open_listed
from agent_tools.workspace.files.purposes import purpose
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown, shown_name

READ_BYTES = 1 << 20
"""Of a larger file the lines are not counted."""

_SAYS_FOR_ITS_FOLDER = ("__init__.py", "README.md")


class FolderTree(RepositoryText):
    """One page of a tree."""

    entries: list[str] = Field(description="path lines size: purpose; of a folder: files")
    total: int
    next_cursor: str
    note: str

    def summary(self) -> str:
        """Say how many entries there are."""
        more = f"go on with cursor={self.next_cursor}" if self.next_cursor else ""
        return "; ".join(filter(None, [f"{self.total} entries", more, self.note]))


@dataclass
class _Entry:
    """A file, or a folder with all that lies below it; `speaker` is the file that says what it is for."""

    bytes: int = 0
    files: int = 0
    speaker: str = ""


async def dir_read(
    root: Root,
    path: Annotated[str, Field(description="a folder")] = "",
    depth: Annotated[int, Field(ge=1, le=20, description="levels below it")] = 2,
    everything: Annotated[bool, Field(description="also hidden, ignored, outputs/")] = False,
    limit: Annotated[int, Field(ge=1, le=1000)] = 200,
    cursor: Cursor = "",
) -> FolderTree:
    """Show a folder as a tree: sizes, lines, and the first sentence of each module and page.

    Use it to learn how a project is laid out. Not for finding one file: file_find.

    Raises:
        RootError: the folder lies outside of the root, or does not exist.
        FileError: the path is no folder.
    """
    folder = checked_folder(root, path)
    listed = await list_files(root, folder, everything)
    above = 0 if folder == "." else len(folder) + 1
    wanted = [one for one in listed.paths if everything or is_shown(one[above:])]
    start = offset(cursor)
    rows, total = await anyio.to_thread.run_sync(partial(_rows, root, folder, wanted, depth, start, start + limit))
    kept, _ = page(rows, 0, limit)
    end = start + len(kept)
    return FolderTree(entries=kept, total=total, next_cursor=str(end) if kept and end < total else "", note=listed.note)


def _rows(root: Root, folder: str, paths: list[str], depth: int, start: int, stop: int) -> tuple[list[str], int]:
    """The rows of a page, for which alone files are read, and the number of all."""
    entries = _entries(root, folder, paths, depth)
    order = sorted(entries, key=lambda name: name.rstrip("/").split("/"))
    return [_row(root, name, entries[name]) for name in order[start:stop]], len(order)


def _entries(root: Root, folder: str, paths: list[str], depth: int) -> dict[str, _Entry]:
    """Name below the folder (with a '/' at the end of a folder's) -> entry."""
    entries: dict[str, _Entry] = {}
    start = 0 if folder == "." else len(folder) + 1
    for path, facts in with_facts(root, paths):
        for name in _levels(path[start:], depth):
            entry = entries.setdefault(name, _Entry())
            entry.bytes += facts.st_size
            entry.files += 1
            if not name.endswith("/") or path[start:].removeprefix(name) in _SAYS_FOR_ITS_FOLDER:
                entry.speaker = entry.speaker or path
    return entries


def _levels(path: str, depth: int) -> Iterator[str]:
    parts = path.split("/")
    for level in range(1, min(depth, len(parts) - 1) + 1):
        yield "/".join(parts[:level]) + "/"
    if len(parts) <= depth:
        yield path


def _row(root: Root, name: str, entry: _Entry) -> str:
    text = _text(root, entry.speaker) if entry.speaker else None
    says = shown(purpose(entry.speaker, text)) if text else ""
    count = f"{entry.files} files, " if name.endswith("/") else f"{_lines(text)} lines, " if text is not None else ""
    return f"{shown_name(name)} {count}{_size(entry.bytes)}{f': {says}' if says else ''}"


def _text(root: Root, path: str) -> str | None:
    """The text of a file; None where it is none, or too large to be looked at."""
    try:
        with open_listed(root, path) as stream:
            data = stream.read(READ_BYTES + 1)
    except FileError:
        return None
    return None if b"\0" in data or len(data) > READ_BYTES else data.decode("utf-8", errors="replace")


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n") and text != "")


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"
