"""A synthetic receipt as flat ink on paper: what stands where, with the box of every word.

Header, address, items with right-aligned prices, totals and small print, and things that are not text: rules, barcodes,
logos. ``synthetic.py`` takes the picture of it.
"""

import importlib.util
import random
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ocr.datasets import receipt_text
from ocr.utils.errors import OCRError
from ocr.utils.polygons import Polygon

_PADDING = 0.12  # of the font size, added around the ink: labels of real receipts are not tight either
_ILLEGIBLE_SHARE = 0.12
_FACES: tuple[tuple[str, str], ...] = (
    # regular, bold; an empty name is Pillow's own face
    ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    ("DejaVuSansMono-Bold.ttf", "DejaVuSansMono-Bold.ttf"),
    ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    ("STIXGeneral.ttf", "STIXGeneralBol.ttf"),
    ("", "DejaVuSans-Bold.ttf"),
)

HEIGHTS = (640, 1100)
"""Smallest and largest height of a displayed receipt, in pixels; the width is about half of it."""


class SyntheticDataError(OCRError):
    """The synthetic receipts cannot be rendered where they should be."""


@dataclass(frozen=True)
class Word:
    """A line segment of text: its corners (4, 2) clockwise from the top left, what it says, whether it is smeared."""

    points: Polygon
    transcription: str
    illegible: bool = False


@dataclass
class Sheet:
    """Ink (uint8, 255 is full ink) on a flat sheet of paper, written from the top, with the words so far."""

    ink: Image.Image
    faces: tuple[str, str]
    size: int
    pitch: float
    margin: int
    rng: random.Random
    y: float = 0.0
    words: list[Word] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pen = ImageDraw.Draw(self.ink)
        self.y = float(self.margin)

    @property
    def width(self) -> int:
        """Width of the paper in pixels."""
        return self.ink.width

    def line(self, *parts: tuple[str, float], scale: float = 1.0, bold: bool = False) -> None:
        """Write one line of (text, where): 0 flush left, 0.5 centred, 1 flush right.

        Parts are given from left to right. What does not fit before its neighbour loses words at its end.
        """
        face, size = self.faces[bold], max(8, round(self.size * scale))
        font, baseline, limit = _font(face, size), round(self.y + size), float(self.width - self.margin)
        for text, where in reversed([part for part in parts if part[0]]):
            limit = self._segment(text, where, baseline, font, limit) - size
        self.y += self.pitch * max(scale, 0.9)

    def heading(self, text: str, where: float, scale: float) -> None:
        """Write one bold line, as large as ``scale`` or as the width allows."""
        needed = _font(self.faces[True], round(self.size * scale)).getlength(text)
        self.line((text, where), scale=scale * min(1.0, 0.98 * (self.width - 2 * self.margin) / needed), bold=True)

    def _segment(self, text: str, where: float, baseline: int, font: ImageFont.FreeTypeFont, limit: float) -> float:
        """Write one part that ends before ``limit``; return where it begins."""
        while text and self._start(text, where, font) + font.getlength(text) > limit:
            text = text.rpartition(" ")[0]
        if not text:
            return limit
        x = round(self._start(text, where, font))
        left, top, right, bottom = font.getbbox(text, anchor="ls")
        self.pen.text((x, baseline), text, font=font, fill=self.rng.randint(190, 255), anchor="ls")
        pad = _PADDING * font.size
        box = (x + left - pad, baseline + top - pad, x + right + pad, baseline + bottom + pad)
        self.words.append(Word(rectangle(*box), text))
        return box[0]

    def _start(self, text: str, where: float, font: ImageFont.FreeTypeFont) -> float:
        return self.margin + where * (self.width - 2 * self.margin - font.getlength(text))

    def banner(self, text: str) -> None:
        """Write white letters on a black bar."""
        top = round(self.y)
        self.pen.rectangle((self.margin, top, self.width - self.margin, top + round(self.size * 1.5)), fill=255)
        font = _font(self.faces[True], self.size)
        x, baseline = round(self._start(text, 0.5, font)), top + round(self.size * 1.1)
        self.pen.text((x, baseline), text, font=font, fill=0, anchor="ls")
        left, up, right, down = font.getbbox(text, anchor="ls")
        pad = _PADDING * self.size
        self.words.append(
            Word(rectangle(x + left - pad, baseline + up - pad, x + right + pad, baseline + down + pad), text)
        )
        self.y += self.size * 1.5 + self.pitch * 0.3

    def gap(self, lines: float) -> None:
        """Leave blank paper."""
        self.y += self.pitch * lines

    def rule(self) -> None:
        """Draw a line across: whole, dashed, dotted or double. It is no text."""
        kind, y = self.rng.choice(("whole", "dashed", "dashed", "dotted", "double")), round(self.y + self.pitch * 0.45)
        left, right = self.margin, self.width - self.margin
        if kind in ("whole", "double"):
            for offset in (0, 4)[: 1 + (kind == "double")]:
                self.pen.line((left, y + offset, right, y + offset), fill=220, width=1 + (kind == "whole"))
        else:
            step = 10 if kind == "dashed" else 5
            for x in range(left, right, step):
                self.pen.line((x, y, x + step // 2, y), fill=230, width=2)
        self.y += self.pitch * 0.9

    def barcode(self) -> None:
        """Draw bars or a square of dots: strong contrast that is no text."""
        height = round(self.pitch * self.rng.uniform(1.6, 3.0))
        if self.rng.random() < 0.6:
            bar = max(1, self.width // 220)
            bits = [self.rng.random() < 0.5 for _ in range(self.width // (2 * bar))]
            x0, side = self.width // 4, bar
            cells = [(x0 + i * bar, self.y, x0 + i * bar + bar - 1, self.y + height) for i, on in enumerate(bits) if on]
        else:
            height, side = round(height * 1.4), max(2, round(height * 1.4) // 21)
            x0 = self.width // 2 - 10 * side
            grid = [(i, j) for i in range(21) for j in range(21) if self.rng.random() < 0.5]
            cells = [
                (x0 + i * side, self.y + j * side, x0 + (i + 1) * side - 1, self.y + (j + 1) * side - 1)
                for i, j in grid
            ]
        for cell in cells:
            self.pen.rectangle(cell, fill=235)
        self.y += height + self.pitch * 0.5

    def logo(self) -> None:
        """Draw a simple sign at the top."""
        height, middle = self.pitch * self.rng.uniform(1.8, 3.0), self.width / 2
        box = (middle - height * 0.8, self.y, middle + height * 0.8, self.y + height)
        draw = self.rng.choice((self.pen.ellipse, self.pen.rectangle))
        draw(box, outline=230, width=3)
        inner = (middle - height * 0.4, self.y + height * 0.3, middle + height * 0.4, self.y + height * 0.7)
        self.rng.choice((self.pen.ellipse, self.pen.rectangle))(inner, fill=220)
        self.y += height + self.pitch * 0.4

    def smear(self) -> None:
        """Make one word unreadable, and say so in its label."""
        index = self.rng.randrange(len(self.words))
        word = self.words[index]
        box = (*np.floor(word.points[0]).astype(int).tolist(), *np.ceil(word.points[2]).astype(int).tolist())
        patch = np.asarray(self.ink.crop(box))
        blurred = cv2.blur(patch, (self.size | 1, self.size // 2 | 1))
        self.ink.paste(Image.fromarray(np.minimum(255, blurred * 1.4).astype(np.uint8)), box[:2])
        self.words[index] = Word(word.points, "###", illegible=True)


def write_sheet(rng: random.Random) -> Sheet:
    """Write a whole receipt: portrait, ``HEIGHTS`` pixels high, with at least one item."""
    while True:
        sheet = _try_sheet(rng)
        if sheet.y + sheet.margin / 2 <= sheet.ink.height:  # about one in 400 has too long a header for its paper
            return sheet


def _try_sheet(rng: random.Random) -> Sheet:
    height = rng.randint(*HEIGHTS)
    width = round(height * rng.uniform(0.42, 0.62))
    size = max(10, round(width * 0.9 / rng.uniform(32, 50) / 0.6))
    paper = Image.new("L", (width, height))
    sheet = Sheet(
        paper, rng.choice(_FACES), size, size * rng.uniform(1.2, 1.6), round(width * rng.uniform(0.04, 0.1)), rng
    )
    _write_header(sheet, rng)
    sum_of_items = _write_items(sheet, rng, until=height - sheet.margin - sheet.pitch * 11)
    _write_totals(sheet, rng, sum_of_items)
    _write_footer(sheet, rng, until=height - sheet.margin)
    if rng.random() < _ILLEGIBLE_SHARE:
        sheet.smear()
    # Paper is torn off soon after the last line.
    end = round(sheet.y + sheet.margin + sheet.pitch * rng.uniform(0, 3))
    sheet.ink = sheet.ink.crop((0, 0, width, min(height, max(end, HEIGHTS[0], round(1.5 * width)))))
    return sheet


def _write_header(sheet: Sheet, rng: random.Random) -> None:
    where = rng.choice((0.5, 0.5, 0.5, 0.0))
    if rng.random() < 0.25:
        sheet.logo()
    sheet.heading(receipt_text.shop_name(rng), where, rng.uniform(1.2, 1.9))
    for text in receipt_text.address(rng):
        sheet.line((text, where))
    sheet.gap(rng.uniform(0.1, 0.5))
    if rng.random() < 0.2:
        sheet.banner(receipt_text.title(rng))
    else:
        sheet.heading(receipt_text.title(rng), 0.5, rng.uniform(1.0, 1.3))
        sheet.rule()
    for left, right in receipt_text.details(rng):
        sheet.line((left, 0.0), (right, 1.0))
    sheet.rule()


def _write_items(sheet: Sheet, rng: random.Random, until: float) -> int:
    """Write as many items as fit, or fewer; return their sum in cents."""
    sheet.line(("ITEM", 0.0), ("QTY", 0.68), ("AMOUNT", 1.0), bold=rng.random() < 0.5)
    in_two_lines = rng.random() < 0.4
    end = sheet.y + (until - sheet.y) * rng.uniform(0.5, 1.05)
    total = 0
    while total == 0 or sheet.y < end:
        item = receipt_text.item(rng)
        count, amount = str(item.count), receipt_text.money(item.amount)
        if in_two_lines:
            sheet.line((f"{item.code} {item.name}", 0.0))
            sheet.line((f"{count} x {receipt_text.money(item.price)}", 0.1), (amount, 1.0))
        else:
            sheet.line((item.name, 0.0), (count, 0.7), (amount, 1.0))
        total += item.amount
    sheet.rule()
    return total


def _write_totals(sheet: Sheet, rng: random.Random, sum_of_items: int) -> None:
    before, total, after = receipt_text.totals(rng, sum_of_items)
    indent, scale = rng.choice((0.0, 0.0, 0.35)), rng.uniform(1.0, 1.5)
    for label, amount in before:
        sheet.line((label, indent), (amount, 1.0))
    sheet.line((total[0], 0.0), (total[1], 1.0), scale=scale, bold=True)
    for label, amount in after:
        sheet.line((label, 0.0), (amount, 1.0))
    sheet.rule()


def _write_footer(sheet: Sheet, rng: random.Random, until: float) -> None:
    for text in receipt_text.footers(rng):
        if sheet.y + sheet.pitch < until:
            sheet.line((text, 0.5), scale=rng.choice((0.85, 1.0)))
    if rng.random() < 0.6 and sheet.y + sheet.pitch * 5.5 < until:
        sheet.gap(0.3)
        sheet.barcode()
        sheet.line((receipt_text.digits(rng, 13), 0.5))


def rectangle(left: float, top: float, right: float, bottom: float) -> Polygon:
    """Return the corners (4, 2), clockwise from the top left."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)


@lru_cache(maxsize=256)
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    if not face:
        return ImageFont.load_default(size)  # type: ignore[return-value]
    return ImageFont.truetype(str(_font_folder() / face), size)


@lru_cache(maxsize=1)
def _font_folder() -> Path:
    # The specification tells where matplotlib lies without importing it.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise SyntheticDataError("Synthetic receipts need matplotlib's fonts; install matplotlib.")
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
