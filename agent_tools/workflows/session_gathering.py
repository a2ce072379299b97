"""What a handover says, gathered once: git, records, jobs, tests, plans and documents as they are now."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread

from agent_tools.handbook.changelog import CHANGELOG, unannounced
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.findings import is_descriptive
from agent_tools.handbook.handover import (
    HandedCommit,
    HandedFile,
    HandedJob,
    HandedPlan,
    HandedRecord,
    HandedTests,
    Handover,
)
from agent_tools.handbook.inputs import plan_files
from agent_tools.handbook.pages import STATE_PATH
from agent_tools.handbook.plans import PLANS_FOLDER, Plan, PlanError, Target, read_plan
from agent_tools.handbook.session_notes import RecordEvidence, SessionNote, read_notes
from agent_tools.handbook.sessions import SessionFolder, newest_handover
from agent_tools.handbook.state import is_ladder
from agent_tools.jobs import runners
from agent_tools.jobs.folders import ACTIVE
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from agent_tools.workspace.git.history import TreeSince, tree_since
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.running import last_run
from agent_tools.workspace.untrusted import shown

FILES_KEPT = 300
DOCUMENTS_KEPT = 50
READ_BEFORE_ALL = ("AGENTS.md", STATE_PATH)

MENTIONABLE = re.compile(r"[A-Za-z0-9_./-]+")
"""A path that can follow an @ in a prompt without quoting."""
BOOKKEEPING = re.compile(r"logs/[^/]+/(?:session\.json|notes/.*|handover\.(?:json|md))")
"""What sessions write about themselves: no uncommitted work that anybody has to be told of."""
RECORD_PATH = re.compile(r"logs/[^/]+/records/(?P<id>[^/]+)\.json")


async def gather(root: Root, folder: SessionFolder, now: datetime) -> Handover:
    """Gather what a session hands over.

    Raises:
        WorkbenchError: git, a note, a plan or a session that cannot be read.
    """
    before = newest_handover(root.path, but=folder.name)
    handed = before.handover if before is not None else None
    session = folder.session
    tree = await tree_since(root, handed.commit if handed else session.commit)
    since = handed.made if handed else session.started
    return await anyio.to_thread.run_sync(_gathered, root, folder, tree, now, before.name if before else "", since)


def _gathered(
    root: Root, folder: SessionFolder, tree: TreeSince, now: datetime, before: str, since: datetime
) -> Handover:
    notes = read_notes(folder.path, root.path)
    store = RecordStore(root.path)
    new = _new_records(store, tree, since)
    plans = _readable_plans(root)
    files = _files(tree, new, _touched_plans(plans, tree, root))
    documents = _documents(root, folder.name, tree)
    return Handover(
        session=folder.name,
        made=now,
        started=folder.session.started,
        goal=folder.session.goal,
        commit=tree.commit,
        branch=tree.branch,
        base=tree.base,
        before=before,
        commits=tuple(HandedCommit(id=one.id, date=one.date, subject=one.subject) for one in tree.commits),
        uncommitted=tuple(entry for entry in tree.uncommitted if not BOOKKEEPING.fullmatch(entry[2:])),
        omitted=tree.omitted + max(0, len(files) - FILES_KEPT),
        files=tuple(files[:FILES_KEPT]),
        records=tuple(_named_records(store, new, notes, folder.path)),
        jobs=_jobs(root),
        tests=_tests(root, tree),
        plans=tuple(_options(plans, folder.path)),
        documents=tuple(documents),
        cleanup=tuple(_cleanup(files, tree, documents)),
        reading=tuple(_reading(root, notes)),
        notes=tuple(notes),
    )


# --- records -----------------------------------------------------------------------------------------------------


def _new_records(store: RecordStore, tree: TreeSince, since: datetime) -> list[RunRecord]:
    """Records made since, by their time, and those that a merge brought in since, by git."""
    stamp = f"{since.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    added = {match["id"] for _, path in tree.changed if (match := RECORD_PATH.fullmatch(path))}
    ids = [record_id for record_id in sorted(store.files()) if record_id >= stamp or record_id in added]
    return [record for record_id in ids if (record := _readable(store, record_id)) is not None]


def _readable(store: RecordStore, record_id: str) -> RunRecord | None:
    # One damaged record must not keep the session from handing over; the documents check names it.
    with suppress(WorkbenchError):
        return store.load(record_id)
    return None


def _named_records(
    store: RecordStore, new: Sequence[RunRecord], notes: Sequence[SessionNote], folder: Path
) -> list[HandedRecord]:
    """New records, then the newest ladder with a verdict of each machine, then those that notes rest on."""
    shown_by = [note.evidence.record for note in notes if isinstance(note.evidence, RecordEvidence)]
    evidence = [record for record_id in shown_by if (record := _readable(store, record_id)) is not None]
    new_ids = {record.id for record in new}
    every = {record.id: record for record in (*new, *_standing(store), *evidence)}
    return [
        HandedRecord(
            id=record.id,
            kind=record.kind,
            title=shown(record.title)[:200],
            path=_shared_path(store, record.id, folder),
            new=record.id in new_ids,
        )
        for record in every.values()
    ]


def _standing(store: RecordStore) -> list[RunRecord]:
    newest: dict[str, RunRecord] = {}
    for record in store.list_all("benchmark").records:
        benchmark = record.benchmark
        if benchmark is not None and is_ladder(record) and not is_descriptive(benchmark):
            newest.setdefault(record.machine.key if record.machine else "", record)
    return list(newest.values())


def _shared_path(store: RecordStore, record_id: str, folder: Path) -> str:
    path = store.find(record_id)
    is_shared = path.is_relative_to(store.root / "logs")
    return Path(os.path.relpath(path, folder)).as_posix() if is_shared else ""


# --- files -------------------------------------------------------------------------------------------------------


def _files(tree: TreeSince, new: Sequence[RunRecord], plans: Sequence[Plan]) -> list[HandedFile]:
    verdicts = _verdicts(new, plans)
    return [
        HandedFile(
            path=path,
            change=change,
            verdict="revert" if path in verdicts and verdicts[path][0] == "revert" else "keep",
            because=verdicts[path][1] if path in verdicts else "nothing speaks against it",
        )
        for change, path in tree.changed
        if not path.startswith("logs/")
    ]


def _verdicts(new: Sequence[RunRecord], plans: Sequence[Plan]) -> dict[str, tuple[str, str]]:
    """Per file, what the newest comparison of it recommends, unless a person decided or a plan was closed."""
    decided = {record.override.record: record.override for record in new if record.override is not None}
    verdicts: dict[str, tuple[str, str]] = {}
    for record in sorted(new, key=lambda one: one.id):
        if record.comparison is None:
            continue
        override = decided.get(record.id)
        advice = override.decided if override else record.comparison.outcome.recommendation
        whose = f"{override.by} decided" if override else "it recommends"
        for file in record.comparison.files:
            verdicts[file] = (advice, f"comparison {record.id}: {whose} {advice}")
    for plan in plans:
        advice = "keep" if plan.status == "kept" else "revert"
        verdicts |= dict.fromkeys(plan.files, (advice, f"plan {plan.name} is {plan.status}"))
    return verdicts


def _touched_plans(plans: Iterable[tuple[Path, Plan]], tree: TreeSince, root: Root) -> list[Plan]:
    """Closed plans whose file changed since: an older verdict is about an older change."""
    changed = {path for _, path in tree.changed}
    return [plan for path, plan in plans if plan.closed and root.relative(path) in changed]


def _cleanup(files: Sequence[HandedFile], tree: TreeSince, documents: Sequence[str]) -> list[str]:
    untracked = {entry[2:] for entry in tree.uncommitted if entry.startswith("? ")}
    commands = [_undone(file, tree, untracked) for file in files if file.verdict == "revert"]
    if any("agent-tools docs render" in document for document in documents):
        commands.append("agent-tools docs render")
    return commands


def _undone(file: HandedFile, tree: TreeSince, untracked: set[str]) -> str:
    path = shlex.quote(file.path)
    if file.change == "created":
        return f"rm -- {path}" if file.path in untracked else f"git rm -- {path}"
    return f"git restore --source={(tree.base or tree.commit)[:12]} -- {path}"


# --- jobs, tests, plans, documents -------------------------------------------------------------------------------


def _jobs(root: Root) -> tuple[HandedJob, ...]:
    states, _ = runners.list_jobs(root.path)
    return tuple(
        HandedJob(id=state.id, status=state.status, title=shown(state.title)[:120])
        for state in states
        if state.status in ACTIVE
    )


def _tests(root: Root, tree: TreeSince) -> HandedTests | None:
    run = last_run(root)
    if run is None:
        return None
    narrowed = "last failed" if run.last_failed else "affected by changes" if run.affected else ""
    chosen = [*run.paths, f"-k {run.keyword}" if run.keyword else "", narrowed]
    return HandedTests(
        said=run.said,
        scope=" ".join(filter(None, chosen))[:200] or "the whole suite",
        ended=run.ended,
        passed=run.succeeded,
        outdated=bool(tree.commit) and run.ended < tree.committed,
    )


def _readable_plans(root: Root) -> list[tuple[Path, Plan]]:
    plans = []
    for path in plan_files(root.path / PLANS_FOLDER):
        # One damaged plan must not keep the session from handing over; the documents check names it.
        with suppress(PlanError):
            plans.append((path, read_plan(path)))
    return plans


def _options(plans: Iterable[tuple[Path, Plan]], folder: Path) -> list[HandedPlan]:
    opened = [(path, plan) for path, plan in plans if not plan.closed]
    return [
        HandedPlan(
            name=plan.name,
            path=Path(os.path.relpath(path, folder)).as_posix(),
            kind=plan.kind,
            status=plan.status,
            priority=plan.priority,
            hypothesis=plan.hypothesis,
            expected_gain=plan.expected_gain,
            effort=plan.effort,
            pros=plan.pros,
            cons=plan.cons,
            steps=plan.steps,
            references=(*plan.files, *plan.config_keys, *plan.records),
            target=_aim(plan.target),
            verify=f"agent-tools bench ladder {plan.target.benchmark}" if plan.target else "",
        )
        for path, plan in sorted(opened, key=lambda entry: (entry[1].priority, entry[1].name))
    ]


def _aim(target: Target | None) -> str:
    if target is None:
        return ""
    return f"{target.figure} {'at most' if target.lower_is_better else 'at least'} {target.value:g}"


def _documents(root: Root, session: str, tree: TreeSince) -> list[str]:
    own = f"logs/{session}/handover"
    problems = [shown(one.message) for one in check_documents(root.path) if not one.path.startswith(own)]
    sources = unannounced([path for _, path in tree.changed])
    if sources and (root.path / CHANGELOG).is_file():
        problems.append(f"{CHANGELOG} says nothing yet of what changed in {len(sources)} files.")
    return problems[:DOCUMENTS_KEPT]


def _reading(root: Root, notes: Sequence[SessionNote]) -> list[str]:
    """Files to read first, those of the notes before the usual ones; only what exists and can be mentioned."""
    named = [file for note in notes if note.kind == "read_first" for file in note.files]
    paths = dict.fromkeys([*named, *READ_BEFORE_ALL])
    return [path for path in paths if MENTIONABLE.fullmatch(path) and _is_there(root, path)]


def _is_there(root: Root, path: str) -> bool:
    try:
        return root.resolve(path).exists()
    except WorkbenchError:
        return False
