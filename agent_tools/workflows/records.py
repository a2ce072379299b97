"""Reading records as tools."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import RecordKind, RunRecord
from agent_tools.records.store import RecordStore
from agent_tools.results import Cursor, ResponseFormat, ToolResult, offset, page
from agent_tools.workflows.records_text import headline, record_table
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

KindFilter = Annotated[Literal["", RecordKind], Field(description="only this kind")]


class RecordList(ToolResult):
    """Records, newest first."""

    records: list[dict[str, str]] = Field(description="id, kind, title, headline")
    unreadable: list[str] = Field(description="files that are no records, and why")
    total: int
    next_cursor: str

    def summary(self) -> str:
        """Say one line per record."""
        lines = [f"{row['id']} {row['title']}: {row['headline']}" for row in self.records]
        more = [f"go on with cursor={self.next_cursor}"] if self.next_cursor else []
        return "\n".join([*lines, *self.unreadable, *more]) or "no records yet"


def record_list(
    root: Root,
    kind: KindFilter = "",
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
    cursor: Cursor = "",
) -> RecordList:
    """List what was measured, newest first, one headline each.

    Use it to find the record that a claim rests on; record_show gives its figures.
    """
    found = RecordStore(root.path).list(kind or None, limit, cursor or None)
    rows = [_row(record) for record in found.records]
    return RecordList(
        records=rows,
        unreadable=[shown(entry.problem)[:400] for entry in found.corrupt],
        total=found.total,
        next_cursor=found.next_cursor or "",
    )


def _row(record: RunRecord) -> dict[str, str]:
    try:
        said = headline(record)
    except WorkbenchError as error:
        # One odd record must not hide the others.
        said = f"no headline: {error}"
    return {"id": record.id, "kind": record.kind, "title": shown(record.title)[:80], "headline": shown(said)[:200]}


class RecordReport(ToolResult):
    """One record: what was measured on what, and its table."""

    record_id: str
    kind: str
    title: str
    headline: str
    ended: str
    command: str
    commit: str = Field(description="with + where uncommitted changes were measured")
    machine: str
    dataset: str
    table: list[str]
    path: str
    raw: str = Field(description="detailed: a page of the file")
    next_cursor: str

    def summary(self) -> str:
        """Say the headline and the table."""
        return "\n".join([f"{self.record_id} {self.title}: {self.headline}", *self.table])


def record_show(
    root: Root,
    record: Annotated[str, Field(description="id")],
    limit: Annotated[int, Field(ge=1, le=1000, description="raw lines at most")] = 300,
    cursor: Cursor = "",
    response_format: ResponseFormat = "concise",
) -> RecordReport:
    """Show one record: headline, table of figures, and where it was measured. detailed adds the raw JSON by pages.

    Quote numbers only from here.
    """
    store = RecordStore(root.path)
    found, path = store.load(record), store.find(record)
    lines = path.read_text(encoding="utf-8").splitlines() if response_format == "detailed" else []
    kept, following = page([shown(line) for line in lines], offset(cursor), limit, 20_000)
    machine, data = found.machine, found.dataset
    return RecordReport(
        record_id=found.id,
        kind=found.kind,
        title=shown(found.title)[:200],
        headline=headline(found),
        ended=found.ended.isoformat(timespec="seconds"),
        command=shown(" ".join(found.command))[:1000],
        commit=f"{found.git.commit[:12]}{'+' if found.git.dirty else ''}" if found.git else "",
        machine=f"{machine.key} {machine.cpu_model}, {machine.cores} cores {machine.gpu_model}" if machine else "",
        dataset=f"{data.name}, {data.images} images, {data.content_hash[:12]}" if data else "",
        table=page(record_table(found), 0, 200, 12_000)[0],
        path=root.relative(path),
        raw="\n".join(kept),
        next_cursor=following,
    )
