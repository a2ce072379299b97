"""SQL over records and files: real databases, and queries that try to do more than read."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pytest

from agent_tools.records.schema import Benchmark, Protocol
from agent_tools.records.store import RecordStore
from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workspace.root import Root, RootError
from agent_tools.workspace.sql.queries import SqlError, SqlRows, SqlSchema, sql_query, sql_schema
from tests.agent_tools.records.build import arm, comparison, epoch, record, run_file, sample


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.at(tmp_path)


def ask(root: Root, query: str, **given: Any) -> SqlRows:
    return anyio.run(partial(sql_query, root, query, **given))


def tables(root: Root, **given: Any) -> SqlSchema:
    return anyio.run(partial(sql_schema, root, **given))


def ladder() -> Benchmark:
    protocol = Protocol(rounds=2, warmup_epochs=1, order_seed=0, order=[["a", "b"], ["b", "a"]], descriptive=True)
    samples = [sample("a", 0, 4.0), sample("b", 0, 2.0), sample("b", 1, 2.5), sample("a", 1, 5.0)]
    return Benchmark(
        name="main",
        arms=[arm("a"), arm("b")],
        protocol=protocol,
        samples=samples,
        summaries=[],
        checkpoint_sha256="c" * 64,
        parity_margin=0.005,
    )


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return found.hexdigest()


# --- records -----------------------------------------------------------------------------------------------------


def test_questions_over_all_records_are_answered_from_their_raw_samples(root):
    store = RecordStore(root.path)
    one, two = record(benchmark=ladder(), title="first"), record(kind="evaluate", run=run_file())
    store.write(one, "s")
    store.write(two)
    found = ask(root, "SELECT arm, median(value) FROM samples WHERE metric = 'warm_seconds' GROUP BY arm ORDER BY arm")
    assert (found.columns, found.rows) == (["arm", 'median("value")'], [["a", 4.5], ["b", 2.25]])
    ids = ask(root, "SELECT id, title, path FROM records WHERE kind = 'benchmark'").rows
    assert ids == [[one.id, "first", f"logs/2026-11-21_s/records/{one.id}.json"]]
    epochs = ask(root, "SELECT epoch, seconds, hits, icdar_hmean FROM epochs ORDER BY epoch").rows
    assert epochs == [[0, 2.0, 0, 0.8], [1, 1.0, 4, 0.8]]
    assert ask(root, "SELECT record->>'$.benchmark.name' FROM raw WHERE id = '" + one.id + "'").rows == [["main"]]


def test_the_outcome_of_a_comparison_is_a_table_of_its_metrics(root):
    RecordStore(root.path).write(record(kind="comparison", comparison=comparison()))
    found = ask(root, "SELECT metric, role, effect, low, parity FROM metrics ORDER BY role DESC").rows
    assert found == [["warm_seconds", "primary", 2.0, 1.9, None], ["icdar_hmean", "accuracy", 0.0, 0.0, "equal"]]
    assert ask(root, "SELECT verdict, recommendation FROM records").rows == [["faster", "keep"]]
    counted = "SELECT count(*) FROM samples WHERE metric = 'warm_seconds' AND phase = 'measured' AND tainted = ''"
    assert ask(root, counted).rows == [[12]]


def test_a_file_that_is_no_record_is_named_and_the_others_are_still_there(root):
    path = RecordStore(root.path).write(record())
    (path.parent / "broken.json").write_text("{")
    found = ask(root, "SELECT count(*) FROM records")
    assert found.rows == [[1]]
    assert "broken.json is not valid JSON" in found.unreadable[0]
    assert "broken.json is not valid JSON" in tables(root).unreadable[0]


def test_figures_that_are_no_numbers_are_kept_as_such(root):
    broken = epoch(metrics={"icdar_hmean": float("nan"), "loss": float("inf")})
    RecordStore(root.path).write(record(kind="train", run=run_file(epochs=[broken])))
    assert ask(root, "SELECT isnan(icdar_hmean) FROM epochs").rows == [[True]]
    assert ask(root, "SELECT value FROM samples WHERE metric = 'loss'").rows == [["inf"]]


def test_the_schema_names_every_table_with_its_columns_even_without_records(root):
    found = {row["table"]: row["columns"] for row in tables(root).tables}
    assert sorted(found) == ["epochs", "metrics", "raw", "records", "samples"]
    assert "metric VARCHAR, value DOUBLE" in found["samples"]


@pytest.mark.parametrize(
    "query", ["DESCRIBE samples", "SHOW TABLES", "SUMMARIZE records", "WITH a AS (SELECT 1) FROM a"]
)
def test_what_only_reads_is_answered(root, query):
    assert ask(root, query).rows


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "duckdb"])
def database(request, root) -> str:
    name = f"things.{request.param}"
    connection: Any = (sqlite3 if request.param == "sqlite" else duckdb).connect(root.path / name)
    connection.execute("CREATE TABLE things (name VARCHAR, size INTEGER)")
    connection.execute("INSERT INTO things VALUES ('a', 1), ('b', 2), (NULL, 3)")
    if request.param == "sqlite":
        connection.commit()
    connection.close()
    return name


def test_a_database_in_the_root_is_read_and_left_as_it_is(root, database):
    before = digest(root.path)
    assert ask(root, "SELECT name, size FROM things ORDER BY size", file=database).rows == [
        ["a", 1],
        ["b", 2],
        [None, 3],
    ]
    assert tables(root, file=database).tables == [{"table": "things", "columns": "name VARCHAR, size INTEGER"}]
    assert digest(root.path) == before


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO things VALUES ('c', 4)",
        "UPDATE things SET size = 0",
        "DELETE FROM things",
        "DROP TABLE things",
        "CREATE TABLE more (a INTEGER)",
        "CREATE TEMP TABLE more (a INTEGER)",
        "WITH a AS (SELECT 1) INSERT INTO things SELECT 'c', 4",
        "ATTACH 'other.db' AS other",
        "PRAGMA user_version = 3",
        "PRAGMA journal_mode = WAL",
        "VACUUM INTO 'copy.db'",
        "BEGIN",
        "SELECT 1; DROP TABLE things",
        "SELECT load_extension('x')",
        "-- nothing",
        ";",
    ],
)
def test_what_would_change_a_database_is_refused(root, database, query):
    before = digest(root.path)
    with pytest.raises(SqlError):
        ask(root, query, file=database)
    assert digest(root.path) == before


def test_a_sqlite_file_with_changes_still_in_its_journal_shows_them(root):
    writer = sqlite3.connect(root.path / "live.db")
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE things (a INTEGER)")
    writer.execute("INSERT INTO things VALUES (7)")
    writer.commit()
    assert (root.path / "live.db-wal").stat().st_size > 0
    assert ask(root, "SELECT a FROM things", file="live.db").rows == [[7]]
    writer.close()


def test_a_view_in_a_database_file_reaches_nothing_outside_of_it(root):
    (root.path / "secret.txt").write_text("hidden")
    connection = duckdb.connect(root.path / "views.duckdb")
    connection.execute(f"CREATE VIEW peek AS SELECT * FROM read_text('{root.path}/secret.txt')")
    connection.close()
    with pytest.raises(SqlError, match="disabled by configuration"):
        ask(root, "FROM peek", file="views.duckdb")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"SQLite format 3\0" + b"\1" * 5000, b"12345678DUCK" + b"\7" * 9000]
)
def test_a_file_that_is_no_database_or_a_damaged_one_is_refused_with_a_sentence(root, content):
    (root.path / "odd.db").write_bytes(content)
    with pytest.raises(SqlError) as refusal:
        ask(root, "SELECT * FROM sqlite_master", file="odd.db")
    assert "\n" not in str(refusal.value)
    assert str(root.path) not in str(refusal.value)


def test_a_file_outside_of_the_root_is_refused(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.db"
    sqlite3.connect(outside).close()
    (root.path / "link.db").symlink_to(outside)
    for name in (str(outside), "../x.db", "link.db"):
        with pytest.raises(RootError):
            ask(root, "SELECT 1", file=name)
    with pytest.raises(SqlError, match="is not a file"):
        ask(root, "SELECT 1", file=".")


# --- attacks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO 'stolen.csv'",
        "ATTACH 'x.duckdb'",
        "INSTALL httpfs",
        "LOAD json",
        "PRAGMA database_list",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "EXPORT DATABASE 'everything'",
        "IMPORT DATABASE 'everything'",
        "CALL pragma_version()",
        "CREATE TABLE x AS SELECT 1",
        "CREATE SECRET (TYPE S3)",
        "INSERT INTO records (id) VALUES ('x')",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'stolen.csv'",
        "PIVOT samples ON metric",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO 'stolen.csv'",
        "   ",
        "/* nothing */",
    ],
)
def test_only_one_reading_statement_is_run(root, query):
    with pytest.raises(SqlError, match="write one SELECT, WITH, DESCRIBE, SHOW or SUMMARIZE"):
        ask(root, query)
    assert list(root.path.iterdir()) == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_json('{file}')",
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM parquet_metadata('{file}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
        "SELECT * FROM sqlite_scan('{file}', 't')",
        "SELECT getenv('HOME')",
    ],
)
def test_no_function_reads_a_file_or_the_environment(root, query):
    file = root.path / "secret.csv"
    file.write_text("hidden\n1\n")
    with pytest.raises(SqlError) as refusal:
        ask(root, query.format(file=file, folder=root.path))
    assert str(root.path) not in str(refusal.value)


def test_nothing_tells_where_on_the_machine_the_repository_lies(root):
    RecordStore(root.path).write(record())
    for query in ("FROM duckdb_settings()", "FROM duckdb_databases()", "FROM duckdb_secrets()"):
        text = ask(root, query, limit=1000).model_dump_json()
        assert str(root.path) not in text
        assert str(Path.home()) + "/" not in text


def test_a_query_that_takes_too_long_is_stopped(root):
    with pytest.raises(SqlError, match="stopped after 1 s"):
        ask(root, "SELECT count(*) FROM range(1000000000000)", max_seconds=1)


def test_a_query_of_sqlite_that_takes_too_long_is_stopped(root):
    connection = sqlite3.connect(root.path / "a.db")
    connection.execute("CREATE TABLE a (a)")
    connection.close()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(SqlError, match="stopped after 1 s"):
        ask(root, endless, file="a.db", max_seconds=1)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT list(i) FROM range(1000000000) AS t(i)",
        # One text: DuckDB's own limit does not see it, the process's does.
        "SELECT length(repeat(repeat('x', 1000000), 4000))",
    ],
)
def test_a_query_that_needs_too_much_memory_is_refused(root, query):
    with pytest.raises(SqlError, match=r"[Mm]emory"):
        ask(root, query, max_seconds=60)


def test_a_module_of_the_asked_repository_is_not_run(root):
    for name in ("duckdb.py", "pydantic.py", "json.py"):
        (root.path / name).write_text("raise SystemExit('the repository took over')")
    (root.path / "agent_tools").mkdir()
    (root.path / "agent_tools" / "__init__.py").write_text("raise SystemExit('the repository took over')")
    assert ask(root, "SELECT 1").rows == [[1]]


# --- size --------------------------------------------------------------------------------------------------------


def test_pages_fit_together_and_the_cursor_visits_every_row_once(root):
    seen, cursor = [], ""
    while True:
        found = ask(root, "SELECT i FROM range(250) AS t(i) ORDER BY i", limit=100, cursor=cursor)
        seen += [row[0] for row in found.rows]
        cursor = found.next_cursor
        if not cursor:
            break
    assert seen == list(range(250))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat('x', 100000) FROM range(1000)",
        "SELECT " + ", ".join(f"repeat('x', 100000) AS c{i}" for i in range(200)),
        "SELECT repeat('\"', 3000) FROM range(1000)",
        "SELECT chr(0) || repeat(chr(8238), 3000) FROM range(1000)",
    ],
)
def test_no_answer_is_longer_than_a_result_may_be(root, query):
    found = ask(root, query, limit=1000)
    assert found.rows
    assert len(json.dumps(found.model_dump())) < CHARACTER_LIMIT


def test_more_columns_than_fit_are_refused(root):
    with pytest.raises(SqlError, match="201 columns"):
        ask(root, "SELECT " + ", ".join(f"{i} AS c{i}" for i in range(201)))


def test_columns_of_the_same_name_and_values_of_every_type_are_kept_in_place(root):
    found = ask(
        root,
        "SELECT 1 AS a, 2 AS a, NULL, true, 1.5, [1, 2], {'k': 1}, DATE '2026-01-02', 'nan'::DOUBLE, 'x'::BLOB",
    )
    assert found.columns[:2] == ["a", "a"]
    assert found.rows == [[1, 2, None, True, 1.5, "[1, 2]", "{'k': 1}", "2026-01-02", "nan", "b'x'"]]


def test_text_in_a_database_is_shown_without_secrets_and_invisible_characters(root):
    connection = sqlite3.connect(root.path / "a.db")
    connection.execute("CREATE TABLE a (a)")
    connection.execute("INSERT INTO a VALUES (?)", ["\u202eghp_" + "a" * 30])
    connection.commit()
    connection.close()
    assert ask(root, "SELECT a FROM a", file="a.db").rows == [["<U+202E><secret masked>"]]
