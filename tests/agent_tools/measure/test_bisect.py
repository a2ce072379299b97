"""The search for the first bad commit: right, past commits that do not run, and cheap to take up again."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_tools.measure.bisect import BisectError, bisect
from agent_tools.measure.worktrees import RevisionError
from agent_tools.records.compared import Bisection
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from tests.agent_tools.measure.project import asked, build_project, commit, write_package


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build_project(tmp_path / "project")


def line(root: Path, *commits: dict[str, object]) -> list[str]:
    """Commit after commit, each with what its benchmark reports; their hashes."""
    hashes = []
    for number, values in enumerate(commits, start=1):
        write_package(root, **values)  # type: ignore[arg-type]
        hashes.append(commit(root, f"change {number}"))
    return hashes


def found(record: RunRecord) -> Bisection:
    assert record.bisection is not None
    return record.bisection


def test_the_commit_that_made_it_slower_is_named_with_its_files_and_confirmed_against_the_one_before(
    root: Path,
) -> None:
    hashes = line(root, *[{"seconds": 1.0, "extra": f"# {n}"} for n in range(4)], {"seconds": 1.2}, {"seconds": 1.201})
    record = bisect(root, asked("HEAD~6", "HEAD"))
    result = found(record)
    assert (result.culprit, result.culprit_title) == (hashes[4], "change 5")
    assert (result.files, result.suspects) == (["M pkg/__init__.py"], [hashes[4]])
    assert result.commits == 6
    confirmation = RecordStore(root).load(result.confirmed).comparison
    assert confirmation is not None
    assert confirmation.outcome.verdict == "slower"
    assert [side.commit for side in confirmation.arms] == [hashes[3], hashes[4]]
    assert len(result.steps) <= 1 + 3
    assert RecordStore(root).load(record.id) == record


def test_a_small_slowdown_before_is_not_taken_for_the_large_one(root: Path) -> None:
    hashes = line(
        root, {"seconds": 1.0, "extra": "#"}, {"seconds": 1.05}, {"seconds": 1.051}, {"seconds": 1.4}, {"seconds": 1.41}
    )
    assert found(bisect(root, asked("HEAD~5", "HEAD"))).culprit == hashes[3]


def test_a_commit_that_lost_accuracy_is_found_whatever_its_speed(root: Path) -> None:
    hashes = line(
        root, {"seconds": 1.1}, {"seconds": 1.1, "extra": "#"}, {"seconds": 0.5, "recall": 0.7}, {"recall": 0.71}
    )
    result = found(bisect(root, asked("HEAD~4", "HEAD")))
    assert result.culprit == hashes[2]
    assert "incorrect" in result.steps[0].reason


def test_commits_that_do_not_run_are_passed_over(root: Path) -> None:
    broken = "raise RuntimeError('does not run')"
    hashes = line(
        root,
        {"extra": "# 1"},
        {"extra": "# 2"},
        {"extra": broken},
        {"seconds": 1.3},
        {"seconds": 1.3, "extra": "# 5"},
    )
    result = found(bisect(root, asked("HEAD~5", "HEAD")))
    skipped = [step for step in result.steps if step.verdict == "skipped"]
    assert [step.commit for step in skipped] == [hashes[2]]
    assert result.culprit == ""
    assert result.suspects == [hashes[2], hashes[3]]


def test_where_nothing_got_worse_there_is_nothing_to_find(root: Path) -> None:
    line(root, {"extra": "# 1"}, {"seconds": 0.8})
    with pytest.raises(BisectError, match=r"HEAD is not worse than HEAD~2: the verdict is faster"):
        bisect(root, asked("HEAD~2", "HEAD"))


def test_two_commits_that_are_not_on_one_line_are_refused(root: Path) -> None:
    line(root, {"extra": "# 1"})
    with pytest.raises(RevisionError, match="HEAD is not an ancestor of HEAD~1"):
        bisect(root, asked("HEAD", "HEAD~1"))


def test_a_search_that_is_started_again_uses_the_comparisons_that_are_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line(root, *[{"extra": f"# {n}"} for n in range(3)], {"seconds": 1.2}, {"seconds": 1.2, "extra": "# 6"})
    first = found(bisect(root, asked("HEAD~5", "HEAD")))
    # Nothing can run any more: whatever the second search says, it read.
    fire = tmp_path / "fire"
    fire.touch()
    monkeypatch.setenv("BENCH_FAIL", str(fire))
    again = found(bisect(root, asked("HEAD~5", "HEAD")))
    assert (again.culprit, again.steps, again.confirmed) == (first.culprit, first.steps, first.confirmed)


def test_comparisons_with_another_margin_are_not_taken_for_ones_with_this(root: Path) -> None:
    line(root, {"extra": "# 1"}, {"seconds": 1.05}, {"seconds": 1.06})
    with pytest.raises(BisectError, match="not worse"):
        bisect(root, asked("HEAD~3", "HEAD", equivalence=0.2))
    assert found(bisect(root, asked("HEAD~3", "HEAD"))).culprit_title == "change 2"
