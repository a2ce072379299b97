"""What repeated measurements allow one to say: pure functions on numbers, exact for the small samples used here.

Ratios are time A / time B throughout: B faster is above 1. Pairs are the rounds of one ladder, and every estimate is
made on the logarithms of their ratios, so that 2x faster and 2x slower weigh the same.

Sources: Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, 3rd ed. (2014): signed-rank test, Hodges-Lehmann
estimate and confidence interval in sections 3.1-3.3, sign-test interval in section 3.6; Kalibera & Jones, Rigorous
Benchmarking in Reasonable Time (ISMM 2013), for ratios of paired runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import Arm, Sample, Summary

CONFIDENCE = 0.95
PAIRS_FOR_A_VERDICT = 6
"""With fewer pairs the exact test cannot reach 5%: the smallest two-sided p is 0.0625 at 5 pairs, 0.031 at 6."""

HMEAN_FOR_PARITY = 0.5
"""Below this hmean of the first arm, equal scores say nothing: a model that finds nothing loses nothing."""

Parity = Literal["equal", "within margin", "worse", "no parity evidence"]


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
    there are no intervals.
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


def paired_ratio(seconds_a: Sequence[float], seconds_b: Sequence[float]) -> RatioEstimate:
    """Compare two arms by their paired times; the ratio A / B is above 1 where B is faster.

    Args:
        seconds_a: times of the first arm, one per round, positive.
        seconds_b: times of the second arm, in the same order of rounds.

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
    return _on_ratio_scale(logs)


def _on_ratio_scale(logs: list[float]) -> RatioEstimate:
    descriptive = len(logs) < PAIRS_FOR_A_VERDICT
    rank = None if descriptive else _exponential(signed_rank_interval(logs))
    return RatioEstimate(
        pairs=len(logs),
        median=math.exp(median(logs)),
        hodges_lehmann=math.exp(hodges_lehmann(logs)),
        low=rank.low if rank else math.exp(min(logs)),
        high=rank.high if rank else math.exp(max(logs)),
        signed_rank=rank,
        sign=None if descriptive else _exponential(sign_interval(logs)),
        descriptive=descriptive,
    )


def _exponential(interval: Interval | None) -> Interval | None:
    return interval and Interval(math.exp(interval.low), math.exp(interval.high), interval.coverage)


def parity(differences: Sequence[float], first_hmean: float, margin: float) -> Parity:
    """Say whether an arm scores like the first one.

    Args:
        differences: this arm's hmean minus the first arm's, one per round; the worst one decides.
        first_hmean: the first arm's hmean, 0..1; below 0.5 there is no evidence.
        margin: the largest loss that still counts as the same, in hmean.
    """
    if not first_hmean >= HMEAN_FOR_PARITY or not differences or not all(map(math.isfinite, differences)):
        return "no parity evidence"
    if all(abs(difference) <= 1e-12 for difference in differences):
        return "equal"
    return "within margin" if min(differences) >= -margin else "worse"


def warm_seconds(sample: Sample) -> float:
    """Return a sample's time of one warm epoch, seconds: the median over its later epochs.

    Raises:
        StatisticsError: the sample has epoch 0 only.
    """
    if not sample.warm_seconds:
        raise StatisticsError(f"Run {sample.run_id} ({sample.arm}) has no warm epoch; use passes=2 or more.")
    return median(sample.warm_seconds)


def summaries(samples: Sequence[Sample], arms: Sequence[Arm], margin: float) -> list[Summary]:
    """Derive the table of a ladder: one row per arm that has samples, in the order of the arms.

    Ratios pair the samples of the same round. Parity is judged on every hmean that both arms report.

    Args:
        samples: all raw samples, any order.
        arms: the rungs; the first one that was measured is the base of the ratios.
        margin: accuracy margin in hmean.

    Raises:
        StatisticsError: a sample without a warm epoch or without an hmean, or two samples of one arm in one round.
    """
    by_arm = {arm.name: _by_round(arm.name, samples) for arm in arms}
    measured = [arm.name for arm in arms if by_arm[arm.name]]
    rows = []
    for index, name in enumerate(measured):
        first, previous = by_arm[measured[0]], by_arm[measured[max(0, index - 1)]]
        rows.append(_summary(name, by_arm[name], first, previous, margin))
    return rows


def _by_round(arm: str, samples: Sequence[Sample]) -> dict[int, Sample]:
    rounds: dict[int, Sample] = {}
    for sample in samples:
        if sample.arm != arm:
            continue
        if sample.round in rounds:
            raise StatisticsError(f"Arm {arm} has two samples in round {sample.round}; a round holds one of each arm.")
        rounds[sample.round] = sample
    return rounds


def _summary(
    name: str, own: Mapping[int, Sample], first: Mapping[int, Sample], previous: Mapping[int, Sample], margin: float
) -> Summary:
    warm = median([warm_seconds(sample) for sample in own.values()])
    ratio = _ratio_by_round(first, own)
    return Summary(
        arm=name,
        cold_seconds=median([sample.cold_seconds for sample in own.values()]),
        warm_seconds=warm,
        images_per_second=median([sample.images / warm_seconds(sample) for sample in own.values()]),
        ratio_to_first=ratio.median,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        ratio_to_previous=_ratio_by_round(previous, own).median,
        ratio_hodges_lehmann=ratio.hodges_lehmann,
        sign_low=ratio.sign.low if ratio.sign else ratio.low,
        sign_high=ratio.sign.high if ratio.sign else ratio.high,
        pairs=ratio.pairs,
        interval="observed range" if ratio.descriptive else "95% signed rank",
        icdar_hmean=median(_hmeans(own, "icdar_hmean")),
        cleval_hmean=median(_hmeans(own, "cleval_hmean")),
        parity=_parity_by_round(first, own, margin),
    )


def _ratio_by_round(base: Mapping[int, Sample], own: Mapping[int, Sample]) -> RatioEstimate:
    shared = _shared_rounds(base, own)
    return paired_ratio([warm_seconds(base[r]) for r in shared], [warm_seconds(own[r]) for r in shared])


def _shared_rounds(base: Mapping[int, Sample], own: Mapping[int, Sample]) -> list[int]:
    return sorted(set(base) & set(own))


def _hmeans(own: Mapping[int, Sample], metric: str) -> list[float]:
    missing = [sample.run_id for sample in own.values() if metric not in sample.metrics]
    if missing:
        raise StatisticsError(f"Run {missing[0]} has no {metric}; every sample of a ladder is scored.")
    return [own[number].metrics[metric] for number in sorted(own)]


def _parity_by_round(first: Mapping[int, Sample], own: Mapping[int, Sample], margin: float) -> Parity:
    shared = _shared_rounds(first, own)
    differences = [
        own[number].metrics[metric] - first[number].metrics[metric]
        for number in shared
        for metric in ("icdar_hmean", "cleval_hmean")
    ]
    return parity(differences, min(_hmeans(first, "icdar_hmean")), margin)
