"""What a session hands over, gathered once: the page is rendered from this file and the records that it names alone.

Nothing here is asked again later. What git, jobs and tests said at the moment of the handover stays as it was said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from agent_tools.handbook.session_files import HANDOVER_FILE, SessionFile, read_session_file
from agent_tools.handbook.session_notes import NoteKind, SessionNote
from agent_tools.records.frozen import Frozen


class HandedCommit(Frozen):
    """One commit since the handover before; `date` is a day."""

    id: str
    date: str
    subject: str


class HandedFile(Frozen):
    """One file that is not as it was, whether to keep that, and why."""

    path: str
    change: Literal["created", "modified", "deleted"]
    verdict: Literal["keep", "revert"]
    because: str


class HandedRecord(Frozen):
    """One record; `path` is relative to the session's folder, '' where it lies in outputs/ and is not shared."""

    id: str
    kind: str
    title: str
    path: str
    new: bool = Field(description="since the handover before; else it says where the project stands, or shows a claim")


class HandedJob(Frozen):
    """One job that had not ended."""

    id: str
    status: str
    title: str


class HandedTests(Frozen):
    """The last run of tests: what it said, of which tests, and whether commits came after it."""

    said: str
    scope: str
    ended: AwareDatetime
    passed: bool
    outdated: bool


class HandedPlan(Frozen):
    """One open plan, as its header said; `path` is relative to the session's folder."""

    name: str
    path: str
    kind: Literal["optimisation", "target", "issue"]
    status: str
    priority: int
    hypothesis: str = ""
    expected_gain: str = ""
    effort: str = ""
    pros: tuple[str, ...] = ()
    cons: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    target: str = ""
    verify: str = Field(default="", description="the command that shows whether a target is reached")


class Handover(SessionFile):
    """Everything that the document needs."""

    session: str = Field(description="name of the session's folder")
    made: AwareDatetime
    started: AwareDatetime
    goal: str
    commit: str
    branch: str
    base: str = Field(description="the commit that `commits` and `files` count from; '' if there is none")
    before: str = Field(description="folder name of the session whose handover came before; '' for the first one")
    commits: tuple[HandedCommit, ...]
    uncommitted: tuple[str, ...] = Field(description="a state letter and a path each")
    omitted: int = Field(description="changed or uncommitted files beyond what is listed")
    files: tuple[HandedFile, ...] = Field(description="all but those under logs/")
    records: tuple[HandedRecord, ...]
    jobs: tuple[HandedJob, ...]
    tests: HandedTests | None
    plans: tuple[HandedPlan, ...] = Field(description="open ones, most urgent first")
    documents: tuple[str, ...] = Field(description="what the documents check complains of, and what else to update")
    cleanup: tuple[str, ...] = Field(description="commands")
    reading: tuple[str, ...] = Field(description="files to read first that exist, relative to the root")
    notes: tuple[SessionNote, ...]

    def noted(self, *kinds: NoteKind) -> list[SessionNote]:
        """The notes of some kinds, in the order written."""
        return [note for note in self.notes if note.kind in kinds]


def read_handover(folder: Path, root: Path) -> Handover:
    """Read the handover of a session's folder. See `read_session_file`."""
    return read_session_file(folder / HANDOVER_FILE, Handover, root)
