"""A document as Markdown: headings by size, paragraphs, tables and page marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent_tools.results import Cursor, RepositoryText, offset
from agent_tools.results import page as page_of
from agent_tools.workspace.documents.pages import PageRead, Part, ReadingJob, checked_file, read
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

Pages = Annotated[str, Field(description="such as 1-3,7; an image's name in a label file")]
Seconds = Annotated[int, Field(ge=1, le=600)]

PAGE_CHARACTERS = 20_000
NOTES = 20
HEADING_RATIO = 1.15
HEADING_LEVELS = 4
HEADING_CHARACTERS = 200


class DocumentText(RepositoryText):
    """Text of a document."""

    text: str
    pages: int = Field(description="in all")
    notes: list[str] = Field(description="what could not be read")
    kept: str = Field(description="file with the whole text")
    next_cursor: str

    def summary(self) -> str:
        """Say how much there is and how it begins."""
        more = [f"go on with cursor={self.next_cursor}"] if self.next_cursor else []
        kept = [f"whole text: {self.kept}"] if self.kept else []
        return "\n".join([f"{self.pages} pages: {self.text[:200]}", *self.notes, *kept, *more])


async def document_parse(
    root: Root,
    path: str,
    pages: Pages = "",
    limit: Annotated[int, Field(ge=1, le=500)] = 20,
    cursor: Cursor = "",
    max_seconds: Seconds = 60,
) -> DocumentText:
    """Turn a PDF into Markdown: headings, paragraphs in reading order, tables, page marks; HTML, text, label files too.

    Use it to read a document; document_extract pulls single values. Not for scans: text in pictures is not read.

    Raises:
        DocumentError: encrypted, damaged, of another kind, or without those pages.
        RootError: outside of the root and its data.
    """
    file = checked_file(root, path)
    start = offset(cursor)
    # The first call reads to the end, so that the whole text can be kept.
    job = ReadingJob(path=str(file), pages=pages, skip=start, limit=limit if start else 0, seconds=max_seconds)
    document = await read(file, path, job)
    texts = [shown(text) for text in as_markdown(document.pages, document.opened.total)]
    is_long = sum(map(len, texts)) > PAGE_CHARACTERS or len(texts) > limit
    kept = keep(root, f"{Path(path).stem}.md", "\n\n".join(texts)) if is_long else ""
    shorter = [_short(text, kept) for text in texts]
    now, following = page_of(shorter, 0, limit, PAGE_CHARACTERS)
    following = following or (
        "" if start + len(now) >= document.opened.chosen or not document.complete else str(len(now))
    )
    return DocumentText(
        text="\n\n".join(now),
        pages=document.opened.total,
        notes=[shown(note) for note in _most(document.notes)],
        kept=kept,
        next_cursor=str(start + int(following)) if following else "",
    )


def _short(text: str, kept: str) -> str:
    return text if len(text) <= PAGE_CHARACTERS else f"{text[:PAGE_CHARACTERS]}\n[... the page goes on in {kept}]"


def _most(notes: list[str]) -> list[str]:
    rest = len(notes) - NOTES
    return notes if rest <= 0 else [*notes[:NOTES], f"{rest} more"]


def as_markdown(pages: Iterable[PageRead], total: int) -> list[str]:
    """Return each page as Markdown, with a mark of its number where there are several."""
    pages = list(pages)
    levels = _levels(pages)
    marks = [f"<!-- page {page.page} of {total} -->\n\n" if total > 1 else "" for page in pages]
    return [
        mark + "\n\n".join(filter(None, (_part(part, levels) for part in page.parts)))
        for mark, page in zip(marks, pages, strict=True)
    ]


def _levels(pages: Iterable[PageRead]) -> dict[float, int]:
    """Font sizes clearly above that of most of the text, the largest first, as levels of headings."""
    counts = Counter[float]()
    for page in pages:
        for part in page.parts:
            counts[_rounded(part.size)] += sum(map(len, part.lines))
    body = counts.most_common(1)[0][0] if counts else 0.0
    larger = sorted((size for size in counts if size > HEADING_RATIO * body), reverse=True)
    return {size: min(level, HEADING_LEVELS) for level, size in enumerate(larger, start=1)} | {body: 0}


def _rounded(size: float) -> float:
    return round(2 * size) / 2


def _part(part: Part, levels: dict[float, int]) -> str:
    if part.verbatim:
        return part.verbatim
    if part.rows:
        return _table(part.rows)
    text = " ".join(part.lines)
    level = _level(part, levels) if len(text) <= HEADING_CHARACTERS and any(map(str.isalpha, text)) else 0
    return f"{'#' * level} {text}" if level else "\n".join(part.lines)


def _level(part: Part, levels: dict[float, int]) -> int:
    by_size = levels.get(_rounded(part.size), 0)
    is_bold_line = part.bold and len(part.lines) == 1 and levels.get(_rounded(part.size)) == 0
    return by_size or (min(max(levels.values()) + 1, HEADING_LEVELS) if is_bold_line else 0)


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
