"""From the samples of a ladder to its table: one row per arm, recomputable at any time from the record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from agent_tools.measure.statistics import RatioEstimate, StatisticsError, median, paired_ratio
from agent_tools.measure.verdict import ACCURACY_FLOOR, ALIKE
from agent_tools.records.schema import Arm, Sample, Summary

Parity = Literal["equal", "within margin", "worse", "no parity evidence"]


def parity(differences: Sequence[float], first_hmean: float, margin: float) -> Parity:
    """Say whether an arm scores like the first one.

    Args:
        differences: this arm's hmean minus the first arm's, one per round; the worst one decides.
        first_hmean: the first arm's hmean, 0..1; below 0.5 there is no evidence.
        margin: the largest loss that still counts as the same, in hmean.
    """
    if not first_hmean >= ACCURACY_FLOOR or not differences or not all(map(math.isfinite, differences)):
        return "no parity evidence"
    if all(abs(difference) <= ALIKE for difference in differences):
        return "equal"
    return "within margin" if min(differences) >= -margin - ALIKE else "worse"


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
