"""Canonical images of a split: turned upright, without metadata, optionally smaller, with their polygons.

Decoding a photograph of several megapixels for a network input of 640 pixels is most of a cold epoch; a canonical copy
made once is cheaper to read ever after. `images/SPLIT` and `jsons/SPLIT.json` become `images/SPLIT_canonical` and
`jsons/SPLIT_canonical.json`; the source is never written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from ocr.datasets.annotations import AnnotationSet, PolygonFrame, load_annotations, to_displayed
from ocr.datasets.transforms import shrink_to, shrunk_size
from ocr.utils.content_hash import sha256_of_file, write_atomically
from ocr.utils.errors import OCRError
from ocr.utils.image_loading import ImageDecodeError, ImageLoader, probe_image
from ocr.utils.polygons import Polygon, transform_points

JPEG_QUALITY = 95
LEDGER = "canonical.jsonl"
"""File beside the canonical images: one line for each, with what it was made from. A folder without it is not ours."""


class CanonicalError(OCRError):
    """A split of which no canonical copy can be made: why, and the way out."""


@dataclass
class CanonicalReport:
    """How many images were `written` now and `kept` from an earlier run, and why the `bad` ones are neither."""

    image_path: Path
    annotation_path: Path
    written: int = 0
    kept: int = 0
    bad: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """Where a split is read and written, and how."""

    source: Path
    target: Path
    long_side: int | None
    lossless: bool

    def name_of(self, name: str) -> str:
        """The canonical image's name: the suffix says how it is coded."""
        path = Path(name)
        if self.lossless:
            return str(path.with_suffix(".png"))
        return name if path.suffix.lower() in (".jpg", ".jpeg") else str(path.with_suffix(".jpg"))

    def made_from(self, source_hash: str) -> dict[str, Any]:
        return {"source": source_hash, "long_side": self.long_side, "lossless": self.lossless}


def canonicalize(
    root: Path,
    split: str,
    long_side: int | None = None,
    lossless: bool = False,
    polygon_frame: PolygonFrame = "auto",
    on_bad_image: Literal["error", "drop"] = "error",
) -> CanonicalReport:
    """Write the canonical copy of a split; a second call goes on where the first one stopped.

    Args:
        root: folder with `images/SPLIT` and `jsons/SPLIT.json` in the project's own form.
        split: its name, such as `val`.
        long_side: images with a longer side than this, in pixels, are shrunk to it by area; one whole number.
        lossless: PNG instead of JPEG of quality 95.
        polygon_frame: whether polygons are in raw or in displayed pixels, as in `DatasetConfig`.
        on_bad_image: with `error` all good images are written and the labels are not; `drop` leaves bad images out.

    Raises:
        CanonicalError: `long_side` is no positive whole number, the copy would overwrite what is not its own, or an
            image cannot be decoded (all of them are listed).
        AnnotationError: the labels are absent or malformed.
    """
    if long_side is not None and (type(long_side) is not int or long_side < 1):
        raise CanonicalError(
            f"long_side is {long_side!r}; give one positive number of pixels such as 1280, the longer side of the image"
        )
    labels = root / "jsons" / f"{split}.json"
    annotations = load_annotations(labels, format="json")
    plan = _Plan(root / "images" / split, root / "images" / f"{split}_canonical", long_side, lossless)
    report = CanonicalReport(plan.target, root / "jsons" / f"{split}_canonical.json")
    _check_names(plan, annotations)
    _check_target(plan, labels, report.annotation_path)
    content = json.loads(labels.read_text(encoding="utf-8"))
    images = dict(_canonical_entries(plan, content["images"], annotations, polygon_frame, report))
    if report.bad and on_bad_image == "error":
        listed = "; ".join(f"{name}: {why}" for name, why in report.bad.items())
        raise CanonicalError(
            f"{len(report.bad)} of {len(annotations)} images in {plan.source} cannot be decoded ({listed}); mend or "
            "remove them, or leave them out (--drop-bad, on_bad_image=drop), and run the command again"
        )
    text = json.dumps({**content, "images": images}, ensure_ascii=False)
    write_atomically(report.annotation_path, text.encode())
    return report


def _canonical_entries(
    plan: _Plan,
    entries: dict[str, Any],
    annotations: AnnotationSet,
    polygon_frame: PolygonFrame,
    report: CanonicalReport,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Write the images one by one, and yield the new name and the new labels of each."""
    made = _read_ledger(plan.target / LEDGER)
    for name, entry in entries.items():
        source = plan.source / name
        try:
            header = probe_image(source)
            row = plan.made_from(sha256_of_file(source))
            if made.get(name) == row and (plan.target / plan.name_of(name)).is_file():
                report.kept += 1
            else:
                _write_image(plan, name)
                _append_to_ledger(plan.target / LEDGER, {"name": name, **row})
                report.written += 1
        except ImageDecodeError as problem:
            report.bad[name] = problem.why
            continue
        shown = to_displayed(annotations[name], header.orientation, header.raw_height, header.raw_width, polygon_frame)
        size = (header.height, header.width)
        yield plan.name_of(name), _moved_entry(entry, shown.polygons, size, shrunk_size(size, plan.long_side))


def _write_image(plan: _Plan, name: str) -> None:
    image = ImageLoader()(plan.source / name)
    image = shrink_to(image, shrunk_size((image.shape[0], image.shape[1]), plan.long_side))
    target = plan.target / plan.name_of(name)
    options = [] if plan.lossless else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, coded = cv2.imencode(target.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    write_atomically(target, coded.tobytes())


def _moved_entry(
    entry: dict[str, Any], polygons: list[Polygon], old: tuple[int, int], new: tuple[int, int]
) -> dict[str, Any]:
    """The labels of an image with its polygons, displayed at size `old`, moved to size `new`; all else is kept."""
    matrix = np.diag([new[1] / old[1], new[0] / old[0], 1.0])
    moved = iter(transform_points(matrix, polygon).tolist() for polygon in polygons)
    words = {
        key: {**word, "points": next(moved)} if word.get("points") else word
        for key, word in (entry.get("words") or {}).items()
    }
    sizes = {key: side for key, side in (("img_h", new[0]), ("img_w", new[1])) if entry.get(key) is not None}
    return {**entry, **sizes} | ({"words": words} if "words" in entry else {})


def _check_names(plan: _Plan, annotations: AnnotationSet) -> None:
    taken: dict[str, str] = {}
    for name in annotations:
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise CanonicalError(
                f"The image name {name!r} leads out of {plan.source}; names are relative and go down only"
            )
        other = taken.setdefault(plan.name_of(name), name)
        if other != name:
            raise CanonicalError(
                f"The images {other!r} and {name!r} would both become {plan.name_of(name)!r}; rename one of them"
            )


def _check_target(plan: _Plan, labels: Path, new_labels: Path) -> None:
    if plan.target.resolve() == plan.source.resolve() or new_labels.resolve() == labels.resolve():
        raise CanonicalError(
            f"{plan.target} or {new_labels} leads to the source itself, which is never overwritten; remove that link"
        )
    if plan.target.is_dir() and any(plan.target.iterdir()) and not (plan.target / LEDGER).is_file():
        raise CanonicalError(
            f"{plan.target} holds files that this command did not make (it has no {LEDGER}); move or remove the folder"
        )


def _append_to_ledger(ledger: Path, row: dict[str, Any]) -> None:
    # After the image: a kill between the two writes the image again, and never trusts one that is not there.
    with ledger.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _read_ledger(ledger: Path) -> dict[str, dict[str, Any]]:
    if not ledger.is_file():
        ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger.touch()
    rows: dict[str, dict[str, Any]] = {}
    for line in ledger.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that a kill cut short; its image is made again
        rows[row.pop("name")] = row
    return rows
