"""The pages that lead to the others: the start page with the newest plots, and one page per session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

from agent_tools.handbook.drafts import StoredRecord
from agent_tools.handbook.findings import worst_rows
from agent_tools.handbook.findings_files import findings_path, plot_name, plot_path
from agent_tools.handbook.site.sources import HANDBOOK, Sources
from agent_tools.handbook.state import relative


@dataclass(frozen=True)
class Panel:
    """One plot of the start page.

    Attributes:
        title: its heading.
        plot: name of the plot, a key of `findings_files.PLOTS`.
        shows: what the plot shows, one sentence.
        command: what makes a record with such a plot.
    """

    title: str
    plot: str
    shows: str
    command: str


PANELS = (
    Panel(
        "What each optimisation gives",
        "ladder",
        "Seconds of a warm epoch while the optimisations are switched on in turn: every round, with its interval.",
        "agent-tools bench ladder --session NAME",
    ),
    Panel(
        "Pairs with their interval",
        "comparison",
        "The ratio of every pair of samples that were measured side by side, and what the verdict rests on.",
        "agent-tools bench compare HEAD~1 HEAD --session NAME",
    ),
    Panel(
        "Stages of an epoch",
        "timeline",
        "When each stage of each batch ran: what waits for what.",
        "agent-tools profile stages --session NAME",
    ),
    Panel(
        "Time and accuracy over commits",
        "history",
        "The epoch time of every commit with its interval, and the detection score below it.",
        "agent-tools bench history HEAD~8 HEAD --session NAME",
    ),
)
WORST_SHOWN = 3
"""Pictures of the start page; the findings have all of them."""


def start_page(sources: Sources) -> str:
    """Markdown of the start page, whose links count from the root of the repository."""
    panels = "\n".join(_panel(panel, sources) for panel in PANELS)
    contents = "\n".join(_contents(caption, pages) for caption, pages in _chapters(sources))
    return (
        f"# At a glance\n\nThe newest plot of each kind.\n\n{panels}\n{_worst_images(sources)}\n"
        f"## Contents\n\n{contents}"
    )


def _worst_images(sources: Sources) -> str:
    """The newest pictures of images that the detector found hardest."""
    kept = {entry.path: [row for row in worst_rows(entry.record) if row[2]] for entry in sources.records}
    shared = [entry for entry in sources.records if kept[entry.path]]
    newest = max(shared, key=lambda entry: (entry.record.ended, entry.record.id), default=None)
    if newest is None:
        shown = "Not measured yet; `agent-tools profile stages worst_images=8 --session NAME` makes them."
    else:
        session = newest.path.parent.parent
        pictures = [f"![{name}]({relative(session / picture, sources.root)})" for _, name, picture in kept[newest.path]]
        findings = relative(findings_path(newest.record, session), sources.root)
        shown = f"{' '.join(pictures[:WORST_SHOWN])}\n\n[All of them, with their scores]({findings})"
    return f"## Worst images\n\nThe lowest CLEval hmean: truth is blue, what was found is orange.\n\n{shown}\n"


def _panel(panel: Panel, sources: Sources) -> str:
    newest = _newest(panel.plot, sources.records)
    plot = plot_path(newest.record, newest.path.parent.parent) if newest is not None else None
    if plot is None or plot not in sources.pictures:
        shown = f"Not measured yet; `{panel.command}` makes it."
    else:
        shown = f"![{panel.title}]({relative(plot, sources.root)})"
    return f"## {panel.title}\n\n{panel.shows}\n\n{shown}\n"


def _newest(plot: str, records: Sequence[StoredRecord]) -> StoredRecord | None:
    drawn = [entry for entry in records if plot_name(entry.record) == plot]
    return max(drawn, key=lambda entry: (entry.record.ended, entry.record.id), default=None)


def _chapters(sources: Sources) -> list[tuple[str, list[str]]]:
    """Captions of the table of contents, each with its pages: a chapter is a folder of the handbook."""
    names = [relative(path, sources.root) for path in sources.documents]
    pages = [name for name in names if name.startswith(f"{HANDBOOK}/")]
    chapters = [(caption, list(found)) for caption, found in groupby(sorted(pages), key=_chapter)]
    sessions = [f"logs/{session}/index.md" for session in sources.sessions]
    project = [name for name in names if "/" not in name]
    return [group for group in (*chapters, ("Sessions", sessions), ("Project", project)) if group[1]]


def _chapter(page: str) -> str:
    """`02_dev_guide` is the chapter "Dev guide"; pages outside of a chapter are about the project's state."""
    folders = PurePosixPath(page).relative_to(HANDBOOK).parts[:-1]
    return folders[0].lstrip("0123456789_").replace("_", " ").capitalize() if folders else "State"


def _contents(caption: str, pages: Iterable[str]) -> str:
    options = [f":caption: {caption}"] if caption else []
    lines = ["```{toctree}", *options, ":maxdepth: 1", "", *(page.removesuffix(".md") for page in pages), "```", ""]
    return "\n".join(lines)


def session_page(session: str, sources: Sources) -> str:
    """Markdown of the page of a session: its documents, then its records, newest first."""
    folder = sources.root / "logs" / session
    documents = [path.name for path in sources.documents if path.parent == folder]
    records = [f"records/{entry.path.stem}" for entry in sources.records if entry.path.parent.parent == folder]
    date, _, name = session.partition("_")
    parts = [f"# {name or date}{f', {date}' if name else ''}\n"]
    parts += ["## Documents\n", _contents("", documents)] if documents else []
    parts += ["## Records\n", _contents("", reversed(records))] if records else []
    return "\n".join(parts)
