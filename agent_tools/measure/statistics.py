"""What repeated measurements allow one to say: pure functions on numbers, exact for the small samples used here.

Ratios are time A / time B throughout: B faster is above 1. Pairs are the rounds of one experiment, and every estimate
is made on the logarithms of their ratios, so that 2x faster and 2x slower weigh the same.

Sources: Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, 3rd ed. (2014): signed-rank test, Hodges-Lehmann
estimate and confidence interval in sections 3.1-3.3, sign-test interval in section 3.6; Kalibera & Jones, Rigorous
Benchmarking in Reasonable Time (ISMM 2013), for ratios of paired runs; Benjamini & Hochberg, JRSS B 57 (1995), for many
metrics at once.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from agent_tools.records.errors import WorkbenchError

CONFIDENCE = 0.95
PAIRS_FOR_A_VERDICT = 6
"""With fewer pairs the exact test cannot reach 5%: the smallest two-sided p is 0.0625 at 5 pairs, 0.031 at 6."""


class StatisticsError(WorkbenchError):
    """Measurements from which the asked figure cannot be computed."""


@dataclass(frozen=True)
class Interval:
    """A range with the probability, over repeated experiments, that it holds the true value."""

    low: float
    high: float
    coverage: float


@dataclass(frozen=True)
class RatioEstimate:
    """Paired ratio of two arms: median, Hodges-Lehmann estimate and 95% intervals on the ratio's own scale.

    With fewer than 6 pairs `descriptive` is true, `low` and `high` are the smallest and largest observed ratio, and
    there are no intervals; the same holds where the pairs are too few for the confidence asked for.
    """

    pairs: int
    median: float
    hodges_lehmann: float
    low: float
    high: float
    signed_rank: Interval | None
    sign: Interval | None
    descriptive: bool


def median(values: Sequence[float]) -> float:
    """Return the middle value (the mean of the two middle ones for an even count).

    Raises:
        StatisticsError: there are no values.
    """
    if not values:
        raise StatisticsError("The median of no values is undefined; measure at least one sample.")
    return float(np.median(np.asarray(values, dtype=np.float64)))


def walsh_averages(values: Sequence[float]) -> np.ndarray:
    """Return the n(n+1)/2 averages (v_i + v_j)/2 with i <= j, sorted, float64."""
    array = np.asarray(values, dtype=np.float64)
    rows, columns = np.triu_indices(len(array))
    return np.sort((array[rows] + array[columns]) / 2)


def hodges_lehmann(values: Sequence[float]) -> float:
    """Return the median of the Walsh averages: the centre of a symmetric distribution, robust to outliers.

    Raises:
        StatisticsError: there are no values.
    """
    return median(walsh_averages(values).tolist())


@cache
def signed_rank_counts(pairs: int) -> tuple[int, ...]:
    """Return, for each w in 0..n(n+1)/2, how many of the 2^n sign patterns have a positive rank sum of w (no ties)."""
    counts = [1]
    for rank in range(1, pairs + 1):
        shifted = [0] * rank + counts
        counts = [a + b for a, b in zip(counts + [0] * rank, shifted, strict=True)]
    return tuple(counts)


@cache
def binomial_counts(pairs: int) -> tuple[int, ...]:
    """Return, for each k in 0..n, how many of the 2^n sign patterns have k positive signs."""
    return tuple(math.comb(pairs, k) for k in range(pairs + 1))


def _tail_cut(counts: Sequence[int], confidence: float) -> tuple[int, float]:
    """Largest k with P(W <= k) <= (1 - confidence)/2, or -1; and the coverage 1 - 2 P(W <= k)."""
    total = sum(counts)
    below, cut = 0, -1
    while cut + 1 < len(counts) and (below + counts[cut + 1]) / total <= (1 - confidence) / 2:
        cut += 1
        below += counts[cut]
    return cut, 1 - 2 * below / total


def _order_interval(ordered: np.ndarray, counts: Sequence[int], confidence: float) -> Interval | None:
    cut, coverage = _tail_cut(counts, confidence)
    if cut < 0:
        return None
    return Interval(float(ordered[cut]), float(ordered[len(ordered) - 1 - cut]), coverage)


def signed_rank_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Return the exact signed-rank interval for the centre: the shifts that the two-sided test does not reject.

    Its ends are order statistics of the Walsh averages (Hollander, Wolfe & Chicken 2014, section 3.3). None where even
    the whole range does not reach the confidence (5 values or fewer at 95%).
    """
    return _order_interval(walsh_averages(values), signed_rank_counts(len(values)), confidence)


def sign_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Return the exact sign-test interval for the median, which needs no symmetry; None for too few values."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return _order_interval(ordered, binomial_counts(len(values)), confidence)


def paired_ratio(
    seconds_a: Sequence[float], seconds_b: Sequence[float], confidence: float = CONFIDENCE
) -> RatioEstimate:
    """Compare two arms by their paired times; the ratio A / B is above 1 where B is faster.

    Args:
        seconds_a: times of the first arm, one per round, positive.
        seconds_b: times of the second arm, in the same order of rounds.
        confidence: of the intervals.

    Raises:
        StatisticsError: different or zero numbers of rounds, or a time that is not positive and finite.
    """
    if len(seconds_a) != len(seconds_b) or not seconds_a:
        raise StatisticsError(
            f"Paired times need the same rounds on both sides, at least one; got {len(seconds_a)} and {len(seconds_b)}."
        )
    for value in (*seconds_a, *seconds_b):
        if not (math.isfinite(value) and value > 0):
            raise StatisticsError(f"A time of {value} s cannot be compared; times must be positive and finite.")
    logs = [math.log(a / b) for a, b in zip(seconds_a, seconds_b, strict=True)]
    return ratio_of_logs(logs, confidence)


def ratio_of_logs(logs: Sequence[float], confidence: float = CONFIDENCE) -> RatioEstimate:
    """Estimate a ratio from the logarithms of its pairs, at least one. See `paired_ratio`."""
    rank = _exponential(signed_rank_interval(logs, confidence)) if len(logs) >= PAIRS_FOR_A_VERDICT else None
    descriptive = rank is None
    return RatioEstimate(
        pairs=len(logs),
        median=math.exp(median(logs)),
        hodges_lehmann=math.exp(hodges_lehmann(logs)),
        low=rank.low if rank else math.exp(min(logs)),
        high=rank.high if rank else math.exp(max(logs)),
        signed_rank=rank,
        sign=None if descriptive else _exponential(sign_interval(logs, confidence)),
        descriptive=descriptive,
    )


def _exponential(interval: Interval | None) -> Interval | None:
    return interval and Interval(math.exp(interval.low), math.exp(interval.high), interval.coverage)


# --- tests and what surrounds a verdict ------------------------------------------------------------------------------


def signed_rank_p(values: Sequence[float]) -> float:
    """Return the exact two-sided p of the signed-rank test against a centre of 0; ties at 0 count against a finding.

    The statistic is the number of positive Walsh averages, so p <= alpha exactly where the interval excludes 0.

    Raises:
        StatisticsError: there are no values.
    """
    if not values:
        raise StatisticsError("No values can be tested; measure at least one pair.")
    averages = walsh_averages(values)
    smaller = min(int(np.sum(averages >= 0)), int(np.sum(averages <= 0)), len(averages))
    counts = signed_rank_counts(len(values))
    return min(1.0, 2 * sum(counts[: smaller + 1]) / sum(counts))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return the p values, in their order, adjusted so that those under q have a false-discovery rate of at most q."""
    ordered = sorted(range(len(p_values)), key=lambda index: p_values[index], reverse=True)
    adjusted, smallest = [1.0] * len(p_values), 1.0
    for rank, index in zip(range(len(p_values), 0, -1), ordered, strict=True):
        smallest = min(smallest, p_values[index] * (len(p_values) / rank))
        adjusted[index] = smallest
    return adjusted


def order_effect(a_first: Sequence[float], b_first: Sequence[float]) -> tuple[float, float]:
    """Return how much slower the second place is than the first (0.03: 3%), and the p of the rank-sum test for it.

    Args:
        a_first: logarithms of A / B of the pairs that A began.
        b_first: the same of the pairs that B began.
    """
    if not a_first or not b_first:
        return 0.0, 1.0
    # With a place effect g, A / B reads g lower where A began and g higher where B did.
    effect = (median(b_first) - median(a_first)) / 2
    p = _scipy_stats().mannwhitneyu(a_first, b_first, alternative="two-sided").pvalue
    return math.expm1(effect), float(p)


def drift(logs: Sequence[float]) -> tuple[float, float]:
    """Return the change from the first to the last of a series of log times (0.1: 10% slower), and Kendall's p for it.

    The slope is Theil and Sen's: the median of the slopes between all pairs of points.
    """
    if len(logs) < 3 or len(set(logs)) == 1:
        return 0.0, 1.0
    values = np.asarray(logs, dtype=np.float64)
    first, second = np.triu_indices(len(values), k=1)
    slope = float(np.median((values[second] - values[first]) / (second - first)))
    p = _scipy_stats().kendalltau(np.arange(len(values)), values).pvalue
    return math.expm1(slope * (len(values) - 1)), float(p)


def outlier_count(values: Sequence[float]) -> int:
    """Count the values further than 3.5 scaled median absolute deviations from the median (Iglewicz & Hoaglin 1993)."""
    if len(values) < 3:
        return 0
    distances = np.abs(np.asarray(values, dtype=np.float64) - median(values))
    scale = 1.4826 * float(np.median(distances))
    return int(np.sum(distances > 3.5 * scale)) if scale > 0 else 0


def _scipy_stats() -> Any:
    # scipy.stats takes most of a second to import, and the server starts without it.
    from scipy import stats  # noqa: PLC0415

    return stats


# --- how many pairs, and what they can see ---------------------------------------------------------------------------

DETECTION = 0.8
"""Share of experiments in which the smallest effect is found."""

MOST_ROUNDS = 100
_DRAWS = 4000


def spread_bound(residuals: Sequence[float]) -> float:
    """Return an upper 97.5% confidence bound of the standard deviation of pairs, from their logs about their centre.

    A bound and not the estimate: a few calm pairs must not promise more than the machine keeps. The chi-squared
    quantile is Wilson and Hilferty's approximation (1931), within 1% from 4 degrees of freedom on.

    Raises:
        StatisticsError: fewer than 2 values.
    """
    if len(residuals) < 2:
        raise StatisticsError(f"The spread of {len(residuals)} pairs is undefined; measure at least 2.")
    freedom = len(residuals) - 1
    centred = np.asarray(residuals, dtype=np.float64) - hodges_lehmann(residuals)
    part = 2 / (9 * freedom)
    quantile = freedom * (1 - part - 1.96 * math.sqrt(part)) ** 3
    return math.sqrt(float(np.sum(centred**2)) / max(quantile, 1e-3))


def smallest_effect(spread: float, pairs: int, alpha: float, equivalence: float) -> float:
    """Return the smallest relative change (0.03: 3%) that this design calls faster or slower 80% of the time.

    An effect is found where the interval excludes 1 and does not lie inside of the equivalence margin. None within the
    margin is stated: noise would have to carry it out of there.

    Args:
        spread: standard deviation of the logarithm of a pair's ratio.
        pairs: how many pairs.
        alpha: two-sided error rate of the look that decides.
        equivalence: relative margin of no change.

    Returns:
        The effect, or infinity where so few pairs can find nothing.
    """
    bounds = _normal_intervals(pairs, alpha)
    if bounds is None:
        return math.inf
    lows, highs = bounds
    needed = np.maximum(-lows * spread, math.log1p(equivalence) - np.minimum(highs, 0) * spread)
    return math.expm1(float(np.quantile(needed, DETECTION)))


def rounds_for(spread: float, effect: float, alpha: float, equivalence: float, fewest: int) -> int:
    """Return the smallest number of rounds whose smallest effect is at most `effect`; at most `MOST_ROUNDS`.

    Raises:
        StatisticsError: the effect lies within the equivalence margin, where no number of rounds can find it.
    """
    if effect <= equivalence:
        raise StatisticsError(
            f"An effect of {effect:g} lies within the equivalence margin of {equivalence:g} and is called no change; "
            "ask for a larger effect or give a smaller margin."
        )
    choices = range(fewest, MOST_ROUNDS)
    return fewest + bisect_left(choices, True, key=lambda n: smallest_effect(spread, n, alpha, equivalence) <= effect)


@cache
def _normal_intervals(pairs: int, alpha: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Ends of the signed-rank intervals of `_DRAWS` samples of standard normal pairs; the same draws each time.

    A longer sample begins with the shorter one, so that a pair more is not outweighed by other draws.
    """
    cut, _ = _tail_cut(signed_rank_counts(pairs), 1 - alpha)
    if pairs < PAIRS_FOR_A_VERDICT or cut < 0:
        return None
    values = np.random.default_rng(20261121).standard_normal((_DRAWS, max(pairs, MOST_ROUNDS)))[:, :pairs]
    rows, columns = np.triu_indices(pairs)
    averages = values[:, rows]
    averages += values[:, columns]
    averages /= 2
    last = averages.shape[1] - 1 - cut
    averages.partition((cut, last), axis=1)
    # Copies, since a view would keep all averages in the cache: 160 MB at 100 pairs.
    return averages[:, cut].copy(), averages[:, last].copy()
