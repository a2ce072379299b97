"""The checklists before and after a session, each item looked up by the machine and not remembered by anybody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread

from agent_tools.handbook.changelog import CHANGELOG, unannounced
from agent_tools.handbook.check import Problem, check_documents
from agent_tools.handbook.handover_page import prompt_documents
from agent_tools.handbook.pages import STATE_PATH
from agent_tools.handbook.session_files import HANDOVER_PAGE
from agent_tools.handbook.session_notes import read_notes
from agent_tools.handbook.sessions import SessionFolder, current_session, newest_handover
from agent_tools.records.errors import WorkbenchError
from agent_tools.workflows.commit_messages import message_problem
from agent_tools.workflows.session_context import SMALLEST_BUDGET, collect_context
from agent_tools.workflows.session_gathering import BOOKKEEPING, RECORD_PATH
from agent_tools.workspace.git.history import TreeSince, tree_since
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

FINDINGS_NAMED = 5


@dataclass(frozen=True)
class Item:
    """One item: what has to be so, what is wrong ('' if nothing), how to mend it, and what was seen."""

    text: str
    problem: str
    mend: str
    seen: str = ""

    def line(self) -> str:
        """One line for a list."""
        if self.problem:
            return shown(f"FAIL: {self.text}: {self.problem}; {self.mend}")
        return shown(f"pass: {self.text}{f' ({self.seen})' if self.seen else ''}")


async def items_before(root: Root) -> list[Item]:
    """What has to be so before work begins."""
    handed = await anyio.to_thread.run_sync(newest_handover, root.path)
    problems = await anyio.to_thread.run_sync(check_documents, root.path)
    tree = await tree_since(root, handed.handover.commit if handed and handed.handover else "")
    context = await collect_context(root, SMALLEST_BUDGET)
    return [
        _state_page(problems, "state page fresh"),
        _uncommitted(tree, handed),
        _findings(root, problems, "recent findings listed"),
        Item("context collected", context.problem, "restore the script", f"{len(context.text.splitlines())} lines"),
        _prompt(root, handed),
    ]


async def items_after(root: Root) -> list[Item]:
    """What has to be so before a session ends."""
    session = await anyio.to_thread.run_sync(current_session, root.path, datetime.now(UTC).date())
    problems = await anyio.to_thread.run_sync(check_documents, root.path)
    tree = await tree_since(root, _base(root, session))
    return [
        _findings(root, problems, "findings for every benchmark record"),
        _state_page(problems, "state page updated"),
        _committed(tree),
        _changelog(tree),
        _handed_over(root, session),
    ]


def _base(root: Root, session: SessionFolder | None) -> str:
    if session is not None and session.session.commit:
        return session.session.commit
    before = newest_handover(root.path, but=session.name if session else "")
    return before.handover.commit if before is not None and before.handover is not None else ""


def _state_page(problems: Sequence[Problem], text: str) -> Item:
    wrong = [problem.message for problem in problems if problem.path == STATE_PATH]
    return Item(text, wrong[0] if wrong else "", "`agent-tools docs render`")


def _findings(root: Root, problems: Sequence[Problem], text: str) -> Item:
    missing = [problem for problem in problems if problem.kind == "missing" and RECORD_PATH.fullmatch(problem.path)]
    newest = sorted((root.path / "logs").glob("*/*-findings.md"), key=_record_named, reverse=True)
    named = ", ".join(root.relative(path) for path in newest[:FINDINGS_NAMED]) or "there are none"
    return Item(text, missing[0].message if missing else "", "`agent-tools docs render`", named)


def _record_named(findings: Path) -> str:
    """The id of the record that findings are made from, by which they sort by time; '' where they name none."""
    with findings.open(encoding="utf-8", errors="replace") as stream:
        match = re.search(r"record=records/([^ ;]+)\.json", stream.readline(1000))
    return match[1] if match else ""


def _open_work(tree: TreeSince) -> list[str]:
    return [entry for entry in tree.uncommitted if not BOOKKEEPING.fullmatch(entry[2:])]


def _uncommitted(tree: TreeSince, handed: SessionFolder | None) -> Item:
    listed = set(handed.handover.uncommitted) if handed is not None and handed.handover is not None else set()
    new = [entry for entry in _open_work(tree) if entry not in listed]
    known = "those that the handover lists" if _open_work(tree) else "none"
    return Item(
        "no uncommitted changes, or listed",
        f"the last handover does not list {_some(new)}" if new else "",
        "commit them, or list them with `agent-tools session handover`",
        known,
    )


def _prompt(root: Root, handed: SessionFolder | None) -> Item:
    text, mend = "continuation prompt with @-mentions present", "`agent-tools session handover`"
    if handed is None:
        return Item(text, "there is no handover", mend)
    page = handed.path / HANDOVER_PAGE
    try:
        mentioned = prompt_documents(page.read_text(encoding="utf-8")) if page.is_file() else []
    except (WorkbenchError, UnicodeDecodeError) as error:
        return Item(text, f"{root.relative(page)} cannot be read: {error}", mend)
    gone = [path for path in mentioned if not (root.path / path).is_file()]
    problem = f"{root.relative(page)} mentions {_some(gone)}, which is not there" if gone else ""
    return Item(text, problem if mentioned else f"{root.relative(page)} mentions no document", mend, _some(mentioned))


def _committed(tree: TreeSince) -> Item:
    text, mend = "committed with a structured message", "`agent-tools session handover` prints one that fits"
    new = _open_work(tree)
    if new:
        return Item(text, f"uncommitted: {_some(new)}", mend)
    commits = tree.commits if tree.base else tree.commits[:1]
    for commit in commits:
        if message_problem(commit.message):
            return Item(text, f"{commit.id[:10]} {commit.subject[:60]!r}: {message_problem(commit.message)}", mend)
    return Item(text, "", mend, f"{len(commits)} commits")


def _changelog(tree: TreeSince) -> Item:
    missing = unannounced([path for _, path in tree.changed])
    problem = f"it says nothing of {_some(missing)}" if missing else ""
    mend = f"add what changed to {CHANGELOG}, or `agent-tools changelog add RECORD`"
    return Item("changelog entry", problem, mend, "everything that changed is announced")


def _handed_over(root: Root, session: SessionFolder | None) -> Item:
    text, mend = "handover written", "`agent-tools session handover`"
    if session is None or session.handover is None:
        return Item(text, "no session of today was handed over" if session is None else f"{session.name} is open", mend)
    if not (session.path / HANDOVER_PAGE).is_file():
        return Item(text, f"{session.name} has no {HANDOVER_PAGE}", mend)
    handed = {note.id for note in session.handover.notes}
    later = [note for note in read_notes(session.path, root.path) if note.id not in handed]
    return Item(text, f"notes came after it: {later[0].text[:80]}" if later else "", mend, session.name)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
