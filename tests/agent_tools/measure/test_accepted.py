"""The accepted performance: what can be accepted, and that it is found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_tools.measure.accepted import ACCEPTED, AcceptError, accept, check_request, is_no_worse, load_accepted
from agent_tools.measure.targets import TargetError, asked_again
from agent_tools.measure.verdict import judge
from agent_tools.measure.worktrees import RevisionError
from agent_tools.records.compared import Side
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from tests.agent_tools.conftest import Git
from tests.agent_tools.handbook import factory
from tests.agent_tools.records.build import comparison, paired, paired_protocol

OPTIONS = {"name": "command", "command": ["python", "bench.py"], "data": "none"}


@pytest.fixture
def head(repository: Path, git: Git) -> str:
    return git(repository, "rev-parse", "HEAD").strip()


def target(**options: Any) -> Any:
    return factory.compared().model_copy(update={"options": OPTIONS | options})


def compared(commit: str, verdict: str = "faster", recommendation: str = "keep", **changes: Any) -> RunRecord:
    """A comparison whose side B is a commit of the repository."""
    sides = [factory.side("A", "HEAD~1"), factory.side("B", "HEAD", commit)]
    return factory.comparison(
        verdict=verdict, recommendation=recommendation, **({"arms": sides, "target": target()} | changes)
    )


def stored(root: Path, record: RunRecord) -> str:
    RecordStore(root).write(record, "main-job")
    return record.id


@pytest.mark.parametrize(
    "verdict", [("faster", "keep"), ("slower", "revert"), ("equivalent", "revert"), ("inconclusive", "iterate")]
)
def test_the_side_b_of_a_comparison_with_a_verdict_is_accepted_and_read_again(
    repository: Path, head: str, verdict: tuple[str, str]
) -> None:
    record_id = stored(repository, compared(head, *verdict))
    found = accept(repository, record_id)
    assert (found.record, found.commit, found.primary, found.equivalence) == (record_id, head, "warm_seconds", 0.02)
    assert load_accepted(repository) == found
    assert str(repository) not in (repository / ACCEPTED).read_text()


def test_the_newest_commit_of_a_history_is_accepted(repository: Path, head: str) -> None:
    sides = [factory.side("1111111", "first form", "11" * 20), factory.side(head[:9], "docs", head)]
    assert accept(repository, stored(repository, factory.history(arms=sides))).commit == head


@pytest.mark.parametrize("verdict", ["incorrect", "invalid", "descriptive"])
def test_without_a_verdict_or_with_lost_accuracy_nothing_is_accepted(repository: Path, head: str, verdict: str) -> None:
    accept(repository, stored(repository, compared(head)))
    before = (repository / ACCEPTED).read_bytes()
    bad = compared(head, verdict, "revert").model_copy(update={"id": "20261121T220000Z-comparison-bad000"})
    with pytest.raises(AcceptError, match=f"{bad.id} is {verdict}"):
        accept(repository, stored(repository, bad))
    assert (repository / ACCEPTED).read_bytes() == before


@pytest.mark.parametrize(
    ("update", "named"),
    [
        ({"failed": "the command failed with exit code 1"}, "failed .the command failed with exit code 1."),
        ({"change": "less accurate"}, "lost accuracy"),
        # Against the first commit, in steps that were each too small to be marked.
        ({"accuracy": {"icdar_hmean": 0.842, "cleval_hmean": 0.8149}}, "lost accuracy"),
    ],
)
def test_a_newest_commit_that_does_not_run_or_lost_accuracy_is_refused(
    repository: Path, head: str, update: dict[str, Any], named: str
) -> None:
    history = factory.history().history
    assert history is not None
    points = [*history.points[:-1], history.points[-1].model_copy(update=update)]
    sides = [*history.arms[:-1], factory.side(head[:9], "docs", head)]
    with pytest.raises(AcceptError, match=named):
        accept(repository, stored(repository, factory.history(points=points, arms=sides)))


@pytest.mark.parametrize(
    "side", [factory.side("B", "worktree", "12" * 20, dirty=True), factory.side("B", "no repository", "")]
)
def test_uncommitted_changes_are_refused(repository: Path, side: Side) -> None:
    record = compared("", arms=[factory.side("A", "HEAD"), side])
    with pytest.raises(AcceptError, match="measured uncommitted changes; commit them"):
        accept(repository, stored(repository, record))
    assert not (repository / ACCEPTED).exists()


def test_a_commit_that_is_not_here_is_refused(repository: Path) -> None:
    with pytest.raises(RevisionError):
        accept(repository, stored(repository, compared("12" * 20)))
    assert not (repository / ACCEPTED).exists()


def test_a_record_of_another_kind_is_refused(repository: Path) -> None:
    with pytest.raises(AcceptError, match="is of kind benchmark; accept a comparison or a history"):
        accept(repository, stored(repository, factory.ladder()))


def test_before_anything_was_accepted_the_error_says_how(tmp_path: Path) -> None:
    with pytest.raises(AcceptError, match=r"logs/accepted\.json is missing.*bench check --accept RECORD"):
        load_accepted(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"record": "x"}', '{"unknown": 1}', "\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / ACCEPTED).write_text(text)
    with pytest.raises(AcceptError, match=r"logs/accepted\.json cannot be read; accept a record again"):
        load_accepted(tmp_path)


def test_a_file_of_another_version_is_named(repository: Path, head: str) -> None:
    accept(repository, stored(repository, compared(head)))
    raw = json.loads((repository / ACCEPTED).read_text())
    (repository / ACCEPTED).write_text(json.dumps(raw | {"schema_version": 9}))
    with pytest.raises(AcceptError, match="schema_version 9, not 1"):
        load_accepted(repository)


def test_a_check_measures_the_accepted_commit_as_it_was_measured(repository: Path, head: str) -> None:
    accept(repository, stored(repository, compared(head)))
    request = check_request(repository, "HEAD", 8, 3, 0.2, "gate")
    assert (request.a, request.b, request.rounds, request.seed, request.session) == (head, "HEAD", 8, 3, "gate")
    assert request.target == asked_again(OPTIONS, repository)
    assert (request.foreign_limit, request.equivalence) == (0.2, 0.02)


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({}, "command", ["python", "bench.py", "preset=fast"]),
        ({"name": "evaluate", "command": [], "overrides": ["seed=1"]}, "overrides", ["seed=1", "preset=fast"]),
    ],
)
def test_what_side_b_was_set_to_is_set_in_a_check_too(
    repository: Path, head: str, options: dict[str, Any], field: str, words: list[str]
) -> None:
    side = factory.side("B", "preset=fast", head, overrides=["preset=fast"])
    arms = [factory.side("A", "defaults", head), side]
    record = compared(head, arms=arms, target=target(**options), treatment="configurations")
    accept(repository, stored(repository, record))
    assert getattr(check_request(repository, "HEAD", 8, 0, 0.2, "").target, field) == words


def test_a_check_whose_data_is_gone_says_so(repository: Path, head: str) -> None:
    accept(repository, stored(repository, compared(head, target=target(data="data/receipts"))))
    with pytest.raises(TargetError, match="data: data/receipts is not there"):
        check_request(repository, "HEAD", 8, 0, 0.2, "")
    (repository / "data/receipts").mkdir(parents=True)
    assert check_request(repository, "HEAD", 8, 0, 0.2, "").target.data == str(repository / "data/receipts")


@pytest.mark.parametrize(("hmean", "passed"), [(0.9, True), (0.0, False)])
def test_equal_outputs_of_a_model_that_finds_nothing_do_not_pass_a_check(hmean: float, passed: bool) -> None:
    samples = [sample.model_copy(update={"outputs": "same"}) for sample in paired([1.0] * 6, icdar_hmean=hmean)]
    found = comparison(samples=samples)
    outcome = judge(samples, found.target, paired_protocol(6), look=1)
    assert outcome.outputs_equal
    assert is_no_worse(found.model_copy(update={"outcome": outcome}), 0.05)[0] is passed
