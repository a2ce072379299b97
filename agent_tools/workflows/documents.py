"""Documents as tools, and what a measurement leaves: a record and the documents rendered from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent_tools.handbook import check, render
from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.drafts import Draft, write_drafts
from agent_tools.handbook.pages import Facts
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from agent_tools.results import CommandOnly, ToolResult, page
from agent_tools.workflows.recompute import summary_problems
from agent_tools.workflows.records_text import headline, record_table
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

Session = Annotated[str, Field(description="keep the record in logs/DATE_SESSION/")]
Docs = Annotated[bool, Field(description="render documents at the end"), CommandOnly]


class Rendered(ToolResult):
    """Documents that are now as their records say."""

    documents: list[str] = Field(description="those that changed")
    unchanged: int

    def summary(self) -> str:
        """Say the paths of those that changed, and how many were right already."""
        if not self.documents and not self.unchanged:
            return "there are no records to render"
        return "\n".join([*self.documents, f"{self.unchanged} were right already"])


def docs_render(
    root: Root,
    folder: Annotated[str, Field(description="with records/; '' = all of logs/ and the handbook")] = "",
    records: Annotated[tuple[str, ...], Field(description="only the findings of these ids")] = (),
    facts: Facts | None = None,
) -> Rendered:
    """Render findings and the handbook's generated pages. Hand-written notes in them are kept.

    Use it after a measurement or when docs_check says stale. It refuses to overwrite edited generated text.
    """
    if records:
        drafts = [draft for record in records for draft in _drafted_record(root, record)]
    elif folder:
        place = _folder_of_records(root, folder)
        is_session = place.parent == root.path / "logs"
        drafts = render.draft_session(root.path, place) if is_session else render.draft_demo(root.path, place)
    else:
        drafts = render.draft_all(root.path, facts)
    write_drafts(drafts)
    changed = [root.relative(draft.path) for draft in drafts if draft.changed]
    return Rendered(documents=changed, unchanged=len(drafts) - len(changed))


def _folder_of_records(root: Root, folder: str) -> Path:
    place = root.resolve(folder)
    if not any(not path.name.startswith(".") for path in (place / "records").glob("*.json")):
        raise DocumentError(
            f"'{folder}' holds no records/*.json, so there is nothing to render; name a session such as "
            "logs/DATE_SESSION, or leave the folder out for all of them."
        )
    return place


class DocumentsCheck(ToolResult):
    """What is wrong with the documents."""

    ok: bool
    problems: list[str]
    omitted: int

    def summary(self) -> str:
        """Say the problems."""
        more = [f"{self.omitted} more; raise limit"] if self.omitted else []
        return "\n".join([*self.problems, *more]) or "all documents agree with their records"

    def is_failure(self) -> bool:
        """A problem makes the command fail."""
        return not self.ok


def docs_check(
    root: Root, limit: Annotated[int, Field(ge=1, le=200)] = 50, facts: Facts | None = None
) -> DocumentsCheck:
    """Check that documents agree with records and ladders with their samples: nothing stale, edited or missing.

    Use it before a commit. It never writes; docs_render mends what is stale.
    """
    found = [f"{p.path}: {p.kind}: {p.message}" for p in check.check_documents(root.path, facts=facts)]
    problems = [shown(problem)[:500] for problem in [*found, *summary_problems(root.path)]]
    kept, _ = page(problems, 0, limit)
    return DocumentsCheck(ok=not problems, problems=kept, omitted=len(problems) - len(kept))


class Measured(ToolResult):
    """A record that was just written, and the documents rendered from it."""

    record_id: str
    headline: str
    table: list[str]
    documents: list[str]
    note: str

    def summary(self) -> str:
        """Say the headline, the table and where the documents are."""
        documents = [f"document: {path}" for path in self.documents]
        return "\n".join([f"record {self.record_id}: {self.headline}", *self.table, *documents, self.note]).rstrip()


def measured(root: Root, record: RunRecord, docs: bool) -> Measured:
    """Render the documents of a stored record, if asked, and say what was measured."""
    return described(root, record, (lambda: _render_record(root, record.id)) if docs else list)


def described(root: Root, record: RunRecord, write: Callable[[], list[Path]], note: str = "") -> Measured:
    """Write documents of a stored record, and say what was measured whether or not they could be written."""
    documents: list[str] = []
    try:
        documents = [root.relative(path) for path in write()]
    except (WorkbenchError, OSError) as error:
        # The measurement took minutes and is stored; a document that cannot be written must not hide it.
        why = error.strerror or error if isinstance(error, OSError) else error
        note = f"The record is stored, but its documents were not rendered: {why}\n{note}".rstrip()
    return Measured(
        record_id=record.id,
        headline=headline(record),
        table=record_table(record),
        documents=documents,
        note=note,
    )


def _render_record(root: Root, record_id: str) -> list[Path]:
    return write_drafts(_drafted_record(root, record_id))


def _drafted_record(root: Root, record_id: str) -> list[Draft]:
    folder = RecordStore(root.path).find_folder(record_id)
    drafts = render.draft_documents(
        root.path, records_folder=folder / "records", output_folder=folder, record_ids=[record_id]
    )
    return [*drafts, *render.draft_pages(root.path)] if folder.parent == root.path / "logs" else drafts


def check_session(root: Root, session: str) -> None:
    """Refuse an unusable name now, not after the measurement."""
    if session:
        RecordStore(root.path).session_folder(session, datetime.now(UTC))
