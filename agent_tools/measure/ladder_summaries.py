"""From the samples of a benchmark to its table, ratios and shares, recomputable at any time from the record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from agent_tools.measure.rungs import Pairing, replays
from agent_tools.measure.statistics import RatioEstimate, StatisticsError, median, paired_ratio
from agent_tools.measure.verdict import ACCURACY_FLOOR, ALIKE
from agent_tools.records.schema import Arm, Contrast, Sample, StageShare, Summary
from agent_tools.records.stages import is_part

Parity = Literal["equal", "within margin", "worse", "no parity evidence", "replayed"]

STAGE_CLOCKS: Mapping[str, tuple[str, ...]] = {
    "loader": ("wait",),
    "decode": ("loader.decode",),
    "transform": ("loader.transform",),
    "targets": ("loader.targets",),
    "score": ("score", "metric"),
    "step": ("forward", "loss", "backward", "optimizer"),
}
"""Stages that can be replayed -> the clocks of the trainer that time them, where they are called otherwise."""


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


def summaries(samples: Sequence[Sample], arms: Sequence[Arm], margin: float, *, scored: bool = True) -> list[Summary]:
    """Derive the table of a benchmark: one row per arm that has samples, in the order of the arms.

    Ratios pair the samples of the same round, tainted ones only where there are no others. Parity is judged on every
    hmean that both arms report.

    Args:
        samples: all raw samples, any order.
        arms: the arms; the first one that was measured is the base of the ratios.
        margin: accuracy margin in hmean.
        scored: whether the epochs are scored; those of a training are not, and their hmean is NaN.

    Raises:
        StatisticsError: a sample without a warm epoch or without an hmean, or two samples of one arm in one round.
    """
    by_arm = {arm.name: _by_round(arm.name, samples) for arm in arms}
    measured = [arm for arm in arms if by_arm[arm.name]]
    rows = []
    for index, arm in enumerate(measured):
        first, previous = by_arm[measured[0].name], by_arm[measured[max(0, index - 1)].name]
        rows.append(_summary(arm, by_arm[arm.name], first, previous, margin if scored else None))
    return rows


def contrasts(samples: Sequence[Sample], pairings: Iterable[Pairing | Contrast]) -> list[Contrast]:
    """Derive the ratios of the warm times of pairs of arms; a pair of which an arm has no samples is left out.

    Args:
        samples: all raw samples, any order.
        pairings: the pairs; contrasts that were derived before can be derived again.

    Raises:
        StatisticsError: a sample without a warm epoch, or two samples of one arm in one round.
    """
    return [
        _contrast(pairing, above, below)
        for pairing in pairings
        if (above := _by_round(pairing.above, samples)) and (below := _by_round(pairing.below, samples))
    ]


def _contrast(pairing: Pairing | Contrast, above: Mapping[int, Sample], below: Mapping[int, Sample]) -> Contrast:
    ratio = _ratio_by_round(above, below)
    return Contrast(
        name=pairing.name,
        above=pairing.above,
        below=pairing.below,
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        pairs=ratio.pairs,
        interval=_interval(ratio),
    )


def _interval(ratio: RatioEstimate) -> Literal["95% signed rank", "observed range"]:
    return "observed range" if ratio.descriptive else "95% signed rank"


def stage_shares(samples: Sequence[Sample], arm: str, stages: Sequence[str]) -> list[StageShare]:
    """Derive what stages take of the last warm epoch of an arm: medians over its samples.

    Args:
        samples: all raw samples, any order.
        arm: the arm that replays nothing.
        stages: names as they are replayed (`STAGE_CLOCKS`); one that no clock timed has zero seconds.

    Raises:
        StatisticsError: the arm has no samples.
    """
    own = [sample for sample in samples if sample.arm == arm]
    return [
        StageShare(
            stage=stage,
            seconds=median([stage_wall(sample.stages, stage) for sample in own]),
            wall=median([stage_wall(sample.stages, stage) / sample.warm_seconds[-1] for sample in own]),
            cpu=median([_cpu_share(sample, stage) for sample in own]),
        )
        for stage in stages
    ]


def stage_wall(stages: Mapping[str, float], stage: str) -> float:
    """Return the seconds that the trainer's clocks give a stage, by the name under which it is replayed."""
    return sum(stages.get(clock, 0.0) for clock in STAGE_CLOCKS.get(stage, (stage,)))


def _cpu_share(sample: Sample, stage: str) -> float:
    total = sum(seconds for clock, seconds in sample.cpu.items() if not is_part(clock))
    if not total:
        return math.nan
    # Parts of the loader are CPU seconds already, and only their wall clock may be there.
    parts = {clock: seconds for clock, seconds in sample.stages.items() if is_part(clock)}
    return stage_wall(parts | sample.cpu, stage) / total


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
    arm: Arm,
    own: Mapping[int, Sample],
    first: Mapping[int, Sample],
    previous: Mapping[int, Sample],
    margin: float | None,
) -> Summary:
    warm = median([warm_seconds(sample) for sample in own.values()])
    ratio = _ratio_by_round(first, own)
    return Summary(
        arm=arm.name,
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
        interval=_interval(ratio),
        icdar_hmean=math.nan if margin is None else median(_hmeans(own, "icdar_hmean")),
        cleval_hmean=math.nan if margin is None else median(_hmeans(own, "cleval_hmean")),
        parity=_label(arm, first, own, margin),
    )


def _label(arm: Arm, first: Mapping[int, Sample], own: Mapping[int, Sample], margin: float | None) -> Parity:
    if replays(arm):
        return "replayed"
    return "no parity evidence" if margin is None else _parity_by_round(first, own, margin)


def _ratio_by_round(base: Mapping[int, Sample], own: Mapping[int, Sample]) -> RatioEstimate:
    shared = _shared_rounds(base, own)
    return paired_ratio([warm_seconds(base[r]) for r in shared], [warm_seconds(own[r]) for r in shared])


def _shared_rounds(base: Mapping[int, Sample], own: Mapping[int, Sample]) -> list[int]:
    """Return the rounds that have both, without those in which other work ran beside one of them, if any are left."""
    shared = sorted(set(base) & set(own))
    return [number for number in shared if not base[number].tainted and not own[number].tainted] or shared


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
