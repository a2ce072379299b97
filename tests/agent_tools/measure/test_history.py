"""A line of commits in one interleaved run: its change points, commits that do not run, and going on after a stop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent_tools.measure.comparison_plan import CompareError
from agent_tools.measure.experiment_folder import EXPERIMENTS
from agent_tools.measure.history import measure_history, resume_history
from agent_tools.measure.trainer import TrainerCancelled
from agent_tools.records.compared import History
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from tests.agent_tools.measure.project import asked, build_project, commit, write_package


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = build_project(tmp_path / "project")
    write_package(root, seconds=1.0, extra="# documented")
    commit(root, "docs: a comment")
    write_package(root, extra="raise RuntimeError('does not run')")
    commit(root, "feat: broken")
    write_package(root, seconds=1.3)
    commit(root, "feat: slower")
    write_package(root, seconds=1.3, recall=0.7)
    commit(root, "feat: less accurate")
    write_package(root, seconds=0.9, recall=0.9)
    commit(root, "fix: both")
    return root


def found(record: RunRecord) -> History:
    assert record.history is not None
    return record.history


def test_changes_of_time_and_accuracy_are_marked_and_a_broken_commit_is_passed_over(root: Path) -> None:
    record = measure_history(root, asked("HEAD~5", "HEAD", rounds=8))
    points = found(record).points
    assert [point.title for point in points] == [
        "first",
        "docs: a comment",
        "feat: broken",
        "feat: slower",
        "feat: less accurate",
        "fix: both",
    ]
    assert [point.change for point in points] == ["", "", "", "slower", "less accurate", "faster"]
    assert "does not run" in points[2].failed or "warmup" in points[2].failed
    assert points[3].ratio == pytest.approx(1 / 1.3, rel=0.01)
    assert points[3].value == pytest.approx(1.3, rel=0.01)
    assert points[4].accuracy == {"recall": 0.7}
    assert [point.gate for point in points] == ["", "pass", "", "fail", "fail", "pass"]
    assert RecordStore(root).load(record.id) == record


def test_every_round_holds_each_running_commit_once_in_an_order_of_its_own(root: Path) -> None:
    order = found(measure_history(root, asked("HEAD~5", "HEAD", rounds=8))).protocol.order
    assert len(order) == 8
    assert {len(set(names)) for names in order} == {5}
    assert len({tuple(names) for names in order}) > 1


def test_an_interrupted_history_goes_on_with_its_samples(root: Path) -> None:
    cancel = threading.Event()

    def after_eight(done: int, total: int, message: str) -> None:
        if done == 8:
            cancel.set()

    with pytest.raises(TrainerCancelled, match="--resume"):
        measure_history(root, asked("HEAD~5", "HEAD", rounds=8), progress=after_eight, cancel=cancel)
    [folder] = (root / EXPERIMENTS).iterdir()
    record = resume_history(root, folder.name)
    assert record.id == folder.name
    assert [point.change for point in found(record).points][3:] == ["slower", "less accurate", "faster"]


def test_too_few_rounds_and_too_many_commits_are_refused(root: Path) -> None:
    with pytest.raises(CompareError, match="rounds is 7; 5 steps need at least 8"):
        measure_history(root, asked("HEAD~5", "HEAD", rounds=7))
    for number in range(20):
        commit(root, f"empty {number}")
    with pytest.raises(CompareError, match="26 commits; measure at most 20"):
        measure_history(root, asked("HEAD~25", "HEAD"))


def test_a_comparison_and_a_history_are_not_mistaken_for_each_other(root: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(TrainerCancelled):
        measure_history(root, asked("HEAD~1", "HEAD"), cancel=cancel)
    [folder] = (root / EXPERIMENTS).iterdir()
    from agent_tools.measure.compare import resume

    with pytest.raises(CompareError, match="is a history; go on with it by `agent-tools bench history`"):
        resume(root, folder.name)
