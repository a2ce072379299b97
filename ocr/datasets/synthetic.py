"""Receipts rendered with known polygons: the embedded data for training, tests and the demo.

A receipt is laid out on a flat sheet (header, address, items with right-aligned prices, totals, small print, and things
that are not text: rules, barcodes, logos, pen strokes), then one homography carries the sheet's ink and its polygons
onto a table or a scanner bed, where light, folds, blur, noise and JPEG are added. So the polygons are exact.

The same seed and the same versions of numpy, OpenCV, Pillow and matplotlib give the same bytes. Fonts are matplotlib's
DejaVu and STIX and Pillow's own; whatever else the machine has is not used, so machines agree.
"""

import importlib.metadata
import json
import random
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ocr.datasets.receipt_layout import HEIGHTS, Sheet, SyntheticDataError, Word, rectangle, write_sheet
from ocr.utils.orientation import apply_orientation
from ocr.utils.polygons import Polygon, transform_points

__all__ = [
    "GENERATOR",
    "HEIGHTS",
    "MARKER",
    "SPLITS",
    "Receipt",
    "SyntheticDataError",
    "Word",
    "encode_receipt",
    "ensure_dataset",
    "render_dataset",
    "render_receipt",
]

GENERATOR = 1
"""Version of this module's pictures: raise it when the same seed gives other ones."""

MARKER = "synthetic.json"
"""File in the root of a rendered set: what it was made with. A folder without it is never written to."""

SPLITS = ("train", "val", "test")
_ORIENTED_SHARE = 0.3
_UNDO = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # the EXIF orientation that takes another one back


@dataclass(frozen=True)
class Receipt:
    """A displayed receipt, uint8 (H, W, 3) RGB, with its words in the same pixels.

    ``orientation`` is the EXIF value to store it under; ``quality`` the JPEG quality, 1..100.
    """

    image: np.ndarray
    words: list[Word]
    orientation: int = 1
    quality: int = 90


def ensure_dataset(root: Path, seed: int = 0, train: int = 64, val: int = 24, test: int = 8) -> Path:
    """Render the set unless ``root`` holds exactly this one already; return ``root``.

    Raises:
        SyntheticDataError: ``root`` holds something else that this module did not make.
    """
    if _made_with(root) != _parameters(seed, train, val, test):
        render_dataset(root, seed, train, val, test)
    return root


def render_dataset(root: Path, seed: int = 0, train: int = 64, val: int = 24, test: int = 8) -> Path:
    """Render ``images/{train,val,test}/*.jpg`` and ``jsons/*.json`` below ``root``; whole or not at all.

    A set that this module made before is replaced. Each image depends on the seed, its split and its number alone, so a
    larger set begins with the images of a smaller one.

    Raises:
        SyntheticDataError: ``root`` holds something that this module did not make.
    """
    if root.exists() and _made_with(root) is None and (not root.is_dir() or any(root.iterdir())):
        raise SyntheticDataError(
            f"{root} exists and was not made by the receipt renderer (it holds no {MARKER}), so it is left alone; "
            "choose another folder for synthetic receipts, or remove it first."
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as workshop:
        fresh = Path(workshop) / "fresh"
        for index, (split, count) in enumerate(zip(SPLITS, (train, val, test), strict=True)):
            _render_split(fresh, split, [(seed, index, number) for number in range(count)])
        (fresh / MARKER).write_text(json.dumps(_parameters(seed, train, val, test), indent=1) + "\n")
        if root.exists():
            root.rename(Path(workshop) / "old")
        fresh.rename(root)
    return root


def render_receipt(seed: Sequence[int]) -> Receipt:
    """Render one receipt, portrait, ``HEIGHTS`` pixels high; the same seed gives the same receipt."""
    rng = random.Random(json.dumps(list(seed)))  # noqa: S311 - receipts keep no secrets
    noise = np.random.default_rng(list(seed))
    sheet = write_sheet(rng)
    return _photograph(sheet, rng, noise)


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the receipt as JPEG bytes: pixels stored turned, with the EXIF tag that turns them back."""
    raw = apply_orientation(receipt.image, _UNDO[receipt.orientation])
    ok, data = cv2.imencode(".jpg", raw[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, receipt.quality])
    if not ok:
        raise SyntheticDataError(f"OpenCV could not encode a receipt of shape {raw.shape}; reinstall opencv-python.")
    stream = data.tobytes()
    if receipt.orientation == 1:
        return stream
    # One directory with one entry: orientation (0x0112), type SHORT, one value.
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, receipt.orientation, 0, 0)
    app1 = b"Exif\0\0" + tiff
    return stream[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + stream[2:]


def _parameters(seed: int, train: int, val: int, test: int) -> dict[str, Any]:
    libraries = ("numpy", "opencv-python-headless", "pillow", "matplotlib")
    versions = {name: importlib.metadata.version(name) for name in libraries}
    return {"generator": GENERATOR, "seed": seed, "train": train, "val": val, "test": test, "libraries": versions}


def _made_with(root: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((root / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _render_split(root: Path, split: str, seeds: Sequence[Sequence[int]]) -> None:
    folder = root / "images" / split
    folder.mkdir(parents=True)
    entries = {}
    for number, seed in enumerate(seeds):
        receipt, name = render_receipt(seed), f"{split}_{number:04d}.jpg"
        (folder / name).write_bytes(encode_receipt(receipt))
        entries[name] = _entry(receipt)
    (root / "jsons").mkdir(exist_ok=True)
    (root / "jsons" / f"{split}.json").write_text(json.dumps({"images": entries}) + "\n")


def _entry(receipt: Receipt) -> dict[str, Any]:
    height, width = receipt.image.shape[:2]
    words = {}
    for number, word in enumerate(receipt.words, start=1):
        entry: dict[str, Any] = {"points": word.points.round(2).tolist(), "transcription": word.transcription}
        words[f"{number:04d}"] = {**entry, "illegibility": True} if word.illegible else entry
    return {"img_w": width, "img_h": height, "words": words}


@dataclass(frozen=True)
class _Look:
    """How the picture is taken: on a scanner (flat, bright, straight) or by hand."""

    scanned: bool
    paper: np.ndarray
    table: np.ndarray
    shade: float
    ink: float
    grain: float


def _choose_look(rng: random.Random) -> _Look:
    scanned = rng.random() < 0.5
    level = rng.uniform(240, 255) if scanned else rng.uniform(205, 250)
    tint = (1.0, 1.0, 1.0) if scanned else (1.0, rng.uniform(0.96, 1), rng.uniform(0.88, 1))
    paper = np.array(tint, np.float32) * np.float32(level)
    dark = rng.uniform(40, 190)
    wood = np.array([dark * rng.uniform(*tone) for tone in ((0.95, 1.15), (0.85, 1.05), (0.65, 1.0))], np.float32)
    table = paper * np.float32(rng.uniform(0.9, 1.0)) if scanned else wood
    shade, grain = (
        (rng.uniform(0.0, 0.05), rng.uniform(0.3, 3)) if scanned else (rng.uniform(0.05, 0.25), rng.uniform(1, 6))
    )
    return _Look(scanned, paper, table, shade, rng.uniform(0.6, 0.95), grain)


def _photograph(sheet: Sheet, rng: random.Random, noise: np.random.Generator) -> Receipt:
    """Lay the sheet on a table, light it and take a picture; one homography for ink, paper and polygons."""
    look, size = _choose_look(rng), (sheet.ink.height, round(sheet.ink.width * rng.uniform(0.85, 1.0)))
    matrix, words = _aim(sheet, size, look.scanned, rng)
    # OpenCV counts from pixel centres, polygons from pixel corners.
    centred = _shift(-0.5) @ matrix @ _shift(0.5)
    ink = cv2.warpPerspective(np.asarray(sheet.ink), centred, size[::-1], flags=cv2.INTER_LINEAR)
    strength = _unevenness(size, noise, rng.uniform(0.05, 0.3), base=look.ink)
    image = _lit_paper(cv2.perspectiveTransform(_outline(sheet), matrix)[0], size, look, rng, noise)
    image *= (1.0 - strength * ink.astype(np.float32) * np.float32(1 / 255))[..., None]
    _add_pen_stroke(image, rng)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9))
    image = image + noise.standard_normal((*size, 1), dtype=np.float32) * np.float32(look.grain)
    orientation = rng.randint(2, 8) if rng.random() < _ORIENTED_SHARE else 1
    return Receipt(np.clip(image, 0, 255).astype(np.uint8), words, orientation, rng.randint(60, 93))


def _aim(sheet: Sheet, size: tuple[int, int], scanned: bool, rng: random.Random) -> tuple[np.ndarray, list[Word]]:
    """Return a view, a homography (3, 3), that has every word in the picture, and the words as it shows them."""
    while True:
        matrix = _view(sheet.ink.height, sheet.ink.width, size, scanned, rng)
        words = [replace(word, points=transform_points(matrix, word.points)) for word in sheet.words]
        corners = np.concatenate([word.points for word in words])
        if (corners >= 0).all() and (corners <= size[::-1]).all():  # about one in 1,500 leans out of a narrow picture
            return matrix, words


def _shift(distance: float) -> np.ndarray:
    return np.array([[1, 0, distance], [0, 1, distance], [0, 0, 1]], np.float64)


def _outline(sheet: Sheet) -> np.ndarray:
    return rectangle(0, 0, sheet.ink.width, sheet.ink.height)[None]


def _view(height: int, width: int, size: tuple[int, int], scanned: bool, rng: random.Random) -> np.ndarray:
    """Return the homography (3, 3) from the sheet to a picture of ``size``: smaller, turned, seen at a slant."""
    shrink = rng.uniform(0.97, 1.0) if scanned else rng.uniform(0.87, 0.96)
    if scanned and rng.random() < 0.2:  # a small receipt on a large scanner
        shrink = rng.uniform(0.7, 0.9)
    turn = np.deg2rad(rng.uniform(-1, 1) if scanned else rng.uniform(-4, 4))
    slant = 0.0 if scanned else 0.03 * size[1]
    centre = np.array([size[1] / 2, size[0] / 2])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    seen = (rectangle(0, 0, size[1], size[0]) - centre) * shrink @ rotation.T + centre
    seen += [[rng.uniform(-slant, slant), rng.uniform(-slant, slant)] for _ in range(4)]
    sheet = rectangle(0, 0, width, height).astype(np.float32)
    return cv2.getPerspectiveTransform(sheet, seen.astype(np.float32)).astype(np.float64)


def _lit_paper(
    corners: Polygon, size: tuple[int, int], look: _Look, rng: random.Random, noise: np.random.Generator
) -> np.ndarray:
    """Return float32 (H, W, 3) RGB, 0..255: paper on a table under uneven light, with folds."""
    cover = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(cover, np.round(corners * 16).astype(np.int32), 255, cv2.LINE_AA, shift=4)
    light = _unevenness(size, noise, look.shade) + _folds(size, rng)
    share = (cover.astype(np.float32) * np.float32(1 / 255))[..., None]
    return (look.table + (look.paper - look.table) * share) * light[..., None]


def _unevenness(size: tuple[int, int], noise: np.random.Generator, amount: float, base: float = 1.0) -> np.ndarray:
    """Return a smooth float32 field (H, W) within ``base - amount``..``base``."""
    coarse = noise.random((5, 3), dtype=np.float32)
    field_ = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return base - amount * np.clip(field_, 0, 1)


def _folds(size: tuple[int, int], rng: random.Random) -> np.ndarray:
    """Return float32 (H, 1): darker and lighter stripes where the paper was folded."""
    rows = np.arange(size[0], dtype=np.float32)[:, None]
    light = np.zeros_like(rows)
    for _ in range(rng.choice((0, 0, 1, 2))):
        distance = rows - rng.uniform(0.1, 0.9) * size[0]
        light = light + rng.uniform(-0.1, 0.1) * np.exp(-np.abs(distance) / rng.uniform(4, 30)) * np.sign(distance)
    return light.astype(np.float32)


def _add_pen_stroke(image: np.ndarray, rng: random.Random) -> None:
    """Scribble on the picture now and then: a curve that is no text."""
    if rng.random() > 0.15:
        return
    height, width = image.shape[:2]
    x, y = rng.uniform(0.2, 0.7) * width, rng.uniform(0.8, 0.95) * height
    points = [(x + i * width * 0.02, y + rng.uniform(-0.02, 0.02) * height) for i in range(rng.randint(5, 10))]
    colour = rng.choice(((30.0, 40.0, 140.0), (40.0, 40.0, 40.0), (150.0, 30.0, 40.0)))
    cv2.polylines(image, [np.array(points, np.int32)], False, colour, rng.randint(1, 3), cv2.LINE_AA)
