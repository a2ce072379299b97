"""What the documents say of records made of pairs: comparisons, bisections and histories, and of a person's override.

The judgements themselves stand in the records; here they are put into words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agent_tools.handbook.figures import encode
from agent_tools.records.compared import Bisection, Comparison, History, HistoryPoint, Outcome
from agent_tools.records.schema import Override, RunRecord

Advice = Literal["keep", "revert", "iterate"]

FEWEST_PAIRS = 6
"""Fewer pairs have no interval, whatever the error rate."""
TREATMENTS = {
    "revisions": "two revisions of the code",
    "configurations": "two configurations of the same code",
    "records": "two stored records that were not measured in turn",
    "none": "the same side twice, a control: whatever differs is noise",
}
PARITY_ORDER = ("worse", "not shown", "no parity evidence", "within margin", "equal")
"""The label of a comparison is the first of these that one of its accuracy metrics has."""
LOST_GROUND = frozenset({"slower", "less accurate"})


@dataclass(frozen=True)
class Recommendation:
    """What to do with the change, and the sentence that says why (without numbers: those stand in the table)."""

    advice: Advice
    reason: str


@dataclass(frozen=True)
class Point:
    """One commit of a history. `at` is its path in the record; `compared` says whether its ratio means something."""

    at: str
    point: HistoryPoint
    compared: bool


def unit_of(metric: str) -> str:
    """The unit in which a metric is stored; empty where its name does not say one."""
    return "s" if metric.endswith("seconds") else ""


def parity_label(outcome: Outcome) -> str:
    """The accuracy of a comparison in few words: of its worst metric, or of its outputs where they are the gate."""
    if outcome.outputs_equal is False:
        return "outputs differ"
    labels = {row.parity for row in outcome.accuracy}
    found = [label for label in PARITY_ORDER if label in labels]
    if found:
        return found[0]
    return "equal outputs" if outcome.outputs_equal else "no parity evidence"


def no_verdict(comparison: Comparison) -> str:
    """Why no verdict follows from a comparison, for its banner; empty where one does."""
    return comparison.outcome.reason if comparison.outcome.verdict in {"descriptive", "invalid"} else ""


def history_points(history: History) -> list[Point]:
    """The commits, oldest first; one is compared with the measured commit before it, where there is one."""
    points, seen = [], False
    for index, point in enumerate(history.points):
        points.append(Point(f"history/points/{index}/", point, seen and not point.failed))
        seen = seen or not point.failed
    return points


def recommend_paired(record: RunRecord) -> Recommendation | None:
    """What a comparison, bisection, history or override recommends; None for any other record."""
    if record.comparison is not None:
        outcome = record.comparison.outcome
        return Recommendation(outcome.recommendation, outcome.reason)
    if record.bisection is not None:
        return _after_bisection(record.bisection)
    if record.history is not None:
        return _after_history(record.history)
    return _after_override(record.override) if record.override is not None else None


def _after_bisection(bisection: Bisection) -> Recommendation:
    if not bisection.culprit:
        return Recommendation("iterate", "the first bad commit is not known; make the skipped commits run, then search")
    if not bisection.confirmed:
        return Recommendation("revert", "this commit is the first bad one; it was not measured against the one before")
    return Recommendation("revert", "this commit is the first bad one, and was measured against the one before it")


def _after_history(history: History) -> Recommendation:
    if sum(not point.failed for point in history.points) < 2:
        return Recommendation("iterate", "fewer than two commits could be measured; nothing can be compared")
    if any(point.change in LOST_GROUND for point in history.points if not point.failed):
        return Recommendation("iterate", "a commit lost speed or accuracy; revert it, or say why it is worth that")
    newest = [point for point in history.points if not point.failed][-1]
    if newest.gate == "fail":
        return Recommendation("iterate", "no single step is a change point, but all together lost speed or accuracy")
    if newest.gate == "open":
        return Recommendation("iterate", "no loss was seen, but one beyond the margins is not excluded; add rounds")
    return Recommendation("keep", "no commit was seen to lose speed or accuracy")


def _after_override(override: Override) -> Recommendation:
    reason = f"a person decided so against the recommendation to {override.recommended}; what was measured stands"
    return Recommendation(override.decided, reason)


def comparison_values(record: RunRecord) -> dict[str, Any]:
    """What `findings_comparison.md.j2` prints."""
    comparison = record.comparison
    assert comparison is not None  # noqa: S101 - the caller chose a record that has one
    measured = [sample for sample in comparison.samples if sample.phase == "measured"]
    return {
        "comparison": comparison,
        "treatment": TREATMENTS[comparison.treatment],
        "no_verdict": no_verdict(comparison),
        "interval": interval_word(comparison),
        "taints": sorted({sample.tainted for sample in measured if sample.tainted}),
        "unit_of": unit_of,
    }


def history_values(record: RunRecord) -> dict[str, Any]:
    """What `findings_history.md.j2` prints."""
    history = record.history
    assert history is not None  # noqa: S101 - the caller chose a record that has one
    points = history_points(history)
    measured = [entry for entry in points if not entry.point.failed]
    return {
        "history": history,
        "points": points,
        "measured": measured,
        "changed": [entry for entry in measured if entry.point.change],
        "unit": unit_of(history.target.primary),
        "encode": encode,
    }


def interval_word(comparison: Comparison) -> str:
    """What the two ends around a ratio are: with few pairs no interval exists, and the range is shown instead."""
    outcome = comparison.outcome
    pairs = outcome.pairs or len(_complete_rounds(comparison))
    # the smallest two-sided p of the exact test over so many pairs
    exists = pairs >= FEWEST_PAIRS and 2.0 ** (1 - pairs) <= outcome.alpha
    return "interval" if exists else "observed range"


def _complete_rounds(comparison: Comparison) -> list[int]:
    sides = {(sample.round, sample.arm) for sample in comparison.samples if sample.phase == "measured"}
    names = [side.name for side in comparison.arms]
    return [number for number in sorted({number for number, _ in sides}) if all((number, n) in sides for n in names)]
