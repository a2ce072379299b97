"""Statistics: exact against enumeration and scipy, and honest about what few samples can say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control, kendalltau, wilcoxon

from agent_tools.measure.statistics import (
    DETECTION,
    MOST_ROUNDS,
    StatisticsError,
    _normal_intervals,
    benjamini_hochberg,
    binomial_counts,
    drift,
    hodges_lehmann,
    median,
    order_effect,
    outlier_count,
    paired_ratio,
    ratio_of_logs,
    rounds_for,
    sign_interval,
    signed_rank_counts,
    signed_rank_interval,
    signed_rank_p,
    smallest_effect,
    spread_bound,
    walsh_averages,
)

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


def test_another_confidence_gives_another_interval_or_none() -> None:
    a, b = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6], [1.0] * 7
    narrow, usual, wide = (paired_ratio(a, b, confidence) for confidence in (0.8, 0.95, 0.98))
    assert wide.low < usual.low < narrow.low < narrow.hodges_lehmann < narrow.high < usual.high < wide.high
    assert wide.signed_rank is not None
    assert wide.signed_rank.coverage == pytest.approx(1 - 2 / 2**7)
    hopeless = paired_ratio(a, b, 0.99)
    assert (hopeless.descriptive, hopeless.signed_rank, hopeless.sign) == (True, None, None)
    assert (hopeless.low, hopeless.high) == (pytest.approx(1.0), pytest.approx(1.6))


# --- tests and what surrounds a verdict ------------------------------------------------------------------------------


@given(st.lists(st.integers(-999, 999).filter(bool), min_size=1, max_size=12, unique_by=abs))
def test_the_signed_rank_p_equals_scipys_exact_one(values: list[int]) -> None:
    assert signed_rank_p(values) == pytest.approx(wilcoxon(values, method="exact").pvalue)


@given(
    st.lists(st.integers(-6, 6) | st.floats(-3, 3, allow_nan=False), min_size=1, max_size=14),
    st.sampled_from([0.01, 0.025, 0.05, 0.1, 0.2]),
)
def test_p_is_at_most_alpha_exactly_where_the_interval_excludes_0(values: list[float], alpha: float) -> None:
    interval = signed_rank_interval(values, 1 - alpha)
    excluded = interval is not None and not interval.low <= 0 <= interval.high
    assert excluded == (signed_rank_p(values) <= alpha)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_ties_at_0_count_against_a_finding(values: list[int]) -> None:
    nudged = [value or tiny for value, tiny in zip(values, itertools.cycle((1e-9, -1e-9)), strict=False)]
    assert signed_rank_p(values) >= signed_rank_p(nudged)
    assert 0 < signed_rank_p(values) <= 1


def test_differences_that_are_all_0_are_no_finding() -> None:
    assert signed_rank_p([0.0] * 20) == 1.0
    with pytest.raises(StatisticsError, match="at least one pair"):
        signed_rank_p([])


@given(st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=30))
def test_benjamini_hochberg_equals_scipys(p_values: list[float]) -> None:
    adjusted = benjamini_hochberg(p_values)
    assert adjusted == pytest.approx(false_discovery_control(p_values).tolist())
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))


def test_no_metrics_need_no_adjustment() -> None:
    assert benjamini_hochberg([]) == []


def test_a_slower_second_place_is_found_and_is_none_where_there_is_none() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, 24)
    place = math.log(1.08)
    effect, p = order_effect((noise[:12] - place).tolist(), (noise[12:] + place).tolist())
    assert effect == pytest.approx(0.08, abs=0.01)
    assert p < 0.001
    # A real difference of the sides moves both halves alike: no place effect.
    effect, p = order_effect((noise[:12] + 0.5).tolist(), (noise[12:] + 0.5).tolist())
    assert abs(effect) < 0.01
    assert p > 0.05
    assert order_effect([0.1, 0.2], []) == (0.0, 1.0)


def test_a_drift_is_found_and_is_none_where_there_is_none() -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, 13)
    change, p = drift((noise + np.linspace(0, math.log(1.3), 13)).tolist())
    assert change == pytest.approx(0.3, abs=0.03)
    assert p < 0.001
    change, p = drift(noise.tolist())
    assert abs(change) < 0.03
    assert p == pytest.approx(kendalltau(range(13), noise).pvalue)
    assert p > 0.05
    assert drift([0.1, 0.2]) == drift([3.0] * 9) == (0.0, 1.0)


def test_one_spike_is_no_drift() -> None:
    change, _ = drift([0.0, 0.01, 0.0, 0.01, 0.0, 0.01, 0.0, 2.0])
    assert abs(change) < 0.02


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([0.0, 0.01, -0.01, 0.02, -0.02, 0.9], 1),
        ([0.0, 0.01, -0.01, 0.02, -0.02, 0.9, -0.9], 2),
        ([0.0, 0.01, -0.01, 0.02, -0.02], 0),
        ([0.0, 0.0, 0.0, 0.0, 1.0], 0),  # more than half alike: no scale to judge by
        ([0.0, 9.0], 0),
    ],
)
def test_outliers_are_counted_by_the_median_deviation(values: list[float], count: int) -> None:
    assert outlier_count(values) == count


# --- how many pairs, and what they can see ---------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [6, 8, 12, 20])
def test_the_spread_bound_holds_in_95_of_100_experiments_at_least(pairs: int) -> None:
    draws = np.random.default_rng(pairs).normal(0.3, 0.05, (1500, pairs))
    bounds = [spread_bound(row) for row in draws.tolist()]
    assert sum(bound > 0.05 for bound in bounds) / len(bounds) >= 0.95
    # A bound that is always huge would pass as well.
    assert median(bounds) < 0.15


def test_the_spread_of_one_pair_is_refused() -> None:
    with pytest.raises(StatisticsError, match="at least 2"):
        spread_bound([0.1])


@pytest.mark.parametrize(
    ("pairs", "alpha", "spread"), [(6, 0.05, 0.05), (12, 0.05, 0.05), (12, 0.05, 0.2), (9, 0.025, 0.1), (30, 0.05, 0.1)]
)
def test_the_smallest_effect_is_found_in_4_of_5_fresh_experiments(pairs: int, alpha: float, spread: float) -> None:
    effect = smallest_effect(spread, pairs, alpha, 0.02)
    draws = np.random.default_rng(5).normal(-math.log1p(effect), spread, (1500, pairs))
    found = sum(_found(row, alpha) for row in draws.tolist()) / len(draws)
    # Four standard errors of 1500 experiments, and of the 4000 behind the stated effect.
    assert found == pytest.approx(DETECTION, abs=0.055)


def _found(logs: list[float], alpha: float) -> bool:
    ratio = ratio_of_logs(logs, 1 - alpha)
    return ratio.high < 1 and not ratio.low > 0.98


SPREADS = [0.0, 1e-4, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0]
PAIRS = [6, 7, 8, 9, 10, 12, 16, 20, 30, 60, 100]


def test_the_smallest_effect_grows_with_the_spread_and_shrinks_with_the_pairs() -> None:
    table = [[smallest_effect(spread, pairs, 0.05, 0.02) for spread in SPREADS] for pairs in PAIRS]
    assert all(row == sorted(row) for row in table)
    assert all(list(column) == sorted(column, reverse=True) for column in zip(*table, strict=True))


@given(st.floats(0, 0.5), st.integers(6, 20), st.floats(0.001, 0.2))
def test_no_effect_within_the_equivalence_margin_is_promised(spread: float, pairs: int, equivalence: float) -> None:
    assert smallest_effect(spread, pairs, 0.05, equivalence) >= equivalence * (1 - 1e-9)


@pytest.mark.parametrize(("pairs", "alpha"), [(5, 0.05), (2, 0.05), (6, 0.025)])
def test_too_few_pairs_find_nothing(pairs: int, alpha: float) -> None:
    assert smallest_effect(0.01, pairs, alpha, 0.02) == math.inf


@pytest.mark.parametrize(("spread", "effect"), [(0.03, 0.05), (0.1, 0.08), (0.1, 0.05)])
def test_the_rounds_for_an_effect_are_the_fewest_that_find_it(spread: float, effect: float) -> None:
    rounds = rounds_for(spread, effect, 0.05, 0.02, 6)
    assert smallest_effect(spread, rounds, 0.05, 0.02) <= effect
    assert rounds == 6 or smallest_effect(spread, rounds - 1, 0.05, 0.02) > effect


def test_the_rounds_are_neither_fewer_than_a_verdict_needs_nor_without_end() -> None:
    assert rounds_for(0.001, 0.5, 0.05, 0.02, 6) == 6
    assert rounds_for(0.001, 0.5, 0.025, 0.02, 14) == 14
    assert rounds_for(0.001, 0.5, 0.025, 0.02, 6) == 7
    assert rounds_for(1.0, 0.05, 0.05, 0.02, 6) == MOST_ROUNDS


@pytest.mark.parametrize("effect", [0.02, 0.01, 0.0, -0.3])
def test_an_effect_within_the_equivalence_margin_is_refused(effect: float) -> None:
    with pytest.raises(StatisticsError, match=r"equivalence margin of 0\.02"):
        rounds_for(0.03, effect, 0.05, 0.02, 6)


def test_the_stated_effects_take_little_memory() -> None:
    ends = _normal_intervals(100, 0.05)
    assert ends is not None
    assert all(end.base is None for end in ends)
