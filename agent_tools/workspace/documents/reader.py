"""The process that reads a document: `python -m agent_tools.workspace.documents.reader JOB` prints one line per page.

A process of its own, because a file from anywhere can take any amount of time and memory: here the operating system
sets the limits, and nothing can be written. Nothing that a document names is opened or fetched.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_tools.workspace.documents.formats import Unreadable, read_html, read_labels, read_text
from agent_tools.workspace.documents.pages import Opened, PageRead, ReadingJob, page_ranges

ADDRESS_SPACE = 1 << 30
"""Bytes of address space: a page whose streams unpack to more is left out with a note."""

HEAD_BYTES = 1024

PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
ARCHIVE = b"PK\x03\x04"


def pages_of(job: ReadingJob) -> Iterator[Opened | PageRead]:
    """Open a document by what its first bytes say, and read the pages asked for.

    Raises:
        Unreadable: it is none of the kinds known here, damaged, encrypted, or has none of those pages.
    """
    path = Path(job.path)
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if b"%PDF-" in head:
        # Only here: it takes a moment to import, and it is an extra.
        from agent_tools.workspace.documents.pdf import PdfFile  # noqa: PLC0415

        with PdfFile(path) as pdf:
            chosen = _chosen(job, len(pdf))
            yield Opened(total=len(pdf), chosen=len(_wanted(job, len(pdf))))
            yield from (pdf.read(number) for number in chosen)
        return
    found = _other(path, head, job)
    chosen = _chosen(job, len(found))
    yield Opened(total=len(found), chosen=len(_wanted(job, len(found))))
    yield from (found[number - 1] for number in chosen)


def _other(path: Path, head: bytes, job: ReadingJob) -> list[PageRead]:
    for start, kind in PICTURES.items():
        if head.startswith(start):
            raise Unreadable(
                f"is a {kind} picture: nothing here reads text in pictures (`ocr predict` finds where it is)"
            )
    if head.startswith(ARCHIVE):
        raise Unreadable("is a packed file, as Office documents are; export it as PDF first")
    if path.suffix.lower() == ".json":
        return read_labels(path, "" if page_ranges(job.pages) else job.pages)
    if path.suffix.lower() in (".html", ".htm") or head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return read_html(path)
    return read_text(path, head)


def _wanted(job: ReadingJob, total: int) -> list[int]:
    ranges = page_ranges(job.pages)
    wanted = [number for first, last in ranges for number in range(max(first, 1), min(last, total) + 1)]
    return sorted(set(wanted)) if ranges else list(range(1, total + 1))


def _chosen(job: ReadingJob, total: int) -> list[int]:
    wanted = _wanted(job, total)
    if not wanted:
        raise Unreadable(f"has {total} pages, and none of {job.pages}" if total else "has no pages")
    return wanted[job.skip :][: job.limit or None]


def main() -> None:
    """Read what the one argument asks for."""
    job = ReadingJob.model_validate_json(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        for line in pages_of(job):
            _print(line.model_dump(mode="json"))
    except Unreadable as error:
        _print(Opened(problem=f"{error}.").model_dump(mode="json"))
    except ImportError as error:
        extra = "pip install 'ocr-workbench[documents]'"
        _print(
            Opened(problem=f"needs {error.name}, which is not installed; `{extra}` brings it.").model_dump(mode="json")
        )
    except MemoryError:
        _print(Opened(problem="needs more memory than a document may take.").model_dump(mode="json"))


def _print(line: dict[str, Any]) -> None:
    # Half a character of a damaged text cannot be written as UTF-8; as an escape it can.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
