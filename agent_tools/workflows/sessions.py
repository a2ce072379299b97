"""Sessions as tools: start one with the last one's claims verified, write notes, check, and hand over."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import anyio.to_thread
from pydantic import Field

from agent_tools.handbook.budgets import BYTES_PER_TOKEN, size, within
from agent_tools.handbook.handover_page import SECTION_TOKENS, check_page, continuation_prompt
from agent_tools.handbook.render import render_handover
from agent_tools.handbook.session_files import HANDOVER_FILE, SessionError, as_text
from agent_tools.handbook.session_notes import (
    CommandEvidence,
    Evidence,
    NoteKind,
    checked_evidence,
    new_note,
    write_note,
)
from agent_tools.handbook.sessions import (
    Session,
    SessionFolder,
    all_sessions,
    begin_session,
    current_session,
    named_session,
    newest_handover,
    open_session,
)
from agent_tools.records.store import write_atomically
from agent_tools.results import Positional, RepositoryText, ToolResult
from agent_tools.workflows.commit_messages import commit_message
from agent_tools.workflows.session_checklists import items_after, items_before
from agent_tools.workflows.session_context import collect_context
from agent_tools.workflows.session_evidence import Verified, check_stored, program_of, verify_handover
from agent_tools.workflows.session_gathering import gather
from agent_tools.workspace.git.history import tree_since
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.suite_reports import Report
from agent_tools.workspace.untrusted import shown

UNNAMED = "unnamed"
"""Name of the session that a handover makes where nobody started one."""
CLAIMS_SHARE = 0.4
"""Of the budget of a start, at most; the context has the rest."""


class SessionStarted(RepositoryText):
    """A session that is open now, and what the last one left."""

    session: str
    failed: int
    claims: list[str] = Field(description="pass, FAIL or not run, and why")
    note: str
    context: str

    def summary(self) -> str:
        """Say the folder and every claim."""
        return "\n".join([f"{self.session} is open; {self.note}", *self.claims])


async def session_start(
    root: Root,
    report: Report | None = None,
    name: Annotated[str, Field(description="'' = the open session")] = "",
    goal: str = "",
    budget: Annotated[int, Field(ge=1000, le=12000, description="tokens")] = 6000,
    max_seconds: Annotated[int, Field(ge=1, le=3600)] = 600,
) -> SessionStarted:
    """Open a session: verify every claim of the last handover again and collect the project's context.

    Use it first of all. Rely on claims that pass; read a failed one's commits.
    """
    now = datetime.now(UTC)
    before = await anyio.to_thread.run_sync(newest_handover, root.path)
    session = await _opened(root, name, shown(goal), now)
    results: list[Verified] = []
    if before is not None and before.handover is not None:
        results = await verify_handover(root, before.handover, max_seconds, report)
    claims = within([one.line() for one in results], int(budget * CLAIMS_SHARE), f"cat logs/*/{HANDOVER_FILE}")
    claims = [line for line in claims if line]
    left = budget - sum(size(line) for line in claims) // BYTES_PER_TOKEN
    context = await collect_context(root, left)
    return SessionStarted(
        session=root.relative(session.path),
        failed=sum(one.state == "FAIL" for one in results),
        claims=claims,
        note="; ".join(filter(None, [_verified(before, results), _unfinished(root, session), context.problem])),
        context=context.text,
    )


async def _opened(root: Root, name: str, goal: str, now: datetime) -> SessionFolder:
    if not name:
        session = open_session(root.path)
        if session is None:
            raise SessionError("No session is open; name one: `agent-tools session start NAME`.")
    else:
        tree = await tree_since(root, "")
        first = Session(name=name, started=now, goal=goal, commit=tree.commit, branch=tree.branch)
        session = begin_session(root.path, name, first)
    if goal and goal != session.session.goal:
        write_note(session.path, new_note("goal", goal, "", (), None, now), root.path)
    return session


def _verified(before: SessionFolder | None, results: Sequence[Verified]) -> str:
    if before is None:
        return "there is no earlier handover"
    failed = sum(one.state == "FAIL" for one in results)
    return f"{len(results)} claims of {before.name} were checked again, {failed} failed"


def _unfinished(root: Root, session: SessionFolder) -> str:
    others = [one.name for one in all_sessions(root.path) if one.is_open and one.name != session.name]
    return f"never handed over: {', '.join(others[:5])} (agent-tools session handover NAME)" if others else ""


class NoteWritten(ToolResult):
    """A note that was written."""

    note: str = Field(description="path")
    hint: str

    def summary(self) -> str:
        """Say the path."""
        return f"{self.note} {self.hint}".rstrip()


def session_note(
    root: Root,
    kind: Annotated[NoteKind, Positional],
    text: Annotated[str, Positional],
    why: str = "",
    files: tuple[str, ...] = (),
    command: Annotated[str, Field(description="pytest or agent-tools")] = "",
    expects: str = "",
    record: str = "",
    figure: str = "",
    value: str = "",
    file: str = "",
    contains: str = "",
    lacks: str = "",
) -> NoteWritten:
    """Write a note into the open session. done and claim need evidence: command (expects), record (figure, value), or
    file with contains or lacks; it is verified at the next start. Use it as you go, also for what failed.
    """
    now = datetime.now(UTC)
    session = current_session(root.path, now.date())
    if session is None:
        raise SessionError("No session is open to write into; open one: `agent-tools session start NAME`.")
    words = _words(command)
    evidence = checked_evidence(words, expects, (record, figure, value), (file, contains, lacks))
    named = [_inside(root, path, kind) for path in files]
    note = new_note(kind, shown(text), shown(why), named, evidence, now)
    _check(root, evidence)
    path = write_note(session.path, note, root.path)
    hint = "" if session.is_open else "(hand over again: this session was handed over already)"
    return NoteWritten(note=root.relative(path), hint=hint)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SessionError(f"The command {command[:80]!r} cannot be split into words: {error}.") from error


def _inside(root: Root, text: str, kind: NoteKind) -> str:
    # A file that was deleted was touched, too; only what is to be read has to be there.
    return root.relative(root.resolve(text, must_exist=kind == "read_first"))


def _check(root: Root, evidence: Evidence | None) -> None:
    """What does not hold now cannot hold later; a command may take minutes, so of it only the form is checked."""
    if isinstance(evidence, CommandEvidence):
        program_of(root, evidence.words)
    elif evidence is not None:
        check_stored(root, evidence)


class Checklist(RepositoryText):
    """The items of a checklist."""

    ok: bool
    items: list[str]

    def summary(self) -> str:
        """Say all items."""
        return "\n".join(self.items)

    def is_failure(self) -> bool:
        """An item that fails makes the command fail."""
        return not self.ok


async def session_checklist(
    root: Root,
    moment: Annotated[Literal["before", "after"], Positional, Field(description="of a session")],
) -> Checklist:
    """Check by machine what has to be so before or after a session, and say how to mend what is not.

    Before: state page fresh; no uncommitted changes, or listed; recent findings listed; context collected; continuation
    prompt with @-mentions. After: findings for every benchmark record; state page updated; committed with a structured
    message; changelog entry; handover written. "Index fresh" is left out: there is no search index yet.
    """
    items = await (items_before(root) if moment == "before" else items_after(root))
    return Checklist(ok=not any(item.problem for item in items), items=[item.line() for item in items])


class HandedOver(RepositoryText):
    """A session that was handed over."""

    handover: str
    message: str = Field(description="for the commit")
    prompt: str = Field(description="for the next session")

    def summary(self) -> str:
        """Say where the handover is."""
        return f"{self.handover} is written; commit it"


async def session_handover(
    root: Root, name: Annotated[str, Field(description="'' = the current session")] = ""
) -> HandedOver:
    """Hand over: gather git, records, jobs, tests, plans and notes, and render handover.md.

    Use it at the end, or at any time; again takes the facts anew.
    """
    now = datetime.now(UTC)
    session = await anyio.to_thread.run_sync(named_session, root.path, name, now.date())
    if session is None:
        # Without a start there is no telling where the work began: it counts from the last handover.
        session = begin_session(root.path, UNNAMED, Session(name=UNNAMED, started=now))
    check_page(session.path, root.path)
    handover = await gather(root, session, now)
    write_atomically(session.path / HANDOVER_FILE, as_text(handover))
    page = await anyio.to_thread.run_sync(render_handover, root.path, session.path)
    lines = within(continuation_prompt(handover), SECTION_TOKENS["prompt"], f"cat {root.relative(page)}")
    return HandedOver(
        handover=root.relative(page),
        message=shown(commit_message(root.path, handover)),
        prompt=shown("\n".join(lines)),
    )
