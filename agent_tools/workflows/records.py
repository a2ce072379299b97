"""Records as tools, and the few lines that say what a record holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agent_tools.handbook.findings import best_epoch
from agent_tools.measure import profile
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import Benchmark, RunRecord
from agent_tools.records.store import RecordStore
from agent_tools.results import Cursor, ResponseFormat, ToolResult, offset, page
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown


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
    kind: Annotated[
        Literal["", "train", "evaluate", "benchmark", "comparison", "profile", "whatif", "reported"],
        Field(description="only this kind"),
    ] = "",
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
    limit: Annotated[int, Field(ge=1, le=1000, description="lines of the raw file at most")] = 300,
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


def headline(record: RunRecord) -> str:
    """Say the figure that a record is about."""
    if record.benchmark is not None:
        return _ladder_headline(record.benchmark)
    if record.reported is not None:
        said = record.reported
        figure = f"{said.metric} {said.value:g} {said.unit}"
        return shown(f"{figure} (reported, not measured here: {said.source})")[:300]
    if record.kind == "profile":
        return (stage_lines(record) or ["no stages"])[0]
    best = best_epoch(record.run) if record.run else None
    epochs = _epochs(record)
    return f"{len(epochs)} epochs" if best is None else f"best icdar_hmean {epochs[best].metrics['icdar_hmean']:.4f}"


def _ladder_headline(benchmark: Benchmark) -> str:
    if not benchmark.summaries:
        return "no samples"
    last = benchmark.summaries[-1]
    kind = "descriptive, " if benchmark.protocol.descriptive else ""
    interval = f"[{last.ratio_low:.2f}, {last.ratio_high:.2f}]"
    return f"{last.ratio_to_first:.2f}x {interval} at {last.arm}, {kind}accuracy: {last.parity}"


def record_table(record: RunRecord) -> list[str]:
    """Return the figures of a record as lines, the first one naming the columns."""
    if record.benchmark is not None:
        head = "arm | cold s | warm s | images/s | ratio [low, high] | icdar_hmean | cleval_hmean | parity"
        return [head] + [
            f"{s.arm} | {s.cold_seconds:.3f} | {s.warm_seconds:.3f} | {s.images_per_second:.2f} | "
            f"{s.ratio_to_first:.3f} [{s.ratio_low:.3f}, {s.ratio_high:.3f}] | "
            f"{s.icdar_hmean:.4f} | {s.cleval_hmean:.4f} | {s.parity}"
            for s in record.benchmark.summaries
        ]
    if record.kind == "profile":
        return ["stage | s | share | ms per image", *stage_lines(record)]
    return [
        f"{epoch.phase} epoch {epoch.epoch} | {epoch.seconds:.3f} s | {epoch.images} images | "
        + ", ".join(f"{name} {value:.4f}" for name, value in epoch.metrics.items())
        for epoch in _epochs(record)
    ]


def stage_lines(record: RunRecord) -> list[str]:
    """Return the stage table of a profile record as lines."""
    return [
        f"{row.stage} | {row.seconds:.3f} | {100 * row.share:.1f}% | {row.milliseconds_per_image:.2f}"
        for row in profile.stage_table(record)
    ]


def _epochs(record: RunRecord) -> list[Any]:
    return list(record.run.epochs) if record.run else []
