"""From the samples of a comparison to its verdict: pure, and recomputable at any time from the record.

Order of decision: incorrect where outputs differ that must not, invalid (foreign work), descriptive (too few pairs),
incorrect (accuracy), equivalent (the interval lies within the margin), faster or slower (the interval excludes 1),
inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent_tools.measure.statistics import (
    CONFIDENCE,
    PAIRS_FOR_A_VERDICT,
    RatioEstimate,
    StatisticsError,
    benjamini_hochberg,
    drift,
    hodges_lehmann,
    median,
    order_effect,
    outlier_count,
    ratio_of_logs,
    signed_rank_interval,
    signed_rank_p,
    smallest_effect,
    spread_bound,
)
from agent_tools.records.compared import (
    AccuracyOutcome,
    AccuracyParity,
    Measurement,
    MetricOutcome,
    Outcome,
    PairedProtocol,
    Recommendation,
    Target,
    Verdict,
)

ACCURACY_FLOOR = 0.5
"""Below this accuracy of A, equal figures say nothing: a model that finds nothing loses nothing."""

PAIRS_FOR_TWO_LOOKS = 7
"""At half of 5% the exact test reaches nothing with fewer: the smallest two-sided p is 0.031 at 6, 0.016 at 7."""

DECIDED = frozenset({"faster", "slower", "equivalent", "incorrect"})
"""Verdicts that end a comparison at the first of two looks."""

ALIKE = 1e-12
"""Accuracies that differ by less are the same: the last bits of sums in another order."""

REASONS: dict[str, str] = {
    "invalid": "other work ran beside the samples; measure again on a quiet machine",
    "short": "fewer pairs than were declared; go on with the comparison for a verdict",
    "few": "fewer than six pairs can support no verdict; measure six or more",
    "outputs": "the two sides compute different outputs, and the change claims pure speed",
    "accuracy": "accuracy fell by more than the declared margin",
    "control": "both sides are the same code: a control of the machine, not of a change",
    "equivalent": "the time did not change, and an optimisation that gains nothing is not kept",
    "slower": "slower, the whole interval lies below one",
    "faster": "faster, the whole interval lies above one, and accuracy is kept",
    "not shown": "faster, but the pairs do not show that accuracy is kept; measure more",
    "no parity evidence": "faster, but the accuracy is too low to show that it is kept; use trained weights",
    "none": "faster, but no accuracy figure and no output hash says that the work is still done",
    "no outputs": "faster, but a sample without an output hash cannot show that the outputs are the same",
    "inconclusive": "the interval includes one; measure more rounds on a quieter machine",
}

Accuracy = Literal["kept", "worse", "different outputs", "no outputs", "not shown", "no parity evidence", "none"]


@dataclass(frozen=True)
class Pair:
    """The two samples of one round."""

    a: Measurement
    b: Measurement

    @property
    def tainted(self) -> bool:
        """Whether either sample had foreign work beside it."""
        return bool(self.a.tainted or self.b.tainted)


def measured_pairs(samples: Iterable[Measurement]) -> list[Pair]:
    """Return the complete rounds of the measured phase, in their order.

    Raises:
        StatisticsError: two samples of one side in one round.
    """
    rounds: dict[int, dict[str, Measurement]] = {}
    for sample in samples:
        if sample.phase != "measured":
            continue
        sides = rounds.setdefault(sample.round, {})
        if sample.arm in sides:
            raise StatisticsError(f"Side {sample.arm} has two samples in round {sample.round}; a round holds one each.")
        sides[sample.arm] = sample
    return [Pair(sides["A"], sides["B"]) for _, sides in sorted(rounds.items()) if {"A", "B"} <= set(sides)]


def look_alpha(protocol: PairedProtocol) -> float:
    """Return the two-sided error rate of one look: both looks together keep to the declared rate (Bonferroni)."""
    return protocol.alpha / protocol.looks


def look_pairs(protocol: PairedProtocol, look: int) -> int:
    """Return how many untainted pairs a look, counted from 1, needs."""
    return protocol.rounds if look == protocol.looks else protocol.rounds // 2


def judge(
    samples: Sequence[Measurement], target: Target, protocol: PairedProtocol, *, look: int, is_control: bool = False
) -> Outcome:
    """Return what the samples allow one to say.

    Args:
        samples: every sample that was taken, in any order.
        target: names the primary metric and the accuracy gate.
        protocol: declared rounds, looks, error rate and margin.
        look: which look this is, from 1; it uses the first pairs that the look needs.
        is_control: both sides are the same: there is nothing to keep or revert.

    Raises:
        StatisticsError: no complete pair, or a pair without a usable primary metric.
    """
    every = measured_pairs(samples)
    if not every:
        raise StatisticsError("No round was measured on both sides, so there is nothing to compare.")
    needed = look_pairs(protocol, look)
    pairs = [pair for pair in every if not pair.tainted][:needed]
    # Where all is tainted the figures are still shown; the verdict is invalid.
    shown = pairs or every
    alpha = look_alpha(protocol)
    logs = [_log_ratio(pair, target.primary, target.better) for pair in shown]
    ratio = ratio_of_logs(logs, 1 - alpha)
    accuracy = [_accuracy(name, shown, target.margin) for name in target.accuracy]
    outputs = _outputs_equal(every, protocol.paired_seeds)
    kept = _accuracy_state(accuracy, outputs, target)
    tainted = sum(bool(sample.tainted) for sample in samples if sample.phase == "measured")
    verdict, reason = _decide(ratio, kept, protocol, len(pairs), needed, tainted)
    recommendation, reason = _recommend(verdict, kept, reason, is_control)
    place, place_p = order_effect(*_by_first(shown, logs))
    trend, trend_p = drift([_round_log(pair, target) for pair in shown])
    floor = _noise_floor(shown, target.primary, 1 - alpha)
    return Outcome(
        verdict=verdict,
        recommendation=recommendation,
        reason=REASONS[reason],
        pairs=len(pairs),
        look=look,
        alpha=alpha,
        metrics=_metric_outcomes(shown, target, ratio, logs, 1 - alpha),
        accuracy=accuracy,
        outputs_equal=outputs,
        smallest_effect=_smallest_effect(logs, needed, alpha, protocol.equivalence),
        order_effect=place,
        order_p=place_p,
        drift=trend,
        drift_p=trend_p,
        floor_low=floor[0],
        floor_high=floor[1],
        outliers=outlier_count(logs),
        tainted=tainted,
    )


def settled_outcome(
    samples: Sequence[Measurement], target: Target, protocol: PairedProtocol, *, is_control: bool = False
) -> Outcome:
    """Return the outcome of the first look that decides, else that of the last one. See `judge`."""
    for look in range(1, protocol.looks):
        outcome = judge(samples, target, protocol, look=look, is_control=is_control)
        if outcome.pairs >= look_pairs(protocol, look) and outcome.verdict in DECIDED:
            return outcome
    return judge(samples, target, protocol, look=protocol.looks, is_control=is_control)


def log_ratios(samples: Iterable[Measurement], target: Target) -> list[float]:
    """Return the logarithm of the primary metric's ratio of every complete round; above 0 where B is better.

    Raises:
        StatisticsError: a pair without a usable primary metric.
    """
    return [log_ratio_of(pair.a, pair.b, target) for pair in measured_pairs(samples)]


# --- deciding --------------------------------------------------------------------------------------------------------


def _decide(
    ratio: RatioEstimate, kept: Accuracy, protocol: PairedProtocol, pairs: int, needed: int, tainted: int
) -> tuple[Verdict, str]:
    if kept == "different outputs":
        # One differing output is proof whatever the number of pairs, and no foreign work can make one.
        return "incorrect", "outputs"
    if pairs < needed and tainted:
        return "invalid", "invalid"
    if pairs < needed or ratio.descriptive:
        return "descriptive", "short" if pairs < needed else "few"
    return ("incorrect", "accuracy") if kept == "worse" else _by_time(ratio, protocol.equivalence)


def _by_time(ratio: RatioEstimate, equivalence: float) -> tuple[Verdict, str]:
    if ratio.low > 1 - equivalence and ratio.high < 1 + equivalence:
        return "equivalent", "equivalent"
    if ratio.low > 1:
        return "faster", "faster"
    if ratio.high < 1:
        return "slower", "slower"
    return "inconclusive", "inconclusive"


def _recommend(verdict: Verdict, kept: Accuracy, reason: str, is_control: bool) -> tuple[Recommendation, str]:
    if is_control:
        return "iterate", "control"
    if verdict == "faster":
        return ("keep", reason) if kept == "kept" else ("iterate", kept)
    return ("revert" if verdict in ("incorrect", "equivalent", "slower") else "iterate"), reason


def _accuracy_state(accuracy: Sequence[AccuracyOutcome], outputs: bool | None, target: Target) -> Accuracy:
    found = {row.parity for row in accuracy}
    if target.gate == "outputs" and outputs is False:
        return "different outputs"
    if "worse" in found:
        return "worse"
    if target.gate == "outputs" and outputs is None:
        return "no outputs"
    if "no parity evidence" in found:
        # Two models that find nothing compute the same nothing.
        return "no parity evidence"
    if outputs:
        # What is computed is the same to the last bit, so no interval of a score can say more.
        return "kept"
    return "not shown" if "not shown" in found else "kept" if found else "none"


def _outputs_equal(pairs: Sequence[Pair], each_round_its_own: bool) -> bool | None:
    """Whether all samples computed the same; None where one of them does not say and the others agree.

    Where every round has a seed of its own, the two sides of a round are held against each other.
    """
    groups = [[pair] for pair in pairs] if each_round_its_own else [pairs]
    hashes = [{sample.outputs for pair in group for sample in (pair.a, pair.b)} for group in groups]
    if any(len(found - {""}) > 1 for found in hashes):
        return False
    return None if any("" in found for found in hashes) else True


def _accuracy(name: str, pairs: Sequence[Pair], margin: float) -> AccuracyOutcome:
    values = [(_metric(pair.a, name), _metric(pair.b, name)) for pair in pairs]
    differences = [b - a for a, b in values]
    interval = signed_rank_interval(differences, CONFIDENCE) if len(differences) >= PAIRS_FOR_A_VERDICT else None
    low, high = (interval.low, interval.high) if interval else (min(differences), max(differences))
    a = median([value for value, _ in values])
    centre = hodges_lehmann(differences)
    return AccuracyOutcome(
        metric=name,
        a=a,
        b=median([value for _, value in values]),
        difference=centre,
        low=low,
        high=high,
        parity=_parity(a, differences, centre, low, margin),
    )


def _parity(a: float, differences: Sequence[float], centre: float, low: float, margin: float) -> AccuracyParity:
    # A loss of exactly the margin counts as none, whatever the last bit of a difference says.
    margin += ALIKE
    if centre < -margin:
        # A collapse is worse however low it began.
        return "worse"
    if not a >= ACCURACY_FLOOR:
        return "no parity evidence"
    if all(abs(difference) <= ALIKE for difference in differences):
        return "equal"
    return "within margin" if low >= -margin else "not shown"


# --- figures ---------------------------------------------------------------------------------------------------------


def _metric(sample: Measurement, name: str) -> float:
    value = sample.metrics.get(name)
    if value is None or not math.isfinite(value):
        known = ", ".join(sorted(sample.metrics)) or "no metrics at all"
        raise StatisticsError(f"A sample of side {sample.arm} has no usable '{name}' ({value}); it reports {known}.")
    return value


def log_ratio_of(a: Measurement, b: Measurement, target: Target) -> float:
    """Return the logarithm of the primary metric's ratio of two samples; above 0 where `b` is better.

    Raises:
        StatisticsError: a sample without a usable primary metric.
    """
    return _log_ratio(Pair(a, b), target.primary, target.better)


def _log_ratio(pair: Pair, name: str, better: str) -> float:
    """Logarithm of A over B for times, of B over A for rates: above 0 where B is better."""
    a, b = _metric(pair.a, name), _metric(pair.b, name)
    if a <= 0 or b <= 0:
        raise StatisticsError(f"'{name}' is {min(a, b):g} in round {pair.a.round}; a ratio needs positive figures.")
    return math.log(a / b) if better == "lower" else math.log(b / a)


def _metric_outcomes(
    pairs: Sequence[Pair], target: Target, primary: RatioEstimate, logs: Sequence[float], confidence: float
) -> list[MetricOutcome]:
    others = [name for name in _shared_metrics(pairs) if name != target.primary and name not in target.accuracy]
    series = {name: [_log_ratio(pair, name, direction(name)) for pair in pairs] for name in others}
    raw = {name: signed_rank_p(values) for name, values in series.items()}
    adjusted = dict(zip(raw, benjamini_hochberg(list(raw.values())), strict=True))
    own = signed_rank_p(logs)
    first = _metric_outcome(target.primary, pairs, primary, own, own)
    return [
        first,
        *(
            _metric_outcome(name, pairs, ratio_of_logs(series[name], confidence), raw[name], adjusted[name])
            for name in others
        ),
    ]


def _metric_outcome(
    name: str, pairs: Sequence[Pair], ratio: RatioEstimate, p: float, p_adjusted: float
) -> MetricOutcome:
    return MetricOutcome(
        metric=name,
        a=median([_metric(pair.a, name) for pair in pairs]),
        b=median([_metric(pair.b, name) for pair in pairs]),
        ratio=ratio.hodges_lehmann,
        median_ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        sign_low=ratio.sign.low if ratio.sign else ratio.low,
        sign_high=ratio.sign.high if ratio.sign else ratio.high,
        p=p,
        p_adjusted=p_adjusted,
    )


def _shared_metrics(pairs: Sequence[Pair]) -> list[str]:
    """Metrics that every sample reports with a positive value: those that a ratio can be taken of."""
    samples = [sample for pair in pairs for sample in (pair.a, pair.b)]
    names = set(samples[0].metrics).intersection(*(sample.metrics for sample in samples))
    return sorted(name for name in names if all(0 < sample.metrics[name] < math.inf for sample in samples))


def direction(name: str) -> Literal["lower", "higher"]:
    """Return which way a metric is better: rates and scores the higher they are, times and sizes the lower."""
    return "higher" if "_per_second" in name or name.endswith(("hmean", "precision", "recall", "accuracy")) else "lower"


def _by_first(pairs: Sequence[Pair], logs: Sequence[float]) -> tuple[list[float], list[float]]:
    a_first = [log for pair, log in zip(pairs, logs, strict=True) if pair.a.position < pair.b.position]
    b_first = [log for pair, log in zip(pairs, logs, strict=True) if pair.a.position > pair.b.position]
    return a_first, b_first


def _round_log(pair: Pair, target: Target) -> float:
    """Logarithm of the round's time; a rate is one over a time."""
    log = (math.log(_metric(pair.a, target.primary)) + math.log(_metric(pair.b, target.primary))) / 2
    return log if target.better == "lower" else -log


def _noise_floor(pairs: Sequence[Pair], name: str, confidence: float) -> tuple[float, float]:
    """A against itself in neighbouring rounds, the direction in turn so that a steady drift does not add up."""
    times = [math.log(_metric(pair.a, name)) for pair in pairs]
    steps = [(times[i] - times[i + 1]) * (1 if i % 2 else -1) for i in range(len(times) - 1)]
    if not steps:
        return 1.0, 1.0
    floor = ratio_of_logs(steps, confidence)
    return floor.low, floor.high


def _smallest_effect(logs: Sequence[float], needed: int, alpha: float, equivalence: float) -> float:
    if len(logs) < 2:
        return 0.0
    effect = smallest_effect(spread_bound(logs), needed, alpha, equivalence)
    return effect if math.isfinite(effect) else 0.0
