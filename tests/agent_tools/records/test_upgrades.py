"""Old records stay readable: the whole history of this repository, as today's form, with its files untouched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.records.schema import SCHEMA_VERSION, RunRecord
from agent_tools.records.store import RecordStore, parse_record
from agent_tools.records.upgrades import STEPS, upgraded
from tests.agent_tools.records.build import record, run_file

REPOSITORY = Path(__file__).resolve().parents[3]
COMMITTED = sorted(REPOSITORY.glob("logs/*/records/*.json"))


def test_every_version_below_todays_has_a_step_to_the_next_one():
    assert set(STEPS) == set(range(1, SCHEMA_VERSION))


def test_the_history_beside_the_constant_tells_of_every_version():
    text = (REPOSITORY / "agent_tools" / "records" / "schema.py").read_text()
    history = text.partition("SCHEMA_VERSION = ")[2].partition('"""\n\n')[0]
    for version in range(1, SCHEMA_VERSION + 1):
        assert f"\n- {version} (" in history


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_record_reads_whatever_version_wrote_it_and_says_the_same(path: Path):
    before = path.read_bytes()
    raw = json.loads(before)
    read = parse_record(before, path.name)
    assert (read.id, read.schema_version) == (path.stem, SCHEMA_VERSION)
    assert path.read_bytes() == before
    raw.pop("schema_version")
    assert changed(raw, json.loads(read.model_dump_json())) == []


def changed(raw: Any, again: Any, place: str = "") -> list[str]:
    """Where the old text says something that today's form says no longer, or says differently."""
    if isinstance(raw, dict) and isinstance(again, dict):
        lost = [f"{place}/{key}" for key in raw.keys() - again.keys()]
        return lost + [
            found for key in raw.keys() & again.keys() for found in changed(raw[key], again[key], f"{place}/{key}")
        ]
    if isinstance(raw, list) and isinstance(again, list) and len(raw) == len(again):
        return [
            found
            for number, pair in enumerate(zip(raw, again, strict=True))
            for found in changed(*pair, f"{place}/{number}")
        ]
    return [] if raw == again else [place]


def test_version_1_records_are_in_the_committed_history():
    assert 1 in {json.loads(path.read_bytes())["schema_version"] for path in COMMITTED}


def test_reading_the_committed_history_writes_nothing_into_the_tree():
    def state() -> bytes:
        command = ["git", "status", "--porcelain", "--", "logs"]
        return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout

    before = state()
    page = RecordStore(REPOSITORY).list_all()
    assert {path.stem for path in COMMITTED} <= {item.id for item in page.records}
    assert state() == before


def test_a_version_1_record_comes_back_from_the_store_as_todays(tmp_path: Path):
    written = record(kind="evaluate", run=run_file())
    path = tmp_path / "outputs" / "records" / f"{written.id}.json"
    path.parent.mkdir(parents=True)
    old = json.loads(written.model_dump_json()) | {"schema_version": 1}
    for section in ("comparison", "bisection", "history", "simulation", "imported", "override"):
        del old[section]
    path.write_text(json.dumps(old))
    assert RecordStore(tmp_path).load(written.id) == written
    assert json.loads(path.read_text()) == old


def test_a_step_works_on_its_own_copy():
    old = {"schema_version": 1, "id": "x", "nested": {"a": [1]}}
    before = json.dumps(old)
    assert upgraded(old)["schema_version"] == SCHEMA_VERSION
    assert json.dumps(old) == before


@given(
    title=st.text(st.characters(exclude_categories=["Cs"])),
    overrides=st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    stages=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False), max_size=4),
)
def test_what_is_written_is_what_is_read(title: str, overrides: list[str], stages: dict[str, float]):
    written = record(kind="profile", title=title, overrides=overrides, stages=stages)
    assert parse_record(written.model_dump_json(indent=1), "it") == written
    assert RunRecord.model_validate_json(written.model_dump_json()) == written
