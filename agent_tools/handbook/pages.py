"""The pages of the handbook that are made from many records, from the plan ledger, or from the code itself.

To add one: a template `KIND.md.j2`, its version in `drafts.TEMPLATE_VERSIONS`, what its header names in
`inputs.HEADER_VALUES`, what it prints in `page_contents`, and a row of `PAGES` here. Rendering, the check and the web
page then know it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_tools.handbook.api import read_api
from agent_tools.handbook.blocks import DocumentError, Header, parse_document, read_text, text_digest
from agent_tools.handbook.drafts import TEMPLATE_VERSIONS, Draft, draft_document
from agent_tools.handbook.gate_list import gate_facts
from agent_tools.handbook.inputs import has_benchmark, history_files, newest_simulation, record_files
from agent_tools.handbook.page_contents import (
    Contents,
    Request,
    configuration_contents,
    facts_contents,
    history_contents,
    judge_contents,
    performance_contents,
    state_contents,
)
from agent_tools.handbook.plans import PLANS_FOLDER
from agent_tools.handbook.plots.rooms import draw_rooms
from agent_tools.handbook.plots.stamps import is_current, stamp
from agent_tools.handbook.rooms import read_rooms
from agent_tools.handbook.state import relative

STATE_PAGE = "99_current_state.md"
STATE_PATH = f"docs/ai_handbook/{STATE_PAGE}"

Facts = Mapping[str, Any]
"""Per kind of page, plain data that only those above this room can know, such as the table of tools."""


@dataclass(frozen=True)
class Plot:
    """A drawing of a page's facts, beside the page and under its name. `kind` is its key in `TEMPLATE_VERSIONS`."""

    kind: str
    draw: Callable[[Any], str]

    @property
    def version(self) -> str:
        """The version that the stamp of the drawing carries."""
        return TEMPLATE_VERSIONS[self.kind]


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
        plot: what is drawn from the facts and stands beside the page.
    """

    kind: str
    path: str
    contents: Callable[[Request], Contents]
    reason: Callable[[Path], str]
    sources: Mapping[str, str] = field(default_factory=dict)
    read_facts: Callable[[Path], Any] | None = None
    given_facts: bool = False
    always: bool = False
    plot: Plot | None = None

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


def draft_plot(page: Page, draft: Draft, root: Path, facts: Facts | None = None) -> list[Draft]:
    """Draft of the plot beside a drafted page, drawn anew only if it is not current; none for a page without one."""
    if page.plot is None:
        return []
    path, inputs = plot_beside(draft.path), page_inputs(draft.text, page.path)
    before = read_text(path) if path.is_file() else None
    if before is not None and is_current(before, inputs, page.plot.version):
        return [Draft(path, before, before)]
    return [Draft(path, stamp(page.plot.draw(page.facts(root, facts)), inputs, page.plot.version), before)]


def plot_beside(page: Path) -> Path:
    """Where the plot of a page stands."""
    return page.with_suffix(".svg")


def page_inputs(text: str, where: str) -> str:
    """The digest of what a rendered page was made from, as its first block says; its plot is made from the same.

    Raises:
        DocumentError: the page cannot be parsed.
    """
    return parse_document(text, where).blocks[0].attributes.get("inputs", "")


def _has_workbench(root: Path) -> str:
    return "the workbench's own code" if (root / "agent_tools/catalog.py").is_file() else ""


PAGES: tuple[Page, ...] = (
    Page(
        "judge",
        "docs/ai_handbook/02_dev_guide/judge.md",
        judge_contents,
        lambda root: "a simulation" if newest_simulation(root / "logs") else "",
        {"simulations": "logs"},
    ),
    Page(
        "performance",
        "docs/ai_handbook/02_dev_guide/performance.md",
        performance_contents,
        lambda root: "a benchmark" if has_benchmark(root / "logs") else "",
        {"records": "logs"},
    ),
    Page(
        "history",
        "docs/ai_handbook/02_dev_guide/history.md",
        history_contents,
        lambda root: "a history" if history_files(root / "logs") else "",
        {"records": "logs"},
    ),
    Page(
        "architecture",
        "docs/ai_handbook/01_architecture/map.md",
        facts_contents,
        _has_workbench,
        read_facts=read_rooms,
        plot=Plot("rooms_plot", draw_rooms),
    ),
    Page(
        "tools",
        "docs/ai_handbook/03_reference/tools.md",
        facts_contents,
        _has_workbench,
        given_facts=True,
    ),
    Page(
        "configuration",
        "docs/ai_handbook/03_reference/configuration.md",
        configuration_contents,
        lambda root: "a configuration" if (root / "configs/train.yaml").is_file() else "",
        {"configs": "configs"},
    ),
    Page(
        "gates",
        "docs/ai_handbook/03_reference/gates.md",
        facts_contents,
        _has_workbench,
        read_facts=lambda _root: gate_facts(),
    ),
    Page(
        "api",
        "docs/ai_handbook/03_reference/api.md",
        facts_contents,
        _has_workbench,
        read_facts=read_api,
    ),
    Page(
        "current_state",
        STATE_PATH,
        state_contents,
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
