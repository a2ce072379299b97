"""Lines that hold a text, with their numbers and what stands around them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from agent_tools.workspace.files.line_pages import CHUNK, SCAN_BYTES, Line, Place, blocks, read_line, step_back

AROUND_LINES = 2
AROUND_MOST_BYTES = CHUNK
AROUND_BYTES = 160
"""Shown of a long line on each side of where it holds the text."""

SHOWN_BYTES = 600


@dataclass(frozen=True)
class Hit:
    """A line that holds the text, and the byte at which it first does."""

    line: Place
    at: int


@dataclass(frozen=True)
class SearchPage:
    """Hits as text.

    Attributes:
        text: `12:` before a line that holds the text, `13-` before one around it, `--` between groups.
        hits: how many lines hold it.
        following: where to go on; None at the end of the file.
    """

    text: str
    hits: int
    following: Place | None


def search(stream: BinaryIO, start: int, place: Place, needle: str, limit: int, room: int) -> SearchPage:
    """Find lines from a place on.

    Args:
        stream: the file.
        start: byte of its first line.
        place: of the first line to look at.
        needle: what they hold; without capital letters it matches ASCII capitals too.
        limit: hits at most.
        room: characters of the answer at most, as JSON.
    """
    hits: list[Hit] = []
    following: Place | None = None
    for found in find_hits(stream, place, needle):
        if isinstance(found, Place):
            following = found
        elif len(hits) == limit:
            following = found.line
            break
        else:
            hits.append(found)
    return _page(stream, start, hits, following, room)


def find_hits(stream: BinaryIO, place: Place, needle: str) -> Iterator[Hit | Place]:
    """Yield the lines that hold a text; at last the place to go on at, where the file goes on after `SCAN_BYTES`."""
    wanted, fold = needle.encode(), needle == needle.lower()
    line, done, in_hit = place, place.byte, False
    for block, data in blocks(stream, place.byte, SCAN_BYTES, more=len(wanted) - 1):
        looked_at = data.lower() if fold else data
        here, counted = max(0, done - block), 0
        while True:
            if in_hit:
                end = data.find(b"\n", here)
                here, in_hit = end + 1, end < 0
            found = -1 if in_hit else looked_at.find(wanted, here)
            if not 0 <= found < CHUNK:
                break
            line, counted = _line_at(line, block, data[counted:found], counted), found
            yield Hit(line, block + found)
            here, in_hit = found, True
        done = block + here
        line = _line_at(line, block, data[counted:CHUNK], counted)
        if block + CHUNK >= place.byte + SCAN_BYTES and len(data) >= CHUNK:
            # In the middle of a line that is longer than all that was looked at, the next page starts there.
            yield Place(line.line, block + CHUNK if in_hit or line.byte <= place.byte else line.byte)


def _line_at(line: Place, block: int, data: bytes, offset: int) -> Place:
    """The line in which some bytes of a block end, from the one in which they start."""
    ends = data.count(b"\n")
    return Place(line.line + ends, block + offset + data.rfind(b"\n") + 1) if ends else line


def _page(stream: BinaryIO, start: int, hits: list[Hit], following: Place | None, room: int) -> SearchPage:
    marked = {hit.line.line: hit for hit in hits}
    shown: list[str] = []
    printed: Place | None = None
    for count, hit in enumerate(hits):
        place = _start(stream, start, hit, printed)
        group, after = _group(stream, place, hit, marked)
        group = ["--", *group] if printed and place.byte > printed.byte else group
        room -= sum(len(json.dumps(line, ensure_ascii=False)) for line in group)
        if room < 0 and count:
            return SearchPage("\n".join(shown), count, hit.line)
        shown, printed = shown + group, after
    return SearchPage("\n".join(shown), len(hits), following)


def _start(stream: BinaryIO, start: int, hit: Hit, printed: Place | None) -> Place:
    """The first line to print for a hit: some before it, but none again."""
    byte, gone = step_back(stream, start, hit.line.byte, AROUND_LINES, AROUND_MOST_BYTES)
    place = Place(hit.line.line - gone, byte)
    return printed if printed and printed.line >= place.line else place


def _group(stream: BinaryIO, place: Place, hit: Hit, marked: Mapping[int, Hit]) -> tuple[list[str], Place]:
    """The lines from a place to some behind the hit, and the place behind them."""
    shown: list[str] = []
    while place.line <= hit.line.line + AROUND_LINES:
        line = read_line(stream, place, SHOWN_BYTES)
        if line is None:
            break
        text = _around(stream, line, place, marked[line.number]) if line.number in marked else line.shown
        shown.append(f"{line.number}{':' if line.number in marked else '-'} {text.rstrip()}")
        if line.following is None:
            return shown, Place(line.number + 1, hit.at)
        place = line.following
    return shown, place


def _around(stream: BinaryIO, line: Line, place: Place, hit: Hit) -> str:
    """The line, or the part of a long one around where it holds the text."""
    begin = hit.at - AROUND_BYTES
    if line.rest is None or begin <= place.byte:
        return line.shown
    stream.seek(begin)
    piece = read_line(stream, Place(line.number, begin + _to_character(stream.read(4))), SHOWN_BYTES)
    return f"[...] {piece.shown}" if piece else line.shown


def _to_character(raw: bytes) -> int:
    """Bytes to skip until a character starts."""
    return next((index for index, byte in enumerate(raw) if byte & 0xC0 != 0x80), 0)
