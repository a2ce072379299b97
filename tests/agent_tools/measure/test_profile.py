"""Profiles: the stage table of one epoch, of a run that exists or of a new evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_tools.measure.profile import UNTIMED, ProfileError, profile_run, stage_rows, stage_table
from agent_tools.measure.trainer import UnknownRun
from agent_tools.records.store import RecordStore
from tests.agent_tools.conftest import run_git
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.records.build import epoch, record, run_file, write_run_file


def test_the_profile_of_a_run_is_its_last_epoch_longest_stage_first(tmp_path: Path) -> None:
    write_run_file(tmp_path, run_file())
    profile = profile_run(tmp_path, run_file().id, session="s")
    assert RecordStore(tmp_path).load(profile.id) == profile
    assert profile.kind == "profile"
    assert list(profile.stages.items()) == [("forward", 0.5), ("load", 0.25), (UNTIMED, 0.25)]
    rows = stage_table(profile)
    assert (rows[0].stage, rows[0].share, rows[0].milliseconds_per_image) == ("forward", 0.5, 125.0)
    assert sum(row.seconds for row in rows) == pytest.approx(1.0)


def test_without_a_run_an_evaluation_with_a_warm_epoch_is_profiled(tmp_path: Path) -> None:
    build_repository(tmp_path)
    profile = profile_run(tmp_path, overrides=["seed=1"])
    assert profile.run is not None
    assert "passes=2" in profile.run.overrides
    assert profile.title.endswith("val epoch 1")


def test_stages_that_overlap_leave_nothing_untimed() -> None:
    rows = stage_rows(epoch(0, seconds=1.0, stages={"load": 3.0, "forward": 0.9}))
    assert [(row.stage, row.share) for row in rows] == [("load", 3.0), ("forward", 0.9), (UNTIMED, 0.0)]


def test_the_loaders_parts_explain_the_wait_and_are_not_counted_twice() -> None:
    rows = stage_rows(epoch(0, seconds=4.0, stages={"loader.decode": 1.5, "wait": 2.0, "forward": 1.0}))
    assert [(row.stage, row.seconds) for row in rows] == [
        ("wait", 2.0),
        ("forward", 1.0),
        (UNTIMED, 1.0),
        ("loader.decode", 1.5),
    ]


def test_a_run_that_cannot_be_profiled_is_refused(tmp_path: Path) -> None:
    write_run_file(tmp_path, run_file(id="bare", epochs=[epoch(0, stages={})]))
    with pytest.raises(ProfileError, match="timed no stages"):
        profile_run(tmp_path, "bare")
    with pytest.raises(ProfileError, match="has no train epoch; it has val"):
        profile_run(tmp_path, "bare", phase="train")
    with pytest.raises(ProfileError, match="leave out either"):
        profile_run(tmp_path, "bare", ["seed=1"])
    with pytest.raises(UnknownRun):
        profile_run(tmp_path, "no-such-run")
    with pytest.raises(ProfileError, match="of kind benchmark"):
        stage_table(record())


def test_a_run_that_nobody_watched_is_not_given_the_tree_and_machine_of_today(tmp_path: Path) -> None:
    build_repository(tmp_path)
    run_git(tmp_path, "init", "-q", "-b", "main")
    write_run_file(tmp_path, run_file())
    old = profile_run(tmp_path, run_file().id)
    assert (old.git, old.machine) == (None, None)
    assert old.environment == run_file().environment | {
        "tree and machine": "not recorded: the run ended before anybody looked"
    }
    new = profile_run(tmp_path)
    assert new.git is not None
    assert new.machine is not None
