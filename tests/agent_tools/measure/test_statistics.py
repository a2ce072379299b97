"""Statistics: exact against enumeration and scipy, and honest about what few samples can say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, wilcoxon

from agent_tools.measure.statistics import (
    StatisticsError,
    binomial_counts,
    hodges_lehmann,
    median,
    paired_ratio,
    parity,
    sign_interval,
    signed_rank_counts,
    signed_rank_interval,
    summaries,
    walsh_averages,
    warm_seconds,
)
from tests.agent_tools.records.build import arm, sample

LOGS = st.lists(st.floats(-3, 3, allow_nan=False), min_size=6, max_size=12, unique=True)
SECONDS = st.floats(0.01, 1000, allow_nan=False)


@pytest.mark.parametrize("pairs", range(1, 11))
def test_the_null_distributions_equal_the_enumeration_of_all_sign_patterns(pairs: int) -> None:
    sums = [0] * (pairs * (pairs + 1) // 2 + 1)
    positives = [0] * (pairs + 1)
    for pattern in itertools.product((0, 1), repeat=pairs):
        sums[sum(rank * sign for rank, sign in enumerate(pattern, start=1))] += 1
        positives[sum(pattern)] += 1
    assert signed_rank_counts(pairs) == tuple(sums)
    assert binomial_counts(pairs) == tuple(positives)


@settings(deadline=None)
@given(LOGS, st.floats(-4, 4, allow_nan=False))
def test_the_interval_holds_exactly_the_centres_that_scipys_exact_test_does_not_reject(
    values: list[float], centre: float
) -> None:
    interval = signed_rank_interval(values)
    assert interval is not None
    shifted = np.asarray(values) - centre
    magnitudes = np.abs(shifted)
    spread = np.diff(np.sort(magnitudes))
    if (
        np.any(spread < 1e-9)
        or np.any(magnitudes < 1e-9)
        or min(abs(centre - interval.low), abs(centre - interval.high)) < 1e-9
    ):
        return
    p = wilcoxon(shifted, method="exact").pvalue
    assert (interval.low <= centre <= interval.high) == (p > 0.05)


@settings(deadline=None)
@given(LOGS, st.floats(-4, 4, allow_nan=False))
def test_the_sign_interval_holds_exactly_the_medians_that_the_binomial_test_does_not_reject(
    values: list[float], centre: float
) -> None:
    interval = sign_interval(values)
    assert interval is not None
    if centre in values:
        return
    p = binomtest(sum(value > centre for value in values), len(values)).pvalue
    assert (interval.low < centre < interval.high) == (p > 0.05)


@settings(deadline=None)
@given(LOGS)
def test_the_hodges_lehmann_estimate_is_the_median_of_all_pairwise_means(values: list[float]) -> None:
    means = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2)]
    assert walsh_averages(values).tolist() == pytest.approx(sorted(means))
    assert hodges_lehmann(values) == pytest.approx(float(np.median(means)))
    interval = signed_rank_interval(values)
    assert interval is not None
    assert interval.low <= hodges_lehmann(values) <= interval.high


@pytest.mark.parametrize(("pairs", "coverage"), [(5, None), (6, 0.96875), (7, 0.953125), (8, 0.9609375)])
def test_six_pairs_are_the_fewest_that_can_reach_95_percent(pairs: int, coverage: float | None) -> None:
    interval = signed_rank_interval([float(value) for value in range(pairs)])
    assert (interval and interval.coverage) == coverage


@settings(deadline=None)
@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=9))
def test_swapping_the_arms_inverts_the_ratio_and_its_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    forth, back = paired_ratio(a, b), paired_ratio(b, a)
    for one, other in [
        (forth.median, back.median),
        (forth.hodges_lehmann, back.hodges_lehmann),
        (forth.low, back.high),
        (forth.high, back.low),
    ]:
        assert one == pytest.approx(1 / other)
    assert forth.descriptive == (len(pairs) < 6) == (forth.signed_rank is None)


def test_a_20_percent_slowdown_reads_0_833() -> None:
    estimate = paired_ratio([1.0] * 6, [1.2] * 6)
    assert estimate.median == pytest.approx(0.8333, abs=1e-4)
    assert estimate.high == pytest.approx(1 / 1.2)


def test_an_outlier_does_not_move_the_estimate() -> None:
    estimate = paired_ratio([2.0, 2.02, 1.98, 2.01, 1.99, 2.0, 90.0], [1.0] * 7)
    assert estimate.median == pytest.approx(2.0, abs=0.02)
    assert estimate.hodges_lehmann == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize("seconds", [[0.0], [-1.0], [math.nan], [math.inf], [], [1.0, 2.0]])
def test_times_that_cannot_be_compared_are_refused(seconds: list[float]) -> None:
    with pytest.raises(StatisticsError):
        paired_ratio(seconds, [1.0])
    with pytest.raises(StatisticsError):
        median([])


@pytest.mark.parametrize(
    ("differences", "first", "expected"),
    [
        ([0.0, 0.0], 0.8, "equal"),
        ([1e-13, -1e-13], 0.8, "equal"),
        ([-0.004, 0.0], 0.8, "within margin"),
        ([0.3, 0.3], 0.6, "within margin"),
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
