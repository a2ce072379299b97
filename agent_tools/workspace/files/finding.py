"""Finding files by name."""

from __future__ import annotations

import difflib
import os
from datetime import UTC, datetime
from typing import Annotated

import anyio.to_thread
from pydantic import Field

from agent_tools.results import Cursor, RepositoryText, ResponseFormat, offset, page
from agent_tools.workspace.files.listing import is_hidden, list_files, with_facts
from agent_tools.workspace.files.opening import FileError
from agent_tools.workspace.files.patterns import matcher, names_hidden
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown_name

OUTPUTS = "outputs/"
"""What runs leave: not looked at unless it is asked for, even where it is not ignored."""


class FilesFound(RepositoryText):
    """One page of files."""

    files: list[str] = Field(description="detailed: 'bytes time path'")
    total: int
    next_cursor: str
    note: str

    def summary(self) -> str:
        """Say how many there are."""
        more = f"{len(self.files)} shown; go on with cursor={self.next_cursor}" if self.next_cursor else ""
        return "; ".join(filter(None, [f"{self.total} files", more, self.note]))


async def file_find(
    root: Root,
    pattern: Annotated[str, Field(description="'*.py', 'src/**/*.{py,md}' or a part of a path")],
    everything: Annotated[bool, Field(description="also hidden, ignored, outputs/")] = False,
    limit: Annotated[int, Field(ge=1, le=1000)] = 100,
    cursor: Cursor = "",
    response_format: ResponseFormat = "concise",
) -> FilesFound:
    """Find files by name.

    Not for text inside files: code_search.

    Raises:
        FileError: the pattern is none, or leads out of the root.
    """
    # A pattern that is written with the root in front is understood.
    pattern = pattern.removeprefix(f"{root.path}/")
    is_match = matcher(pattern)
    listed = await list_files(root, everything=everything)
    hidden = names_hidden(pattern)
    wanted = listed.paths if everything else [one for one in listed.paths if is_shown(one, hidden)]
    matches = [one for one in wanted if is_match(one)]
    # Looking at thousands of files takes a while.
    files = await anyio.to_thread.run_sync(with_facts, root, matches)
    start = offset(cursor)
    rows = [_row(one, facts, response_format) for one, facts in files[start : start + limit]]
    kept, _ = page(rows, 0, limit)
    end = start + len(kept)
    note = "" if files else _nothing_found(pattern, wanted, everything)
    following = str(end) if kept and end < len(files) else ""
    return FilesFound(files=kept, total=len(files), next_cursor=following, note=listed.note or note)


def checked_folder(root: Root, text: str) -> str:
    """Return a folder relative to the root; '.' is the root, and so is ''.

    Raises:
        RootError: it lies outside of the root, or does not exist.
        FileError: it is no folder.
    """
    folder = root.resolve(text or ".")
    if not folder.is_dir():
        raise FileError(f"'{text}' is a file, not a folder; file_read reads it.")
    return root.relative(folder)


def is_shown(path: str, hidden: bool = False) -> bool:
    """Tell whether a path is looked at without being asked for: not hidden (if that counts), not what runs leave."""
    return (hidden or not is_hidden(path)) and not path.startswith(OUTPUTS)


def _row(path: str, found: os.stat_result, response_format: str) -> str:
    if response_format == "concise":
        return shown_name(path)
    modified = datetime.fromtimestamp(found.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{found.st_size} {modified} {shown_name(path)}"


def _nothing_found(pattern: str, paths: list[str], everything: bool) -> str:
    """Say what to try next; the nearest names are looked for among the first 20,000."""
    wanted = pattern.rpartition("/")[2].strip("*?")
    names = {path.rpartition("/")[2]: path for path in reversed(paths[:20_000])}
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    also = "" if everything else "; everything=true also looks at hidden and ignored files"
    nearest = f", the nearest are {', '.join(shown_name(names[name]) for name in near)}" if near else ""
    return f"nothing matches '{shown_name(pattern)}'{nearest}{also}"
