"""Documents that are text already: HTML, plain text, and label files of text detection with their transcriptions."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any

from agent_tools.workspace.documents.layout import Block, Row, Word, in_reading_order, in_rows
from agent_tools.workspace.documents.pages import PageRead, Part

LINES_PER_PAGE = 300
"""A text has no pages; this many lines, or a form feed, end one."""

_CELLS = re.compile(r"[ \u00a0]{2,}|\t+| *\| *")
_ICDAR = re.compile(r"(?:-?\d+(?:\.\d+)?,){8}.*")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Unreadable(Exception):
    """Why a document cannot be read, as the end of a sentence about it."""


def page_of(
    number: int, words: list[Word], blocks: list[Block] | None = None, notes: list[str] | None = None
) -> PageRead:
    """Return a page of words: its parts in reading order and its rows of cells."""
    parts = in_reading_order(words) if blocks is None else blocks
    return PageRead(
        page=number,
        parts=[
            Part(lines=list(one.lines), rows=[list(row) for row in one.rows], size=one.size, bold=one.bold)
            for one in parts
        ],
        rows=[_cells(row) for row in in_rows(words)],
        notes=notes or [],
    )


def _cells(row: Row) -> list[tuple[str, float, float]]:
    return [(cell.text, round(cell.left, 1), round(cell.right, 1)) for cell in row.cells]


def read_text(path: Path, head: bytes) -> list[PageRead]:
    """Read plain text, Markdown, or a label file in the form of ICDAR 2015.

    Raises:
        Unreadable: the file is binary.
    """
    encoding = next((name for mark, name in _BOMS.items() if head.startswith(mark)), "utf-8")
    if b"\0" in head and encoding != "utf-16":
        raise Unreadable("is neither text nor a PDF; name a PDF, HTML, Markdown, text or label file")
    text = path.read_bytes().decode(encoding, errors="backslashreplace").replace("\r\n", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    if lines and all(map(_ICDAR.fullmatch, lines)):
        return [page_of(1, [_icdar_word(line) for line in lines])]
    return [_text_page(number, page) for number, page in enumerate(_split(text), start=1)]


def _split(text: str) -> list[str]:
    pages = []
    for sheet in text.split("\f"):
        lines = sheet.split("\n")
        pages += ["\n".join(lines[at : at + LINES_PER_PAGE]) for at in range(0, max(len(lines), 1), LINES_PER_PAGE)]
    return pages


def _text_page(number: int, text: str) -> PageRead:
    rows = []
    for line in text.split("\n"):
        cells, at = [], 0
        for gap in [*_CELLS.finditer(line), None]:
            end = gap.start() if gap else len(line)
            if line[at:end].strip():
                cells.append((line[at:end].strip(), float(at), float(end)))
            at = gap.end() if gap else end
        rows += [cells] if cells else []
    return PageRead(page=number, parts=[Part(verbatim=text)], rows=rows)


def _icdar_word(line: str) -> Word:
    *numbers, text = line.split(",", 8)
    return _word([float(number) for number in numbers[::2]], [float(number) for number in numbers[1::2]], text)


def _word(across: list[float], down: list[float], text: str) -> Word:
    size = max(max(down) - min(down), 1.0)
    # Boxes of receipts hold whole segments; the gap between two is a gap between cells.
    return Word(text, min(across), max(across), min(down), max(down), 0.5 * size)


def read_html(path: Path) -> list[PageRead]:
    """Read a web page as Markdown, without scripts and styles; nothing that it names is fetched."""
    from bs4 import BeautifulSoup  # noqa: PLC0415 - an extra
    from markdownify import MarkdownConverter  # noqa: PLC0415

    soup = BeautifulSoup(path.read_bytes(), "html.parser")
    for tag in soup(["script", "style", "template", "noscript", "head"]):
        tag.decompose()
    text = re.sub(r"\n{3,}", "\n\n", MarkdownConverter(heading_style="ATX").convert_soup(soup)).strip()
    return [_text_page(number, page) for number, page in enumerate(_split(text), start=1)]


def read_labels(path: Path, image: str) -> list[PageRead]:
    """Read the transcriptions of a label file (`{"images": {NAME: {"words": ...}}}`): each image is a page.

    Raises:
        Unreadable: no such file, or no such image in it.
    """
    images = _images(path)
    names = [image] if image else list(images)
    if image and image not in images:
        raise Unreadable(f"has no image '{image}' among its {len(images)}; pages takes an image's name or numbers")
    return [_labelled(number, images[name]) for number, name in enumerate(names, start=1)]


def _images(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unreadable("is no JSON that can be read") from error
    images = found.get("images") if isinstance(found, dict) else None
    if not isinstance(images, dict):
        raise Unreadable('is no label file, which has {"images": {NAME: {"words": ...}}}; file_read shows other JSON')
    return images


def _labelled(number: int, entry: Any) -> PageRead:
    words = entry.get("words") if isinstance(entry, dict) else None
    found = []
    for word in words.values() if isinstance(words, dict) else []:
        try:
            across, down = zip(*((float(x), float(y)) for x, y in word["points"]), strict=True)
            found.append(_word(list(across), list(down), str(word["transcription"] or "")))
        except (KeyError, TypeError, ValueError):
            continue
    kept = [word for word in found if word.text.strip()]
    left_out = (len(words) if isinstance(words, dict) else 0) - len(kept)
    notes = [f"{left_out} words have no text or no box"] if left_out else []
    return page_of(number, kept, notes=notes)
