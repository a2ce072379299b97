"""SQL over the records, or over a database file in the root: read-only, and bounded in time, memory and size."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from agent_tools.jobs.processes import run_own_module
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import Cursor, RepositoryText, offset
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

ENGINE = "agent_tools.workspace.sql.engine"
SCHEMA_SECONDS = 30
OUTPUT_CAP = 1 << 20
PROBLEM_CHARACTERS = 600

DatabaseFile = Annotated[str, Field(description="SQLite or DuckDB file; '' = the records")]


class SqlError(WorkbenchError):
    """A query that cannot be answered."""


class SqlSchema(RepositoryText):
    """The tables that can be asked."""

    tables: list[dict[str, str]] = Field(description="table, columns with types")
    unreadable: list[str] = Field(description="files that are no records, and why")
    next_cursor: str

    def summary(self) -> str:
        """Say one line per table."""
        lines = [f"{row['table']}({row['columns']})" for row in self.tables]
        return "\n".join([*lines, *self.unreadable, *_more(self.next_cursor)]) or "no tables"


class SqlRows(RepositoryText):
    """One page of a query's answer."""

    columns: list[str]
    rows: list[list[str | int | float | bool | None]]
    unreadable: list[str] = Field(description="files that are no records, so not in the tables")
    next_cursor: str

    def summary(self) -> str:
        """Say the table as lines, the first one naming the columns."""
        lines = [" | ".join(map(str, row)) for row in self.rows]
        return "\n".join([" | ".join(self.columns), *lines, *self.unreadable, *_more(self.next_cursor)])


def _more(cursor: str) -> list[str]:
    return [f"go on with cursor={cursor}"] if cursor else []


async def sql_schema(
    root: Root,
    file: DatabaseFile = "",
    limit: Annotated[int, Field(ge=1, le=200)] = 50,
    cursor: Cursor = "",
) -> SqlSchema:
    """List the tables that sql_query can read, with their columns and types.

    Use it before sql_query. samples has one row per raw figure of every record, raw whole records as JSON.

    Raises:
        SqlError: the file is no database, or cannot be read.
        RootError: the file lies outside of the root.
    """
    answer = await _ask(root, file, "", offset(cursor), limit, SCHEMA_SECONDS)
    tables = [{"table": row[0], "columns": row[1]} for row in answer["rows"]]
    return SqlSchema(tables=tables, unreadable=_unreadable(answer), next_cursor=_following(answer, cursor))


async def sql_query(
    root: Root,
    query: Annotated[str, Field(min_length=1, max_length=20_000, description="one SELECT, WITH, DESCRIBE or SHOW")],
    file: DatabaseFile = "",
    limit: Annotated[int, Field(ge=1, le=1000, description="rows at most")] = 100,
    cursor: Cursor = "",
    max_seconds: Annotated[int, Field(ge=1, le=60)] = 10,
) -> SqlRows:
    """Ask all records at once in SQL (DuckDB's dialect), or a SQLite or DuckDB file; nothing can be changed.

    Use it for questions over many records; sql_schema lists the tables. With ORDER BY, pages fit together.
    Not for claims: compare revisions with bench_compare.

    Raises:
        SqlError: not one reading statement, an error of the database, or a limit reached.
        RootError: the file lies outside of the root.
    """
    answer = await _ask(root, file, query, offset(cursor), limit, max_seconds)
    return SqlRows(
        columns=answer["columns"],
        rows=answer["rows"],
        unreadable=_unreadable(answer),
        next_cursor=_following(answer, cursor),
    )


async def _ask(root: Root, file: str, query: str, start: int, limit: int, seconds: int) -> dict[str, Any]:
    job = {"root": str(root.path), "query": query, "start": start, "limit": limit, "file": _checked(root, file)}
    finished = await run_own_module(ENGINE, json.dumps(job), folder=root.path, seconds=seconds, output_cap=OUTPUT_CAP)
    if finished.timed_out:
        raise SqlError(f"The query was stopped after {seconds} s; ask for less, or raise max_seconds (60 at most).")
    if finished.exit_code != 0:
        said = shown(finished.errors).replace(str(root.path), ".").strip().rpartition("\n")[2][:PROBLEM_CHARACTERS]
        raise SqlError(
            "The query ended its process: it needs more memory than a query has, or the file is damaged"
            f"{f' ({said})' if said else ''}; ask for less, or name another file."
        )
    answer: dict[str, Any] = json.loads(finished.output)
    if answer["problem"]:
        raise SqlError(shown(answer["problem"].replace(str(root.path), "."))[:PROBLEM_CHARACTERS])
    return answer


def _checked(root: Root, file: str) -> str:
    if not file:
        return ""
    path = root.resolve(file)
    if not path.is_file():
        raise SqlError(f"'{file}' is not a file; name a SQLite or DuckDB file in the repository.")
    return str(path)


def _unreadable(answer: dict[str, Any]) -> list[str]:
    return [shown(problem)[:400] for problem in answer["unreadable"][:20]]


def _following(answer: dict[str, Any], cursor: str) -> str:
    return str(offset(cursor) + len(answer["rows"])) if answer["more"] else ""
