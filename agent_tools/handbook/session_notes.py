"""What a session writes down as it goes: what was done, decided, tried in vain, and what shows it.

A claim carries its evidence: a command, a record or a file. The next session runs all of it again, so that nothing is
believed because it was once written down.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from agent_tools.handbook.drafts import inside
from agent_tools.handbook.figures import Shown, read_line
from agent_tools.handbook.session_files import NOTES_FOLDER, SessionError, SessionFile, as_text, read_session_file
from agent_tools.records.frozen import Frozen
from agent_tools.records.store import write_once

NoteKind = Literal[
    "goal",
    "done",
    "decision",
    "failed",
    "blocker",
    "next",
    "read_first",
    "claim",
    "insight",
    "issue",
    "rollback",
    "confidence",
]

WHY_MEANS = {
    "decision": "why it was taken",
    "failed": "why the approach failed",
    "issue": "what its remedy is",
    "confidence": "what the risk is",
}
"""Kinds that say nothing without a why, and what it is there."""
NEED_EVIDENCE = frozenset({"done", "claim"})
LONGEST_TEXT = 2000
MOST_FILES = 50

HOW_TO_SHOW = (
    '--command "pytest tests/test_x.py" or --command "agent-tools docs check" (runs again), --record ID with --figure '
    "PATH and --value 7.48x (has to hold still), or --file PATH with --contains TEXT or --lacks TEXT"
)


class CommandEvidence(Frozen):
    """A command that ends well, and whose output holds a text."""

    kind: Literal["command"] = "command"
    words: tuple[str, ...]
    expects: str = ""


class RecordEvidence(Frozen):
    """A record, and a figure in it."""

    kind: Literal["record"] = "record"
    record: str
    figure: str = Field(default="", description="path or calculation, as `handbook.figures` reads it")
    value: str = Field(default="", description="as a document shows it: 7.48x, 2.82 s, 0.857")


class FileEvidence(Frozen):
    """A file that holds a text, or does not."""

    kind: Literal["file"] = "file"
    file: str = Field(description="relative to the root")
    contains: str = ""
    lacks: str = ""


Evidence = Annotated[CommandEvidence | RecordEvidence | FileEvidence, Field(discriminator="kind")]


class SessionNote(SessionFile):
    """One note; `text` and `why` are one statement each, `files` are relative to the root."""

    id: str
    kind: NoteKind
    written: AwareDatetime
    text: str
    why: str = ""
    files: tuple[str, ...] = ()
    evidence: Evidence | None = None


def new_note(
    kind: NoteKind, text: str, why: str, files: Sequence[str], evidence: Evidence | None, now: datetime
) -> SessionNote:
    """Make a note, or say what it lacks.

    Args:
        kind: one of `NoteKind`.
        text: what it says; 1 to `LONGEST_TEXT` characters.
        why: see `WHY_MEANS`.
        files: paths that the caller has checked.
        evidence: whose parts the caller has checked; see `checked_evidence`.
        now: the moment of writing.

    Raises:
        SessionError: no text, too long, no why or no evidence where one is needed, or too many files.
    """
    if not text.strip():
        raise SessionError(f"A {kind} note needs a text: what is to be remembered, in a sentence.")
    for name, value in (("text", text), ("why", why)):
        if len(value) > LONGEST_TEXT:
            raise SessionError(
                f"The {name} has {len(value)} characters, a note at most {LONGEST_TEXT}; "
                "say it shorter, or write a document and name it in files."
            )
    if kind in WHY_MEANS and not why.strip():
        raise SessionError(f"A {kind} note needs --why: {WHY_MEANS[kind]}.")
    if kind in NEED_EVIDENCE and evidence is None:
        raise SessionError(f"A {kind} note needs what shows it: {HOW_TO_SHOW}.")
    if kind == "read_first" and not files:
        raise SessionError("A read_first note needs the files to read first; name them after the text.")
    if len(files) > MOST_FILES:
        raise SessionError(f"A note names at most {MOST_FILES} files, not {len(files)}; name their folder.")
    moment = now.astimezone(UTC)
    note_id = f"{moment:%Y%m%dT%H%M%S}.{moment:%f}Z-{kind}-{secrets.token_hex(3)}"
    return SessionNote(id=note_id, kind=kind, written=moment, text=text, why=why, files=tuple(files), evidence=evidence)


def shown_value(evidence: RecordEvidence) -> Shown | None:
    """The number that a record must hold still; None where the claim names none.

    Raises:
        SessionError: the value is no single number, or it stands without a figure.
    """
    if not evidence.value:
        return None
    numbers = [part for part in read_line(evidence.value) if isinstance(part, Shown)]
    if len(numbers) != 1 or str(numbers[0]) != evidence.value.strip() or not evidence.figure:
        raise SessionError(
            f"--value is {evidence.value!r}; give one number as a document shows it (7.48x, 2.82 s, 0.857), with "
            "--figure PATH, such as benchmark/summaries/9/ratio_to_first."
        )
    return numbers[0]


def checked_evidence(
    command: Sequence[str], expects: str, record: tuple[str, str, str], file: tuple[str, str, str]
) -> Evidence | None:
    """Put what a caller gave into one piece of evidence; None if nothing was given.

    Args:
        command: its words.
        expects: text of its output.
        record: id, figure, value.
        file: path, text that it contains, text that it lacks.

    Raises:
        SessionError: two kinds at once, or a part without the whole that it belongs to.
    """
    given = [name for name, value in (("command", command), ("record", record[0]), ("file", file[0])) if value]
    if len(given) > 1:
        raise SessionError(f"A note carries one piece of evidence, not {' and '.join(given)}; write two notes.")
    _check_part("--expects", expects, "command", given)
    _check_part("--figure", record[1], "record", given)
    _check_part("--value", record[2], "record", given)
    _check_part("--contains", file[1], "file", given)
    _check_part("--lacks", file[2], "file", given)
    if file[0] and not (file[1] or file[2]):
        raise SessionError("--file alone shows nothing; add --contains TEXT or --lacks TEXT.")
    if command:
        return CommandEvidence(words=tuple(command), expects=expects)
    if record[0]:
        evidence = RecordEvidence(record=record[0], figure=record[1], value=record[2])
        shown_value(evidence)
        return evidence
    return FileEvidence(file=file[0], contains=file[1], lacks=file[2]) if file[0] else None


def _check_part(option: str, value: str, whole: str, given: Sequence[str]) -> None:
    if value and whole not in given:
        raise SessionError(f"{option} is part of what --{whole} shows; give that as well.")
    if not all(char.isprintable() or char == "\t" for char in value) or len(value) > LONGEST_TEXT:
        raise SessionError(
            f"{option} is not one printable line of at most {LONGEST_TEXT} characters; name a shorter text."
        )


def write_note(folder: Path, note: SessionNote, root: Path) -> Path:
    """Store a note in a session's folder, whole or not at all, and return its path.

    Raises:
        DocumentError: the folder leads out of the root.
        SessionError: the disk refuses.
    """
    place = inside(folder / NOTES_FOLDER, root)
    path = place / f"{note.id}.json"
    try:
        write_once(path, as_text(note))
    except OSError as error:
        raise SessionError(f"The note could not be written ({error.strerror}); make room, then retry.") from error
    return path


def read_notes(folder: Path, root: Path) -> list[SessionNote]:
    """The notes of a session, in the order written.

    Raises:
        SessionError: a note that cannot be read.
    """
    paths = [path for path in (folder / NOTES_FOLDER).glob("*.json") if not path.name.startswith(".")]
    notes = [read_session_file(path, SessionNote, root) for path in paths]
    return sorted(notes, key=lambda note: (note.written, note.id))
