"""Handovers as sessions write them, small and complete, for the tests of their pages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from agent_tools.handbook.handover import (
    HandedCommit,
    HandedFile,
    HandedJob,
    HandedPlan,
    HandedRecord,
    HandedTests,
    Handover,
)
from agent_tools.handbook.session_files import HANDOVER_FILE, SESSION_FILE, as_text
from agent_tools.handbook.session_notes import CommandEvidence, FileEvidence, NoteKind, RecordEvidence, SessionNote
from agent_tools.handbook.sessions import Session
from tests.agent_tools.handbook import factory

SESSION = "2026-11-22_second"
LADDER = "20261121T200622Z-benchmark-3fa9c1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPEED = RecordEvidence(record=LADDER, figure="benchmark/summaries/5/ratio_to_first", value="4.94x")


def note(kind: NoteKind, text: str, why: str = "", number: int = 0, **more: Any) -> SessionNote:
    moment = factory.START + timedelta(days=1, seconds=number)
    name = f"{moment:%Y%m%dT%H%M%S}.{number:06d}Z-{kind}-{number:06x}"
    return SessionNote(id=name, kind=kind, written=moment, text=text, why=why, **more)


def notes() -> tuple[SessionNote, ...]:
    """One of every kind."""
    given: Sequence[tuple[NoteKind, str, str, dict[str, Any]]] = (
        ("goal", "validate in half the time", "", {}),
        ("done", "targets are cached", "", {"evidence": CommandEvidence(words=("pytest", "tests/test_x.py"))}),
        ("claim", "the ladder reaches its aim", "", {"evidence": SPEED}),
        ("claim", "the key is gone", "", {"evidence": FileEvidence(file="configs/base.yaml", lacks="old_key")}),
        ("decision", "one file per tier", "workers share it", {"files": ("ocr/datasets/tiers.py",)}),
        ("failed", "forked workers", "pages are copied on write", {}),
        ("blocker", "no GPU here", "", {}),
        ("next", "compile the forward", "", {"files": ("ocr/models/head.py",)}),
        ("read_first", "the rules of the caches", "", {"files": ("AGENTS.md",)}),
        ("insight", "the loader is not the limit", "", {}),
        ("issue", "the cache is cold after a checkout", "ocr cache prepare", {}),
        ("rollback", "git revert HEAD", "", {}),
        ("confidence", "high", "the data set is small", {}),
    )
    return tuple(note(kind, text, why, number, **more) for number, (kind, text, why, more) in enumerate(given))


def handover(root: Path, **changes: Any) -> Handover:
    """A handover of `SESSION` whose one record is the ladder of `factory.project`."""
    path = os.path.relpath(root / f"logs/2026-11-21_main-job/records/{LADDER}.json", root / "logs" / SESSION)
    values: dict[str, Any] = {
        "session": SESSION,
        "made": factory.START + timedelta(days=1, hours=3),
        "started": factory.START + timedelta(days=1),
        "goal": "",
        "commit": COMMIT,
        "branch": "main",
        "base": COMMIT[::-1],
        "before": "",
        "commits": (HandedCommit(id=COMMIT, date="2026-11-22", subject="feat: cached targets"),),
        "uncommitted": ("M ocr/models/head.py",),
        "omitted": 0,
        "files": (
            HandedFile(path="ocr/new.py", change="created", verdict="keep", because="nothing speaks against it"),
            HandedFile(path="ocr/bad.py", change="modified", verdict="revert", because="plan prenormalise is reverted"),
        ),
        "records": (HandedRecord(id=LADDER, kind="benchmark", title="Main ladder", path=path, new=True),),
        "jobs": (HandedJob(id="20261122T200622Z-train-3fa9c1", status="running", title="training"),),
        "tests": HandedTests(
            said="112 passed, 1 failed", scope="the whole suite", ended=factory.START, passed=False, outdated=True
        ),
        "plans": (
            HandedPlan(
                name="dali",
                path="../../docs/ai_handbook/07_planning/plans/dali.md",
                kind="optimisation",
                status="planned",
                priority=2,
                hypothesis="decode on the GPU",
                expected_gain="1.3x",
                effort="2 days",
                cons=("a second decoder",),
            ),
            HandedPlan(
                name="speed",
                path="../../docs/ai_handbook/07_planning/plans/speed.md",
                kind="target",
                status="active",
                priority=1,
                target="ratio_to_first at least 5",
                verify="agent-tools bench ladder main",
            ),
        ),
        "documents": ("CHANGELOG.md says nothing yet of what changed in 2 files.",),
        "cleanup": ("git restore --source=fedcba987654 -- ocr/bad.py",),
        "reading": ("AGENTS.md", "docs/ai_handbook/99_current_state.md"),
        "notes": notes(),
    }
    return Handover(**(values | changes))


def store(root: Path, given: Handover) -> Path:
    """Write a handover and the session that it belongs to; returns the session's folder."""
    folder = root / "logs" / given.session
    folder.mkdir(parents=True, exist_ok=True)
    session = Session(name=given.session, started=given.started, goal=given.goal, commit=given.base)
    (folder / SESSION_FILE).write_text(as_text(session))
    (folder / HANDOVER_FILE).write_text(as_text(given))
    return folder
