"""The plot of a comparison: the ratio of every pair with its interval, and every sample in the order measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_tools.handbook.findings import document_name, readable
from agent_tools.handbook.paired import interval_word
from agent_tools.handbook.plots.canvas import (
    BASELINE,
    INK,
    KEPT,
    MUTED,
    UNPROVEN,
    WORSE,
    add_panel,
    draw,
    plain,
    write_titles,
)
from agent_tools.records.compared import Comparison, Measurement, Target
from agent_tools.records.schema import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN_BAND = "#f0f2f5"
SIDES = {"A": MUTED, "B": KEPT}
LEGEND = "hollow: tainted, kept and not used; cross: warm-up or pilot"


@dataclass(frozen=True)
class Pair:
    """The two samples of one round: how B compares with A (above 1: better), who ran first, and whether it counts."""

    ratio: float
    a_first: bool
    tainted: bool


def pairs_in_order(samples: Sequence[Measurement], names: Sequence[str], target: Target) -> list[Pair]:
    """The rounds in which both sides were measured, in the order measured."""
    measured = [sample for sample in samples if sample.phase == "measured"]
    by_side = {(sample.round, sample.arm): sample for sample in measured}
    rounds = dict.fromkeys(sample.round for sample in measured)
    found = [(by_side.get((number, names[0])), by_side.get((number, names[1]))) for number in rounds]
    pairs = [_pair(a, b, target) for a, b in found if a is not None and b is not None]
    return [pair for pair in pairs if pair is not None]


def _pair(a: Measurement, b: Measurement, target: Target) -> Pair | None:
    first, second = a.metrics.get(target.primary), b.metrics.get(target.primary)
    if not first or not second:
        return None
    ratio = first / second if target.better == "lower" else second / first
    return Pair(ratio, a.position < b.position, bool(a.tainted or b.tainted))


def draw_comparison(record: RunRecord) -> str:
    """The pairs and the samples of a comparison as SVG.

    Raises:
        ValueError: the record is not a comparison.
    """
    comparison = record.comparison
    if comparison is None:
        raise ValueError(f"Record {record.id} is not a comparison; only comparisons have this plot.")
    return draw(9.0, 6.1, lambda figure: _fill(figure, record, comparison))


def _fill(figure: Figure, record: RunRecord, comparison: Comparison) -> None:
    _draw_pairs(add_panel(figure, 0.85, 2.3), comparison)
    _draw_samples(add_panel(figure, 3.75, 1.6), comparison)
    a, b = (plain(readable(side.title), 28) for side in comparison.arms)
    interval = interval_word(comparison)
    explanation = f"A: {a}; B: {b}; blue band: {interval}, dashed: within is no change"
    title = f"B against A: {plain(document_name(record), 60)}"
    write_titles(figure, title, explanation, f"record {record.id}", LEGEND)


def _draw_pairs(axes: Axes, comparison: Comparison) -> None:
    margin, outcome = comparison.protocol.equivalence, comparison.outcome
    axes.axhspan(1 - margin, 1 + margin, color=MARGIN_BAND, zorder=0)
    for edge in (1 - margin, 1 + margin):
        axes.axhline(edge, color=BASELINE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    axes.axhline(1, color=INK, linewidth=1, zorder=2)
    for metric in outcome.metrics[:1]:
        axes.axhspan(metric.low, metric.high, color=UNPROVEN, alpha=0.6, linewidth=0, zorder=1)
        axes.axhline(metric.ratio, color=KEPT, linewidth=1.6, zorder=2)
        axes.text(1.03, 0.60, f"{metric.ratio:.3f}x", transform=axes.transAxes, color=INK, fontsize=15, weight="bold")
        span = f"({metric.low:.3f} to {metric.high:.3f})"
        axes.text(1.03, 0.48, span, transform=axes.transAxes, color=MUTED, fontsize=9)
    colour = WORSE if outcome.verdict in {"slower", "incorrect", "invalid"} else INK
    axes.text(1.03, 0.78, outcome.verdict, transform=axes.transAxes, color=colour, fontsize=12)
    pairs = pairs_in_order(comparison.samples, [side.name for side in comparison.arms], comparison.target)
    for marker, a_first, label in (("o", True, "A ran first"), ("D", False, "B ran first")):
        _scatter_pairs(axes, pairs, marker, a_first)
        axes.scatter([], [], marker=marker, s=30, color=INK, label=label)
    axes.legend(loc="lower left", bbox_to_anchor=(1.01, -0.04), frameon=False, fontsize=9, labelcolor=MUTED)
    axes.set_xlim(0.4, max(len(pairs), 1) + 0.6)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("pair, in the order measured", color=MUTED, fontsize=9)
    axes.set_ylabel("ratio (above 1: B is better)", color=MUTED, fontsize=9)


def _scatter_pairs(axes: Axes, pairs: Sequence[Pair], marker: str, a_first: bool) -> None:
    chosen = [(place, pair) for place, pair in enumerate(pairs, 1) if pair.a_first == a_first]
    faces = ["none" if pair.tainted else INK for _, pair in chosen]
    edges = [WORSE if pair.tainted else INK for _, pair in chosen]
    places, ratios = [place for place, _ in chosen], [pair.ratio for _, pair in chosen]
    axes.scatter(places, ratios, s=30, marker=marker, facecolor=faces, edgecolor=edges, linewidth=1.2, zorder=4)


def _draw_samples(axes: Axes, comparison: Comparison) -> None:
    primary = comparison.target.primary
    values = [(place, sample, sample.metrics.get(primary)) for place, sample in enumerate(comparison.samples, 1)]
    for side in comparison.arms:
        colour = SIDES.get(side.name, BASELINE)
        own = [(place, sample, value) for place, sample, value in values if sample.arm == side.name and value]
        counted = [(place, value) for place, sample, value in own if sample.phase == "measured" and not sample.tainted]
        tainted = [(place, value) for place, sample, value in own if sample.phase == "measured" and sample.tainted]
        before = [(place, value) for place, sample, value in own if sample.phase != "measured"]
        axes.plot(*_columns(counted), color=colour, linewidth=0.8, marker="o", markersize=4, label=side.name, zorder=3)
        axes.scatter(*_columns(tainted), s=22, facecolor="none", edgecolor=WORSE, linewidth=1.2, zorder=4)
        axes.scatter(*_columns(before), s=18, marker="x", color=colour, linewidth=0.9, zorder=3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, labelcolor=MUTED)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("sample, in the order measured", color=MUTED, fontsize=9)
    axes.set_ylabel(plain(primary, 24), color=MUTED, fontsize=9)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [place for place, _ in points], [value for _, value in points]
