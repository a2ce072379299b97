"""Label files to validated polygons, and predictions to files.

Formats read: the project's own JSON, ICDAR 2015 / SROIE text files (a folder), a PaddleOCR label file, COCO-style JSON.
Polygons are float64 (N, 2) with N >= 4, in the pixels of the file's own frame, vertex order kept. Nothing is mended or
skipped in silence: whatever breaks the form is an ``AnnotationError`` that names file, image, word and the way out.
Legal: an image without words, a word with an empty list of points (it has no polygon), keys that nobody knows.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ocr.datasets.label_fields import (
    IGNORED_TRANSCRIPTIONS,
    AnnotationError,
    AnnotationSet,
    ImageAnnotation,
    Place,
    parse_json,
    read_number,
    read_points,
    read_text,
    short,
)
from ocr.datasets.label_formats import read_coco, read_icdar, read_json, read_paddle, walk_json
from ocr.utils.content_hash import write_atomically
from ocr.utils.errors import nearest
from ocr.utils.orientation import displayed_size, orientation_matrix
from ocr.utils.polygons import Polygon, transform_points

__all__ = [
    "IGNORED_TRANSCRIPTIONS",
    "AnnotationError",
    "AnnotationSet",
    "Detection",
    "ImageAnnotation",
    "PolygonFrame",
    "Predictions",
    "load_annotations",
    "read_predictions",
    "to_displayed",
    "write_predictions_json",
    "write_submission_csv",
]

Format = Literal["auto", "json", "icdar", "paddle", "coco"]
PolygonFrame = Literal["raw", "displayed", "auto"]

_CSV_COLUMNS = ["filename", "polygons", "avg_confidence"]


class Detection(NamedTuple):
    """A predicted polygon, float64 (N, 2), and its confidence 0..1 where it is known."""

    polygon: Polygon
    confidence: float | None


Predictions = dict[str, list[Detection]]
"""File name of an image -> its detections; an image without detections has an empty list."""


def load_annotations(path: str | Path, format: Format = "auto", image_dir: Path | None = None) -> AnnotationSet:
    """Read a label file, or a folder of ICDAR / SROIE text files.

    Args:
        path: the file or folder.
        format: ``auto`` decides by what is there: a folder is ``icdar``; a JSON file is ``coco`` where ``images`` is a
            list and ``json`` where it is an object; any other file is ``paddle``.
        image_dir: folder of the images. Text files do not name their image and PaddleOCR names carry folders: with it
            the name is the file that is there; without it ``gt_x.txt`` and ``x.txt`` mean ``x.jpg``.

    Raises:
        AnnotationError: the file is absent, is not what ``format`` says, or breaks its form.
    """
    source = Path(path)
    if not source.exists():
        raise _absent(source)
    if format == "icdar" or (format == "auto" and source.is_dir()):
        return read_icdar(source, image_dir)
    if source.is_dir():
        raise AnnotationError(
            f"{source} is a folder, but format={format} is a file; name the file, or use format=icdar."
        )
    if format == "paddle" or (format == "auto" and source.suffix.lower() != ".json"):
        return read_paddle(source, image_dir)
    root = parse_json(source, read_text(source))
    coco = isinstance(root, dict) and isinstance(root.get("images"), list)
    return read_coco(source, root) if format == "coco" or (format == "auto" and coco) else read_json(source, root)


def to_displayed(
    annotation: ImageAnnotation, orientation: int, raw_height: int, raw_width: int, polygon_frame: PolygonFrame = "auto"
) -> ImageAnnotation:
    """Return the annotation with its polygons in displayed pixels (EXIF applied); the argument is left as it is.

    ``auto`` asks, in this order, until one answers: does the size stated in the file (``img_h``, ``img_w``) equal only
    the raw or only the displayed one? Do the points fit into only one of the two? Otherwise the frame is ``displayed``,
    which is what an annotator sees in every viewer. (Orientations 2 to 4, and square pictures, keep the size, so there
    ``auto`` is always ``displayed``.)

    Raises:
        AnnotationError: the size stated in the file is neither the raw nor the displayed one.
    """
    raw = (raw_height, raw_width)
    displayed = displayed_size(orientation, *raw)
    if annotation.size is not None and annotation.size not in (raw, displayed):
        raise AnnotationError(
            f"The image {annotation.name} has {raw_height} x {raw_width} pixels (height x width), but its annotation "
            f"says img_h {annotation.size[0]}, img_w {annotation.size[1]}, so its polygons belong to another copy; put "
            "that copy there, or correct img_h and img_w if the polygons do fit."
        )
    frame = _guess_frame(annotation, raw, displayed) if polygon_frame == "auto" else polygon_frame
    if frame == "displayed" or orientation == 1:
        return replace(annotation, size=displayed)
    matrix = orientation_matrix(orientation, *raw)
    return replace(annotation, polygons=[transform_points(matrix, p) for p in annotation.polygons], size=displayed)


def write_predictions_json(path: Path, predictions: Mapping[str, Sequence[tuple[Polygon, float | None]]]) -> None:
    """Write detections in the project's own form, whole or not at all; coordinates keep every digit."""
    images = {
        name: {"words": {f"{i:04d}": _word_of(*detection) for i, detection in enumerate(found, start=1)}}
        for name, found in predictions.items()
    }
    write_atomically(path, json.dumps({"images": images}, ensure_ascii=False, indent=1).encode())


def write_submission_csv(
    path: Path, predictions: Mapping[str, Sequence[tuple[Polygon, float | None]]], confidence: bool = False
) -> None:
    """Write the competition's table ``filename,polygons[,avg_confidence]``, whole or not at all.

    Polygons are joined by ``|``, coordinates by spaces, with every digit; no detections is an empty field. The average
    is over the detections of the image that have a confidence, empty where none has.
    """
    columns = _CSV_COLUMNS if confidence else _CSV_COLUMNS[:2]
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(columns)
    for name, found in predictions.items():
        known = [c for _, c in found if c is not None]
        average = f"{sum(known) / len(known):.6f}" if known else ""
        table.writerow([name, "|".join(_coordinates(p) for p, _ in found), average][: len(columns)])
    write_atomically(path, stream.getvalue().encode())


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions: the project's JSON with optional ``confidence``, or the competition's CSV.

    The CSV knows only an average per image, so its detections have no confidence of their own.

    Raises:
        AnnotationError: the file is absent or breaks its form.
    """
    source = Path(path)
    if not source.is_file():
        raise _absent(source)
    text = read_text(source)
    if source.suffix.lower() == ".csv":
        return _read_csv(source, text)
    return {
        name: [Detection(points, _confidence(place, word)) for place, word, points in words]
        for name, _, words in walk_json(source, parse_json(source, text))
    }


def _confidence(place: Place, word: Mapping[str, Any]) -> float | None:
    value = word.get("confidence")
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise place.error(f"confidence is {short(value)}, but it must lie in 0..1; correct it or remove the key")
    return float(value)


def _read_csv(source: Path, text: str) -> Predictions:
    csv.field_size_limit(2**31 - 1)  # a thousand polygons in one field pass the default limit
    rows = csv.reader(io.StringIO(text))
    header = next(rows, [])
    if header not in (_CSV_COLUMNS, _CSV_COLUMNS[:2]):
        raise AnnotationError(
            f"The first line of {source} is {short(','.join(header))}, but it must be filename,polygons or "
            "filename,polygons,avg_confidence; add that line."
        )
    found: Predictions = {}
    for row in rows:
        place = Place(source, row[0] if row else "", f"line {rows.line_num}")
        if len(row) != len(header):
            raise place.error(f"it has {len(row)} fields, the header {len(header)}; fields with commas need quotes")
        if row[0] in found:
            raise place.error("the image is there a second time; put all its polygons on one line")
        found[row[0]] = [Detection(_csv_polygon(place, part), None) for part in row[1].split("|") if row[1].strip()]
    return found


def _csv_polygon(place: Place, text: str) -> Polygon:
    numbers = [read_number(place, "a coordinate", field) for field in text.split()]
    if len(numbers) % 2:
        raise place.error(f"the polygon {short(text)} has {len(numbers)} numbers, but x and y come in pairs; add one")
    points = read_points(place, [numbers[i : i + 2] for i in range(0, len(numbers), 2)])
    if points is None:
        raise place.error("a polygon between two | is empty; remove one |")
    return points


def _coordinates(polygon: Polygon) -> str:
    return " ".join(repr(float(value)).removesuffix(".0") for value in np.asarray(polygon).ravel())


def _word_of(polygon: Polygon, confidence: float | None) -> dict[str, Any]:
    word: dict[str, Any] = {"points": np.asarray(polygon, dtype=np.float64).tolist()}
    return word if confidence is None else {**word, "confidence": float(confidence)}


def _guess_frame(
    annotation: ImageAnnotation, raw: tuple[int, int], displayed: tuple[int, int]
) -> Literal["raw", "displayed"]:
    if raw == displayed:
        return "displayed"
    if annotation.size is not None:
        return "raw" if annotation.size == raw else "displayed"
    return "raw" if _fits(annotation, raw) and not _fits(annotation, displayed) else "displayed"


def _fits(annotation: ImageAnnotation, size: tuple[int, int]) -> bool:
    height, width = size
    return all(bool((points <= (width, height)).all()) for points in annotation.polygons)


def _absent(source: Path) -> AnnotationError:
    siblings = [entry.name for entry in source.parent.iterdir()] if source.parent.is_dir() else []
    if siblings:
        hint = nearest(source.name, siblings) or f"; the folder holds {', '.join(sorted(siblings)[:5])}"
    else:
        hint = f"; the folder {source.parent} is absent or empty"
    return AnnotationError(
        f"The file {source} does not exist{hint}; set dataset_base_path to the folder that holds images/ and jsons/, "
        "or name the file itself."
    )
