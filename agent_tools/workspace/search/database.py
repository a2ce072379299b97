"""The file of the index: SQLite with full-text search, one builder at a time, readers never blocked.

Everything in it can be made again from the repository, so a file that is damaged, of another version or of another
repository is put aside without a question, and said so.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root, RootError
from agent_tools.workspace.search.code_units import FileUnits
from agent_tools.workspace.search.words import index_words

FILE = "outputs/index/code.sqlite"
"""Under the git-ignored folder: it says something of this machine's tree only."""

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4F435257
"""Marks a SQLite file as ours (`OCRW`)."""

BUSY_SECONDS = 10.0
MOST_PAGES = 1 << 19
"""2 GiB in pages of 4 KiB: an index that would fill a disk is refused."""

FIELDS = ("name", "says", "place", "body")
"""What is searched of a unit: a full-text table each, since a word in a short name tells more than in a long body."""

_FIELD_TABLES = "".join(
    f"""create virtual table {field}_words using fts5 (text, tokenize="porter unicode61 tokenchars '_'");
create virtual table {field}_vocabulary using fts5vocab ({field}_words, row);
"""
    for field in FIELDS
)
_SCHEMA = f"""
create table files (
    id integer primary key, path text not null unique, size integer not null, modified integer not null,
    changed integer not null, inode integer not null, digest blob not null, problem text not null
);
create table units (
    id integer primary key, file integer not null references files, kind text not null, name text not null,
    line integer not null, end_line integer not null, signature text not null, headline text not null,
    test integer not null
);
create index units_of_files on units (file);
{_FIELD_TABLES}create virtual table pieces using fts5 (name, tokenize="trigram");
create table origin (root text not null, complete integer not null);
"""


PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors after which the file may be fine: no space, no rights, or somebody else is writing."""


class IndexFailure(WorkbenchError):
    """The index cannot be written or read."""


class IndexDamaged(IndexFailure):
    """The file of the index is broken; built anew, it is fine."""


Stamp = tuple[int, int, int, int]
"""What a look at a file tells of it: size, times of its content and of its entry in nanoseconds, inode."""


def index_path(root: Root) -> Path:
    """Return the file of the index, whose folder exists then.

    Raises:
        IndexFailure: the folder leads out of the root or cannot be made.
    """
    try:
        path = root.resolve(FILE, must_exist=False)
        path.parent.mkdir(parents=True, exist_ok=True)
    except RootError as error:
        raise IndexFailure(f"The index is {FILE}, which leads outside of the repository; remove that link.") from error
    except OSError as error:
        raise IndexFailure(f"The folder of {FILE} cannot be made ({error.strerror}); free space or fix it.") from error
    return path


@contextmanager
def building(path: Path, patience: Callable[[], bool]) -> Iterator[bool]:
    """Be the one who builds; yields False where another process is at it, once `patience` says no."""
    try:
        stream = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise IndexFailure(f"{FILE} cannot be locked ({error.strerror}); free space or fix its rights.") from error
    with stream:
        while not (alone := _locked(stream)) and patience():
            time.sleep(0.05)
        yield alone


def _locked(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def why_unusable(path: Path, root: Root) -> str:
    """Return why a file cannot be this repository's index, in words; '' where it can.

    Raises:
        IndexFailure: it cannot be opened, though it may be fine.
    """
    if not path.exists():
        return "there was none"
    try:
        with opened(path) as database:
            marks = [database.execute(f"pragma {name}").fetchone()[0] for name in ("application_id", "user_version")]
            if marks[0] != APPLICATION_ID:
                return "it was another program's file" if any(marks) else "it was not finished"
            if marks[1] != SCHEMA_VERSION:
                return "it was of another version"
            (made_of,) = database.execute("select root from origin").fetchone() or ("",)
            return "" if made_of == str(root.path) else "it was made of another folder"
    except IndexDamaged:
        return "it was damaged"


def is_complete(path: Path, root: Root) -> bool:
    """Tell whether the index has seen every file at least once."""
    if why_unusable(path, root):
        return False
    with opened(path) as database:
        return bool(database.execute("select complete from origin").fetchone()[0])


def make_anew(path: Path, root: Root) -> None:
    """Replace the index by an empty one; call it as the builder.

    Raises:
        IndexFailure: it cannot be written.
    """
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        # Where the repository does not ignore outputs/, the index is still never committed.
        path.with_name(".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise IndexFailure(f"{FILE} cannot be replaced ({error.strerror}); free space or fix its rights.") from error
    with opened(path) as database:
        database.execute("pragma journal_mode = wal")
        with transaction(database):
            for statement in _SCHEMA.split(";\n"):
                database.execute(statement)
            database.execute("insert into origin values (?, 0)", (str(root.path),))
            database.execute(f"pragma user_version = {SCHEMA_VERSION}")
            database.execute(f"pragma application_id = {APPLICATION_ID}")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the index.

    Raises:
        IndexDamaged: it is broken.
        IndexFailure: it cannot be used now: no space, no rights, or another program holds it.
    """
    try:
        # One call at a time uses a connection, but on changing threads.
        with closing(
            sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        ) as database:
            database.execute("pragma synchronous = normal")
            database.execute(f"pragma max_page_count = {MOST_PAGES}")
            yield database
    except sqlite3.DatabaseError as error:
        if (error.sqlite_errorcode & 0xFF) in PASSING:
            advice = "free space, fix its rights, or wait for whoever writes to it"
            raise IndexFailure(f"{FILE} cannot be used ({error}); {advice}.") from error
        raise IndexDamaged(f"{FILE} is damaged ({error}); `agent-tools index refresh --rebuild` mends it.") from error


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write all of it or nothing, whenever this process is killed."""
    database.execute("begin immediate")
    try:
        yield
    except BaseException:
        if database.in_transaction:
            database.execute("rollback")
        raise
    database.execute("commit")


def stamps(database: sqlite3.Connection) -> dict[str, Stamp]:
    """Return what was seen of every indexed file, by its path."""
    rows = database.execute("select path, size, modified, changed, inode from files")
    return {row[0]: row[1:] for row in rows}


def digest_of(database: sqlite3.Connection, path: str) -> bytes | None:
    """Return the digest of an indexed file's content; None where it is not indexed."""
    row = database.execute("select digest from files where path = ?", (path,)).fetchone()
    return row[0] if row else None


def remove_file(database: sqlite3.Connection, path: str) -> None:
    """Take a file and its units out, if it is there."""
    file = "(select id from files where path = ?)"
    ids = database.execute(f"select id from units where file = {file}", (path,)).fetchall()  # noqa: S608 - our own names
    for table in (*(f"{field}_words" for field in FIELDS), "pieces"):
        database.executemany(f"delete from {table} where rowid = ?", ids)  # noqa: S608 - our own names
    database.execute(f"delete from units where file = {file}", (path,))  # noqa: S608 - our own names
    database.execute("delete from files where path = ?", (path,))


def restamp(database: sqlite3.Connection, path: str, stamp: Stamp) -> None:
    """Remember that a file was touched and is the same."""
    database.execute("update files set size = ?, modified = ?, changed = ?, inode = ? where path = ?", (*stamp, path))


def add_file(
    database: sqlite3.Connection, path: str, stamp: Stamp, digest: bytes, content: FileUnits, test: bool
) -> None:
    """Put a file in; an older state of it was removed before."""
    values = (path, *stamp, digest, content.problem)
    file = database.execute(
        "insert into files (path, size, modified, changed, inode, digest, problem) values (?, ?, ?, ?, ?, ?, ?)", values
    ).lastrowid
    for unit in content.units:
        row = (file, unit.kind, unit.name, unit.line, unit.end_line, unit.signature, unit.headline, test)
        key = database.execute(
            "insert into units (file, kind, name, line, end_line, signature, headline, test) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        texts = (unit.name, unit.says, f"{path} {unit.owner}", f"{unit.signature}\n{unit.body}")
        for field, text in zip(FIELDS, texts, strict=True):
            database.execute(f"insert into {field}_words (rowid, text) values (?, ?)", (key, index_words(text)))  # noqa: S608 - our own names
        database.execute("insert into pieces (rowid, name) values (?, ?)", (key, f"{path} {unit.name}".lower()))
