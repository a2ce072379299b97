"""The append-only memory of everything measured: one JSON file per record, readable without this program.

Records live in `logs/YYYY-MM-DD_SESSION/records/ID.json` (committed history) or, without a session, in
`outputs/records/ID.json`. A record is written once, under a name no other writer uses, so no lock is needed.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import psutil
from pydantic import ValidationError

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import SCHEMA_VERSION, RecordKind, RunRecord
from agent_tools.records.upgrades import STEPS, upgraded

RECORD_FOLDERS = ("logs/*/records", "outputs/records", "outputs/demo/records")
"""Where records are looked for, relative to the root; the first folder that holds an id wins."""

ID_PATTERN = re.compile(r"\d{8}T\d{6}Z-(?P<kind>[a-z]+)-[0-9a-f]{6,}")
SESSION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
DATED_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}_.+")
TEMPORARY_PATTERN = re.compile(r"\..+\.(?P<writer>\d{1,10})\.[0-9a-f]{6}\.tmp")

ABANDONED_SECONDS = 3600
"""No write takes this long. The age also covers writers on other machines, whose process ids mean nothing here."""

NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system without hard links answers."""


class RecordError(WorkbenchError):
    """A record that cannot be written or read."""


class RecordNotFound(RecordError):
    """No record has this id; the sentence names the nearest ids."""


@dataclass(frozen=True)
class CorruptRecord:
    """A file in a record folder that is no readable record, and why."""

    path: str
    problem: str


@dataclass(frozen=True)
class RecordPage:
    """One page of records, newest first. `next_cursor` continues it; `total` counts the files that match."""

    records: list[RunRecord]
    corrupt: list[CorruptRecord]
    next_cursor: str | None
    total: int


def new_id(kind: str, now: datetime | None = None) -> str:
    """Make an id that sorts by time, such as `20261121T200622Z-benchmark-3fa9c1`; 24 random bits keep writers apart.

    Raises:
        RecordError: the kind is not one that a record can have.
    """
    if kind not in get_args(RecordKind):
        raise RecordError(f"'{kind}' is not a record kind; use one of {', '.join(get_args(RecordKind))}.")
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(3)}"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Put text (as UTF-8) or bytes at `path` whole or not at all: temporary file, rename, fsync of both."""
    with _temporary(path, content) as temporary:
        os.replace(temporary, path)
    _sync_folder(path.parent)


def write_once(path: Path, text: str) -> None:
    """Put `text` at `path` whole or not at all, and only if no file is there: of two writers at once, one is refused.

    Raises:
        FileExistsError: the file exists; it stays as it is.
    """
    with _temporary(path, text) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            # Such a file system cannot refuse the second of two writers; nothing half written is seen there either.
            os.replace(temporary, path)
    _sync_folder(path.parent)


@contextmanager
def _temporary(path: Path, content: str | bytes) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Delete temporary files of writers that were killed: old, and no process of theirs runs."""
    for path in folder.glob(".*.tmp"):
        match = TEMPORARY_PATTERN.fullmatch(path.name)
        if match is None or psutil.pid_exists(int(match["writer"])):
            continue
        # Another writer may be clearing up as well, or the folder may be read-only; the next write tries again.
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


def parse_record(text: str | bytes, name: str) -> RunRecord:
    """Read a record's JSON, of this schema version or an older one; `name` is how errors call the file.

    Raises:
        RecordError: not JSON, an unknown schema version, or a field that does not fit.
    """
    raw = _json_object(text, name)
    version = raw.get("schema_version")
    if type(version) is not int:
        raise RecordError(f"{name} is not a record: it says no schema_version. Add it or delete the file.")
    if version in STEPS:
        text = json.dumps(upgraded(raw))
    elif version != SCHEMA_VERSION:
        raise RecordError(_other_version(name, version))
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the record"
        raise RecordError(
            f"{name} is not a record: {field}: {first['msg']}. Fix that field or delete the file."
        ) from error


def _json_object(text: str | bytes, name: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise RecordError(
            f"{name} is not valid JSON ({broken}); restore it with `git checkout -- {name}` or delete the file."
        ) from broken
    if not isinstance(raw, dict):
        raise RecordError(f"{name} is not a record: it holds no JSON object. Restore it or delete the file.")
    return raw


def _other_version(name: str, version: int) -> str:
    way_out = "update the workbench" if version > SCHEMA_VERSION else "read it with the commit that wrote it"
    known = f"{min(STEPS)} to {SCHEMA_VERSION}"
    return f"{name} has schema_version {version}, but this workbench reads versions {known}; {way_out}."


class RecordStore:
    """Reads and writes the records of one repository. Holds no state but the root: safe in any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()

    def write(self, record: RunRecord, session: str | None = None, folder: Path | None = None) -> Path:
        """Store a new record and return its path: under `folder`, else the session's, else `outputs/`.

        Args:
            record: the record; its id must be new.
            session: a name such as `main-job` (dated by the record's start) or a whole `2026-11-21_main-job`.
            folder: a folder inside the root that takes the place of the session's (`records/` is added).

        Raises:
            RecordError: the id exists or is malformed, the session's name is unusable, the folder is outside, or the
                disk refuses.
        """
        if not ID_PATTERN.fullmatch(record.id):
            raise RecordError(f"'{record.id}' is not a record id; make one with new_id(kind).")
        if any(self._files_of(record.id)):
            raise RecordError(_taken(record.id))
        base = self._inside(folder) if folder else self.session_folder(session, record.started)
        path = base / "records" / f"{record.id}.json"
        try:
            write_once(path, record.model_dump_json(indent=1) + "\n")
        except FileExistsError as error:
            raise RecordError(_taken(record.id)) from error
        except OSError as error:
            raise RecordError(
                f"Record {record.id} could not be written: {error.strerror}; make room, then retry."
            ) from error
        _remove_abandoned(path.parent)
        return path

    def session_folder(self, session: str | None, moment: datetime) -> Path:
        """Return the folder of a session (`logs/YYYY-MM-DD_NAME`), or `outputs` without one.

        Raises:
            RecordError: the session's name could leave `logs/`.
        """
        if session is None:
            return self.root / "outputs"
        if not SESSION_PATTERN.fullmatch(session):
            raise RecordError(
                f"'{session}' is not a session name: use 1 to 80 letters, digits, '.', '_' and '-', "
                "starting with a letter or digit."
            )
        dated = session if DATED_PATTERN.fullmatch(session) else f"{moment.astimezone(UTC):%Y-%m-%d}_{session}"
        return self.root / "logs" / dated

    def load(self, record_id: str) -> RunRecord:
        """Read one record.

        Raises:
            RecordNotFound: no such id; the nearest ids are named.
            RecordError: the file is there but cannot be understood.
        """
        path = self.find(record_id)
        return parse_record(path.read_bytes(), self._relative(path))

    def find(self, record_id: str) -> Path:
        """Return the file of a record.

        Raises:
            RecordNotFound: no such id; the nearest ids are named.
        """
        for path in self._files_of(record_id):
            return path
        raise RecordNotFound(self._not_found(record_id))

    def find_folder(self, record_id: str) -> Path:
        """Return the folder that a record's documents belong in: the parent of its `records/`.

        Raises:
            RecordNotFound: no such id; the nearest ids are named.
        """
        return self.find(record_id).parent.parent

    def list(self, kind: str | None = None, limit: int = 20, cursor: str | None = None) -> RecordPage:
        """List records, newest first, reading only the files of the page.

        Args:
            kind: keep this kind only.
            limit: records in the page, at least 1.
            cursor: `next_cursor` of the page before; the id after which this page starts.

        Raises:
            RecordError: the kind or the limit is not usable.
        """
        if kind is not None and kind not in get_args(RecordKind):
            raise RecordError(f"'{kind}' is not a record kind; use one of {', '.join(get_args(RecordKind))}.")
        if limit < 1:
            raise RecordError(f"limit is {limit}; ask for at least 1 record.")
        files = {stem: path for stem, path in self.files().items() if kind is None or _kind_of(stem) in (kind, None)}
        stems = [stem for stem in sorted(files, reverse=True) if cursor is None or stem < cursor]
        records, corrupt = _read_all([files[stem] for stem in stems[:limit]], self.root, kind)
        following = stems[limit - 1] if len(stems) > limit else None
        return RecordPage(records=records, corrupt=corrupt, next_cursor=following, total=len(files))

    def list_all(self, kind: str | None = None) -> RecordPage:
        """List every record, newest first; for exports and queries, which read them all.

        Raises:
            RecordError: the kind is not usable.
        """
        return self.list(kind, limit=sys.maxsize)

    def files(self) -> dict[str, Path]:
        """Return the file of every record by its id, readable or not."""
        found: dict[str, Path] = {}
        for pattern in RECORD_FOLDERS:
            for folder in sorted(self.root.glob(pattern)):
                for name in os.listdir(folder):
                    if name.endswith(".json") and not name.startswith("."):
                        found.setdefault(name[: -len(".json")], folder / name)
        return found

    def _files_of(self, record_id: str) -> Iterator[Path]:
        if ID_PATTERN.fullmatch(record_id):
            for pattern in RECORD_FOLDERS:
                yield from sorted(self.root.glob(f"{pattern}/{record_id}.json"))

    def _not_found(self, record_id: str) -> str:
        nearest = difflib.get_close_matches(record_id, sorted(self.files(), reverse=True), n=3, cutoff=0.4)
        hint = f"The nearest ids are {', '.join(nearest)}" if nearest else "No id resembles it"
        return f"There is no record '{record_id}'. {hint}; `agent-tools record list` shows all."

    def _inside(self, folder: Path) -> Path:
        resolved = (self.root / folder).resolve()
        if not resolved.is_relative_to(self.root):
            raise RecordError(f"The record folder {folder} lies outside the repository; name one inside it.")
        return resolved

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _read_all(paths: list[Path], root: Path, kind: str | None) -> tuple[list[RunRecord], list[CorruptRecord]]:
    records, corrupt = [], []
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            record = parse_record(path.read_bytes(), name)
        except (RecordError, OSError) as error:
            corrupt.append(CorruptRecord(name, str(error)))
            continue
        if record.id != path.stem:
            corrupt.append(CorruptRecord(name, f"{name} holds record {record.id}; rename the file to that id."))
        elif kind is None or record.kind == kind:
            records.append(record)
    return records, corrupt


def _taken(record_id: str) -> str:
    return f"Record {record_id} exists already; records are never overwritten, use a new id."


def _kind_of(stem: str) -> str | None:
    match = ID_PATTERN.fullmatch(stem)
    return match["kind"] if match else None
