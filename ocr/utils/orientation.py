"""EXIF orientation: read from the first bytes of a file, applied to pixels and to points by the same rule.

The rule is the table of the EXIF 2.32 standard, tag 0x0112 (CIPA DC-008, section 4.6.5): "raw" is the stored picture,
"displayed" is what a viewer shows. Only the EXIF tag counts; orientations in XMP are not read.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

Buffer = bytes | mmap.mmap

_ORIENTATION_TAG = 0x0112
_INTEGER_FORMATS = {3: "H", 4: "I"}  # TIFF field types SHORT (the standard's) and LONG (seen in the wild)
_STANDALONE_MARKERS = {0x01, *range(0xD0, 0xD9)}  # TEM, RST0..7 and SOI carry no length
_SWAPS_SIDES = (5, 6, 7, 8)
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"


def read_orientation(source: str | Path | Buffer) -> int:
    """Return the EXIF orientation of a file or of its bytes: 1..8, and 1 where there is none or it makes no sense.

    Reads JPEG (APP1 segment) and PNG (eXIf chunk) headers without decoding a pixel. Never raises for what the bytes
    hold; other kinds of file have orientation 1.

    Raises:
        OSError: ``source`` is a path that cannot be opened.
    """
    if isinstance(source, (bytes, mmap.mmap)):
        return _orientation_of_bytes(source)
    with open(source, "rb") as file:
        if file.seek(0, 2) == 0:
            return 1
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _orientation_of_bytes(data)


def apply_orientation(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn raw pixels (H, W) or (H, W, C <= 4) into displayed ones; C-contiguous, dtype kept, the input untouched.

    Orientation 1 returns ``image`` itself.

    Raises:
        ValueError: ``orientation`` is not 1..8.
    """
    _check(orientation)
    if orientation == 1:
        return np.ascontiguousarray(image)
    turned = cv2.transpose(image) if orientation in _SWAPS_SIDES else image
    # OpenCV's flip codes: 1 mirrors x, 0 mirrors y, -1 both.
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    turned = turned if flip is None else cv2.flip(turned, flip)
    height, width = displayed_size(orientation, *image.shape[:2])
    return turned.reshape(height, width, *image.shape[2:])


def orientation_matrix(orientation: int, raw_height: int, raw_width: int) -> np.ndarray:
    """Return the 3x3 float64 matrix from raw to displayed points, (x, y) in pixels, origin at the corner.

    A pixel covers [i, i + 1), so mirroring x in a picture ``raw_width`` wide is ``raw_width - x``.

    Raises:
        ValueError: ``orientation`` is not 1..8.
    """
    _check(orientation)
    w, h = float(raw_width), float(raw_height)
    rows = {
        1: ((1, 0, 0), (0, 1, 0)),
        2: ((-1, 0, w), (0, 1, 0)),
        3: ((-1, 0, w), (0, -1, h)),
        4: ((1, 0, 0), (0, -1, h)),
        5: ((0, 1, 0), (1, 0, 0)),
        6: ((0, -1, h), (1, 0, 0)),
        7: ((0, -1, h), (-1, 0, w)),
        8: ((0, 1, 0), (-1, 0, w)),
    }[orientation]
    return np.array([*rows, (0, 0, 1)], dtype=np.float64)


def displayed_size(orientation: int, raw_height: int, raw_width: int) -> tuple[int, int]:
    """Return (height, width) of the displayed picture; orientations 5..8 swap the sides.

    The map is its own inverse, so it also gives the raw size of a displayed one.

    Raises:
        ValueError: ``orientation`` is not 1..8.
    """
    _check(orientation)
    return (raw_width, raw_height) if orientation in _SWAPS_SIDES else (raw_height, raw_width)


def jpeg_segments(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each JPEG header segment, payload ``data[start:end]``, start of scan included last.

    Stops in silence where the bytes stop making sense; ``end`` never passes the end of the data.
    """
    position, size = 2, len(data)
    while position + 4 <= size and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _STANDALONE_MARKERS:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _END_OF_IMAGE or length < 2:
            return
        yield marker, position + 4, min(position + 2 + length, size)
        if marker == _START_OF_SCAN:
            return
        position += 2 + length


def png_chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of each complete PNG chunk: payload ``data[start:end]``, CRC in the four bytes after."""
    position, size = len(PNG_SIGNATURE), len(data)
    while position + 12 <= size:
        length = int.from_bytes(data[position : position + 4], "big")
        if position + 12 + length > size:
            return
        yield data[position + 4 : position + 8], position + 8, position + 8 + length
        position += 12 + length


def _orientation_of_bytes(data: Buffer) -> int:
    if data[:2] == JPEG_SIGNATURE:
        for marker, start, end in jpeg_segments(data):
            if marker == _APP1 and data[start : start + 6] == b"Exif\0\0":
                return _orientation_of_tiff(data[start + 6 : end])
    elif data[:8] == PNG_SIGNATURE:
        for kind, start, end in png_chunks(data):
            if kind == b"eXIf":
                return _orientation_of_tiff(data[start:end])
    return 1


def _orientation_of_tiff(tiff: bytes) -> int:
    """Find tag 0x0112 in the first directory of a TIFF header (TIFF 6.0, section 2)."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    last = min(directory + 2 + 12 * entries, len(tiff) - 11)
    for position in range(directory + 2, last, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, position)
        if tag == _ORIENTATION_TAG:
            return _valid_value(order, tiff, position + 8, kind, count)
    return 1


def _valid_value(order: str, tiff: bytes, position: int, kind: int, count: int) -> int:
    if kind not in _INTEGER_FORMATS or count != 1:
        return 1
    (value,) = struct.unpack_from(order + _INTEGER_FORMATS[kind], tiff, position)
    return int(value) if 1 <= value <= 8 else 1


def _check(orientation: int) -> None:
    if orientation not in range(1, 9):
        raise ValueError(
            f"The orientation is {orientation}, but EXIF knows 1 to 8; take it from read_orientation, which gives 1 "
            "where a file holds none."
        )
