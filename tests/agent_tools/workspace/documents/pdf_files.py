"""PDF files written by hand, so that a test knows every point of them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from pypdf import PdfReader, PdfWriter

Text = tuple[float, float, float, str]
"""Left, height above the bottom (points), font size, words; words with a leading * are bold."""

Line = tuple[float, float, float, float]


def page(texts: Sequence[Text] = (), lines: Sequence[Line] = (), turned: Sequence[str] = ()) -> bytes:
    """The drawing commands of a page."""
    drawn = [
        f"BT /{'B' if words.startswith('*') else 'F'} {size} Tf {x} {y} Td ({_escaped(words)}) Tj ET"
        for x, y, size, words in texts
    ]
    drawn += [f"{x0} {y0} m {x1} {y1} l S" for x0, y0, x1, y1 in lines]
    return "\n".join([*drawn, *turned]).encode("latin-1")


def _escaped(words: str) -> str:
    return words.removeprefix("*").replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def pdf(*pages: bytes, page_entries: str = "", catalog: str = "", stream: tuple[str, bytes] | None = None) -> bytes:
    """A file of these pages, each on 595 x 842 points, with Helvetica and its bold.

    Args:
        pages: as `page` gives them.
        page_entries: put into every page, such as `/Rotate 90`.
        catalog: put into the catalogue.
        stream: in place of the last page's drawing commands: entries of a stream, and its bytes.
    """
    count = len(pages)
    kids = " ".join(f"{10 + 2 * number} 0 R" for number in range(count))
    objects = {
        1: f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
        2: f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        4: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
    }
    for number, content in enumerate(pages):
        at = 10 + 2 * number
        fonts = "/Resources << /Font << /F 3 0 R /B 4 0 R >> >>"
        entries = f"/MediaBox [0 0 595 842] {fonts} /Contents {at + 1} 0 R {page_entries}"
        objects[at] = f"<< /Type /Page /Parent 2 0 R {entries} >>".encode()
        kind, data = stream if stream and number == count - 1 else ("", content)
        objects[at + 1] = f"<< {kind} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"
    return _file(objects)


def _file(objects: dict[int, bytes]) -> bytes:
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    places = {}
    for number, body in objects.items():
        places[number] = out.tell()
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 1\n0000000000 65535 f \n")
    for number, place in places.items():
        out.write(b"%d 1\n%010d 00000 n \n" % (number, place))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (max(objects) + 1, start))
    return out.getvalue()


def bomb(megabytes: int) -> tuple[str, bytes]:
    """A stream of a few kilobytes that unpacks to this much, in two steps."""
    packer = zlib.compressobj(1)
    once = b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
    return "/Filter [/FlateDecode /FlateDecode]", zlib.compress(once, 9)


def encrypted(data: bytes, password: str) -> bytes:
    """The file, to be opened with a password only ('' opens everywhere)."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()
