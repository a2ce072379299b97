"""What the pages of the handbook print: read from the sources that their headers name, or from facts about the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.configuration import read_configuration
from agent_tools.handbook.drafts import load_record, record_entries
from agent_tools.handbook.findings_files import plot_path
from agent_tools.handbook.histories import histories_values
from agent_tools.handbook.inputs import history_files, newest_simulation, plan_files, record_files
from agent_tools.handbook.markdown import SafeSource
from agent_tools.handbook.performance import performance_values
from agent_tools.handbook.state import RecordEntry, read_ledger, record_source, relative, state_values


@dataclass(frozen=True)
class Request:
    """One page to be made.

    Attributes:
        path: where it stands.
        root: the repository.
        sources: the folders and files that its header names.
        facts: what the page is made from that no single file holds; None for all others.
    """

    path: Path
    root: Path
    sources: Mapping[str, Path]
    facts: Any = None


@dataclass(frozen=True)
class Contents:
    """What a page's template prints, and the sources of its numbers."""

    values: Mapping[str, Any]
    sources: tuple[SafeSource, ...] = ()


def state_contents(request: Request) -> Contents:
    """The newest figures per machine, and the plan ledger."""
    entries = record_entries(record_files(request.sources["records"]), request.path, request.root)
    ledger = read_ledger(plan_files(request.sources["plans"]), request.path.parent)
    guide, folder = request.root / "docs/ai_handbook/02_dev_guide", request.path.parent
    linked = {f"{name}_page": relative(guide / f"{name}.md", folder) for name in ("performance", "history")}
    sources = (*(entry.source for entry in entries), *(entry.source for entry in ledger))
    return Contents({**state_values(entries, ledger), **linked}, sources)


def judge_contents(request: Request) -> Contents:
    """The newest simulation of the judge.

    Raises:
        DocumentError: there is none.
    """
    newest = newest_simulation(request.sources["simulations"])
    entry = load_record(newest, request.root) if newest is not None else None
    if entry is None or entry.record.simulation is None:
        where = relative(request.path, request.root)
        raise DocumentError(f"{where} needs a record of a simulation, and there is none; make one.")
    source = record_source(entry.record.id, entry.data, entry.path, request.path.parent)
    return Contents({"record": entry.record, "simulation": entry.record.simulation, "r": source}, (source,))


def performance_contents(request: Request) -> Contents:
    """Gates, claims and the newest record of each design."""
    files, page = record_files(request.sources["records"]), request.path
    entries = record_entries(files, page, request.root)
    linked = _linked_plots(entries, files, page.parent)
    return Contents(performance_values(entries, linked), tuple(entry.source for entry in entries))


def _linked_plots(entries: Sequence[RecordEntry], files: Sequence[Path], folder: Path) -> dict[str, str]:
    """Id of a record -> the plot of its findings, as a document in `folder` links it."""
    sessions = {path.stem: path.parent.parent for path in files}
    plots = {entry.record.id: plot_path(entry.record, sessions[entry.record.id]) for entry in entries}
    return {record: relative(plot, folder) for record, plot in plots.items() if plot is not None}


def history_contents(request: Request) -> Contents:
    """Measured histories and reported figures."""
    files = history_files(request.sources["records"])
    entries = record_entries(files, request.path, request.root)
    values = histories_values(entries, _linked_plots(entries, files, request.path.parent))
    return Contents(values, tuple(entry.source for entry in entries))


def configuration_contents(request: Request) -> Contents:
    """Every key of every configuration file."""
    files = read_configuration(request.sources["configs"], request.root)
    linked = {file.path: relative(file.path, request.path.parent) for file in files}
    return Contents({"files": files, "linked": linked, "folder": request.sources["configs"]})


def facts_contents(request: Request) -> Contents:
    """The facts as they are; the template prints them."""
    return Contents({"facts": request.facts, "to_root": relative(request.root, request.path.parent)})
