"""The process in which a query runs: `python -m agent_tools.workspace.sql.engine JOB` prints one JSON answer.

A process of its own, because neither database engine keeps every query within its memory and time, and a damaged file
can end the process that reads it. Here the operating system sets the limits: memory, and not one byte into any file.
The only place that imports duckdb.
"""

from __future__ import annotations

import json
import math
import resource
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import duckdb
from pydantic import BaseModel, ConfigDict

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import RecordStore
from agent_tools.workspace.sql.tables import TABLES, rows_of
from agent_tools.workspace.untrusted import shown

ADDRESS_SPACE = 2 << 30
"""Bytes of address space that a query's process may have; DuckDB's own, stricter limit does not cover long texts."""

CELL_CHARACTERS = 2000
PAGE_CHARACTERS = 20_000
COLUMNS = 200

Cell = str | int | float | bool | None

LOCKED: Mapping[str, str] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "secret_directory": ".",
    "temp_directory": "",
    "memory_limit": "512MB",
    "threads": "2",
}
"""Nothing outside of the opened database can be read, written, fetched or loaded, and nothing of this can be undone."""

READABLE = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
"""What SQLite may do: neither ATTACH nor PRAGMA nor a change."""


class SqlError(WorkbenchError):
    """A query, or a database file, that cannot be used."""


class Job(BaseModel):
    """What the process is asked: without a query, which tables there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str
    file: str = ""
    query: str = ""
    start: int = 0
    limit: int = 100


class Answer(BaseModel):
    """What it found; `problem` is a sentence in place of all else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: list[str] = []
    rows: list[list[Cell]] = []
    more: bool = False
    unreadable: list[str] = []
    problem: str = ""


class Database(Protocol):
    """One opened, read-only database."""

    def tables(self) -> Iterator[tuple[str, str]]:
        """Yield each table with its columns as `name TYPE, ...`."""

    def select(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Run one reading statement; return its columns and, as they are fetched, its rows."""


class DuckDatabase:
    """DuckDB in memory, or one of its files opened for reading."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("SET lock_configuration = true")
        self._connection = connection

    def tables(self) -> Iterator[tuple[str, str]]:
        """Yield each table and view with its columns."""
        found = self._connection.execute(
            "SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) "
            "FROM information_schema.columns GROUP BY table_schema, table_name ORDER BY table_schema, table_name"
        )
        yield from found.fetchall()

    def select(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Run one SELECT, WITH, DESCRIBE, SHOW or SUMMARIZE.

        Raises:
            SqlError: another statement, or several.
        """
        statements = self._connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            said = ", ".join(statement.type.name for statement in statements) or "nothing"
            raise SqlError(f"The query is {said}; write one SELECT, WITH, DESCRIBE, SHOW or SUMMARIZE.")
        found = self._connection.execute(statements[0])
        return [column[0] for column in found.description], iter(found.fetchone, None)


class SqliteDatabase:
    """A SQLite file opened for reading."""

    def __init__(self, path: Path) -> None:
        # Without a journal beside it nothing is pending, and SQLite needs no lock file in the folder.
        pending = any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))
        self._connection = sqlite3.connect(f"{path.as_uri()}?mode=ro{'' if pending else '&immutable=1'}", uri=True)
        self._connection.execute("PRAGMA trusted_schema = OFF")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.text_factory = lambda data: data.decode(errors="backslashreplace")

    def tables(self) -> Iterator[tuple[str, str]]:
        """Yield each table and view with its columns."""
        found = self._connection.execute(
            "SELECT m.name, group_concat(t.name || ' ' || t.type, ', ') FROM sqlite_master AS m, "
            "pragma_table_info(m.name) AS t WHERE m.type IN ('table', 'view') GROUP BY m.name ORDER BY m.name"
        )
        yield from found

    def select(self, query: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Run one SELECT, WITH or VALUES.

        Raises:
            SqlError: anything that does more than read.
        """
        self._connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in READABLE else sqlite3.SQLITE_DENY
        )
        try:
            found = self._connection.execute(query)
        except sqlite3.DatabaseError as error:
            if "not authorized" in str(error):
                raise SqlError("The query does more than read this file; write one SELECT or WITH.") from error
            raise
        if found.description is None:
            raise SqlError("The query is nothing that returns rows; write one SELECT or WITH.")
        return [column[0] for column in found.description], iter(found.fetchone, None)


def open_file(path: Path) -> Database:
    """Open a SQLite or DuckDB file for reading, known by its first bytes.

    Raises:
        SqlError: the file is neither.
    """
    with path.open("rb") as stream:
        head = stream.read(16)
    if head == b"SQLite format 3\0":
        return SqliteDatabase(path)
    if head[8:12] == b"DUCK":
        return DuckDatabase(duckdb.connect(path, read_only=True, config=dict(LOCKED)))
    raise SqlError(f"{path.name} is neither a SQLite nor a DuckDB file; name one of those, or none for the records.")


def open_records(root: Path) -> tuple[Database, list[str]]:
    """Put every readable record into tables in memory; return them and a sentence for each file that is no record."""
    store = RecordStore(root)
    page, files = store.list_all(), store.files()
    connection = duckdb.connect(":memory:", config=dict(LOCKED))
    rows = [rows_of(record, files[record.id].relative_to(store.root).as_posix()) for record in page.records]
    for table, columns in TABLES.items():
        form = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.execute(f"CREATE TABLE {table} ({form})")
        found = [row for of_record in rows for row in of_record[table]]
        if found:
            _insert(connection, table, columns, found)
    return DuckDatabase(connection), [entry.problem for entry in page.corrupt]


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str], rows: list[dict[str, Any]]
) -> None:
    # As one JSON text: one statement per row would take a millisecond each.
    text = json.dumps([{name: _storable(row[name]) for name in columns} for row in rows])
    unpacked = "SELECT unnest(from_json(?, ?), recursive := true)"
    connection.execute(f"INSERT INTO {table} BY NAME {unpacked}", [text, json.dumps([columns])])


def _storable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def answer(job: Job) -> Answer:
    """Do the job.

    Raises:
        SqlError: the file or the query cannot be used.
    """
    database, unreadable = (open_file(Path(job.file)), []) if job.file else open_records(Path(job.root))
    columns, found = database.select(job.query) if job.query else (["table", "columns"], database.tables())
    if len(columns) > COLUMNS:
        raise SqlError(f"The answer has {len(columns)} columns; name at most {COLUMNS} of them.")
    rows, more = _page(found, job)
    return Answer(
        columns=[str(_cell(name, PAGE_CHARACTERS // COLUMNS, job.root)) for name in columns],
        rows=rows,
        more=more,
        unreadable=unreadable,
    )


def _page(found: Iterable[tuple[Any, ...]], job: Job) -> tuple[list[list[Cell]], bool]:
    kept: list[list[Cell]] = []
    room = PAGE_CHARACTERS
    for number, row in enumerate(found):
        if number < job.start:
            continue
        widest = min(CELL_CHARACTERS, PAGE_CHARACTERS // len(row))
        cells = [_cell(value, widest, job.root) for value in row]
        room -= len(json.dumps(cells, ensure_ascii=False))
        if len(kept) == job.limit or (room < 0 and kept):
            return kept, True
        kept.append(cells)
    return kept, False


def _cell(value: Any, widest: int, root: str) -> Cell:
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    whole = str(value)
    # Twice as much is cleaned as is kept, so that a secret across the cut is not kept in part.
    text = shown(whole[: 2 * widest].replace(root, "."))
    return text if max(len(text), len(whole)) <= widest else f"{text[:widest]} (cut; {len(whole)} characters)"


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer the one job that the arguments name."""
    job = Job.model_validate_json(sys.argv[1])
    _limit_process()
    try:
        said = answer(job)
    except SqlError as error:
        said = Answer(problem=str(error))
    except (duckdb.Error, sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        said = Answer(problem=f"The database refused the query: {str(error).strip().partition(chr(10))[0]}")
    except (MemoryError, OSError) as error:
        said = Answer(problem=f"The query could not be run: {error or 'out of memory'}; ask for less.")
    with suppress(BrokenPipeError):
        sys.stdout.write(said.model_dump_json())
        sys.stdout.flush()


if __name__ == "__main__":
    main()
