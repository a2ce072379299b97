"""A document as the process that reads it describes it, page by page; how it is asked, and bounded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from agent_tools.jobs.processes import Finished, run_own_module
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

READER = "agent_tools.workspace.documents.reader"
OUTPUT_CAP = 48 << 20
MOST_BYTES = 200 << 20
_RANGES = re.compile(r"\s*\d{1,6}(?:\s*-\s*\d{1,6})?\s*(?:,\s*\d{1,6}(?:\s*-\s*\d{1,6})?\s*)*")


class DocumentError(WorkbenchError):
    """A document that cannot be read, or pages that it does not have."""


class ReadingJob(BaseModel):
    """What the process is asked.

    Attributes:
        path: absolute.
        pages: such as `1-3,7`, '' for all; in a label file the name of an image.
        skip: so many of those pages are left out.
        limit: so many are read, 0 for all.
        seconds: time limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    pages: str = ""
    skip: int = 0
    limit: int = 0
    seconds: int = 60


class Part(BaseModel):
    """A paragraph (`lines`), a table (`rows`), or a text that is Markdown already (`verbatim`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lines: list[str] = []
    rows: list[list[str]] = []
    verbatim: str = ""
    size: float = 0.0
    bold: bool = False


class PageRead(BaseModel):
    """One page: its parts in reading order, and its rows of cells (text, left, right)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    page: int
    parts: list[Part] = []
    rows: list[list[tuple[str, float, float]]] = []
    notes: list[str] = []


class Opened(BaseModel):
    """What the process says first: how many pages there are and how many are asked for, or why it cannot read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    total: int = 0
    chosen: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Document:
    """What was read of a document; `complete` unless a limit stopped it."""

    opened: Opened
    pages: list[PageRead]
    notes: list[str]
    complete: bool


def checked_file(root: Root, path: str) -> Path:
    """Return a file of the repository, or of its data, that may be read as a document.

    Raises:
        RootError: it is outside.
        DocumentError: no file, or larger than `MOST_BYTES`.
    """
    file = root.resolve_data(path)
    if not file.is_file():
        raise DocumentError(f"'{path}' is not a file; name a PDF, HTML, Markdown, text or label file.")
    if file.stat().st_size > MOST_BYTES:
        raise DocumentError(f"'{path}' is larger than {MOST_BYTES >> 20} MiB; split it first.")
    return file


def page_ranges(pages: str) -> list[tuple[int, int]]:
    """Return `1-3,7` as pairs of first and last page, in that order; none for another text, such as an image's name."""
    if not _RANGES.fullmatch(pages):
        return []
    bounds = [[int(number) for number in part.split("-")] for part in pages.split(",")]
    return [(min(pair), max(pair)) for pair in bounds]


async def read(file: Path, name: str, job: ReadingJob) -> Document:
    """Read pages of a document in a process of its own, bounded in time, memory and output.

    Args:
        file: as `checked_file` returned it.
        name: as the caller wrote it.
        job: which pages, and within how many seconds; what was read until then is returned, with a note.

    Raises:
        DocumentError: encrypted, damaged from the start, of another kind, or without the pages asked for.
    """
    finished = await run_own_module(
        READER, job.model_dump_json(), folder=file.parent, seconds=job.seconds, output_cap=OUTPUT_CAP
    )
    opened, pages = _understood(finished.output)
    if opened is None:
        raise DocumentError(f"'{shown(name)}' cannot be read: {_why_ended(finished, job.seconds)}.")
    if opened.problem:
        raise DocumentError(f"'{shown(name)}' {shown(opened.problem)}")
    return Document(opened, pages, *_notes(finished, opened, pages, job.seconds))


def _understood(output: bytes) -> tuple[Opened | None, list[PageRead]]:
    """The lines that are whole: the process may have been ended in the middle of one."""
    lines = output.split(b"\n")[:-1]
    if not lines:
        return None, []
    return Opened.model_validate_json(lines[0]), [PageRead.model_validate_json(line) for line in lines[1:]]


def _why_ended(finished: Finished, seconds: int) -> str:
    if finished.timed_out:
        return f"it was not even opened within {seconds} s"
    said = shown(finished.errors).strip().rpartition("\n")[2][:200]
    return f"it ended the process that reads it ({said or f'exit code {finished.exit_code}'})"


def _notes(finished: Finished, opened: Opened, pages: list[PageRead], seconds: int) -> tuple[list[str], bool]:
    notes = [f"page {page.page}: {note}" for page in pages for note in page.notes]
    last = pages[-1].page if pages else 0
    if finished.timed_out or finished.truncated or finished.exit_code != 0:
        why = (
            f"after {seconds} s"
            if finished.timed_out
            else f"at {OUTPUT_CAP >> 20} MiB of text"
            if finished.truncated
            else "because the next page ended its process"
        )
        goes_on = f"; go on with pages={last + 1}-{opened.total}" if last < opened.total else ""
        return [*notes, f"reading stopped {why}, after page {last}{goes_on}"], False
    return notes, True
