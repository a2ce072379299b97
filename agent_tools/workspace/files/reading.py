"""Reading one file: its exact text by lines, since an edit has to match it, and in words what cannot be seen in it."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from agent_tools.results import PAGE_CHARACTERS, Cursor, RepositoryText
from agent_tools.workspace.files.line_pages import (
    SCAN_BYTES,
    Counts,
    Line,
    Place,
    count_lines,
    find_line,
    read_lines,
    step_back,
)
from agent_tools.workspace.files.line_search import search
from agent_tools.workspace.files.opening import FileError, open_file
from agent_tools.workspace.files.readable import Readable, readable
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import invisible_in, secret_places

COUNTED_BYTES = 64 << 20
"""The lines of a larger file are not counted: reading ten of them has to be quick."""

UNKNOWN = -1
"""Stands for the number of lines where they were not counted; a note says so."""
NOTED_LINES = 20
MOST_SEARCHED = 500


class FileText(RepositoryText):
    """A part of a file."""

    text: str
    first_line: int
    total_lines: int
    next_cursor: str
    notes: list[str]

    def summary(self) -> str:
        """Say which part it is."""
        total = f" of {self.total_lines} lines" if self.total_lines != UNKNOWN else ""
        more = [f"go on with cursor={self.next_cursor}"] if self.next_cursor else []
        part = f"from line {self.first_line}{total}" if self.text else f"nothing to show{total}"
        return "\n".join(["; ".join([part, *more]), *self.notes])


def file_read(
    root: Root,
    path: str,
    start: Annotated[int, Field(description="line; -9: the last 9")] = 1,
    limit: Annotated[int, Field(ge=1, le=5000)] = 500,
    contains: Annotated[str, Field(description="only lines with it; lower case: any case")] = "",
    cursor: Cursor = "",
) -> FileText:
    """Read a file's exact text by lines, a notebook as its cells' sources.

    Use contains to search logs and kept outputs. Not for finding files: file_find.

    Raises:
        RootError: the file lies outside of the root, or does not exist.
        FileError: it is no regular file, cannot be read, or a value does not fit it.
    """
    with open_file(root, path) as stream:
        source = readable(stream, path)
        if source.binary:
            return FileText(text="", first_line=0, total_lines=0, next_cursor="", notes=[source.binary])
        counts = count_lines(source.stream, source.start) if source.size <= COUNTED_BYTES else None
        place = _place(source, counts, start, cursor, path)
        found = _matches if contains else _lines
        return found(source, place, limit, _searched(contains), counts)


def _place(source: Readable, counts: Counts | None, start: int, cursor: str, path: str) -> Place:
    """Where to start; past the end of the file a sentence says where the end is."""
    if cursor:
        place = Place.parsed(cursor)
        if place is None or not source.start <= place.byte <= source.size:
            raise FileError(f"'{cursor}' is no cursor of {path!r}; pass next_cursor of its page before, or start.")
        return place
    if start < 0:
        byte, gone = step_back(source.stream, source.start, source.size, -start)
        return Place(counts.lines + 1 - gone if counts else -gone, byte)
    found = find_line(source.stream, source.start, max(start, 1))
    if found is None or (start > 1 and found.byte == source.size):
        where = f"it has {counts.lines} lines" if counts else f"its first {SCAN_BYTES >> 20} MiB have fewer"
        raise FileError(f"'{path}' has no line {start}: {where}; start=-100 shows its last 100, contains finds a text.")
    return found


def _searched(contains: str) -> str:
    if not contains.replace("\t", "").isprintable() or len(contains) > MOST_SEARCHED:
        raise FileError(f"contains is {contains[:80]!r}; give up to {MOST_SEARCHED} printable characters of one line.")
    return contains


def _lines(source: Readable, place: Place, limit: int, _contains: str, counts: Counts | None) -> FileText:
    lines, following = read_lines(source.stream, place, limit, PAGE_CHARACTERS)
    return FileText(
        text="".join(line.shown for line in lines),
        first_line=place.line if lines else 0,
        total_lines=counts.lines if counts else UNKNOWN,
        next_cursor=str(following or ""),
        notes=[*_file_notes(source, counts), *_line_notes(lines)],
    )


def _matches(source: Readable, place: Place, limit: int, contains: str, counts: Counts | None) -> FileText:
    page = search(source.stream, source.start, place, contains, limit, PAGE_CHARACTERS)
    scanned = f" in the {SCAN_BYTES >> 20} MiB from line {place.line}" if page.following and not page.hits else ""
    return FileText(
        text=page.text,
        first_line=place.line,
        total_lines=counts.lines if counts else UNKNOWN,
        next_cursor=str(page.following or ""),
        notes=[f"{page.hits} lines with {contains!r}{scanned}", *_file_notes(source, counts)],
    )


def _file_notes(source: Readable, counts: Counts | None) -> Iterator[str]:
    if source.note:
        yield source.note
    if source.size == source.start:
        yield "the file is empty"
    if counts is None:
        yield f"{source.size:,} bytes: lines are not counted over {COUNTED_BYTES >> 20} MiB"
        return
    if counts.crlf:
        yield f"{counts.crlf} of {counts.lines} lines end with CRLF"
    if counts.bare_cr:
        yield f"{counts.bare_cr} carriage returns without a line feed"
    if counts.ends_open:
        yield "no line end after the last line"


def _line_notes(lines: list[Line]) -> list[str]:
    """What cannot be seen in some lines, or should be seen."""
    notes = [f"line {line.number}: bytes that are not UTF-8, shown as \\xNN" for line in lines if not line.is_utf8]
    notes += [f"line {line.number} is cut; cursor={line.rest} reads on" for line in lines if line.rest]
    hidden = ((line.number, invisible_in(line.text)) for line in lines)
    notes += [f"line {number}: invisible {', '.join(codes[:8])}" for number, codes in hidden if codes]
    notes += [f"line {number}: looks like a secret; do not pass it on" for number in _secret_lines(lines)]
    more = len(notes) - NOTED_LINES
    return [*notes[:NOTED_LINES], *([f"{more} more such lines"] if more > 0 else [])]


def _secret_lines(lines: list[Line]) -> list[int]:
    ends = list(itertools.accumulate(len(line.text) for line in lines))
    places = secret_places("".join(line.text for line in lines))
    return list(dict.fromkeys(lines[bisect.bisect_right(ends, place)].number for place in places))
