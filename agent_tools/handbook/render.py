"""Records, plans and kept notes in, documents out: the same files in give the same bytes out, on any machine.

No clock, git, network or machine is asked. All documents of a call are made before the first one is written, so an
error in one of them leaves every file as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from agent_tools.handbook.blocks import (
    Document,
    DocumentError,
    Header,
    assemble,
    files_digest,
    parse_blocks,
    parse_document,
    read_text,
)
from agent_tools.handbook.figures import FigureError
from agent_tools.handbook.findings import FINDINGS_PAGES, findings_values, slug
from agent_tools.handbook.inputs import document_inputs, has_benchmark, newest_simulation, plan_files, record_files
from agent_tools.handbook.markdown import SafeSource, environment
from agent_tools.handbook.performance import performance_values
from agent_tools.handbook.plans import PLANS_FOLDER
from agent_tools.handbook.plots.arms import draw_arms
from agent_tools.handbook.plots.comparison import draw_comparison
from agent_tools.handbook.plots.history import draw_history
from agent_tools.handbook.plots.ladder import draw_ladder
from agent_tools.handbook.plots.stages import draw_timeline, draw_whatif
from agent_tools.handbook.plots.stamps import is_current, stamp
from agent_tools.handbook.state import RecordEntry, read_ledger, record_source, relative, state_values
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import parse_record, write_atomically

TEMPLATE_VERSIONS = {
    "findings": "v3",
    "current_state": "v2",
    "judge": "v1",
    "performance": "v1",
    "ladder_plot": "v2",
    "comparison_plot": "v1",
    "history_plot": "v1",
    "arms_plot": "v1",
    "whatif_plot": "v1",
    "timeline_plot": "v1",
}
"""Version that the markers carry; the parts of a template have the version of the whole.

History:
- v1 (2026-11): first form.
- findings v2 (2026-11): comparisons, bisections, histories, overrides, imported reports; quoted commands.
- findings v3 (2026-11): designs that are no ladder, the CPU share of stages, the verdict of their clock, transforms.
- current_state v2 (2026-11): the newest comparisons of each machine, and overridden verdicts.
- ladder_plot v2 (2026-11): names are never read as formulas.
"""

STATE_PAGE = "99_current_state.md"
STATE_PATH = f"docs/ai_handbook/{STATE_PAGE}"
JUDGE_PATH = "docs/ai_handbook/02_dev_guide/judge.md"
PERFORMANCE_PATH = "docs/ai_handbook/02_dev_guide/performance.md"

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


@dataclass(frozen=True)
class Draft:
    """A document as it should be. `before` is what the file holds now, None when there is no such file."""

    path: Path
    text: str
    before: str | None

    @property
    def changed(self) -> bool:
        """Whether writing it would change the file."""
        return self.text != self.before


@dataclass(frozen=True)
class StoredRecord:
    """A record, its file, and its file's content as plain data."""

    path: Path
    record: RunRecord
    data: dict[str, Any]


def render_documents(
    root: Path,
    *,
    records_folder: Path | str,
    output_folder: Path | str,
    record_ids: Sequence[str] | None = None,
    state_page: Path | str | None = None,
    plans_folder: Path | str | None = None,
) -> list[Path]:
    """Render the findings of a folder of records and, if asked, a state page from them.

    Args:
        root: the repository; every other path is relative to it or lies inside it.
        records_folder: holds `ID.json` files, or folders with `records/ID.json` files (as `logs/` does).
        output_folder: where findings and plots are written.
        record_ids: render the findings of these only; by default of every record that gets one.
        state_page: where to write the state page; by default none is written.
        plans_folder: the plan ledger of the state page; by default the handbook's.

    Returns:
        The documents and plots, written or already right, findings first.

    Raises:
        DocumentError: a document that was edited by hand or is not owned, a record id that is not there, or a path
            outside the root.
        RecordError: a record that cannot be read. Nothing is written in any of these cases.
    """
    root = root.resolve()
    records, output = inside(records_folder, root), inside(output_folder, root)
    drafts = draft_folder(records, output, root, record_ids)
    if state_page is not None:
        plans = inside(plans_folder or PLANS_FOLDER, root)
        drafts.append(draft_state(inside(state_page, root), records, plans, root))
    return write_drafts(drafts)


def render_session(root: Path, session: Path | str) -> list[Path]:
    """Render the findings of one session folder (`logs/YYYY-MM-DD_NAME`). See `render_documents`."""
    place = inside(session, root.resolve())
    return render_documents(root, records_folder=place / "records", output_folder=place)


def render_state(root: Path) -> Path:
    """Render the committed state page from the records under `logs/` and the plan ledger. See `render_documents`."""
    root = root.resolve()
    return write_drafts([draft_state(root / STATE_PATH, root / "logs", root / PLANS_FOLDER, root)])[0]


def render_pages(root: Path) -> list[Path]:
    """Render the pages that every new record changes: performance, where there is a benchmark, and the state page."""
    return write_drafts(_draft_pages(root.resolve()))


def render_demo(root: Path, folder: Path | str) -> list[Path]:
    """Render findings and state page of a folder that stands alone, such as `outputs/demo`. See `render_documents`."""
    place = inside(folder, root.resolve())
    return render_documents(root, records_folder=place / "records", output_folder=place, state_page=place / STATE_PAGE)


def render_all(root: Path) -> list[Path]:
    """Render every committed page: all findings under `logs/`, the pages about judge and performance, the state page.

    Without a record of a simulation there is no page about the judge, without a benchmark none about performance.
    """
    return write_drafts(draft_all(root))


def draft_all(root: Path) -> list[Draft]:
    """Drafts of every committed page. See `render_all`."""
    root = root.resolve()
    sessions = sorted(folder for folder in (root / "logs").glob("*") if (folder / "records").is_dir())
    drafts = [draft for session in sessions for draft in draft_folder(session / "records", session, root)]
    if newest_simulation(root / "logs") is not None:
        drafts.append(draft_judge(root / JUDGE_PATH, root / "logs", root))
    return [*drafts, *_draft_pages(root)]


def _draft_pages(root: Path) -> list[Draft]:
    shown = [draft_performance(root / PERFORMANCE_PATH, root / "logs", root)] if has_benchmark(root / "logs") else []
    return [*shown, draft_state(root / STATE_PATH, root / "logs", root / PLANS_FOLDER, root)]


def write_drafts(drafts: Sequence[Draft]) -> list[Path]:
    """Write the drafts that change something; returns all paths.

    Raises:
        DocumentError: a file is not as it was when its draft was made; what was written into it meanwhile stays.
    """
    changed = [draft for draft in drafts if draft.changed]
    for draft in changed:
        _refuse_changed(draft)
    for draft in changed:
        _refuse_changed(draft)
        write_atomically(draft.path, draft.text)
    return [draft.path for draft in drafts]


def _refuse_changed(draft: Draft) -> None:
    if (read_text(draft.path) if draft.path.is_file() else None) != draft.before:
        raise DocumentError(f"{draft.path.name} was changed by somebody else while it was rendered; render again.")


def draft_folder(
    records_folder: Path, output_folder: Path, root: Path, record_ids: Sequence[str] | None = None
) -> list[Draft]:
    """Drafts of the findings and plots of the records in a folder. See `render_documents`."""
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
    return _draft(findings_path(entry.record, folder), header, values, [source], root)


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


def draft_judge(page: Path, records_folder: Path, root: Path) -> Draft:
    """Draft of the page about the judge from the newest simulation in a folder of records.

    Raises:
        DocumentError: the folder holds no simulation.
    """
    header = Header("judge", {"simulations": relative(records_folder, page.parent)})
    newest = newest_simulation(records_folder)
    entry = load_record(newest, root) if newest is not None else None
    if entry is None or entry.record.simulation is None:
        raise DocumentError(f"{relative(page, root)} needs a record of a simulation, and there is none; make one.")
    source = record_source(entry.record.id, entry.data, entry.path, page.parent)
    values = {"record": entry.record, "simulation": entry.record.simulation, "r": source}
    return _draft(page, header, values, [source], root)


def draft_performance(page: Path, records_folder: Path, root: Path) -> Draft:
    """Draft of the page about performance from all records of a folder of records or of sessions."""
    header = Header("performance", {"records": relative(records_folder, page.parent)})
    entries, plots = [], dict[str, str]()
    for path in record_files(records_folder):
        stored = load_record(path, root)
        entries.append(RecordEntry(stored.record, record_source(stored.record.id, stored.data, path, page.parent)))
        plot = plot_path(stored.record, path.parent.parent)
        if plot is not None:
            plots[stored.record.id] = relative(plot, page.parent)
    return _draft(page, header, performance_values(entries, plots), [entry.source for entry in entries], root)


def draft_state(page: Path, records_folder: Path, plans_folder: Path, root: Path) -> Draft:
    """Draft of a state page from all records of a folder and a plan ledger."""
    folder = page.parent
    paths, plans = record_files(records_folder), plan_files(plans_folder)
    entries = []
    for stored in (load_record(path, root) for path in paths):
        entries.append(RecordEntry(stored.record, record_source(stored.record.id, stored.data, stored.path, folder)))
    ledger = read_ledger(plans, folder)
    header = Header(
        "current_state", {"records": relative(records_folder, folder), "plans": relative(plans_folder, folder)}
    )
    sources = [*(entry.source for entry in entries), *(entry.source for entry in ledger)]
    return _draft(page, header, state_values(entries, ledger), sources, root)


def _draft(
    path: Path,
    header: Header,
    values: Mapping[str, Any],
    sources: Iterable[SafeSource],
    root: Path,
) -> Draft:
    where = relative(path, root)
    before = read_text(path) if path.is_file() else None
    previous = parse_document(before, where) if before is not None else None
    if previous is not None and previous.header != header:
        raise DocumentError(
            f"{where} is made from other inputs ({previous.header.text()}); move it away, then render again."
        )
    version = TEMPLATE_VERSIONS[header.document]
    try:
        skeleton = parse_blocks(environment().get_template(f"{header.document}.md.j2").render(values), where)
        for source in sources:
            source.refuse_pending()
    except (FigureError, TemplateError) as error:
        raise DocumentError(f"{where} cannot be rendered: {error}") from error
    document = Document(header, assemble(skeleton, previous, document_inputs(header, path.parent), version, where))
    text = document.text()
    if parse_document(text, where) != document:
        raise DocumentError(
            f"{where} would not read back as it was written; report this as a bug. Nothing was written."
        )
    return Draft(path, text, before)


def inside(path: Path | str, root: Path) -> Path:
    """A path (relative ones count from the root) with its symlinks followed; `root` must be resolved.

    Raises:
        DocumentError: it lies outside the root.
    """
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root):
        raise DocumentError(f"{Path(path).name} lies outside the repository; documents and their sources stay inside.")
    return resolved


def load_record(path: Path, root: Path) -> StoredRecord:
    """Read a record file both as a model and as plain data.

    Raises:
        RecordError: not readable as a record.
        DocumentError: the file holds another record than its name says.
    """
    content = path.read_bytes()
    record = parse_record(content, relative(path, root))
    if record.id != path.stem:
        raise DocumentError(f"{relative(path, root)} holds record {record.id}; rename the file to that id.")
    return StoredRecord(path, record, json.loads(content))


def _wanted(path: Path, record_ids: Sequence[str] | None) -> bool:
    return record_ids is None or path.stem in record_ids
