"""PDF pages through pdfplumber: words with their places, ruled tables, and what of a page is no text."""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter, defaultdict
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pdfplumber
import pypdfium2
from pdfminer.pdfdocument import PDFPasswordIncorrect
from pdfminer.psexceptions import PSException
from pdfplumber.utils.exceptions import PdfminerException

from agent_tools.workspace.documents.formats import Unreadable, page_of
from agent_tools.workspace.documents.layout import Block, Word, in_reading_order
from agent_tools.workspace.documents.pages import PageRead

DAMAGE = (
    *(PSException, PdfminerException, zlib.error, struct.error),
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError),
    *(RecursionError, MemoryError, NotImplementedError, EOFError),
)
"""How the parser fails on a damaged or hostile page: it checks little, and nothing of this project runs inside it."""

MOST_LINES = 4000
"""A page with more drawn lines is a plot: looking for tables in it would take minutes."""

UNMAPPED = re.compile(r"\(cid:\d+\)")

Turn = Literal["upright", "up", "down", "over"]


class PdfFile:
    """An open PDF file.

    Raises:
        Unreadable: encrypted with a password, or damaged beyond reading.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._open(path)
        except DAMAGE as error:
            if PDFPasswordIncorrect in (type(error), *map(type, error.args)):
                raise Unreadable("is encrypted with a password; decrypt it first (`qpdf --decrypt`)") from error
            self._open_repaired(path)

    def _open(self, source: Path | BytesIO) -> None:
        self._pdf = pdfplumber.open(source, unicode_norm="NFC")
        self._pages = self._pdf.pages
        if not self._pages:
            raise ValueError("no pages")

    def _open_repaired(self, path: Path) -> None:
        """Look for the pages without the file's own table of where they are, as PDFium does."""
        whole = BytesIO()
        try:
            with closing(pypdfium2.PdfDocument(path)) as found:
                found.save(whole)
            self._open(whole)
        except (pypdfium2.PdfiumError, *DAMAGE) as error:
            raise Unreadable("is damaged or was cut off: no pages are found in it") from error

    def __enter__(self) -> PdfFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._pdf.close()

    def __len__(self) -> int:
        return len(self._pages)

    def read(self, number: int) -> PageRead:
        """Read page `number`, from 1; a damaged one is empty and says so."""
        page = self._pages[number - 1]
        try:
            return _read(page, number)
        except DAMAGE as error:
            too_large = any(isinstance(cause, MemoryError) for cause in (error, *error.args))
            what = "needs more memory than a page may take" if too_large else f"is damaged ({type(error).__name__})"
            return PageRead(page=number, notes=[f"could not be read: it {what}"])
        finally:
            page.close()


def _read(page: Any, number: int) -> PageRead:
    by_turn = _words(page)
    words = by_turn.pop("upright", [])
    tables, notes = _tables(page)
    blocks = _around(words, tables)
    # Text that stands on its side is read after the rest; where all of it does, the page was scanned that way.
    for turned in by_turn.values():
        blocks += in_reading_order(turned)
        words = [*words, *turned] if words else turned
    notes += _not_text(page, words)
    return page_of(number, words, blocks, notes)


def _words(page: Any) -> dict[Turn, list[Word]]:
    groups: defaultdict[Turn, list[dict[str, Any]]] = defaultdict(list)
    for char in page.dedupe_chars().chars:
        turn = _turn(char)
        groups[turn].append(char if turn == "upright" else _turned(char, turn, page))
    return {turn: _joined(chars) for turn, chars in groups.items()}


def _turn(char: dict[str, Any]) -> Turn:
    along, across = char["matrix"][:2]
    if abs(along) >= abs(across):
        return "upright" if along >= 0 else "over"
    return "up" if across > 0 else "down"


def _turned(char: dict[str, Any], turn: Turn, page: Any) -> dict[str, Any]:
    """The character where it would be on a page turned so that it stands upright."""
    left, right, top, bottom = (float(char[edge]) for edge in ("x0", "x1", "top", "bottom"))
    width, height = float(page.width), float(page.height)
    boxes: dict[Turn, tuple[float, float, float, float]] = {
        "up": (height - bottom, height - top, left, right),
        "down": (top, bottom, width - right, width - left),
        "over": (width - right, width - left, height - bottom, height - top),
    }
    x0, x1, above, below = boxes[turn]
    turned = {"x0": x0, "x1": x1, "top": above, "bottom": below, "doctop": above, "upright": True}
    return {**char, **turned, "size": below - above}


def _joined(chars: list[dict[str, Any]]) -> list[Word]:
    found = pdfplumber.utils.extract_words(chars, x_tolerance_ratio=0.2, extra_attrs=["fontname", "size"])
    return [
        Word(
            text=word["text"],
            left=float(word["x0"]),
            right=float(word["x1"]),
            top=float(word["top"]),
            bottom=float(word["bottom"]),
            size=round(float(word["size"]), 1),
            bold="bold" in word["fontname"].lower() or "black" in word["fontname"].lower(),
        )
        for word in found
    ]


def _tables(page: Any) -> tuple[list[tuple[tuple[float, ...], Block]], list[str]]:
    lines = len(page.lines) + 4 * len(page.rects) + sum(len(curve["pts"]) for curve in page.curves)
    if lines > MOST_LINES:
        return [], [f"tables were not looked for among its {lines} drawn lines"]
    found = []
    for table in page.find_tables():
        rows = tuple(tuple(" ".join((cell or "").split()) for cell in row) for row in table.extract())
        filled = Counter(bool(cell) for row in rows for cell in row)
        if len(rows) > 1 and len(rows[0]) > 1 and filled[True] * 3 > filled.total():
            found.append((table.bbox, Block(rows=rows)))
    return sorted(found, key=lambda one: one[0][1]), []


def _around(words: list[Word], tables: list[tuple[tuple[float, ...], Block]]) -> list[Block]:
    """Tables at their place in the text: what stands above one is read before it."""
    blocks: list[Block] = []
    rest = [word for word in words if not any(_inside(word, box) for box, _ in tables)]
    for box, table in tables:
        above = [word for word in rest if word.bottom <= box[1] + 1]
        rest = [word for word in rest if word.bottom > box[1] + 1]
        blocks += [*in_reading_order(above), table]
    return [*blocks, *in_reading_order(rest)]


def _inside(word: Word, box: tuple[float, ...]) -> bool:
    across, down = (word.left + word.right) / 2, (word.top + word.bottom) / 2
    return box[0] <= across <= box[2] and box[1] <= down <= box[3]


def _not_text(page: Any, words: list[Word]) -> list[str]:
    if not words and page.images:
        return ["is a picture without text; nothing here reads text in pictures"]
    unmapped = sum(len(UNMAPPED.findall(word.text)) for word in words)
    return [f"{unmapped} characters have no meaning in its fonts and are shown as (cid:N)"] if unmapped else []
