"""Named values from a document: each with its page, the line it stands on, and how it was found; none is invented."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from agent_tools.results import RepositoryText
from agent_tools.workspace.documents.labels import Candidate, candidates, kind_of
from agent_tools.workspace.documents.pages import DocumentError, PageRead, ReadingJob, checked_file, read
from agent_tools.workspace.documents.parsing import Pages, Seconds
from agent_tools.workspace.documents.values import KINDS, Order, order_of, values
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

MOST_FIELDS = 30
LINE_CHARACTERS = 300
VALUE_CHARACTERS = 200
OTHERS = 3
BY_PATTERN = ("date", "email")
"""Kinds that a document may show without a label; the only one of its kind is then taken for the field."""

_FIELD = re.compile(r"([A-Za-z][\w #.&/-]{0,60}?)(?::([a-z]+))?")


class DocumentFields(RepositoryText):
    """The fields asked for, in that order."""

    fields: list[dict[str, str]] = Field(
        description="field, how (labelled, by pattern, not found), value, normal, page, line, others"
    )
    pages: int = Field(description="read")
    notes: list[str]

    def summary(self) -> str:
        """Say one line per field."""
        lines = [f"{row['field']}: {row['normal'] or row['value'] or '-'} ({row['how']})" for row in self.fields]
        return "\n".join([*lines, *self.notes])

    def is_failure(self) -> bool:
        """A field that was not found makes the command fail."""
        return any(row["how"] == "not found" for row in self.fields)


async def document_extract(
    root: Root,
    path: str,
    fields: Annotated[
        tuple[str, ...], Field(description="NAME or NAME:KIND (amount, date, number, email, id, text)")
    ] = (
        "total",
        "date",
    ),
    pages: Pages = "",
    date_order: Annotated[Literal["", "day", "month"], Field(description="of 03/04/2024: what comes first")] = "",
    limit: Annotated[int, Field(ge=1, le=1000, description="pages read at most")] = 50,
    max_seconds: Seconds = 60,
) -> DocumentFields:
    """Pull named values from a PDF, text or label file (receipts): at a label or its synonyms, in lines and tables.

    Use it for single values; Check the quoted line before you rely on one. What is not there is said to be not found.

    Raises:
        DocumentError: a field that cannot be read, or a document that cannot.
        RootError: outside of the root and its data.
    """
    if len(fields) > MOST_FIELDS:
        raise DocumentError(f"{len(fields)} fields are asked for; name {MOST_FIELDS} at most.")
    asked = [_field(text) for text in fields]
    file = checked_file(root, path)
    document = await read(file, path, ReadingJob(path=str(file), pages=pages, limit=limit, seconds=max_seconds))
    lines = ["  ".join(cell[0] for cell in row) for page in document.pages for row in page.rows]
    order: Order = date_order or order_of(lines)
    left_out = document.opened.chosen - len(document.pages)
    notes = [f"{left_out} pages were not read; raise limit or name pages"] if left_out > 0 and document.complete else []
    return DocumentFields(
        fields=[_found(name, kind, document.pages, order) for name, kind in asked],
        pages=len(document.pages),
        notes=[shown(note) for note in [*document.notes[:20], *notes]],
    )


def _field(text: str) -> tuple[str, str]:
    match = _FIELD.fullmatch(text.strip())
    if match is None or (match[2] and match[2] not in KINDS):
        raise DocumentError(f"{text[:80]!r} is no field; write NAME or NAME:KIND with one of {', '.join(KINDS)}.")
    return match[1], match[2] or kind_of(match[1])


def _found(name: str, kind: str, pages: Sequence[PageRead], order: Order) -> dict[str, str]:
    labelled = [one for page in pages for one in candidates(name, kind, page.page, page.rows, order)]
    if labelled:
        best = _best(name, kind, labelled)
        return _row(name, "labelled", best, _others(best, labelled))
    unlabelled = _by_pattern(kind, pages, order) if kind in BY_PATTERN else []
    distinct = {one.value.normal for one in unlabelled}
    if len(distinct) == 1:
        return _row(name, "by pattern", unlabelled[0], "")
    others = "; ".join(f"{one.value.text} (page {one.page})" for one in unlabelled[:OTHERS])
    return _row(name, "not found", None, f"no label, {len(distinct)} of this kind: {others}" if distinct else "")


def _best(name: str, kind: str, found: Sequence[Candidate]) -> Candidate:
    first = min(one.rank for one in found)
    alike = [one for one in found if one.rank[0] == first[0]]
    if name.lower() == "total" and kind == "amount":
        # Of several totals the last sum is the largest; what it is chosen over is listed beside it.
        return max(alike, key=lambda one: float(one.value.normal))
    return min(alike, key=lambda one: one.rank)


def _others(best: Candidate, found: Sequence[Candidate]) -> str:
    texts = {one.value.normal: f"{one.value.text} (page {one.page})" for one in reversed(found)}
    texts.pop(best.value.normal, None)
    return "; ".join(list(texts.values())[::-1][:OTHERS])


def _by_pattern(kind: str, pages: Sequence[PageRead], order: Order) -> list[Candidate]:
    lines = [(page.page, "  ".join(cell[0] for cell in row)) for page in pages for row in page.rows]
    return [Candidate(value, (0, 0), page, line) for page, line in lines for value in values(kind, line, order)]


def _row(name: str, how: str, found: Candidate | None, others: str) -> dict[str, str]:
    return {
        "field": name,
        "how": how,
        "value": shown(found.value.text)[:VALUE_CHARACTERS] if found else "",
        "normal": shown(found.value.normal)[:VALUE_CHARACTERS] if found else "",
        "page": str(found.page) if found else "",
        "line": shown(found.evidence)[:LINE_CHARACTERS] if found else "",
        "others": shown(others)[:LINE_CHARACTERS],
    }
