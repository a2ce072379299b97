"""Run files become records: complete, public, and refused where they cannot be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_tools.records.importers import RunFileError, load_run_file, record_from_run
from agent_tools.records.schema import DatasetFingerprint, GitState
from agent_tools.records.store import RecordStore
from tests.agent_tools.records.build import run_file, write_run_file


def test_a_run_becomes_a_record_with_machine_data_set_and_checkpoints(tmp_path: Path) -> None:
    run = run_file(checkpoints={"best": {"path": "outputs/x/best.ckpt", "sha256": "a" * 64}})
    record = record_from_run(load_run_file(write_run_file(tmp_path, run)), tmp_path)
    assert (record.kind, record.started, record.dataset) == ("evaluate", run.started, run.datasets["val"])
    assert record.machine is not None
    assert record.environment["decoder"] == "turbojpeg 2.1.5"
    assert record.artifacts == {"outputs/x/best.ckpt": "a" * 64}
    assert record.run == run
    assert RecordStore(tmp_path).write(record, "s").is_file()


def test_the_tree_at_the_start_of_a_run_is_kept(tmp_path: Path) -> None:
    before = GitState(commit="c" * 40, branch="main", dirty=False, dirty_hash="")
    assert record_from_run(run_file(), tmp_path, git=before).git == before


def test_no_path_of_this_machine_enters_a_record(tmp_path: Path) -> None:
    outside = DatasetFingerprint(name="receipts", root="/home/ann/receipts", images=4, content_hash="d" * 64)
    run = run_file(
        argv=[f"{tmp_path}/.venv/bin/python", "dataset_base_path=/home/ann/receipts/"],
        overrides=["dataset_base_path=/home/ann/receipts/"],
        config={"cache_dir": f"{tmp_path}/outputs/cache", "nested": [{"path": "/mnt/x/y.ckpt"}]},
        datasets={"val": outside},
        checkpoints={"loaded": {"path": "/mnt/x/y.ckpt", "sha256": "b" * 64}},
    )
    record = record_from_run(run, tmp_path)
    text = record.model_dump_json()
    assert "/home" not in text
    assert "/mnt" not in text
    assert str(tmp_path) not in text
    assert record.config == {"cache_dir": "outputs/cache", "nested": [{"path": "y.ckpt"}]}
    assert record.config_hash == run.config_hash


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "running", "ended": None}, "has not finished"),
        ({"status": "failed", "error": "out of memory"}, "out of memory"),
    ],
)
def test_a_run_that_did_not_end_well_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(RunFileError, match=why):
        record_from_run(run_file(**changes), tmp_path)


def test_a_run_file_that_cannot_be_understood_is_named_with_field_and_way_out(tmp_path: Path) -> None:
    path = tmp_path / "run" / "run.json"
    with pytest.raises(RunFileError, match=r"run/run\.json cannot be read"):
        load_run_file(path)
    path.parent.mkdir()
    good = json.loads(run_file().model_dump_json())
    cases = {
        "{": "not valid JSON",
        json.dumps(good | {"schema_version": 7}): "reads versions 1, 2",
        json.dumps(good | {"surprise": 1}): "surprise",
        json.dumps(good | {"device": None}): "device",
        "[]": "does not fit",
    }
    for text, why in cases.items():
        path.write_text(text)
        with pytest.raises(RunFileError, match=why):
            load_run_file(path)
