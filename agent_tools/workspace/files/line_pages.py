"""Lines of a file by place: any part of a file of any size, with bounded work and memory.

One call reads at most `SCAN_BYTES` to get somewhere; the place it came to is where the next one goes on.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

CHUNK = 1 << 20
SCAN_BYTES = 512 << 20
LINE_BYTES = 4000
"""A longer line is cut; its rest is read from the place that the cut names."""

PIECE_BYTES = 24_000
"""Read of a line that a page starts inside of."""

JSON_GROWTH = 6
"""A control character takes so many characters in JSON."""


@dataclass(frozen=True)
class Place:
    """Where to go on.

    Attributes:
        line: its number from 1 on; below 0 it is counted from the end of a file.
        byte: of the file, at which the line or a part of it starts.
    """

    line: int
    byte: int

    @classmethod
    def parsed(cls, cursor: str) -> Place | None:
        """Read a cursor; None where it is none."""
        found = re.fullmatch(r"(-?[0-9]{1,15}):([0-9]{1,15})", cursor)
        return cls(int(found[1]), int(found[2])) if found else None

    def __str__(self) -> str:
        return f"{self.line}:{self.byte}"


@dataclass(frozen=True)
class Counts:
    """The line ends of a whole file; `lines` counts a last line without one too."""

    lines: int
    crlf: int
    bare_cr: int
    ends_open: bool


@dataclass(frozen=True)
class Line:
    """A line, or the part of it that starts at a place and fits a page.

    Attributes:
        number: as its place has it.
        text: with its line end; bytes that are not UTF-8 stand as `\\xNN`.
        is_utf8: whether there are no such bytes.
        rest: where the part that was cut off starts; None if nothing was.
        following: where the next line starts; None where the end of this one is not known.
    """

    number: int
    text: str
    is_utf8: bool
    rest: Place | None
    following: Place | None

    @property
    def shown(self) -> str:
        """The text; where it was cut, with a mark that names the place of the rest."""
        if self.rest is None:
            return self.text
        size = f"{self.following.byte - self.rest.byte - 1:,} bytes" if self.following else "the rest"
        return f"{self.text}[... {size} of this line from cursor={self.rest}]\n"


def blocks(stream: BinaryIO, start: int, most: int, more: int = 0) -> Iterator[tuple[int, bytes]]:
    """Read on from a byte: where each block starts, and its bytes with the first `more` of the next block."""
    end = start + most
    while start < end:
        stream.seek(start)
        data = stream.read(min(CHUNK, end - start) + more)
        if not data:
            return
        yield start, data
        start += min(CHUNK, len(data))


def count_lines(stream: BinaryIO, start: int) -> Counts:
    """Count the line ends of a file of at most `SCAN_BYTES`, from a byte (behind its byte order mark) on."""
    newlines = returns = crlf = 0
    last = b""
    for _, data in blocks(stream, start, SCAN_BYTES):
        newlines += data.count(b"\n")
        returns += data.count(b"\r")
        crlf += (last + data).count(b"\r\n")
        last = data[-1:]
    ends_open = last not in (b"", b"\n")
    return Counts(newlines + ends_open, crlf, returns - crlf, ends_open)


def find_line(stream: BinaryIO, start: int, line: int) -> Place | None:
    """Return the place of a line from 1 on; None where the first `SCAN_BYTES` have no such line."""
    passed = 1
    if line <= passed:
        return Place(1, start)
    for place, data in blocks(stream, start, SCAN_BYTES):
        held = data.count(b"\n")
        if passed + held >= line:
            before = data.split(b"\n", line - passed)[:-1]
            return Place(line, place + sum(map(len, before)) + len(before))
        passed += held
    return None


def step_back(stream: BinaryIO, start: int, byte: int, lines: int, most: int = SCAN_BYTES) -> tuple[int, int]:
    """Go back from the start of a line, or from the end of the file.

    Returns:
        The byte come to, and the number of lines gone back: fewer than `lines` at `start`, or after `most` bytes.
    """
    if byte <= start or lines < 1:
        return byte, 0
    stream.seek(byte - 1)
    high = byte - (stream.read(1) == b"\n")
    floor = max(start, byte - most)
    here, gone = byte, 0
    while high > floor:
        low = max(floor, high - CHUNK)
        stream.seek(low)
        data = stream.read(high - low)
        at = len(data)
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            here, gone = low + at + 1, gone + 1
            if gone == lines:
                return here, gone
        high = low
    return (start, gone + 1) if floor == start else (here, gone)


def read_line(stream: BinaryIO, place: Place, most: int) -> Line | None:
    """Read a line of at most `most` bytes, or the part of it that starts at a place; None at the end of the file."""
    stream.seek(place.byte)
    raw = stream.readline(most)
    if not raw:
        return None
    if raw.endswith(b"\n") or len(raw) < most:
        return Line(place.line, _decoded(raw), _is_utf8(raw), None, Place(place.line + 1, place.byte + len(raw)))
    raw = _whole_characters(raw)
    rest = Place(place.line, place.byte + len(raw))
    end = _line_end(stream, rest.byte)
    if end == rest.byte:
        return Line(place.line, _decoded(raw), _is_utf8(raw), None, Place(place.line + 1, end))
    following = Place(place.line + 1, end) if end is not None else None
    return Line(place.line, _decoded(raw), _is_utf8(raw), rest, following)


def read_lines(stream: BinaryIO, place: Place, limit: int, room: int) -> tuple[list[Line], Place | None]:
    """Read lines from a place on, at most `limit` and, as JSON, at most `room` characters (10,000 or more).

    Returns:
        At least one line where there is one, and the place to go on at; None at the end of the file.
    """
    lines: list[Line] = []
    here: Place | None = place
    most = PIECE_BYTES if _is_inside(stream, place.byte) else LINE_BYTES
    while here is not None and len(lines) < limit:
        line = read_line(stream, here, most)
        if line is not None and not lines and _cost(line) > room:
            line = read_line(stream, here, room // JSON_GROWTH)
        if line is None:
            return lines, None
        room -= _cost(line)
        if room < 0 and lines:
            return lines, here
        lines.append(line)
        # Who starts inside of a line reads all of it, piece by piece.
        here = line.rest if line.rest and most == PIECE_BYTES else line.following or line.rest
        if here == line.rest:
            return lines, here
    stream.seek(here.byte if here else 0)
    return lines, here if stream.read(1) else None


def _cost(line: Line) -> int:
    return len(json.dumps(line.shown, ensure_ascii=False)) - 2


def _is_inside(stream: BinaryIO, byte: int) -> bool:
    if byte == 0:
        return False
    stream.seek(byte - 1)
    return stream.read(1) != b"\n"


def _line_end(stream: BinaryIO, byte: int) -> int | None:
    """The byte behind the next line end, or the end of the file; None where neither comes within `SCAN_BYTES`."""
    place, data = byte, b""
    for place, data in blocks(stream, byte, SCAN_BYTES):
        if (found := data.find(b"\n")) >= 0:
            return place + found + 1
    end = place + len(data)
    return end if end < byte + SCAN_BYTES else None


def _whole_characters(raw: bytes) -> bytes:
    """Leave out the start of a character that the end of the bytes went through."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(raw)
    unfinished = len(decoder.getstate()[0])
    return raw[:-unfinished] if unfinished else raw


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
