"""The table of a ladder: what follows from its samples, and parity that cannot be talked up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agent_tools.measure.ladder_summaries import parity, summaries, warm_seconds
from agent_tools.measure.statistics import StatisticsError
from tests.agent_tools.records.build import arm, sample


@pytest.mark.parametrize(
    ("differences", "first", "expected"),
    [
        ([0.0, 0.0], 0.8, "equal"),
        ([1e-13, -1e-13], 0.8, "equal"),
        ([-0.004, 0.0], 0.8, "within margin"),
        ([0.3, 0.3], 0.6, "within margin"),
        ([0.795 - 0.8], 0.8, "within margin"),  # all of the margin, and a last bit
        ([-0.006, 0.3], 0.8, "worse"),
        ([0.0], 0.4999, "no parity evidence"),
        ([0.0], math.nan, "no parity evidence"),
        ([math.nan], 0.8, "no parity evidence"),
        ([], 0.8, "no parity evidence"),
    ],
)
def test_parity_is_decided_by_the_worst_round_and_never_at_a_useless_score(
    differences: list[float], first: float, expected: str
) -> None:
    assert parity(differences, first, 0.005) == expected


def test_a_table_pairs_samples_by_round_so_that_drift_cancels() -> None:
    drift = [1.0, 1.5, 2.0, 4.0, 3.0, 5.0]
    samples = [
        sample(name, r, base * d) for name, base in (("a", 8.0), ("b", 4.0), ("c", 2.0)) for r, d in enumerate(drift)
    ]
    rows = summaries(samples[::-1], [arm("a"), arm("b"), arm("c")], 0.005)
    assert [(row.arm, row.ratio_to_first, row.ratio_to_previous) for row in rows] == [
        ("a", pytest.approx(1), pytest.approx(1)),
        ("b", pytest.approx(2), pytest.approx(2)),
        ("c", pytest.approx(4), pytest.approx(2)),
    ]
    last = rows[-1]
    assert (last.ratio_low, last.ratio_high, last.sign_low) == (pytest.approx(4), pytest.approx(4), pytest.approx(4))
    assert (last.pairs, last.interval, last.parity) == (6, "95% signed rank", "equal")
    assert last.warm_seconds == pytest.approx(2.0 * 2.5)
    assert last.cold_seconds == pytest.approx(3 * last.warm_seconds)
    assert last.images_per_second == pytest.approx(np.median([48 / (2 * d) for d in drift]))


def test_fewer_than_six_rounds_show_the_observed_range_and_say_so() -> None:
    samples = [sample("a", 0, 4.0), sample("b", 0, 1.0), sample("a", 1, 4.0), sample("b", 1, 2.0)]
    row = summaries(samples, [arm("a"), arm("b")], 0.005)[1]
    assert (row.interval, row.ratio_low, row.ratio_high) == ("observed range", pytest.approx(2), pytest.approx(4))


def test_parity_compares_with_the_first_arm_on_every_hmean() -> None:
    samples = [sample("a", 0, 1.0, 0.8), sample("b", 0, 1.0, 0.797), sample("c", 0, 1.0, 0.7)]
    worse_cleval = sample("d", 0, 1.0, metrics={"icdar_hmean": 0.8, "cleval_hmean": 0.5})
    rows = summaries([*samples, worse_cleval], [arm(name) for name in "abcd"], 0.005)
    assert [row.parity for row in rows] == ["equal", "within margin", "worse", "worse"]
    blind = [item.model_copy(update={"metrics": {"icdar_hmean": 0.0, "cleval_hmean": 0.0}}) for item in samples]
    assert {row.parity for row in summaries(blind, [arm(n) for n in "abc"], 0.005)} == {"no parity evidence"}


def test_a_sample_that_cannot_be_used_is_named() -> None:
    cold = sample("a", 0, 1.0, warm_seconds=[])
    with pytest.raises(StatisticsError, match="no warm epoch"):
        warm_seconds(cold)
    with pytest.raises(StatisticsError, match="two samples in round 0"):
        summaries([sample("a", 0, 1.0), sample("a", 0, 1.0)], [arm("a")], 0.005)
    with pytest.raises(StatisticsError, match="no cleval_hmean"):
        summaries([sample("a", 0, 1.0, metrics={"icdar_hmean": 0.8})], [arm("a")], 0.005)


def test_arms_without_samples_are_left_out_of_the_table() -> None:
    rows = summaries([sample("b", 0, 1.0)], [arm("a"), arm("b")], 0.005)
    assert [(row.arm, row.ratio_to_first) for row in rows] == [("b", 1.0)]
