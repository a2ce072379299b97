"""From words with places to text in reading order: rows, columns of prose, paragraphs and tables without rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

CELL_GAP = 1.3
"""Words further apart than this, in font sizes, are two cells of a row."""

PARAGRAPH_GAP = 0.75
"""Rows further apart than this, in their heights, are two paragraphs."""

COLUMN_ROWS = 4
COLUMN_CHARACTERS = 20
"""So many rows of so many characters, on both sides of a gap, are columns of prose; less is a table or a form."""

SAME_SIZE = 0.1


@dataclass(frozen=True)
class Word:
    """A word and its box: from the left and from the top of its page, in points or pixels."""

    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float
    bold: bool = False

    @property
    def height(self) -> float:
        """Never 0, so that it can be compared with."""
        return max(self.bottom - self.top, 0.1)


@dataclass(frozen=True)
class Cell:
    """Words of a row that stand together."""

    text: str
    left: float
    right: float


@dataclass(frozen=True)
class Row:
    """Words on one line, from left to right."""

    words: tuple[Word, ...]

    @property
    def top(self) -> float:
        """Its upper edge."""
        return min(word.top for word in self.words)

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return max(word.bottom for word in self.words)

    @property
    def size(self) -> float:
        """The font size of most of it."""
        return median(word.size for word in self.words for _ in word.text)

    @property
    def bold(self) -> bool:
        """Whether all of it is bold."""
        return all(word.bold for word in self.words)

    @property
    def text(self) -> str:
        """Its words, with spaces."""
        return " ".join(word.text for word in self.words)

    @property
    def cells(self) -> list[Cell]:
        """Its words by the gaps between them."""
        groups = [[self.words[0]]]
        for before, word in pairwise(self.words):
            if word.left - before.right > CELL_GAP * max(word.size, before.size):
                groups.append([])
            groups[-1].append(word)
        return [
            Cell(" ".join(word.text for word in group), group[0].left, max(word.right for word in group))
            for group in groups
        ]


@dataclass(frozen=True)
class Block:
    """A paragraph or a heading (`rows` is empty), or a table (`lines` is empty)."""

    lines: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    size: float = 0.0
    bold: bool = False


def in_rows(words: Iterable[Word]) -> list[Row]:
    """Return words by the lines that they stand on, from top to bottom."""
    groups: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word.top + word.bottom, word.left)):
        if groups and _share_line(groups[-1], word):
            groups[-1].append(word)
        else:
            groups.append([word])
    return [Row(tuple(sorted(group, key=lambda word: word.left))) for group in groups]


def _share_line(group: Sequence[Word], word: Word) -> bool:
    middle = fmean((other.top + other.bottom) / 2 for other in group)
    smallest = min(word.height, *(other.height for other in group))
    return abs((word.top + word.bottom) / 2 - middle) < max(0.5 * smallest, 1.0)


def in_reading_order(words: Iterable[Word]) -> list[Block]:
    """Return paragraphs and tables in the order in which they are read: columns of prose one after the other."""
    rows = in_rows(words)
    columns = _columns(rows)
    if columns is None:
        return list(_blocks(rows))
    first, last, place = columns
    inside = [word for row in rows[first:last] for word in row.words]
    left = [word for word in inside if word.right <= place]
    right = [word for word in inside if word.left >= place]
    above, below = ([word for row in part for word in row.words] for part in (rows[:first], rows[last:]))
    return [block for part in (above, left, right, below) for block in (in_reading_order(part) if part else [])]


def _columns(rows: Sequence[Row]) -> tuple[int, int, float] | None:
    """The longest run of rows with a gap at one place and prose on both sides: first row, row after the last, place."""
    places = {
        round((before.right + word.left) / 2)
        for row in rows
        for before, word in pairwise(row.words)
        if word.left - before.right > row.size
    }
    # Where the lines of two columns are not level, no row shows the gap.
    places |= {round(row.words[0].left - row.size / 2) for row in rows}
    runs = [run for place in places for run in _runs(rows, float(place))]
    return max(runs, key=lambda run: (run[1] - run[0], -run[2]), default=None)


def _runs(rows: Sequence[Row], place: float) -> Iterator[tuple[int, int, float]]:
    begun = 0
    for end in range(len(rows) + 1):
        if end < len(rows) and not any(word.left < place < word.right for word in rows[end].words):
            continue
        first, last = _trimmed(rows, begun, end, place)
        if _is_prose(rows[first:last], place):
            yield first, last, place
        begun = end + 1


def _trimmed(rows: Sequence[Row], first: int, last: int, place: float) -> tuple[int, int]:
    """Leave out, at both ends, what stands on one side and apart: a heading, or what follows under one."""
    breaks = [at for at in range(first + 1, last) if _is_heading(rows, at, place)]
    while breaks and not _is_prose(rows[breaks[-1] : last], place):
        last = breaks.pop()
    while breaks and not _is_prose(rows[first : breaks[0]], place):
        first = breaks.pop(0)
    while first < last - 1 and not _is_split(rows[first], place) and not _goes_on(rows[first], rows[first + 1]):
        first += 1
    while last - 1 > first and not _is_split(rows[last - 1], place) and not _goes_on(rows[last - 2], rows[last - 1]):
        last -= 1
    return first, last


def _is_heading(rows: Sequence[Row], at: int, place: float) -> bool:
    return not _is_split(rows[at], place) and rows[at].size > (1 + SAME_SIZE) * rows[at - 1].size


def _is_split(row: Row, place: float) -> bool:
    return row.words[0].right <= place <= row.words[-1].left


def _is_prose(rows: Sequence[Row], place: float) -> bool:
    for on_side in (lambda word: word.right <= place, lambda word: word.left >= place):
        texts = [" ".join(word.text for word in row.words if on_side(word)) for row in rows]
        lengths = [len(text) for text in texts if text]
        if len(lengths) < COLUMN_ROWS or fmean(lengths) < COLUMN_CHARACTERS:
            return False
    return True


def _blocks(rows: Sequence[Row]) -> Iterator[Block]:
    place = 0
    while place < len(rows):
        table = _table(rows[place:])
        if table:
            yield Block(rows=tuple(tuple(cell.text for cell in row) for row in table))
            place += len(table)
            continue
        end = place + 1
        while end < len(rows) and _goes_on(rows[end - 1], rows[end]) and not _table(rows[end:]):
            end += 1
        lines = tuple(row.text for row in rows[place:end])
        yield Block(lines, size=rows[place].size, bold=all(row.bold for row in rows[place:end]))
        place = end


def _goes_on(before: Row, row: Row) -> bool:
    height = max(before.bottom - before.top, row.bottom - row.top)
    alike = abs(before.size - row.size) <= SAME_SIZE * max(before.size, row.size) and before.bold == row.bold
    return alike and row.top - before.bottom < PARAGRAPH_GAP * height


def _table(rows: Sequence[Row]) -> list[list[Cell]]:
    """The rows from the first one on that have as many cells at the same places: two or more are a table."""
    first = rows[0].cells
    if len(first) < 2:
        return []
    found = [first]
    for row in rows[1:]:
        cells = row.cells
        if len(cells) != len(first) or not all(map(_aligned, found[-1], cells)):
            break
        found.append(cells)
    return found if len(found) > 1 else []


def _aligned(one: Cell, other: Cell) -> bool:
    return one.left < other.right and other.left < one.right
