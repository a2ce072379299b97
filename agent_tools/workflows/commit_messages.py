"""The structured commit message: written for a handover, and recognised in a repository.

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
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore

SUBJECT_LIMIT = 100
BULLET_LIMIT = 200
BULLETS = 12
IDS = 12
DECIDED = frozenset({"faster", "slower", "equivalent"})

_SUBJECT = re.compile(r"[a-z]+(?:\([^()]+\))?!?: \S.*")


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
    return "\n".join([subject, "", *_bullets(handover), "", *_references(root, records)])


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


def _references(root: Path, records: Sequence[tuple[HandedRecord, RunRecord]]) -> list[str]:
    findings = []
    for named, record in records:
        if record.kind in FINDINGS_PAGES:
            folder = RecordStore(root).find_folder(named.id)
            findings.append(findings_path(record, folder).relative_to(root).as_posix())
    return [f"Records: {_listed([named.id for named, _ in records])}", f"Findings: {_listed(findings)}"]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - IDS} more" if len(names) > IDS else ""
    return ", ".join(names[:IDS]) + more or "none"


def _line(text: str) -> str:
    return " ".join(text.split())
