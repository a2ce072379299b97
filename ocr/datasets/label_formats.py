"""Readers of the label formats: the project's own JSON, ICDAR 2015 / SROIE text, PaddleOCR, COCO-style JSON.

Each returns an ``AnnotationSet`` in the order of the file, and raises ``AnnotationError`` where the form is broken.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ocr.datasets.label_fields import (
    IGNORED_TRANSCRIPTIONS,
    AnnotationError,
    AnnotationSet,
    ImageAnnotation,
    Place,
    Words,
    parse_json,
    read_flag,
    read_lines,
    read_number,
    read_points,
    read_size,
    read_transcription,
    short,
    walk_words,
)
from ocr.utils.polygons import Polygon

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
_ID_TYPES = (int, str)


def walk_json(source: Path, root: Any) -> Iterator[tuple[str, Mapping[str, Any], Words]]:
    """Yield (file name, its entry, its words that have points) of the project's own form."""
    images = root.get("images") if isinstance(root, dict) else None
    if not isinstance(images, dict):
        raise AnnotationError(
            f"{source} has no object `images` at its top, so it is not in the project's form "
            '({"images": {FILE: {"words": {KEY: {"points": [[x, y], ...]}}}}}); convert it, or name its format.'
        )
    for name, entry in images.items():
        words = entry.get("words") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or not isinstance(words, dict | None):
            raise Place(source, name, "words").error(
                f"found {short(words)} where an object of words must be; write {{}} where there are none"
            )
        yield name, entry, list(walk_words(source, name, words or {}))


def read_json(source: Path, root: Any) -> AnnotationSet:
    """Read the project's own form from its parsed JSON.

    Raises:
        AnnotationError: the form is broken.
    """
    images = {}
    for name, entry, words in walk_json(source, root):
        texts = [read_transcription(place, word) for place, word, _ in words]
        ignore = [
            read_flag(place, word, "illegibility") or text in IGNORED_TRANSCRIPTIONS
            for (place, word, _), text in zip(words, texts, strict=True)
        ]
        size = read_size(Place(source, name, "the image's own keys"), entry, "img_h", "img_w")
        images[name] = ImageAnnotation(name, [points for _, _, points in words], ignore, texts, size)
    return AnnotationSet(images)


def read_icdar(folder: Path, image_dir: Path | None) -> AnnotationSet:
    """Read a folder of text files, one per image, in the order of their names.

    Raises:
        AnnotationError: no folder, no text files, two of them for one image, or a broken line.
    """
    if not folder.is_dir():
        raise AnnotationError(f"{folder} is a file, but format=icdar is a folder of text files; name the folder.")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".txt")
    if not files:
        raise AnnotationError(f"The folder {folder} holds no .txt file; name the folder that holds one per image.")
    images: dict[str, ImageAnnotation] = {}
    for file in files:
        name = _image_of(file, image_dir or folder)
        if name in images:
            raise AnnotationError(f"{file} is a second annotation of {name}; keep one of the two files.")
        images[name] = _read_icdar_file(file, name)
    return AnnotationSet(images)


def _read_icdar_file(file: Path, name: str) -> ImageAnnotation:
    """Read lines ``x1,y1,x2,y2,x3,y3,x4,y4,TRANSCRIPTION``; the text may hold commas, or be missing."""
    polygons, texts = [], []
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        place = Place(file, name, f"line {number}")
        fields = line.split(",", 8)
        if len(fields) < 8:
            raise place.error(
                f"found {short(line)}, but a line is eight coordinates and the text, joined by commas; write the four "
                "corners"
            )
        numbers = [read_number(place, f"coordinate {i + 1}", field) for i, field in enumerate(fields[:8])]
        polygons.append(np.array(numbers, dtype=np.float64).reshape(4, 2))
        texts.append(fields[8] if len(fields) > 8 else None)
    return ImageAnnotation(name, polygons, [text in IGNORED_TRANSCRIPTIONS for text in texts], texts)


def _image_of(file: Path, image_dir: Path) -> str:
    stem = file.stem.removeprefix("gt_")
    found = [stem + ending for ending in _IMAGE_ENDINGS if (image_dir / (stem + ending)).is_file()]
    if len(found) > 1:
        raise AnnotationError(f"{file} may mean {' or '.join(found)}, both in {image_dir}; keep one of the two images.")
    return found[0] if found else stem + _IMAGE_ENDINGS[0]


def read_paddle(source: Path, image_dir: Path | None) -> AnnotationSet:
    """Read lines ``IMAGE<tab>[{"transcription": TEXT, "points": [[x, y], ...], "difficult": false}, ...]``."""
    images: dict[str, ImageAnnotation] = {}
    for number, line in enumerate(read_lines(source), start=1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        if not tab:
            raise AnnotationError(
                f"Line {number} of {source} is {short(line)}, but a PaddleOCR label line is an image name, a tab and "
                "a list of words; add the tab, or name another format (json, icdar, coco)."
            )
        if image_dir is not None and not (image_dir / name).is_file():
            name = Path(name).name
        if name in images:
            raise AnnotationError(
                f"Line {number} of {source} annotates {name} a second time; keep one of the two lines."
            )
        images[name] = _read_paddle_words(source, name, number, text)
    return AnnotationSet(images)


def _read_paddle_words(source: Path, name: str, line: int, text: str) -> ImageAnnotation:
    words = parse_json(source, text, first_line=line)
    if not isinstance(words, list):
        raise Place(source, name, f"line {line}").error(f"found {short(words)} where a list of words must be; write []")
    found = ImageAnnotation(name, [], [], [])
    for index, (place, word, points) in enumerate(
        walk_words(source, name, {f"{i} of line {line}": word for i, word in enumerate(words, start=1)})
    ):
        found.polygons.append(points)
        found.transcriptions.append(read_transcription(place, word))
        found.ignore.append(
            read_flag(place, word, "difficult") or found.transcriptions[index] in IGNORED_TRANSCRIPTIONS
        )
    return found


def read_coco(source: Path, root: Any) -> AnnotationSet:
    """Read ``images`` and ``annotations``; each part of a segmentation is a polygon, else the ``bbox`` is."""
    images = _coco_images(source, _list(source, root, "images"))
    for position, word in enumerate(_list(source, root, "annotations")):
        image_id = word.get("image_id") if isinstance(word, dict) else None
        if not isinstance(image_id, _ID_TYPES) or image_id not in images:
            raise Place(source, short(image_id), f"annotations[{position}]").error(
                "its image_id is that of no image; add the image or remove the annotation"
            )
        image = images[image_id]
        _add_coco_word(image, Place(source, image.name, f"annotations[{position}]"), word)
    return AnnotationSet({image.name: image for image in images.values()})


def _coco_images(source: Path, entries: list[Any]) -> dict[int | str, ImageAnnotation]:
    images: dict[int | str, ImageAnnotation] = {}
    names: set[str] = set()
    for position, entry in enumerate(entries):
        place = Place(source, f"images[{position}]", "its keys")
        name, image_id = (entry.get("file_name"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(image_id, _ID_TYPES):
            raise place.error(
                f"found {short(entry)}, but an image needs a number or text `id` and a text `file_name`; add them"
            )
        if image_id in images or name in names:
            raise place.error(f"{name!r} (id {image_id}) is there a second time; keep one of the two")
        names.add(name)
        images[image_id] = ImageAnnotation(name, [], [], [], read_size(place, entry, "height", "width"))
    return images


def _add_coco_word(image: ImageAnnotation, place: Place, word: Mapping[str, Any]) -> None:
    text = read_transcription(place, word, "transcription" if "transcription" in word else "text")
    ignore = read_flag(place, word, "iscrowd") or read_flag(place, word, "ignore") or text in IGNORED_TRANSCRIPTIONS
    for points in _coco_parts(place, word):
        image.polygons.append(points)
        image.ignore.append(ignore)
        image.transcriptions.append(text)


def _coco_parts(place: Place, word: Mapping[str, Any]) -> list[Polygon]:
    parts, box = word.get("segmentation"), word.get("bbox")
    if parts:
        if not isinstance(parts, list) or not all(isinstance(part, list) and len(part) % 2 == 0 for part in parts):
            raise place.error(
                f"segmentation is {short(parts)}, but it must be a list of [x1, y1, x2, y2, ...]; run-length masks "
                "are not read: convert them to polygons"
            )
        found = [read_points(place, [part[i : i + 2] for i in range(0, len(part), 2)]) for part in parts]
        return [points for points in found if points is not None]
    if not isinstance(box, list) or len(box) != 4:
        raise place.error(
            f"bbox is {short(box)}, but without a segmentation it must be [x, y, w, h]; add one of the two"
        )
    x, y, w, h = (read_number(place, "bbox", value) for value in box)
    return [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], dtype=np.float64)]


def _list(source: Path, root: Any, key: str) -> list[Any]:
    value = root.get(key) if isinstance(root, dict) else None
    if not isinstance(value, list):
        raise AnnotationError(
            f"{source} has no list `{key}` at its top, so it is not COCO-style; add it, or name its format."
        )
    return value
