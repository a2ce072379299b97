"""Sessions: one folder each under `logs/`, open until something was handed over."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import UTC, date
from pathlib import Path

from pydantic import AwareDatetime

from agent_tools.handbook.drafts import inside
from agent_tools.handbook.handover import Handover, read_handover
from agent_tools.handbook.session_files import (
    HANDOVER_FILE,
    SESSION_FILE,
    SessionError,
    SessionFile,
    as_text,
    read_session_file,
)
from agent_tools.records.store import RecordStore, write_once


class Session(SessionFile):
    """How a session began; `commit` and `branch` are '' without a repository."""

    name: str
    started: AwareDatetime
    goal: str = ""
    commit: str = ""
    branch: str = ""


@dataclass(frozen=True)
class SessionFolder:
    """A session, where it lies, and what it handed over, if it did."""

    path: Path
    session: Session
    handover: Handover | None

    @property
    def name(self) -> str:
        """The folder's name, `2026-11-25_speed`."""
        return self.path.name

    @property
    def is_open(self) -> bool:
        """Whether nothing was handed over yet."""
        return self.handover is None


def all_sessions(root: Path) -> list[SessionFolder]:
    """Every session of a repository, the newest first.

    Raises:
        SessionError: a file that cannot be read.
    """
    paths = [path.parent for path in (root / "logs").glob(f"*/{SESSION_FILE}")]
    return sorted(
        (_read(path, root) for path in paths), key=lambda one: (one.session.started, one.path.name), reverse=True
    )


def _read(path: Path, root: Path) -> SessionFolder:
    session = read_session_file(path / SESSION_FILE, Session, root)
    handed = (path / HANDOVER_FILE).exists()
    return SessionFolder(path, session, read_handover(path, root) if handed else None)


def open_session(root: Path) -> SessionFolder | None:
    """The newest session that was not handed over."""
    return next((session for session in all_sessions(root) if session.is_open), None)


def current_session(root: Path, day: date) -> SessionFolder | None:
    """The newest session that is open or was handed over on `day` (UTC): notes and a second handover belong to it."""
    for session in all_sessions(root):
        if session.handover is None or session.handover.made.astimezone(UTC).date() == day:
            return session
    return None


def named_session(root: Path, name: str, day: date) -> SessionFolder | None:
    """The session of a name, dated or not (then the newest of it); the current one where `name` is empty.

    Raises:
        SessionError: there is no such session; the nearest are named.
    """
    if not name:
        return current_session(root, day)
    sessions = all_sessions(root)
    for session in sessions:
        if name in (session.name, session.name.partition("_")[2]):
            return session
    near = difflib.get_close_matches(name, [session.name for session in sessions], n=3, cutoff=0.3)
    hint = f"the nearest are {', '.join(near)}" if near else "`agent-tools session start NAME` opens one"
    raise SessionError(f"There is no session '{name}': {hint}.")


def begin_session(root: Path, name: str, session: Session) -> SessionFolder:
    """Make the folder of a session, or return the one that is open under this name already.

    Args:
        root: the repository, resolved.
        name: `speed`, dated by the session's start, or `2026-11-25_speed`.
        session: how it begins; its own name is the folder's.

    Raises:
        SessionError: it was handed over already, or the disk refuses.
        RecordError: not a session name.
        DocumentError: the folder leads out of the root.
    """
    folder = RecordStore(root).session_folder(name, session.started)
    inside(folder, root)
    try:
        write_once(folder / SESSION_FILE, as_text(session.model_copy(update={"name": folder.name})))
    except FileExistsError:
        there = _read(folder, root)
        if not there.is_open:
            raise SessionError(
                f"Session {folder.name} was handed over already; choose another name, such as {name}-2."
            ) from None
        return there
    except OSError as error:
        raise SessionError(f"The session could not be opened ({error.strerror}); make room, then retry.") from error
    return _read(folder, root)


def newest_handover(root: Path, but: str = "") -> SessionFolder | None:
    """The session whose handover is the newest, that of the folder `but` left out; None where there is none."""
    handed = [session for session in all_sessions(root) if session.handover is not None and session.name != but]
    return max(handed, key=lambda one: one.handover.made if one.handover else one.session.started, default=None)
