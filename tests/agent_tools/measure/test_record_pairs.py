"""Two stored records beside each other: described, stored, and never a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_tools.measure.comparability import NotComparable
from agent_tools.measure.record_pairs import compare_records
from agent_tools.measure.verdict import judge
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordNotFound, RecordStore
from tests.agent_tools.handbook import factory

SECOND = "20261122T200622Z-benchmark-0000bb"


def beside(root: Path, a: RunRecord, b: RunRecord, *treatment: str, session: str = "") -> RunRecord:
    store = RecordStore(root)
    for record in (a, b):
        store.write(record)
    return compare_records(root, a.id, b.id, treatment, session, equivalence=0.02, alpha=0.05)


@pytest.mark.parametrize("rounds", [1, 6, 20])
def test_any_number_of_samples_is_descriptive_and_stored(tmp_path: Path, rounds: int) -> None:
    found = beside(tmp_path, factory.ladder(rounds=rounds), factory.ladder(SECOND, rounds=rounds, speed=3.0))
    assert found.comparison is not None
    outcome = found.comparison.outcome
    assert (outcome.verdict, outcome.recommendation) == ("descriptive", "iterate")
    assert "not measured in turn" in outcome.reason
    assert outcome.metrics[0].metric == "warm_seconds"
    assert outcome.metrics[0].ratio == pytest.approx(3.0, abs=0.01)
    assert (outcome.pairs, len(found.comparison.samples)) == (rounds, 2 * rounds)
    assert RecordStore(tmp_path).load(found.id) == found


def test_the_stored_outcome_follows_from_the_stored_samples(tmp_path: Path) -> None:
    found = beside(tmp_path, factory.ladder(), factory.ladder(SECOND, speed=1.1)).comparison
    assert found is not None
    again = judge(found.samples, found.target, found.protocol, look=1)
    assert again.model_copy(update={"reason": found.outcome.reason}) == found.outcome


def test_the_side_b_of_a_comparison_and_the_warm_epochs_of_a_run_are_samples_too(tmp_path: Path) -> None:
    a, b = factory.comparison(), factory.comparison("20261121T220000Z-comparison-c0ffef", "slower")
    found = beside(tmp_path, a, b).comparison
    assert found is not None
    # Side B was tainted in one of eight rounds; its warm-up is no sample.
    assert found.outcome.verdict == "descriptive"
    assert 6 <= found.outcome.pairs <= 8
    assert found.outcome.metrics[0].ratio == pytest.approx(11.02 / 14.5, rel=0.03)
    runs = [factory.trained(kind="evaluate"), factory.trained("20261121T191500Z-evaluate-bb22cc", "evaluate")]
    epochs = beside(tmp_path, *runs).comparison
    assert epochs is not None
    assert (epochs.outcome.pairs, epochs.outcome.metrics[0].ratio) == (1, 1.0)


def test_tainted_samples_are_left_where_they_are(tmp_path: Path) -> None:
    a, b = factory.comparison(), factory.comparison("20261121T220000Z-comparison-c0ffef")
    assert a.comparison is not None
    spoilt = [sample.model_copy(update={"tainted": "other work"}) for sample in a.comparison.samples]
    a = a.model_copy(update={"comparison": a.comparison.model_copy(update={"samples": spoilt})})
    with pytest.raises(NotComparable, match=f"samples: record {a.id} holds only ones beside other work"):
        beside(tmp_path, a, b)
    one = [
        sample.model_copy(update={"tainted": "other work" if sample.round == 0 else ""})
        for sample in a.comparison.samples
    ]
    a = a.model_copy(
        update={
            "id": "20261121T230000Z-comparison-c0fff0",
            "comparison": a.comparison.model_copy(update={"samples": one}),
        }
    )
    RecordStore(tmp_path).write(a)
    found = compare_records(tmp_path, a.id, b.id, equivalence=0.02, alpha=0.05).comparison
    assert found is not None
    assert found.outcome.verdict == "descriptive"
    assert not any(sample.tainted for sample in found.samples)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dataset": factory.dataset().model_copy(update={"content_hash": "sha256:" + "ac" * 32})}, "content_hash"),
        ({"machine": factory.machine(cpu="AMD EPYC 9B14")}, r"machine\.cpu_model"),
        ({"config": {"batch_size": 32}}, r"config\.batch_size"),
        ({"environment": {"OMP_NUM_THREADS": "1"}}, r"environment\.OMP_NUM_THREADS"),
    ],
)
def test_unlike_records_are_refused_and_nothing_is_stored(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(NotComparable, match=named):
        beside(tmp_path, factory.ladder(), factory.ladder(SECOND, **changes))
    assert RecordStore(tmp_path).list("comparison").total == 0


def test_a_declared_treatment_is_listed_as_the_change(tmp_path: Path) -> None:
    a, b = factory.ladder(config={"batch_size": 16}), factory.ladder(SECOND, config={"batch_size": 32})
    found = beside(tmp_path, a, b, "batch_size").comparison
    assert found is not None
    assert (found.treatment, found.changes) == ("records", ["config batch_size: 16 -> 32"])


def test_two_commits_are_listed_as_a_change_of_code(tmp_path: Path) -> None:
    moved = factory.git(()).model_copy(update={"commit": "fe" * 20})
    found = beside(tmp_path, factory.ladder(), factory.ladder(SECOND, git=moved)).comparison
    assert found is not None
    assert found.changes == ["code 0123456789ab -> fefefefefefe"]
    assert [side.dirty for side in found.arms] == [True, False]


def test_a_reported_figure_is_never_a_side(tmp_path: Path) -> None:
    with pytest.raises(NotComparable, match="reported, which is never one side"):
        beside(tmp_path, factory.reported(), factory.ladder())


@pytest.mark.parametrize("make", [factory.history, factory.bisection])
def test_a_record_without_samples_of_one_subject_is_refused(tmp_path: Path, make: Any) -> None:
    a = make().model_copy(update={"environment": factory.ladder().environment})
    with pytest.raises(NotComparable, match="holds no samples that could be compared"):
        beside(tmp_path, a, factory.ladder())


def test_records_that_share_no_time_are_refused(tmp_path: Path) -> None:
    a = factory.comparison()
    assert a.comparison is not None
    renamed = [sample.model_copy(update={"metrics": {"seconds": 1.0}}) for sample in a.comparison.samples]
    a = a.model_copy(
        update={
            "comparison": a.comparison.model_copy(update={"samples": renamed}),
            "environment": factory.ladder().environment,
        }
    )
    with pytest.raises(NotComparable, match="share no time"):
        beside(tmp_path, a, factory.ladder())


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    RecordStore(tmp_path).write(factory.ladder())
    with pytest.raises(RecordNotFound, match=SECOND):
        compare_records(tmp_path, factory.ladder().id, SECOND, equivalence=0.02, alpha=0.05)


def test_the_record_goes_to_the_session_that_was_asked_for(tmp_path: Path) -> None:
    found = beside(tmp_path, factory.ladder(), factory.ladder(SECOND), session="pairs")
    assert RecordStore(tmp_path).find(found.id).parts[-3].endswith("_pairs")
