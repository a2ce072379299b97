"""The handover as a page: what `handover.md.j2` prints, made from `handover.json` and the records that it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_tools.handbook.blocks import Header, parse_document, read_text, refuse_edits
from agent_tools.handbook.budgets import shortened
from agent_tools.handbook.drafts import Draft, draft_document, inside, load_record
from agent_tools.handbook.figures import FigureError
from agent_tools.handbook.handover import Handover, read_handover
from agent_tools.handbook.inputs import handover_files
from agent_tools.handbook.markdown import SafeSource
from agent_tools.handbook.session_files import HANDOVER_FILE, HANDOVER_PAGE, SessionError
from agent_tools.handbook.session_notes import CommandEvidence, FileEvidence, NoteKind, SessionNote, shown_value
from agent_tools.handbook.state import RecordEntry, record_source, relative, state_values

SECTION_TOKENS = {
    "summary": 600,
    "tree": 400,
    "performance": 900,
    "records": 400,
    "files": 500,
    "cleanup": 250,
    "worked": 700,
    "failed": 600,
    "insight": 300,
    "options": 800,
    "path": 250,
    "criteria": 500,
    "issues": 300,
    "rollback": 200,
    "documents": 250,
    "confidence": 200,
    "prompt": 600,
}
"""Tokens of each generated section, its heading left out; what is cut names the command that shows the rest."""
LINKABLE = re.compile(r"[A-Za-z0-9_./!*%~-]+")
"""A figure that can stand in a link; names in it are percent-encoded."""
NEXT_STEPS = 3
MENTIONED = 12
"""Documents that the continuation prompt names at most."""


@dataclass(frozen=True)
class NoteLine:
    """A note as one line: its text, why, and what shows it (words and what they say, or a figure with its record)."""

    text: str
    why: str
    files: tuple[str, ...]
    shown_by: str = ""
    expects: str = ""
    figure: str = ""
    unit: str = ""
    decimals: int = 0
    source: SafeSource | None = None


@dataclass(frozen=True)
class Criterion:
    """Something that has to be so, how to verify it, and what is then seen."""

    text: str
    verify: str
    expected: str


def draft_handover(folder: Path, root: Path) -> Draft:
    """Draft of the page of one session's handover; both paths are resolved.

    Raises:
        SessionError: the handover cannot be read.
        DocumentError: a record that it names is gone, or somebody's words would be lost.
    """
    # first of all: it refuses what is no record of a session, which then is not even looked for
    handover_files(folder / HANDOVER_FILE)
    handover = read_handover(folder, root)
    entries = _entries(handover, folder, root)
    header = Header("handover", {"handover": HANDOVER_FILE})
    values = handover_values(handover, entries)
    return draft_document(folder / HANDOVER_PAGE, header, values, [entry.source for entry in entries], root)


def check_page(folder: Path, root: Path) -> None:
    """Raise if the page on disk holds words that a new handover would lose.

    Raises:
        DocumentError: it is not owned, or a generated block was edited by hand.
    """
    page = folder / HANDOVER_PAGE
    if page.is_file():
        where = relative(page, root)
        refuse_edits(parse_document(read_text(page), where), where)


def _entries(handover: Handover, folder: Path, root: Path) -> list[RecordEntry]:
    entries = []
    for named in handover.records:
        if named.path:
            stored = load_record(inside(folder / named.path, root), root)
            if stored.record.id != named.id:
                raise SessionError(f"{named.path} is not record {named.id}; hand over again.")
            source = record_source(named.id, stored.data, folder / named.path, folder)
            entries.append(RecordEntry(stored.record, source))
    return entries


def handover_values(handover: Handover, entries: Sequence[RecordEntry]) -> dict[str, Any]:
    """Everything that the template prints."""
    sources = {entry.record.id: entry.source for entry in entries}

    def lines(*kinds: NoteKind) -> list[NoteLine]:
        return [_note_line(note, sources) for note in handover.noted(*kinds)]

    return {
        "h": handover,
        "machines": state_values(entries, [])["machines"],
        "sources": sources,
        "new_records": [record for record in handover.records if record.new],
        "goals": [text for text in (handover.goal, *(note.text for note in handover.noted("goal"))) if text],
        "done": lines("done"),
        "claims": lines("claim"),
        "decisions": lines("decision"),
        "failed": lines("failed"),
        "blockers": lines("blocker"),
        "insights": lines("insight"),
        "issues": lines("issue"),
        "rollbacks": lines("rollback"),
        "confidence": lines("confidence"),
        "next": lines("next")[:NEXT_STEPS],
        "options": [plan for plan in handover.plans if plan.kind == "optimisation"],
        "known_issues": [plan for plan in handover.plans if plan.kind == "issue"],
        "criteria": criteria(handover),
        "prompt": continuation_prompt(handover),
        "tokens": SECTION_TOKENS,
        "rest": rest_commands(handover),
    }


def _note_line(note: SessionNote, sources: Mapping[str, SafeSource]) -> NoteLine:
    text, why = shortened(note.text), shortened(note.why)
    evidence = note.evidence
    if evidence is None:
        return NoteLine(text, why, note.files)
    if isinstance(evidence, CommandEvidence):
        words = shortened(shlex.join(evidence.words))
        return NoteLine(text, why, note.files, words, expects=shortened(evidence.expects))
    if isinstance(evidence, FileEvidence):
        return NoteLine(text, why, note.files, shortened(_file_words(evidence)))
    source = sources.get(evidence.record)
    words = " ".join(part for part in (evidence.record, evidence.figure, evidence.value) if part)
    number = shown_value(evidence)
    if source is None or number is None or not _holds_number(source, evidence.figure):
        return NoteLine(text, why, note.files, words, source=source)
    decimals = len(number.text.partition(".")[2])
    figure = evidence.figure
    return NoteLine(text, why, note.files, figure, figure=figure, unit=number.unit, decimals=decimals, source=source)


def _file_words(evidence: FileEvidence) -> str:
    parts = [f"contains {evidence.contains}"] if evidence.contains else []
    parts += [f"lacks {evidence.lacks}"] if evidence.lacks else []
    return f"{evidence.file} {' and '.join(parts)}"


def _holds_number(source: SafeSource, figure: str) -> bool:
    if not LINKABLE.fullmatch(figure):
        return False
    try:
        source.value(figure)
    except FigureError:
        return False
    return True


def criteria(handover: Handover) -> list[Criterion]:
    """What shows that the work is still whole, and that a target is reached."""
    rows = [
        Criterion("documents agree with their records", "agent-tools docs check", "all documents agree"),
        Criterion("the session ends in order", "agent-tools session checklist after", "no item fails"),
    ]
    rows += [Criterion(plan.name, plan.verify, plan.target) for plan in handover.plans if plan.kind == "target"]
    rows += [_criterion(note) for note in handover.notes if note.evidence is not None]
    return rows


def _criterion(note: SessionNote) -> Criterion:
    evidence = note.evidence
    text = shortened(note.text, 160)
    if isinstance(evidence, CommandEvidence):
        return Criterion(
            text, shortened(shlex.join(evidence.words), 160), shortened(evidence.expects, 80) or "it passes"
        )
    if isinstance(evidence, FileEvidence):
        words = shlex.join(["grep", "-F", "--", evidence.contains or evidence.lacks, evidence.file])
        return Criterion(text, shortened(words, 160), "finds it" if evidence.contains else "finds nothing")
    assert evidence is not None  # noqa: S101 - the caller chose notes that have one
    expected = f"{evidence.figure} is {evidence.value}" if evidence.value else evidence.figure or "it is there"
    return Criterion(text, f"agent-tools record show {evidence.record}", expected)


def continuation_prompt(handover: Handover) -> list[str]:
    """What to say to the next session, line by line, with every document mentioned as `@PATH`."""
    documents = dict.fromkeys([f"logs/{handover.session}/{HANDOVER_PAGE}", *handover.reading])
    goals = [note.text for note in handover.noted("goal")] or ([handover.goal] if handover.goal else [])
    steps = [note.text for note in handover.noted("next")][:NEXT_STEPS]
    steps = steps or [f"plan {plan.name}" for plan in handover.plans if plan.kind == "optimisation"][:NEXT_STEPS]
    return [
        f"Go on with this: {shortened(goals[-1])}" if goals else "Go on with this project.",
        "Read first: " + " ".join(f"@{path}" for path in list(documents)[:MENTIONED]),
        "Then run: agent-tools session start NAME. It checks every claim of the handover again; rely on what passes.",
        "At the end run: agent-tools session handover, then agent-tools session checklist after.",
        *(f"Next: {shortened(step)}" for step in steps),
        *(f"Blocked: {shortened(note.text)}" for note in handover.noted("blocker")),
        *(f"Tried in vain: {shortened(note.text)} ({shortened(note.why)})" for note in handover.noted("failed")),
    ]


def rest_commands(handover: Handover) -> dict[str, str]:
    """Per section, the command that shows what its budget leaves out."""
    folder = f"logs/{handover.session}"
    whole = f"cat {folder}/{HANDOVER_FILE}"
    span = f"{handover.base}..{handover.commit}" if handover.base else handover.commit
    notes = {name: f"cat {folder}/notes/*-{kind}-*" for name, kind in _NOTES_OF_SECTION.items()}
    return {
        **dict.fromkeys(SECTION_TOKENS, whole),
        **notes,
        "tree": f"git log --oneline {span}; git status --short",
        "performance": "agent-tools record list",
        "records": "agent-tools record list",
        "options": "cat docs/ai_handbook/07_planning/plans/*.md",
        "documents": "agent-tools docs check",
    }


_NOTES_OF_SECTION = {
    "failed": "failed",
    "insight": "insight",
    "path": "next",
    "rollback": "rollback",
    "confidence": "confidence",
}


def prompt_documents(page: str) -> list[str]:
    """The paths that the continuation prompt of a rendered page mentions."""
    prompt = parse_document(page, HANDOVER_PAGE).block("generated", "prompt")
    words = prompt.body.split() if prompt is not None else []
    return [word.strip("`")[1:] for word in words if word.strip("`").startswith("@")]
