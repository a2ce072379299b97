"""The documents check: nothing stale, edited, unowned or missing, and no number that its source does not hold.

Reads only; draws nothing. Freshness is the bytes that the same inputs give, never a date.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from agent_tools.handbook.blocks import (
    Block,
    Document,
    DocumentError,
    files_digest,
    is_owned,
    parse_document,
    read_text,
    refuse_edits,
)
from agent_tools.handbook.changelog import CHANGELOG, FRAGMENTS, draft_fragment, measured_lines
from agent_tools.handbook.drafts import inside, load_record
from agent_tools.handbook.figures import REPORTED_MARK, FigureError, Shown, SourceLink, evaluate, read_line
from agent_tools.handbook.findings import FINDINGS_PAGES, worst_rows
from agent_tools.handbook.findings_files import draft_findings_page, findings_path, plot_path, plot_version
from agent_tools.handbook.handover_page import draft_handover
from agent_tools.handbook.inputs import document_inputs
from agent_tools.handbook.named_things import dangling_names
from agent_tools.handbook.pages import PAGES, Facts, Plot, draft_page, page_inputs, page_of, plot_beside
from agent_tools.handbook.plans import read_header
from agent_tools.handbook.plots.stamps import is_current
from agent_tools.handbook.session_files import HANDOVER_FILE, HANDOVER_PAGE
from agent_tools.handbook.state import relative
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import RunRecord

DEFAULT_FOLDERS = ("logs", "docs/ai_handbook", FRAGMENTS)
OWNED_NAMES = ("*-findings.md", f"{FRAGMENTS}/*.md", f"logs/*/{HANDOVER_PAGE}", *(page.path for page in PAGES))
"""Files of these names can only come from `docs render`."""
RENDER = "run `agent-tools docs render`"

ProblemKind = Literal["stale", "edited", "unowned", "orphan", "missing", "broken", "dangling"]


class Problem(BaseModel):
    """One thing wrong with one file; `message` is a sentence that says what to do."""

    model_config = ConfigDict(frozen=True)

    path: str
    kind: ProblemKind
    block: str = ""
    message: str


def check_documents(
    root: Path, folders: Sequence[Path | str] | None = None, facts: Facts | None = None
) -> list[Problem]:
    """Check every owned document below some folders, and that every record there has the documents it should have.

    Args:
        root: the repository; a source outside it does not count.
        folders: relative to the root, or inside it; by default `logs`, the handbook and `changelog.d`.
        facts: see `render.render_all`; without them, pages that are made from them count as fresh.

    Returns:
        The problems, by path; none when all is well.
    """
    root = root.resolve()
    places = [inside(folder, root) for folder in (DEFAULT_FOLDERS if folders is None else folders)]
    problems = [problem for path in _documents(places) for problem in check_document(path, root, facts)]
    records = sorted({path for place in places for path in place.rglob("records/*.json")})
    problems += [problem for path in records if path.name[0] != "." for problem in _check_record(path, root)]
    problems += [problem for place in places for problem in _check_handovers(place, root)]
    problems += _check_handbook_pages(places, root, facts)
    problems += _check_page_plots(places, root)
    problems += [*_check_names(root, facts), *_check_changelog(root)] if folders is None else []
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.path, problem.kind, problem.block))


def check_document(path: Path, root: Path, facts: Facts | None = None) -> list[Problem]:
    """Check one document: owned, untouched, fresh, every number accounted for. Both paths are resolved."""
    where = relative(path, root)
    try:
        text = read_text(path)
        if not is_owned(text):
            message = f"{where} is not owned by the renderer, but its name is; move it away, then {RENDER}."
            return [Problem(path=where, kind="unowned", message=message)]
        document = parse_document(text, where)
    except DocumentError as error:
        return [Problem(path=where, kind="broken", message=str(error))]
    numbers = check_numbers(document, path, root)
    try:
        refuse_edits(document, where)
    except DocumentError as error:
        return [Problem(path=where, kind="edited", message=str(error)), *numbers]
    return [*_check_fresh(document, path, root, facts), *numbers]


def _documents(places: Iterable[Path]) -> list[Path]:
    found = {path for place in places for path in (place.rglob("*.md") if place.is_dir() else [place])}
    files = sorted(path for path in found if path.is_file())
    return [path for path in files if any(path.match(name) for name in OWNED_NAMES) or _looks_owned(path)]


def _looks_owned(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(20).startswith(b"<!-- OWNED document")


# --- freshness ---------------------------------------------------------------------------------------------------


def _check_fresh(document: Document, path: Path, root: Path, facts: Facts | None) -> list[Problem]:
    where = relative(path, root)
    try:
        fresh = _render_again(document, path, root, facts)
    except (WorkbenchError, OSError) as error:
        return [Problem(path=where, kind="broken", message=f"{where} cannot be rendered again: {error}")]
    return [
        Problem(path=where, kind="stale", block=block, message=f"{where}: {block} is stale; {RENDER}.")
        for block in (_stale_blocks(document, fresh) if fresh is not None else [])
    ]


def _render_again(document: Document, path: Path, root: Path, facts: Facts | None) -> Document | None:
    """The document as it should be; None where only the running program could say."""
    kind = document.header.document
    document_inputs(document.header, path.parent)
    sources = {key: inside(path.parent / value, root) for key, value in document.header.values.items()}
    if kind == "findings":
        draft = draft_findings_page(load_record(sources["record"], root), path.parent, root)
    elif kind == "changelog":
        draft = draft_fragment(load_record(sources["record"], root), root)
    elif kind == "handover":
        draft = draft_handover(path.parent, root)
    elif page_of(kind).can_be_made(facts):
        draft = draft_page(page_of(kind), root, path, sources, facts)
    else:
        return None
    if draft.path != path:
        what = "these findings belong" if kind == "findings" else "this document belongs"
        raise DocumentError(f"{what} in {draft.path.name}; rename the file.")
    return parse_document(draft.text, relative(path, root))


def _stale_blocks(document: Document, fresh: Document) -> list[str]:
    """Labels of what differs. A note that was just edited is not stale: only its marker will follow."""
    wanted = {block.label: block for block in fresh.blocks}
    there = {block.label: block for block in document.blocks}
    changed = [
        label
        for label, block in there.items()
        if label not in wanted or (block.kind == "generated" and block != wanted[label])
    ]
    changed += [label for label in wanted if label not in there]
    return changed if changed or list(wanted) == list(there) else ["the order of the blocks"]


def _check_handbook_pages(places: Sequence[Path], root: Path, facts: Facts | None) -> list[Problem]:
    """Every page that something calls for has to be there: once anything was measured, the state page says so."""
    expected = {page.path: page.reason(root) for page in PAGES if page.can_be_made(facts)}
    return [
        Problem(path=name, kind="missing", message=f"{name} is missing, though there is {reason}; {RENDER}.")
        for name, reason in expected.items()
        if reason and not (root / name).is_file() and any((root / name).is_relative_to(place) for place in places)
    ]


def _check_handovers(place: Path, root: Path) -> list[Problem]:
    """What was handed over has its page."""
    files = [path for path in place.rglob(HANDOVER_FILE) if path.match(f"logs/*/{HANDOVER_FILE}")]
    missing = [path for path in files if not (path.parent / HANDOVER_PAGE).is_file()]
    return [
        Problem(path=relative(path, root), kind="missing", message=f"{HANDOVER_PAGE} is missing beside it; {RENDER}.")
        for path in missing
    ]


def _check_names(root: Path, facts: Facts | None) -> list[Problem]:
    """What hand-written text names has to exist. Broken pages are reported by `check_document`."""
    commands = [tool["command"].removeprefix("agent-tools ") for tool in (facts or {}).get("tools", ())]
    return [
        Problem(path=found.path, kind="dangling", message=f"{found.path}: {found.message}; mend the page.")
        for found in dangling_names(root, [*commands, "serve"] if commands else [])
    ]


def _check_changelog(root: Path) -> list[Problem]:
    """What the changelog says was measured still is what the records hold."""
    path = root / CHANGELOG
    if not path.is_file():
        return []
    cache: dict[str, Any] = {}
    complaints = [text for line in measured_lines(read_text(path)) for text in _check_line(line, path, root, cache)]
    return [Problem(path=CHANGELOG, kind="orphan", message=f"{CHANGELOG}: {text}") for text in complaints]


def _check_page_plots(places: Sequence[Path], root: Path) -> list[Problem]:
    """The plots beside the pages that are there: drawn from what the page says, and not edited by hand."""
    pages = [(page.plot, root / page.path) for page in PAGES if page.plot is not None]
    found = [
        _check_page_plot(plot, path, root)
        for plot, path in pages
        if path.is_file() and any(path.is_relative_to(place) for place in places)
    ]
    return [problem for problem in found if problem is not None]


def _check_page_plot(plot: Plot, page: Path, root: Path) -> Problem | None:
    path = plot_beside(page)
    name = relative(path, root)
    if not path.is_file():
        return Problem(path=name, kind="missing", message=f"{name} is missing; {RENDER}.")
    try:
        inputs = page_inputs(read_text(page), name)
    except DocumentError:
        # the page itself is reported, and why
        return None
    if is_current(read_text(path), inputs, plot.version):
        return None
    return Problem(path=name, kind="stale", message=f"{name} is stale or edited by hand; {RENDER}.")


def _check_record(path: Path, root: Path) -> list[Problem]:
    """A record's findings and plot: there, and the plot untouched and drawn from this record."""
    where, folder = relative(path, root), path.parent.parent
    try:
        entry = load_record(path, root)
    except (WorkbenchError, OSError) as error:
        return [Problem(path=where, kind="broken", message=str(error))]
    if entry.record.kind not in FINDINGS_PAGES:
        return []
    plot = plot_path(entry.record, folder)
    files = [file for file in (findings_path(entry.record, folder), plot) if file is not None]
    missing = [relative(file, root) for file in files if not file.is_file()]
    problems = [Problem(path=where, kind="missing", message=f"{name} is missing; {RENDER}.") for name in missing]
    if plot is not None and plot.is_file():
        inputs = files_digest([path], folder)
        if not is_current(read_text(plot), inputs, plot_version(entry.record)):
            name = relative(plot, root)
            problems.append(Problem(path=name, kind="stale", message=f"{name} is stale or edited by hand; {RENDER}."))
    return [*problems, *_check_pictures(entry.record, folder, root)]


def _check_pictures(record: RunRecord, folder: Path, root: Path) -> list[Problem]:
    """The pictures that a record keeps of its worst images: there, and to the byte what it recorded."""
    problems = []
    for name in (picture for _, _, picture in worst_rows(record) if picture):
        picture, where = folder / name, relative(folder / name, root)
        if not picture.is_file():
            message = f"{where} is missing; restore it with `git checkout`."
            problems.append(Problem(path=where, kind="missing", message=message))
        elif hashlib.sha256(picture.read_bytes()).hexdigest() != record.artifacts[name]:
            message = f"{where} is not the picture that {record.id} recorded; restore it with `git checkout`."
            problems.append(Problem(path=where, kind="edited", message=message))
    return problems


# --- numbers -----------------------------------------------------------------------------------------------------


def check_numbers(document: Document, path: Path, root: Path) -> list[Problem]:
    """Check every number in the generated blocks of a document against the file that its line links."""
    cache: dict[str, Any] = {}
    blocks = [block for block in document.blocks if block.kind == "generated"]
    return [problem for block in blocks for problem in _check_block(block, path, root, cache)]


def _check_block(block: Block, path: Path, root: Path, cache: dict[str, Any]) -> list[Problem]:
    where = relative(path, root)
    complaints = [text for line in block.body.split("\n") for text in _check_line(line, path, root, cache)]
    return [
        Problem(path=where, kind="orphan", block=block.label, message=f"{where}, block {block.label}: {text}")
        for text in complaints
    ]


def _check_line(line: str, path: Path, root: Path, cache: dict[str, Any]) -> list[str]:
    complaints: list[str] = []
    waiting: list[Shown] = []
    values: list[float] = []
    for part in read_line(line):
        if isinstance(part, Shown):
            waiting.append(part)
            continue
        try:
            data = _source(part.file, path, root, cache)
            complaints += _compare(part, waiting, data, values)
            if part.figures and data.get("kind") == "reported" and REPORTED_MARK not in line:
                complaints.append(f"the figure of {part.file} is not marked '{REPORTED_MARK}'.")
        except (WorkbenchError, OSError, ValueError) as error:
            complaints.append(f"the link to {part.file} does not account for its numbers: {error}")
        waiting = []
    return complaints + [f"the number {shown} has no record; remove it or render again." for shown in waiting]


def _compare(link: SourceLink, shown: Sequence[Shown], data: Any, values: list[float]) -> list[str]:
    """Compare the numbers before a link with its figures; `values` gathers the line's values for `@K`."""
    if len(shown) != len(link.figures):
        texts = ", ".join(str(one) for one in shown) or "none"
        return [f"{link.file} accounts for {len(link.figures)} numbers, but these stand before its link: {texts}."]
    complaints = []
    for one, figure in zip(shown, link.figures, strict=True):
        value = evaluate(figure, data, values)
        values.append(value)
        if not one.agrees(value):
            complaints.append(f"the number {one} is {value:.6g} in {link.file} ({figure}).")
    return complaints


def _source(file: str, path: Path, root: Path, cache: dict[str, Any]) -> dict[str, Any]:
    """The content of a linked record or plan.

    Raises:
        FigureError: no such file, or it holds something else than its name says.
    """
    if file not in cache:
        source = inside(path.parent / file, root)
        if not source.is_file():
            raise FigureError("there is no such file.")
        data = read_header(source) if source.suffix == ".md" else json.loads(source.read_bytes())
        if not isinstance(data, dict) or (source.suffix == ".json" and data.get("id") != source.stem):
            raise FigureError("it is not the record that its name says.")
        cache[file] = data
    return cache[file]
