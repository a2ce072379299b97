"""The record store: nothing half written, nothing lost, nothing fatal."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agent_tools.records.schema import SCHEMA_VERSION, EpochFigures
from agent_tools.records.store import RecordError, RecordNotFound, RecordStore, new_id
from tests.agent_tools.records.build import START, epoch, record, run_file


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    written = record(kind="evaluate", run=run_file())
    path = store.write(written, "main-job")
    assert path == tmp_path / "logs" / "2026-11-21_main-job" / "records" / f"{written.id}.json"
    assert store.load(written.id) == written
    assert store.find_folder(written.id) == path.parent.parent


def test_without_a_session_a_record_goes_to_outputs_and_a_chosen_folder_wins(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    assert store.write(record()).parent == tmp_path / "outputs" / "records"
    assert store.write(record(), folder=tmp_path / "outputs" / "demo").parent == tmp_path / "outputs/demo/records"
    assert store.list().total == 2
    with pytest.raises(RecordError, match="outside the repository"):
        store.write(record(), folder=tmp_path.parent)


def test_a_session_that_is_dated_already_keeps_its_date(tmp_path: Path) -> None:
    path = RecordStore(tmp_path).write(record(), "2026-01-02_night")
    assert path.parent.parent.name == "2026-01-02_night"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "-flag", "x" * 81, "a\0b"])
def test_a_session_name_that_could_leave_the_logs_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordError, match="is not a session name"):
        RecordStore(tmp_path).write(record(), name)
    assert list(tmp_path.iterdir()) == []


def test_records_are_never_overwritten(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    first = record(title="first")
    store.write(first, "a")
    with pytest.raises(RecordError, match="exists already"):
        store.write(first.model_copy(update={"title": "second"}), "b")
    assert store.load(first.id).title == "first"


def test_an_unknown_id_names_the_nearest_ids_and_the_command_that_lists_them(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    known = record()
    store.write(known)
    with pytest.raises(RecordNotFound, match=f"{known.id}.*agent-tools record list"):
        store.load(known.id[:-1] + ("0" if known.id[-1] != "0" else "1"))
    with pytest.raises(RecordNotFound):
        store.load("../../etc/passwd")


def test_ids_sort_by_time_and_an_unknown_kind_is_refused() -> None:
    ids = [new_id(kind, START + timedelta(seconds=s)) for s, kind in enumerate(("train", "benchmark", "evaluate"))]
    assert ids == sorted(ids)
    assert re.fullmatch(r"20261121T200622Z-train-[0-9a-f]{6}", ids[0])
    with pytest.raises(RecordError, match="comparison"):
        new_id("bench")


def test_listing_is_newest_first_and_the_cursor_visits_every_record_once(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    kinds = ["train", "benchmark"] * 6
    records = [record(kind=kind, started=START + timedelta(minutes=i)) for i, kind in enumerate(kinds)]
    for item in records:
        store.write(item, "s")
    seen, cursor = [], None
    while True:
        page = store.list(limit=5, cursor=cursor)
        seen += [item.id for item in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [item.id for item in reversed(records)]
    assert {item.kind for item in store.list("train", limit=50).records} == {"train"}
    assert store.list("train", limit=6).next_cursor is None
    assert store.list("train", limit=2).total == 6


def test_an_unusable_kind_or_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not a record kind"):
        RecordStore(tmp_path).list("bench")
    with pytest.raises(RecordError, match="limit is 0"):
        RecordStore(tmp_path).list(limit=0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not valid JSON"),
        ("[]", "is not a record"),
        ('{"schema_version": 99}', "update the workbench"),
        ('{"schema_version": 0}', "the commit that wrote it"),
        ('{"schema_version": 1, "id": 3}', "is not a record: id"),
        ('{"schema_version": 2, "id": 3}', "is not a record: id"),
        ('{"schema_version": true}', "says no schema_version"),
        ('{"schema_version": "2"}', "says no schema_version"),
        ("{}", "says no schema_version"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)
def test_a_corrupt_file_is_named_and_the_others_are_still_listed(tmp_path: Path, text: str | bytes, why: str) -> None:
    store = RecordStore(tmp_path)
    good = record()
    folder = store.write(good).parent
    bad = folder / f"{new_id('train', START)}.json"
    bad.write_bytes(text if isinstance(text, bytes) else text.encode())
    page = store.list()
    assert [item.id for item in page.records] == [good.id]
    assert [item.path for item in page.corrupt] == [f"outputs/records/{bad.name}"]
    assert why in page.corrupt[0].problem
    with pytest.raises(RecordError, match=re.escape(why)):
        store.load(bad.stem)


def test_a_record_of_a_newer_version_is_refused_even_where_every_field_fits(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    path = store.write(record(schema_version=SCHEMA_VERSION + 1))
    assert "update the workbench" in store.list().corrupt[0].problem
    with pytest.raises(RecordError, match=f"schema_version {SCHEMA_VERSION + 1}"):
        store.load(path.stem)


def test_a_record_under_another_name_than_its_id_is_named_as_corrupt(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    path = store.write(record())
    path.rename(path.with_name(f"{new_id('benchmark', START)}.json"))
    assert "rename the file" in store.list().corrupt[0].problem


def test_figures_that_are_no_numbers_survive_as_standard_json(tmp_path: Path) -> None:
    broken: EpochFigures = epoch(metrics={"loss": float("nan"), "other": float("inf")})
    store = RecordStore(tmp_path)
    path = store.write(record(kind="train", run=run_file(epochs=[broken])))
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    loaded = store.load(path.stem).run
    assert loaded is not None
    assert str(loaded.epochs[0].metrics) == "{'loss': nan, 'other': inf}"


def test_200_records_are_listed_within_the_time_that_a_tool_call_has(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    run = run_file()
    for number in range(200):
        store.write(record(kind="evaluate", started=START + timedelta(seconds=number), run=run), "many")
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert len(store.list(limit=200).records) == 200
        times.append(time.perf_counter() - began)
    assert min(times) < 0.3
