"""The parts that every label format is made of, validated: text, JSON, points, flags, numbers.

Nothing is mended or skipped in silence: whatever breaks the form is an ``AnnotationError`` that names file, image, word
and the way out.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ocr.utils.content_hash import sha256_of_json
from ocr.utils.errors import OCRError
from ocr.utils.polygons import Polygon

IGNORED_TRANSCRIPTIONS = frozenset({"###", "*"})
"""Transcriptions that mark a word as unreadable: neither learnt nor scored."""

_MIN_POINTS = 4
_LARGEST_COORDINATE = 1e7  # pixels; beyond it a number is a slip, and areas lose their digits


class AnnotationError(OCRError):
    """A label or prediction file that breaks its form: where, which value, what is allowed, what to do."""


@dataclass(frozen=True)
class ImageAnnotation:
    """The words of one image; the three lists are aligned and in the order of the file.

    Attributes:
        polygons: float64 (N, 2) each, N >= 4, as (x, y) in pixels.
        ignore: the word is unreadable (``illegibility``, ``###``, ``*``, difficult, crowd).
        transcriptions: text of the word, None where the file gives none.
        size: (height, width) that the file states for the image, None where it states none.
    """

    name: str
    polygons: list[Polygon]
    ignore: list[bool]
    transcriptions: list[str | None]
    size: tuple[int, int] | None = None


class AnnotationSet(Mapping[str, ImageAnnotation]):
    """File name of an image -> its annotation, in the order of the file."""

    def __init__(self, images: Mapping[str, ImageAnnotation]) -> None:
        self._images = dict(images)

    def __getitem__(self, name: str) -> ImageAnnotation:
        return self._images[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def content_digest(self) -> str:
        """Return the SHA-256 (hex) of all names, sizes and words, whatever format they were read from."""
        return sha256_of_json(
            [
                [image.name, image.size, [p.tolist() for p in image.polygons], image.ignore, image.transcriptions]
                for image in self.values()
            ]
        )


class Place(NamedTuple):
    """Where in a file we are, for the error."""

    file: Path
    image: str
    word: str

    def error(self, problem: str) -> AnnotationError:
        """Return the error for ``problem``, which says the value, what is allowed and what to do."""
        return AnnotationError(f"In {self.file}, image {self.image!r}, {self.word}: {problem}.")


Words = list[tuple[Place, Mapping[str, Any], Polygon]]


def read_points(place: Place, value: Any) -> Polygon | None:
    """Return a list of [x, y] pairs as float64 (N, 2), N >= 4; None where it is missing or empty.

    Raises:
        AnnotationError: no such list, fewer than four points, or a coordinate that is no finite number of pixels.
    """
    if value is None or value == []:
        return None
    if not isinstance(value, list) or not all(isinstance(point, list) and len(point) == 2 for point in value):
        raise place.error(f"points is {short(value)}, but it must be a list of [x, y] pairs; write one pair per corner")
    for index, point in enumerate(value):
        for axis, number in zip("xy", point, strict=True):
            if type(number) not in (int, float) or not abs(number) <= _LARGEST_COORDINATE:
                raise place.error(
                    f"{axis} of point {index + 1} is {short(number)}, but it must be a finite number of pixels (at "
                    f"most {_LARGEST_COORDINATE:,.0f}); correct it or remove the word"
                )
    if len(value) < _MIN_POINTS:
        raise place.error(
            f"points has {len(value)} point{'s' * (len(value) > 1)}, but a polygon needs at least {_MIN_POINTS}; give "
            "all corners (a rectangle has four) or remove the word"
        )
    return np.array(value, dtype=np.float64)


def read_flag(place: Place, word: Mapping[str, Any], key: str) -> bool:
    """Return ``word[key]`` as a truth value, False where it is missing.

    Raises:
        AnnotationError: it is neither true nor false.
    """
    value = word.get(key)
    if value not in (None, True, False):  # 0 and 1 equal False and True
        raise place.error(f"{key} is {short(value)}, but it must be true or false; correct it or remove the key")
    return bool(value)


def read_transcription(place: Place, word: Mapping[str, Any], key: str = "transcription") -> str | None:
    """Return the text ``word[key]``, None where it is missing.

    Raises:
        AnnotationError: it is no text.
    """
    value = word.get(key)
    if value is not None and not isinstance(value, str):
        raise place.error(f"{key} is {short(value)}, but it must be a text; put it in quotes or remove the key")
    return value


def read_number(place: Place, what: str, value: Any) -> float:
    """Return ``value`` (a number or its text) as a float of at most 1e7 either way; ``what`` names it in the error.

    Raises:
        AnnotationError: it is not a finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _LARGEST_COORDINATE:
        raise place.error(f"{what} is {short(value)}, but it must be a finite number; correct it")
    return number


def read_size(place: Place, entry: Mapping[str, Any], height_key: str, width_key: str) -> tuple[int, int] | None:
    """Return (height, width) in pixels, None where one of the two keys is missing.

    Raises:
        AnnotationError: one of them is not a whole number above zero.
    """
    height, width = entry.get(height_key), entry.get(width_key)
    if height is None or width is None:
        return None
    for key, value in ((height_key, height), (width_key, width)):
        if type(value) not in (int, float) or value != value // 1 or value < 1:
            raise place.error(f"{key} is {short(value)}, but it must be a whole number of pixels; correct or remove it")
    return int(height), int(width)


def walk_words(source: Path, name: str, words: Mapping[str, Any]) -> Iterator[tuple[Place, Mapping[str, Any], Polygon]]:
    """Yield (place, word, points) of each word that has points.

    Raises:
        AnnotationError: a word is not an object, or its points break the form.
    """
    for key, word in words.items():
        place = Place(source, name, f"word {key!r}")
        if not isinstance(word, dict):
            raise place.error(
                f"found {short(word)} where an object with `points` must be; write one or remove the word"
            )
        points = read_points(place, word.get("points"))
        if points is not None:
            yield place, word, points


def read_text(source: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        AnnotationError: it cannot be read, or is in another encoding.
    """
    try:
        return source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line, byte = problem.object[: problem.start].count(b"\n") + 1, problem.object[problem.start]
        raise AnnotationError(
            f"Line {line} of {source} is not UTF-8 (byte {byte:#04x}); save the file as UTF-8."
        ) from problem
    except OSError as problem:
        raise AnnotationError(
            f"{source} cannot be read ({problem.strerror}); check that it is a readable file."
        ) from problem


def read_lines(source: Path) -> list[str]:
    """Return the lines of a UTF-8 file without their ends.

    Raises:
        AnnotationError: as ``read_text``.
    """
    # Not str.splitlines: it also splits at characters that a transcription may hold.
    return [line.removesuffix("\r") for line in read_text(source).split("\n")]


def parse_json(source: Path, text: str, first_line: int = 1) -> Any:
    """Parse JSON text; ``first_line`` is where in ``source`` it begins, for the error.

    Raises:
        AnnotationError: it is not JSON, or a key stands twice in one object (one of the two would be lost).
    """

    def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            double = next(key for key in keys if keys.count(key) > 1)
            raise AnnotationError(f"In {source} the key {double!r} stands twice in one object; keep one of the two.")
        return found

    try:
        return json.loads(text, object_pairs_hook=without_doubles)
    except json.JSONDecodeError as problem:
        line = first_line + problem.lineno - 1
        raise AnnotationError(
            f"Line {line}, column {problem.colno} of {source} is not JSON ({problem.msg}); correct it there."
        ) from problem


def short(value: Any) -> str:
    """Return a value as it is shown in an error: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
