"""The structured commit message: made for a commit, proposed in a handover, and recognised in a repository.

It is a line `type: summary (ratio if measured)`, then bullets that say what was done and why, then a line
`Records: ids` and a line `Findings: paths`, where there are none `none`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from agent_tools.handbook.budgets import shortened
from agent_tools.handbook.findings import FINDINGS_PAGES, is_descriptive
from agent_tools.handbook.findings_files import findings_path
from agent_tools.handbook.handover import HandedRecord, Handover
from agent_tools.handbook.state import is_ladder
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore

SUBJECT_LIMIT = 100
BULLET_LIMIT = 200
BULLETS = 12
IDS = 12
DECIDED = frozenset({"faster", "slower", "equivalent"})

_SUBJECT = re.compile(r"[a-z]+(?:\([^()]+\))?!?: \S.*")


class MessageError(WorkbenchError):
    """What cannot be made a structured message."""


def structured_message(
    root: Path, kind: str, summary: str, why: Sequence[str], records: Sequence[str], findings: Sequence[str]
) -> str:
    """Make the message of a commit.

    Args:
        root: the repository.
        kind: what sort of change, such as `feat` or `fix(cache)`.
        summary: one line; the ratio that the records decided is added.
        why: the bullets: what was done and why.
        records: ids.
        findings: paths relative to the root; where there are none, those of the records.

    Raises:
        MessageError: something is missing, too long, or unprintable.
        RecordNotFound: there is no such record; the nearest are named.
    """
    store = RecordStore(root)
    loaded = [store.load(name) for name in dict.fromkeys(records)]
    ratio = _ratio(loaded)
    subject = f"{kind}: {_line(summary)}{f' ({ratio})' if ratio and ratio not in summary else ''}"
    bullets = [f"- {_line(text).removeprefix('- ')}" for text in why if text.strip()]
    message = "\n".join([subject, "", *bullets, "", *_references(root, loaded, findings), ""])
    problem = message_problem(message) or _unreadable([subject, *bullets])
    if problem:
        raise MessageError(
            f"This makes no structured message, for {problem}; give a type such as feat or fix, a summary, and why: "
            "bullets that say what was done and for what reason."
        )
    return message


def _unreadable(lines: Sequence[str]) -> str:
    if len(lines[0]) > SUBJECT_LIMIT:
        return f"its first line has {len(lines[0])} characters, and {SUBJECT_LIMIT} are allowed"
    odd = [line for line in lines if not line.isprintable()]
    return f"{odd[0][:80]!r} has unprintable characters" if odd else ""


def message_problem(message: str) -> str:
    """What a commit message lacks of the structured form; '' if nothing. Merges have their own."""
    lines = [line.rstrip() for line in message.splitlines()]
    if lines and lines[0].startswith("Merge "):
        return ""
    if not lines or not _SUBJECT.fullmatch(lines[0]):
        return "its first line is not `type: summary`"
    if not any(line.startswith("- ") for line in lines[1:]):
        return "it has no bullets that say what and why"
    missing = [name for name in ("Records:", "Findings:") if not any(line.startswith(name) for line in lines)]
    return f"it has no line `{missing[0]} ...`" if missing else ""


def commit_message(root: Path, handover: Handover) -> str:
    """The message that fits what a session hands over: its notes, its records, and their findings."""
    store = RecordStore(root)
    records = [(named, store.load(named.id)) for named in handover.records if named.new and named.path]
    ratio = _ratio([record for _, record in records])
    done = [*handover.noted("done"), *handover.noted("claim")]
    goal = done[0].text if done else handover.goal or f"work of session {handover.session}"
    room = SUBJECT_LIMIT - len(ratio) - 10
    subject = f"{_type(handover, records)}: {shortened(_line(goal), room)}{f' ({ratio})' if ratio else ''}"
    return "\n".join([subject, "", *_bullets(handover), "", *_references(root, [record for _, record in records])])


def _type(handover: Handover, records: Sequence[tuple[HandedRecord, RunRecord]]) -> str:
    if any(record.comparison is not None for _, record in records):
        return "perf"
    code = [file for file in handover.files if not file.path.endswith(".md")]
    return "feat" if code else "docs"


def _ratio(records: Sequence[RunRecord]) -> str:
    """The ratio of the newest record that decided something, as `1.12x`; '' without one."""
    for record in sorted(records, key=lambda one: one.id, reverse=True):
        outcome = record.comparison.outcome if record.comparison else None
        if outcome is not None and outcome.verdict in DECIDED and outcome.metrics:
            return f"{outcome.metrics[0].ratio:.2f}x"
        if record.benchmark is not None and is_ladder(record) and not is_descriptive(record.benchmark):
            return f"{record.benchmark.summaries[-1].ratio_to_first:.2f}x"
    return ""


def _bullets(handover: Handover) -> list[str]:
    said = [f"{_line(note.text)}{f': {_line(note.why)}' if note.why else ''}" for note in handover.noted("done")]
    said += [f"{_line(note.text)}, because {_line(note.why)}" for note in handover.noted("decision")]
    said += [f"tried in vain: {_line(note.text)}, because {_line(note.why)}" for note in handover.noted("failed")]
    kept = [f"- {shortened(text, BULLET_LIMIT)}" for text in said[:BULLETS]]
    return kept or ["- (what was changed, and why)"]


def _references(root: Path, records: Sequence[RunRecord], findings: Sequence[str] = ()) -> list[str]:
    made = [record for record in records if record.kind in FINDINGS_PAGES] if not findings else []
    paths = [findings_path(record, RecordStore(root).find_folder(record.id)) for record in made]
    named = [*findings, *(path.relative_to(root).as_posix() for path in paths)]
    return [f"Records: {_listed([record.id for record in records])}", f"Findings: {_listed(named)}"]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - IDS} more" if len(names) > IDS else ""
    return ", ".join(names[:IDS]) + more or "none"


def _line(text: str) -> str:
    return " ".join(text.split())
