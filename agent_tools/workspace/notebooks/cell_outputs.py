"""What a cell put out, for a result: plain text, tables as text, pictures as small files, and nothing else.

The only place that imports Pillow and BeautifulSoup for notebooks.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bs4 import BeautifulSoup
from PIL import Image

from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

LONGEST_SIDE = 800
MOST_PIXELS = 64_000_000
MOST_OUTPUTS = 100
MOST_IMAGES = 10
HTML_CHARACTERS = 200_000
ERROR_CHARACTERS = 1500

Output = Mapping[str, Any]

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("text/plain", "text/markdown", "text/latex")


@dataclass(frozen=True)
class Distilled:
    """The outputs of one cell: text up to a cap, the error without colours, paths of what is kept beside it."""

    text: str
    error: str
    files: tuple[str, ...]


def distilled(root: Root, name: str, outputs: Sequence[Output], cap: int) -> Distilled:
    """Reduce outputs to what a reader needs; what is cut or is no text is kept in a file.

    Args:
        root: where files are kept.
        name: of the files, such as `plots-cell3`.
        outputs: as nbformat 4 has them, texts joined.
        cap: characters of text in the result.
    """
    texts: list[str] = []
    files: list[str] = []
    for output in outputs[:MOST_OUTPUTS]:
        kind = output["output_type"]
        if kind == "stream":
            texts.append(_stream(output))
        elif kind != "error":
            room = MOST_IMAGES - len(files)
            texts.append(_display(root, name, output["data"], files if room > 0 else None))
    if len(outputs) > MOST_OUTPUTS:
        texts.append(f"[{len(outputs) - MOST_OUTPUTS} more outputs]")
    whole = shown("\n".join(text.rstrip("\n") for text in texts if text.strip()))
    if len(whole) > cap:
        files.append(keep(root, f"{name}.txt", whole))
    return Distilled(_cut(whole, cap), _error(outputs), tuple(files))


def first_line(source: str) -> str:
    """Return the first line of code that says something, so that a reader knows the cell."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return shown(lines[0])[:80] if lines else ""


def plain(text: str) -> str:
    """Return text as a terminal would leave it: no colours, and of a line that was overwritten its last state."""
    lines = _ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def _stream(output: Output) -> str:
    text = plain(output["text"])
    return f"[stderr] {text}" if output["name"] == "stderr" and text.strip() else text


def _display(root: Root, name: str, data: Mapping[str, Any], files: list[str] | None) -> str:
    for kind in _PICTURES:
        if kind in data:
            return _picture(root, name, str(data[kind]), files)
    if "image/svg+xml" in data and files is not None:
        files.append(keep(root, f"{name}.svg", shown(data["image/svg+xml"])))
        return ""
    html = data.get("text/html", "")[:HTML_CHARACTERS]
    texts = [plain(data[kind]) for kind in _TEXTS if kind in data]
    if html and ("<table" in html or not texts):
        return _read_html(html)
    if not texts and "application/json" in data:
        return json.dumps(data["application/json"])
    return texts[0] if texts else f"[{', '.join(data)}]"


def _read_html(html: str) -> str:
    """Rows of tables as lines, cells apart by ` | `, without what stands around them; else the text."""
    page = BeautifulSoup(html, "html.parser")
    rows = [row.find_all(["th", "td"]) for row in page.find_all("tr")]
    lines = [" | ".join(cell.get_text(" ", strip=True) for cell in row) for row in rows]
    return "\n".join(lines) or page.get_text(" ", strip=True)


def _picture(root: Root, name: str, encoded: str, files: list[str] | None) -> str:
    if files is None:
        return f"[a picture beyond the first {MOST_IMAGES}]"
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"[a picture of {image.width} x {image.height} pixels: too large]"
            files.append(keep(root, f"{name}.png", _scaled(image)))
    # What Pillow raises for damaged data, by format.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"[a picture that cannot be read: {error}]"
    return ""


def _scaled(image: Image.Image) -> bytes:
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    written = io.BytesIO()
    (image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "HSV", "LAB", "F") else image).save(written, "PNG")
    return written.getvalue()


def _error(outputs: Iterable[Output]) -> str:
    """The last error: its name and value first, then the end of its traceback."""
    errors = [output for output in outputs if output["output_type"] == "error"]
    if not errors:
        return ""
    said = shown(plain(f"{errors[-1]['ename']}: {errors[-1]['evalue']}"))[:400]
    trace = shown(plain("\n".join(errors[-1]["traceback"]))).lstrip("-\n")
    return f"{said}\n{'[...]' if len(trace) > ERROR_CHARACTERS else ''}{trace[-ERROR_CHARACTERS:]}".rstrip()


def _cut(text: str, cap: int) -> str:
    if len(text) <= cap:
        return text
    half = cap // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
