"""The findings of one record, and their plot: drafted from the record's file alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent_tools.handbook.blocks import DocumentError, Header, files_digest, read_text
from agent_tools.handbook.drafts import TEMPLATE_VERSIONS, Draft, StoredRecord, draft_document, load_record
from agent_tools.handbook.findings import FINDINGS_PAGES, findings_values, slug
from agent_tools.handbook.inputs import record_files
from agent_tools.handbook.plots.arms import draw_arms
from agent_tools.handbook.plots.comparison import draw_comparison
from agent_tools.handbook.plots.history import draw_history
from agent_tools.handbook.plots.ladder import draw_ladder
from agent_tools.handbook.plots.stages import draw_timeline, draw_whatif
from agent_tools.handbook.plots.stamps import is_current, stamp
from agent_tools.handbook.state import record_source, relative
from agent_tools.records.schema import RunRecord

PLOTS: Mapping[str, Callable[[RunRecord], str]] = {
    "ladder": draw_ladder,
    "arms": draw_arms,
    "whatif": draw_whatif,
    "timeline": draw_timeline,
    "comparison": draw_comparison,
    "history": draw_history,
}
"""The plots of findings: the end of their file names, and what draws them."""


def plot_name(record: RunRecord) -> str:
    """Which of `PLOTS` the findings of a record have; '' for none."""
    if record.benchmark is not None:
        return {"ladder": "ladder", "whatif": "whatif"}.get(record.benchmark.design, "arms")
    if record.kind == "profile":
        return "timeline" if record.run is not None and record.run.timeline else ""
    return record.kind if record.kind in PLOTS else ""


def draft_folder(
    records_folder: Path, output_folder: Path, root: Path, record_ids: Sequence[str] | None = None
) -> list[Draft]:
    """Drafts of the findings and plots of the records in a folder. See `render.draft_documents`."""
    stored = [load_record(path, root) for path in record_files(records_folder) if _wanted(path, record_ids)]
    missing = sorted(set(record_ids or ()) - {entry.record.id for entry in stored})
    if missing:
        raise DocumentError(
            f"There is no record {missing[0]} in {relative(records_folder, root)}; `agent-tools record list` shows all."
        )
    return [
        draft
        for entry in stored
        if entry.record.kind in FINDINGS_PAGES
        for draft in draft_findings(entry, output_folder, root)
    ]


def draft_findings(entry: StoredRecord, folder: Path, root: Path) -> list[Draft]:
    """Draft of one record's findings, and of its plot where it has one."""
    page = draft_findings_page(entry, folder, root)
    plot = plot_path(entry.record, folder)
    return [page, _draft_plot(plot, entry.record, files_digest([entry.path], folder))] if plot else [page]


def draft_findings_page(entry: StoredRecord, folder: Path, root: Path) -> Draft:
    """Draft of one record's findings without drawing anything."""
    plot = plot_path(entry.record, folder)
    source = record_source(entry.record.id, entry.data, entry.path, folder)
    values = {**findings_values(entry.record, plot.name if plot else ""), "r": source}
    header = Header("findings", {"record": relative(entry.path, folder)})
    return draft_document(findings_path(entry.record, folder), header, values, [source], root)


def findings_path(record: RunRecord, folder: Path) -> Path:
    """Where the findings of a record stand."""
    return folder / f"{slug(record)}-findings.md"


def plot_path(record: RunRecord, folder: Path) -> Path | None:
    """Where the plot of a record stands; None if its findings have none."""
    name = plot_name(record)
    return folder / f"{slug(record)}-{name}.svg" if name else None


def plot_version(record: RunRecord) -> str:
    """The version that the stamp of a record's plot carries."""
    return TEMPLATE_VERSIONS[f"{plot_name(record)}_plot"]


def _draft_plot(path: Path, record: RunRecord, inputs: str) -> Draft:
    before = read_text(path) if path.is_file() else None
    version = plot_version(record)
    if before is not None and is_current(before, inputs, version):
        return Draft(path, before, before)
    return Draft(path, stamp(PLOTS[plot_name(record)](record), inputs, version), before)


def _wanted(path: Path, record_ids: Sequence[str] | None) -> bool:
    return record_ids is None or path.stem in record_ids
