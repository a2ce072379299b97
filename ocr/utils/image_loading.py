"""From an image file to displayed RGB pixels, the same ones through every decoder.

Decoders differ in what they let pass (for a truncated file TurboJPEG returns half a picture, OpenCV nothing, Pillow
raises), so what counts as valid is decided once, for all of them:

1. The header must be one that all three read (8-bit baseline or progressive JPEG, PNG), and the stream must
   reach its end marker. That is checked here, before a decoder sees the file.
2. A file that a decoder refuses or complains of is decoded by OpenCV, whichever loader was asked: its verdict and its
   pixels hold. So a JPEG with a few bad bits is kept, with a warning, and gives the same pixels everywhere.

EXIF orientation is applied once, by ``ocr.utils.orientation``; decoders are told to leave it alone.
"""

import ctypes.util
import functools
import io
import logging
import mmap
import platform
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import PIL
import turbojpeg
from PIL import Image

from ocr.utils.errors import OCRError
from ocr.utils.orientation import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    Buffer,
    apply_orientation,
    displayed_size,
    jpeg_segments,
    png_chunks,
    read_orientation,
)

logger = logging.getLogger(__name__)

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded: Pillow's own limit, applied to every decoder alike."""

_READABLE_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended sequential, progressive; Huffman coded
_ALL_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC are no frames
_CMYK_COMPONENTS = 4
_FETCH_AGAIN = "copy the file again from its source, or leave it out with on_bad_image=drop"
_CONVERT = "convert it to an 8-bit baseline JPEG or to PNG"
_GET_TURBOJPEG = (
    "install it (Debian and Ubuntu: apt install libturbojpeg0; macOS: brew install jpeg-turbo), or set "
    "turbojpeg_fallback=true to decode with OpenCV"
)


class ImageDecodeError(OCRError):
    """An image file that cannot be turned into pixels; ``path`` and ``why`` say which and what to do."""

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(str(path), why)
        self.path, self.why = str(path), why

    def __str__(self) -> str:
        return f"The image {self.path} cannot be decoded: {self.why}."


class DecoderMissingError(OCRError):
    """A decoder was asked for without a fallback and is not installed."""


@dataclass(frozen=True)
class ImageHeader:
    """Displayed size in pixels and the EXIF orientation (1..8) that leads to it."""

    height: int
    width: int
    orientation: int

    @property
    def raw_height(self) -> int:
        """Height in pixels as stored in the file."""
        return displayed_size(self.orientation, self.height, self.width)[0]

    @property
    def raw_width(self) -> int:
        """Width in pixels as stored in the file."""
        return displayed_size(self.orientation, self.height, self.width)[1]


@dataclass(frozen=True)
class DecodeReport:
    """Outcome of decoding a file once: ``ok`` with an optional decoder ``warning``, or not ok with the ``error``.

    Neither text names the file, so that a report can be remembered by the content alone. The text of a
    warning is known where TurboJPEG is installed; elsewhere it stays None. ``ok`` is the same everywhere.
    """

    ok: bool
    warning: str | None = None
    error: str | None = None


class LoadedImage(NamedTuple):
    """Displayed pixels, uint8 (H, W, 3) RGB, C-contiguous, and what the decoder said of the file, if anything."""

    pixels: np.ndarray
    warning: str | None


class Loader(Protocol):
    """What every loader offers: a path in, displayed RGB out, and the name of the decoder that ran."""

    decoder_name: str
    fallback_reason: str | None

    def __call__(self, path: str | Path) -> np.ndarray:
        """Return uint8 (H, W, 3) RGB, C-contiguous."""

    def load(self, path: str | Path) -> LoadedImage:
        """Return the same pixels together with the decoder's warning, to record it without decoding twice."""


class ImageLoader:
    """Decode with TurboJPEG, or with OpenCV where that is not asked for or not installed.

    Objects hold only their options, so they pickle; the library is opened once per process.

    Args:
        use_turbojpeg: decode JPEG files with TurboJPEG (everything else goes through OpenCV).
        turbojpeg_fallback: where the library is missing, use OpenCV and log one line, instead of an error.
        turbojpeg_library: path of the shared library, where it is not in a usual place.

    Raises:
        DecoderMissingError: TurboJPEG is asked for, missing, and no fallback is allowed.
    """

    def __init__(
        self, use_turbojpeg: bool = True, turbojpeg_fallback: bool = True, turbojpeg_library: str | None = None
    ) -> None:
        self.turbojpeg_library = turbojpeg_library
        self.fallback_reason: str | None = None
        self.decoder_name = f"opencv {cv2.__version__}"
        self._use_turbojpeg = use_turbojpeg and self._turbojpeg_opens(turbojpeg_fallback)
        if self._use_turbojpeg:
            self.decoder_name = _turbojpeg(turbojpeg_library).name

    def __call__(self, path: str | Path) -> np.ndarray:
        """Return the displayed picture as uint8 (H, W, 3) RGB, C-contiguous.

        Raises:
            ImageDecodeError: no such file, not an image of a known kind, truncated, or broken beyond decoding.
        """
        return self.load(path).pixels

    def load(self, path: str | Path) -> LoadedImage:
        """Return the pixels and the decoder's warning, which only TurboJPEG can tell.

        Raises:
            ImageDecodeError: as for a call.
        """
        decode_jpeg = _turbojpeg(self.turbojpeg_library).decode_rgb if self._use_turbojpeg else _decode_opencv
        return _load(path, decode_jpeg, _decode_opencv)

    def _turbojpeg_opens(self, fallback: bool) -> bool:
        try:
            _turbojpeg(self.turbojpeg_library)
        except (OSError, RuntimeError) as problem:
            self.fallback_reason = f"TurboJPEG is not available ({_one_line(problem)})"
            if not fallback:
                raise DecoderMissingError(f"{self.fallback_reason}; {_GET_TURBOJPEG}.") from problem
            _log_once(f"{self.fallback_reason}; decoding with {self.decoder_name} instead.")
            return False
        return True


class PillowLoader:
    """Decode with Pillow: slower, the same pixels and errors. The decoder of ``preset=naive``."""

    def __init__(self) -> None:
        self.fallback_reason: str | None = None
        self.decoder_name = f"pillow {PIL.__version__}"

    def __call__(self, path: str | Path) -> np.ndarray:
        """Return the displayed picture as uint8 (H, W, 3) RGB, C-contiguous.

        Raises:
            ImageDecodeError: as ``ImageLoader``.
        """
        return self.load(path).pixels

    def load(self, path: str | Path) -> LoadedImage:
        """Return the pixels; the warning is always None, since Pillow keeps it to itself.

        Raises:
            ImageDecodeError: as ``ImageLoader``.
        """
        return _load(path, _decode_pillow, _decode_pillow)


def probe_image(path: str | Path) -> ImageHeader:
    """Return displayed size and orientation from the header, without decoding.

    Raises:
        ImageDecodeError: no such file, or not the header of a readable image.
    """
    try:
        with open(path, "rb") as file:
            if file.seek(0, 2) == 0:
                raise ImageDecodeError(path, f"it is empty; {_FETCH_AGAIN}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _header(path, data)[0]
    except OSError as problem:
        raise _unreadable(path, problem) from problem


def check_image(path: str | Path) -> DecodeReport:
    """Decode a file once and say whether it is usable; no loader accepts what this refuses, or the other way round.

    Never raises for a bad file: the error is in the report, in the words of ``ImageDecodeError.why``.
    """
    try:
        return DecodeReport(ok=True, warning=_default_loader().load(path).warning)
    except ImageDecodeError as problem:
        return DecodeReport(ok=False, error=problem.why)


_Decode = Callable[[bytes], LoadedImage]


class _DecodeFailure(Exception):
    """A decoder gave no picture; the text says why."""


class _TurboJpeg(turbojpeg.TurboJPEG):
    """PyTurboJPEG that remembers a warning instead of raising it as a Python warning, safely under threads."""

    _lock = threading.Lock()

    def __init__(self, library: str | None) -> None:
        found = library or _find_turbojpeg()
        super().__init__(found)
        self.name = f"turbojpeg {_library_version(found)}"
        self._memory = threading.local()

    def decode_rgb(self, data: bytes) -> LoadedImage:
        """Return raw pixels, uint8 (H, W, 3) RGB, with the library's warning."""
        self._memory.warning = None
        try:
            pixels = self.decode(data, pixel_format=turbojpeg.TJPF_RGB)
        except OSError as problem:
            raise _DecodeFailure(_one_line(problem)) from problem
        return LoadedImage(pixels, self._memory.warning)

    def _TurboJPEG__report_error(self, handle: int) -> None:
        # PyTurboJPEG's one hook for messages; warning filters are process-wide, hence the lock around them.
        with self._lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            super()._TurboJPEG__report_error(handle)
        self._memory.warning = str(caught[0].message)


@functools.cache
def _turbojpeg(library: str | None) -> _TurboJpeg:
    return _TurboJpeg(library)


def _find_turbojpeg() -> str | None:
    """Return a path in a usual place; None lets PyTurboJPEG search (slower, by ldconfig)."""
    usual = turbojpeg.DEFAULT_LIB_PATHS.get(platform.system(), [])
    return next((path for path in usual if Path(path).exists()), None) or ctypes.util.find_library("turbojpeg")


def _library_version(library: str | None) -> str:
    # The 2.x interface has no version call; the copyright text inside the library names it.
    file = Path(library or "")
    found = re.search(rb"libjpeg-turbo version (\d+(?:\.\d+)+)", file.read_bytes()) if file.is_file() else None
    return found.group(1).decode() if found else "of unknown version"


@functools.cache
def _default_loader() -> ImageLoader:
    return ImageLoader()


@functools.cache
def _log_once(message: str) -> None:
    logger.warning(message)


def _load(path: str | Path, decode_jpeg: _Decode, decode_other: _Decode) -> LoadedImage:
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise _unreadable(path, problem) from problem
    header, components = _header(path, data)
    _check_complete(path, data)
    decode = decode_jpeg if data[:2] == JPEG_SIGNATURE else decode_other
    if components == _CMYK_COMPONENTS:  # TurboJPEG refuses CMYK, OpenCV converts it by another formula
        decode = _decode_pillow
    try:
        raw, warning = _decode_or_arbitrate(data, decode)
    except _DecodeFailure as problem:
        raise ImageDecodeError(path, f"its data is broken beyond decoding; {_FETCH_AGAIN}") from problem
    if raw.shape[:2] != displayed_size(header.orientation, header.height, header.width):
        raise ImageDecodeError(path, f"its size differs from its header; {_FETCH_AGAIN}")
    return LoadedImage(apply_orientation(raw, header.orientation), warning)


def _decode_or_arbitrate(data: bytes, decode: _Decode) -> LoadedImage:
    """Decode; let OpenCV have the last word where ``decode`` fails or warns."""
    try:
        image = decode(data)
    except _DecodeFailure as problem:
        return LoadedImage(_decode_opencv(data).pixels, str(problem))
    return image if image.warning is None else LoadedImage(_decode_opencv(data).pixels, image.warning)


def _decode_opencv(data: bytes) -> LoadedImage:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as problem:
        raise _DecodeFailure(_one_line(problem)) from problem
    if image is None:
        raise _DecodeFailure("OpenCV finds no picture in it")
    return LoadedImage(image, None)


def _decode_pillow(data: bytes) -> LoadedImage:
    try:
        with Image.open(io.BytesIO(_without_metadata(data))) as image:
            if image.mode.startswith("I;16"):  # Pillow's own conversion clips instead of scaling
                grey = np.asarray(image).astype(np.uint16) >> 8
                return LoadedImage(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), None)
            return LoadedImage(np.array(image.convert("RGB")), None)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as problem:
        raise _DecodeFailure(_one_line(problem)) from problem


def _without_metadata(data: bytes) -> bytes:
    """Drop EXIF, XMP, ICC and the like from a JPEG: Pillow warns about odd ones, and no pixel depends on them."""
    if data[:2] != JPEG_SIGNATURE:
        return data
    parts, last = [JPEG_SIGNATURE], len(JPEG_SIGNATURE)
    for marker, start, end in jpeg_segments(data):
        if marker in (0xE0, 0xEE) or not (0xE1 <= marker <= 0xEF or marker == 0xFE):
            parts.append(b"\xff" + bytes([marker]) + data[start - 2 : end])
        last = end
    return b"".join([*parts, data[last:]])


def _header(path: str | Path, data: Buffer) -> tuple[ImageHeader, int]:
    """Return the header and the number of colour components (3 where the format always gives RGB)."""
    height, width, components = _raw_header(path, data)
    if height < 1 or width < 1:
        raise ImageDecodeError(path, f"its header gives a size of {height} x {width} pixels; {_FETCH_AGAIN}")
    if height * width > MAX_PIXELS:
        raise ImageDecodeError(
            path, f"it has {height} x {width} pixels, more than the {MAX_PIXELS:,} allowed; scale it down first"
        )
    orientation = read_orientation(data)
    return ImageHeader(*displayed_size(orientation, height, width), orientation), components


def _raw_header(path: str | Path, data: Buffer) -> tuple[int, int, int]:
    if data[:2] == JPEG_SIGNATURE:
        return _jpeg_header(path, data)
    if data[:8] == PNG_SIGNATURE and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return height, width, 3
    start = bytes(data[:4]).hex(" ") or "nothing"
    raise ImageDecodeError(path, f"it is neither a JPEG nor a PNG file (it starts with {start}); {_CONVERT}")


def _jpeg_header(path: str | Path, data: Buffer) -> tuple[int, int, int]:
    for marker, start, end in jpeg_segments(data):
        if marker not in _ALL_FRAMES or end - start < 6:
            continue
        bits, height, width, components = struct.unpack(">BHHB", data[start : start + 6])
        if marker not in _READABLE_FRAMES or bits != 8 or components not in (1, 3, 4):
            kind = f"frame type {marker:#04x}, {bits} bits, {components} components"
            raise ImageDecodeError(path, f"no decoder here reads this kind of JPEG ({kind}); {_CONVERT}")
        return height, width, components
    raise ImageDecodeError(
        path, f"it is a JPEG that ends before its picture begins (truncated or damaged); {_FETCH_AGAIN}"
    )


def _check_complete(path: str | Path, data: bytes) -> None:
    if data[:2] == JPEG_SIGNATURE and not _jpeg_is_complete(data):
        raise ImageDecodeError(
            path, f"it is truncated (no end-of-image marker in its {len(data):,} bytes); {_FETCH_AGAIN}"
        )
    if data[:8] == PNG_SIGNATURE and not _png_is_complete(data):
        raise ImageDecodeError(path, f"it is truncated or damaged (a PNG chunk is missing or wrong); {_FETCH_AGAIN}")


def _jpeg_is_complete(data: bytes) -> bool:
    """Follow the scans to the end-of-image marker."""
    if data.endswith(b"\xff\xd9"):  # inside picture data 0xff is always followed by 0x00 or a marker
        return True
    position = next((end for marker, _, end in jpeg_segments(data) if marker == 0xDA), len(data))
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 1:
        marker = data[position + 1]
        if marker == 0xD9:
            return True
        if marker == 0xFF:
            position += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def _png_is_complete(data: bytes) -> bool:
    for kind, start, end in png_chunks(data):
        if zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        if kind == b"IEND":
            return True
    return False


def _unreadable(path: str | Path, problem: OSError) -> ImageDecodeError:
    if isinstance(problem, FileNotFoundError):
        return ImageDecodeError(path, "the file does not exist; check image_path and the names in the annotation file")
    return ImageDecodeError(path, f"it cannot be read ({problem.strerror or problem}); check its permissions")


def _one_line(problem: Exception) -> str:
    # Pillow names the address of its buffer, which differs in every run.
    return re.sub(r" ?<_io\.BytesIO[^>]*>", "", " ".join(str(problem).split())).rstrip(".")
