"""How the bytes of a file become lines: its encoding, what a notebook says, or what a binary file is."""

from __future__ import annotations

import codecs
import io
import json
import os
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO

SNIFFED_BYTES = 8192
"""A NUL in the first of them makes a file binary, as git has it."""

CONVERTED_BYTES = 32 << 20
"""Notebooks and UTF-16 are converted in memory, up to here."""

_UTF16 = {codecs.BOM_UTF16_LE: "UTF-16 LE", codecs.BOM_UTF16_BE: "UTF-16 BE"}
_MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive (wheels, .docx and .npz are such)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"SQLite format 3\0", "a SQLite database; sql_query reads it"),
    (b"\x7fELF", "a program or library (ELF)"),
    (b"\x93NUMPY", "a NumPy array"),
)
_PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True)
class Readable:
    """A file as lines.

    Attributes:
        stream: bytes of its text, in UTF-8 as far as they are text.
        start: the byte at which the text starts.
        size: of the stream, in bytes.
        note: what a reader has to know of the encoding or the form; '' for plain UTF-8.
        binary: what the file is, if it is no text; '' otherwise.
    """

    stream: BinaryIO
    start: int
    size: int
    note: str = ""
    binary: str = ""


def readable(stream: BinaryIO, name: str) -> Readable:
    """Look at an opened file.

    Args:
        stream: the file.
        name: its name or path; the suffix tells notebooks, of which the cells' sources are the text.
    """
    size = os.fstat(stream.fileno()).st_size
    head = stream.read(SNIFFED_BYTES)
    if head[:2] in _UTF16 and size <= CONVERTED_BYTES:
        return _from_utf16(stream, head[:2])
    if b"\0" in head:
        return Readable(stream, 0, size, binary=_binary_kind(stream, head, size))
    if PurePath(name).suffix == ".ipynb" and size <= CONVERTED_BYTES:
        stream.seek(0)
        if (text := cell_sources(stream.read())) is not None:
            return _converted(text, "a notebook: the sources of its cells, without outputs; notebook_run runs it")
    if head.startswith(codecs.BOM_UTF8):
        return Readable(stream, len(codecs.BOM_UTF8), size, "starts with a UTF-8 byte order mark, not shown")
    return Readable(stream, 0, size)


def cell_sources(data: bytes) -> str | None:
    """The sources of a notebook's cells, each under a line `# %% [N, kind]`; None where it is no notebook."""
    try:
        notebook = json.loads(data)
        cells = [(str(cell["cell_type"]), _joined(cell["source"])) for cell in notebook["cells"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return "".join(f"# %% [{index}, {kind}]\n{source.rstrip()}\n\n" for index, (kind, source) in enumerate(cells))


def _joined(source: Any) -> str:
    return source if isinstance(source, str) else "".join(map(str, source))


def _from_utf16(stream: BinaryIO, mark: bytes) -> Readable:
    stream.seek(0)
    text = stream.read().decode("utf-16", errors="replace")
    return _converted(text, f"{_UTF16[mark]}, shown as UTF-8")


def _converted(text: str, note: str) -> Readable:
    data = text.encode("utf-8", errors="backslashreplace")
    return Readable(io.BytesIO(data), 0, len(data), note)


def _binary_kind(stream: BinaryIO, head: bytes, size: int) -> str:
    kind = next((words for magic, words in _MAGIC if head.startswith(magic)), "") or _picture_kind(stream)
    return f"{kind or 'a binary file'}, {size:,} bytes; not shown"


def _picture_kind(stream: BinaryIO) -> str:
    # Pillow takes longer to import than a page of text to read.
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(stream, formats=_PICTURES) as image:
            return f"a {image.format} picture, {image.width} x {image.height} pixels"
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return ""
