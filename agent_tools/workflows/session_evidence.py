"""Evidence of notes, run again: a command that ends well, a record that holds a figure, a file that holds a text.

Notes are committed files that anybody may have written. So a command is one of few that read and test, a path lies
inside the root, and everything is bounded in time and size.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import anyio.to_thread

from agent_tools.handbook.drafts import load_record
from agent_tools.handbook.figures import FigureError, evaluate
from agent_tools.handbook.handover import Handover
from agent_tools.handbook.session_files import SessionError
from agent_tools.handbook.session_notes import (
    HOW_TO_SHOW,
    CommandEvidence,
    FileEvidence,
    RecordEvidence,
    SessionNote,
    shown_value,
)
from agent_tools.jobs.processes import Finished, own_module, run_bounded, with_program
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import RecordStore
from agent_tools.workspace.git.history import commits_touching
from agent_tools.workspace.git.reading import git_status
from agent_tools.workspace.root import Root, RootError
from agent_tools.workspace.testing.running import checked_test
from agent_tools.workspace.testing.suite_reports import Report
from agent_tools.workspace.testing.suite_runs import DROPPED_VARIABLES
from agent_tools.workspace.untrusted import shown

SAFE_COMMANDS = frozenset(
    {
        ("config", "show"),
        ("docs", "check"),
        ("features", "check"),
        ("git", "diff"),
        ("git", "log"),
        ("git", "status"),
        ("record", "list"),
        ("record", "show"),
    }
)
"""Commands of `agent-tools` that only read: `bench fact rm -rf ...` would be an `agent-tools` command, too."""
PYTEST_FLAGS = frozenset({"-q", "-x"})
PYTEST_VALUES = frozenset({"-k", "-m"})
"""Options of pytest that choose tests. Others write files, remove folders (`--basetemp`) or load code (`-p`, `-c`)."""

OUTPUT_CAP = 1 << 20
FILE_CAP = 16 << 20
COMMITS_NAMED = 3


@dataclass(frozen=True)
class Verified:
    """How a note stands now; `reason` is '' where it holds."""

    note: SessionNote
    state: Literal["pass", "FAIL", "not run"]
    reason: str = ""

    def line(self) -> str:
        """One line: state, what was claimed, what shows it, and why it does not hold."""
        why = f": {self.reason}" if self.reason else ""
        return shown(f"{self.state}: {' '.join(self.note.text.split())[:200]} ({said_of(self.note)[:160]}){why}")


def said_of(note: SessionNote) -> str:
    """The evidence of a note in few words."""
    evidence = note.evidence
    if isinstance(evidence, CommandEvidence):
        return shlex.join(evidence.words)
    if isinstance(evidence, RecordEvidence):
        return " ".join(part for part in ("record", evidence.record, evidence.figure, evidence.value) if part)
    return f"file {evidence.file}" if evidence is not None else "nothing shows it"


# --- what may be evidence ----------------------------------------------------------------------------------------


def program_of(root: Root, words: Sequence[str]) -> list[str]:
    """The program and arguments that a command of a note stands for.

    Raises:
        SessionError: it is none of the commands that only read or test.
        RootError: it names a test outside of the root, or one that does not exist.
    """
    if not words or not all(word.isprintable() for word in words):
        raise SessionError(f"The command is empty or not printable; what can show something: {HOW_TO_SHOW}.")
    if words[0] == "pytest":
        return [sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider", *_pytest_words(root, words[1:])]
    if words[0] == "agent-tools" and tuple(words[1:3]) in SAFE_COMMANDS:
        return [*own_module("agent_tools.cli"), "--root", str(root.path), *words[1:]]
    allowed = ", ".join(f"agent-tools {noun} {verb}" for noun, verb in sorted(SAFE_COMMANDS))
    raise SessionError(
        f"'{shown(shlex.join(words))[:120]}' may not run from a note, which anybody can commit; allowed are pytest and "
        f"{allowed}."
    )


def _pytest_words(root: Root, words: Sequence[str]) -> list[str]:
    options: list[str] = []
    tests: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in PYTEST_VALUES:
            options.append(f"{word}={next(rest, '')}")
        elif word in PYTEST_FLAGS:
            options.append(word)
        elif word.startswith("-"):
            allowed = ", ".join(sorted(PYTEST_FLAGS | PYTEST_VALUES))
            raise SessionError(f"pytest {word} may not run from a note; allowed are tests and the options {allowed}.")
        else:
            tests.append(checked_test(root, word))
    if not tests:
        raise SessionError("pytest without tests would run the whole suite at every start; name files or test ids.")
    return [*options, "--", *tests]


# --- running it again --------------------------------------------------------------------------------------------


async def verify_handover(root: Root, handover: Handover, seconds: float, report: Report | None) -> list[Verified]:
    """Check every note of a handover that carries evidence; a failure names what touched its files since.

    Args:
        root: the repository.
        handover: of an earlier session.
        seconds: for all commands together; what no time is left for is `not run`.
        report: told the progress.
    """
    notes = [note for note in handover.notes if note.evidence is not None]
    deadline = time.monotonic() + seconds
    results = []
    for index, note in enumerate(notes):
        if report is not None:
            await report(index, len(notes), shown(note.text)[:80])
        result = await verify(root, note, deadline - time.monotonic())
        if result.state == "FAIL":
            blamed = await _touched(root, handover, note)
            result = Verified(note, "FAIL", f"{result.reason} {blamed}".strip())
        results.append(result)
    return results


async def verify(root: Root, note: SessionNote, seconds: float) -> Verified:
    """Check the evidence of one note; a command has `seconds` left."""
    evidence = note.evidence
    try:
        if isinstance(evidence, CommandEvidence):
            return await _verify_command(root, note, evidence, seconds)
        if evidence is not None:
            await anyio.to_thread.run_sync(check_stored, root, evidence)
    except WorkbenchError as error:
        return Verified(note, "FAIL", str(error))
    return Verified(note, "pass")


async def _verify_command(root: Root, note: SessionNote, evidence: CommandEvidence, seconds: float) -> Verified:
    program = program_of(root, evidence.words)
    if seconds <= 0:
        return Verified(note, "not run", "no time was left; raise max_seconds")
    finished = await run_bounded(
        program,
        folder=root.path,
        environment=with_program({name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}),
        seconds=seconds,
        output_cap=OUTPUT_CAP,
    )
    if finished.timed_out:
        return Verified(note, "not run", f"it did not end in {seconds:.0f} s; raise max_seconds")
    reason = _complaint(finished, evidence.expects)
    return Verified(note, "FAIL" if reason else "pass", reason)


def _complaint(finished: Finished, expects: str) -> str:
    output = (finished.output + b"\n" + finished.errors).decode("utf-8", "replace")
    if finished.truncated:
        return "it printed too much."
    if finished.exit_code != 0:
        lines = [line for line in output.splitlines() if line.strip()] or ["it says nothing"]
        told = next((line for line in lines if line.startswith(("FAILED", "ERROR", "error"))), lines[-1])
        return f"exit code {finished.exit_code}: {told[:200]}."
    return "" if expects in output else f"its output does not hold '{expects[:80]}'."


def check_stored(root: Root, evidence: RecordEvidence | FileEvidence) -> None:
    """Check a record or a file.

    Raises:
        WorkbenchError: it does not show what it is to show; the sentence says why.
    """
    if isinstance(evidence, RecordEvidence):
        _check_record(root, evidence)
    else:
        _check_file(root, evidence)


def _check_record(root: Root, evidence: RecordEvidence) -> None:
    path = RecordStore(root.path).find(evidence.record)
    if not path.is_relative_to(root.path / "logs"):
        raise SessionError(
            f"Record {evidence.record} lies in outputs/, which nobody else has; measure with --session NAME."
        )
    stored = load_record(path, root.path)
    if not evidence.figure:
        return
    try:
        value = evaluate(evidence.figure, stored.data)
    except FigureError as error:
        raise SessionError(f"Record {evidence.record}: {error}") from error
    number = shown_value(evidence)
    if number is not None and not number.agrees(value):
        raise SessionError(f"{evidence.figure} of record {evidence.record} is {value:.6g}, not {number}.")


def _check_file(root: Root, evidence: FileEvidence) -> None:
    path = root.resolve(evidence.file)
    if not path.is_file():
        raise SessionError(f"'{evidence.file}' is not a file.")
    if path.stat().st_size > FILE_CAP:
        raise SessionError(f"'{evidence.file}' is larger than {FILE_CAP >> 20} MiB; name a smaller file.")
    content = path.read_bytes()
    if evidence.contains and evidence.contains.encode() not in content:
        raise SessionError(f"'{evidence.file}' does not contain '{evidence.contains[:80]}'.")
    if evidence.lacks and evidence.lacks.encode() in content:
        raise SessionError(f"'{evidence.file}' contains '{evidence.lacks[:80]}'.")


# --- what made it false ------------------------------------------------------------------------------------------


async def _touched(root: Root, handover: Handover, note: SessionNote) -> str:
    """Which commits, and which uncommitted changes, touched the files of a note since its handover."""
    files = [name for name in [*_named_files(note), *_record_files(handover, note)] if _is_inside(root, name)]
    commits = await commits_touching(root, handover.commit, files)
    if commits is None:
        return f"This repository does not have the handover's commit '{handover.commit[:10]}'."
    dirty = await _uncommitted(root, files)
    also = f"; uncommitted changes in {', '.join(dirty[:5])}" if dirty else ""
    if not commits:
        return f"No commit since touched {', '.join(files[:5]) or 'anything'}{also}."
    named = ", ".join(f"{commit.id[:10]} {commit.subject[:80]}" for commit in commits[:COMMITS_NAMED])
    more = f" and {len(commits) - COMMITS_NAMED} more" if len(commits) > COMMITS_NAMED else ""
    what = "Its files were touched" if files else "The note names no files; the commits"
    return f"{what} since: {named}{more}{also}."


def _named_files(note: SessionNote) -> list[str]:
    """The files that a note or its evidence names."""
    evidence = note.evidence
    names = list(note.files)
    if isinstance(evidence, FileEvidence):
        names.append(evidence.file)
    elif isinstance(evidence, CommandEvidence) and evidence.words[:1] == ("pytest",):
        names += [word.partition("::")[0] for word in evidence.words[1:] if "/" in word or ".py" in word]
    return list(dict.fromkeys(names))


def _record_files(handover: Handover, note: SessionNote) -> list[str]:
    if not isinstance(note.evidence, RecordEvidence):
        return []
    paths = [record.path for record in handover.records if record.id == note.evidence.record and record.path]
    return [os.path.normpath(f"logs/{handover.session}/{path}") for path in paths]


def _is_inside(root: Root, name: str) -> bool:
    try:
        root.resolve(name, must_exist=False)
    except RootError:
        return False
    return True


async def _uncommitted(root: Root, files: Sequence[str]) -> list[str]:
    status = await git_status(root, limit=500, response_format="detailed")
    paths = [entry[2:] for entry in [*status.conflicted, *status.staged, *status.unstaged]] + status.untracked
    return [path for path in dict.fromkeys(paths) if any(path == name or path.startswith(f"{name}/") for name in files)]
