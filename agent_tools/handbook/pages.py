"""The pages of the handbook that are made from many records, from the plan ledger, or from the code itself.

To add one: a template `KIND.md.j2`, its version in `drafts.TEMPLATE_VERSIONS`, what its header names in
`inputs.HEADER_VALUES`, and a row of `PAGES` here. Rendering, the check and the web page then know it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_tools.handbook.blocks import DocumentError, Header, text_digest
from agent_tools.handbook.drafts import Draft, draft_document, load_record, record_entries
from agent_tools.handbook.findings_files import plot_path
from agent_tools.handbook.inputs import has_benchmark, newest_simulation, plan_files, record_files
from agent_tools.handbook.markdown import SafeSource
from agent_tools.handbook.performance import performance_values
from agent_tools.handbook.plans import PLANS_FOLDER
from agent_tools.handbook.state import read_ledger, record_source, relative, state_values

STATE_PAGE = "99_current_state.md"
STATE_PATH = f"docs/ai_handbook/{STATE_PAGE}"

Facts = Mapping[str, Any]
"""Per kind of page, plain data that only those above this room can know, such as the table of tools."""


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


@dataclass(frozen=True)
class Page:
    """A page of the handbook.

    Attributes:
        kind: the document's kind in its header, and the name of its template.
        path: relative to the repository's root.
        sources: what its header names, relative to the root.
        contents: reads the sources.
        reason: what a repository holds that calls for the page, such as "a benchmark"; '' where it needs none.
        read_facts: reads facts about the code of a repository, for a page that is not made from files that it names.
        given_facts: the facts come from the caller.
        always: it is made even where nothing calls for it, and then says so.
    """

    kind: str
    path: str
    contents: Callable[[Request], Contents]
    reason: Callable[[Path], str]
    sources: Mapping[str, str] = field(default_factory=dict)
    read_facts: Callable[[Path], Any] | None = None
    given_facts: bool = False
    always: bool = False

    @property
    def follows_records(self) -> bool:
        """Whether every new record may change the page."""
        return "records" in self.sources

    def wanted(self, root: Path) -> bool:
        """Whether rendering all of a repository makes the page."""
        return self.always or bool(self.reason(root))

    def can_be_made(self, facts: Facts | None) -> bool:
        """Whether the page can be made with what the caller knows."""
        return not self.given_facts or self.kind in (facts or {})

    def facts(self, root: Path, given: Facts | None) -> Any:
        """What the page is made from beside its sources; None for most.

        Raises:
            DocumentError: they have to be given and are not.
        """
        if not self.can_be_made(given):
            raise DocumentError(f"{self.path} is made from the running program; `agent-tools docs render` makes it.")
        if self.given_facts:
            return (given or {})[self.kind]
        return self.read_facts(root) if self.read_facts else None


def draft_page(
    page: Page,
    root: Path,
    path: Path | None = None,
    sources: Mapping[str, Path] | None = None,
    facts: Facts | None = None,
) -> Draft:
    """Draft of a page.

    Args:
        page: a row of `PAGES`.
        root: the repository, resolved.
        path: where the page stands, if not at its usual place.
        sources: what it is made from, if not what it is usually made from.
        facts: see `render.render_all`.

    Raises:
        DocumentError: nothing there to make it from, or somebody's words would be lost.
    """
    path = path or root / page.path
    sources = sources or {name: root / place for name, place in page.sources.items()}
    known = page.facts(root, facts)
    digest = text_digest(json.dumps(known, sort_keys=True)) if known is not None else None
    contents = page.contents(Request(path, root, sources, known))
    header = Header(page.kind, {name: relative(place, path.parent) for name, place in sources.items()})
    return draft_document(path, header, contents.values, contents.sources, root, digest)


def _state(request: Request) -> Contents:
    entries = record_entries(request.sources["records"], request.path, request.root)
    ledger = read_ledger(plan_files(request.sources["plans"]), request.path.parent)
    sources = (*(entry.source for entry in entries), *(entry.source for entry in ledger))
    return Contents(state_values(entries, ledger), sources)


def _judge(request: Request) -> Contents:
    newest = newest_simulation(request.sources["simulations"])
    entry = load_record(newest, request.root) if newest is not None else None
    if entry is None or entry.record.simulation is None:
        where = relative(request.path, request.root)
        raise DocumentError(f"{where} needs a record of a simulation, and there is none; make one.")
    source = record_source(entry.record.id, entry.data, entry.path, request.path.parent)
    return Contents({"record": entry.record, "simulation": entry.record.simulation, "r": source}, (source,))


def _performance(request: Request) -> Contents:
    folder, page = request.sources["records"], request.path
    entries = record_entries(folder, page, request.root)
    sessions = {path.stem: path.parent.parent for path in record_files(folder)}
    plots = {entry.record.id: plot_path(entry.record, sessions[entry.record.id]) for entry in entries}
    linked = {record: relative(plot, page.parent) for record, plot in plots.items() if plot is not None}
    return Contents(performance_values(entries, linked), tuple(entry.source for entry in entries))


PAGES: tuple[Page, ...] = (
    Page(
        "judge",
        "docs/ai_handbook/02_dev_guide/judge.md",
        _judge,
        lambda root: "a simulation" if newest_simulation(root / "logs") else "",
        {"simulations": "logs"},
    ),
    Page(
        "performance",
        "docs/ai_handbook/02_dev_guide/performance.md",
        _performance,
        lambda root: "a benchmark" if has_benchmark(root / "logs") else "",
        {"records": "logs"},
    ),
    Page(
        "current_state",
        STATE_PATH,
        _state,
        lambda root: "records" if record_files(root / "logs") else "",
        {"records": "logs", "plans": PLANS_FOLDER},
        always=True,
    ),
)
"""Every page, in the order in which it is rendered."""


def page_of(kind: str) -> Page:
    """The page of a kind.

    Raises:
        DocumentError: there is none.
    """
    for page in PAGES:
        if page.kind == kind:
            return page
    raise DocumentError(f"there is no page '{kind}'; there are {', '.join(page.kind for page in PAGES)}.")
