"""The plot of a ladder: the warm epoch of every rung, its rounds, and the interval of their median."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from agent_tools.handbook.findings import NO_PARITY, VERDICT_ROUNDS, is_descriptive, parity
from agent_tools.handbook.plots.canvas import (
    BASELINE,
    GRID,
    INK,
    KEPT,
    MUTED,
    UNPROVEN,
    WORSE,
    draw,
    plain,
    write_titles,
)
from agent_tools.records.schema import Benchmark, RunRecord, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR_LEGEND = (("worse", "orange: hmean is worse"), (NO_PARITY, "pale: no parity evidence (hmean below 0.5)"))
COVERAGE = 0.95


def median_interval(values: list[float]) -> tuple[float, float]:
    """Distribution-free interval of the median: the tightest pair of order statistics that covers it in 95% of cases.

    With fewer than six values no pair does, and the whole range is given.
    Source: binomial coverage of order statistics (Conover, Practical Nonparametric Statistics, 3.2).
    """
    ordered = sorted(values)
    count = len(ordered)
    for depth in range((count - 1) // 2, 0, -1):
        outside = 2 * sum(math.comb(count, below) for below in range(depth + 1)) / 2**count
        if 1 - outside >= COVERAGE:
            return ordered[depth], ordered[-1 - depth]
    return ordered[0], ordered[-1]


def warm_by_round(benchmark: Benchmark, arm: str) -> list[float]:
    """Mean warm epoch of each sample of an arm, in seconds, in the order measured."""
    return [
        sum(sample.warm_seconds) / len(sample.warm_seconds)
        for sample in benchmark.samples
        if sample.arm == arm and sample.warm_seconds
    ]


def draw_ladder(record: RunRecord) -> str:
    """Warm epoch seconds of every rung as SVG: the record's figure, every round, and the interval of the median.

    Raises:
        ValueError: the record is not a ladder.
    """
    benchmark = record.benchmark
    if benchmark is None:
        raise ValueError(f"Record {record.id} is not a ladder; only ladders have this plot.")
    return draw(9.0, 1.75 + 0.52 * len(benchmark.summaries), lambda figure: _fill(figure, record, benchmark))


def _fill(figure: Figure, record: RunRecord, benchmark: Benchmark) -> None:
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.27, 0.62 / height, 0.53, 1 - 1.42 / height))
    slowest = 0.0
    for row, summary in enumerate(benchmark.summaries):
        slowest = max(slowest, _draw_rung(axes, row, summary, benchmark))
    for row, summary in enumerate(benchmark.summaries):
        bold = "bold" if row == len(benchmark.summaries) - 1 else "normal"
        axes.text(
            1.03, row, f"{summary.ratio_to_first:.2f}x", transform=axes.get_yaxis_transform(), va="center", color=INK,
            fontweight=bold, fontsize=11,
        )  # fmt: skip
        axes.text(
            1.155, row, f"({summary.ratio_low:.2f} to {summary.ratio_high:.2f})", va="center", color=MUTED, fontsize=9,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    _style(axes, benchmark, slowest)
    _write_titles(figure, record, benchmark)


def _draw_rung(axes: Axes, row: int, summary: Summary, benchmark: Benchmark) -> float:
    """One bar with its rounds, interval and figure; returns the largest number of seconds drawn."""
    axes.barh(row, summary.warm_seconds, height=0.62, color=_colour(row, summary), zorder=2)
    rounds = warm_by_round(benchmark, summary.arm)
    right = summary.warm_seconds
    if rounds:
        low, high = median_interval(rounds)
        axes.hlines(row, low, high, color=INK, linewidth=1.4, zorder=4)
        axes.vlines([low, high], row - 0.14, row + 0.14, color=INK, linewidth=1.4, zorder=4)
        offsets = [row + 0.2 * (index % 3 - 1) for index in range(len(rounds))]
        axes.scatter(rounds, offsets, s=13, facecolor="white", edgecolor=INK, linewidth=0.7, zorder=5)
        right = max(right, *rounds)
    axes.annotate(
        f"{summary.warm_seconds:.2f} s", (right, row), xytext=(8, 0), textcoords="offset points", va="center", color=INK
    )
    return right


def _colour(row: int, summary: Summary) -> str:
    if row == 0:
        return BASELINE
    label = parity(summary)
    return {"worse": WORSE, NO_PARITY: UNPROVEN}.get(label, KEPT)


def _style(axes: Axes, benchmark: Benchmark, slowest: float) -> None:
    titles = {arm.name: arm.title or arm.name for arm in benchmark.arms}
    names = [
        textwrap.fill(plain(titles.get(summary.arm, summary.arm), 56), 28, max_lines=2)
        for summary in benchmark.summaries
    ]
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlim(0, slowest * 1.17)
    axes.set_xlabel("warm epoch, seconds (shorter is better)", color=MUTED)
    axes.tick_params(length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelcolor=MUTED)
    axes.grid(axis="x", color=GRID, zorder=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(BASELINE)


def _write_titles(figure: Figure, record: RunRecord, benchmark: Benchmark) -> None:
    top, line = (1 - inches / figure.get_size_inches()[1] for inches in (0.32, 0.58))
    labels = {parity(summary) for summary in benchmark.summaries[1:]}
    legend = "; ".join(text for label, text in COLOUR_LEGEND if label in labels)
    title = f"What each rung gives: ladder {plain(benchmark.name, 40)}"
    write_titles(figure, title, _explanation(record, benchmark), f"record {record.id}", legend)
    figure.text(0.81, line, "against the first", color=MUTED, fontsize=9)
    if is_descriptive(benchmark):
        figure.text(0.98, top, "descriptive: fewer than six rounds", color=WORSE, fontsize=10, ha="right")


def _explanation(record: RunRecord, benchmark: Benchmark) -> str:
    name = plain(record.dataset.name, 24) if record.dataset else ""
    data = f"{record.dataset.images} images of {name}, " if record.dataset else ""
    few = len(benchmark.samples) < VERDICT_ROUNDS * len(benchmark.arms)
    whiskers = "range of the rounds" if few else "95% interval of the median"
    return f"{data}{benchmark.protocol.rounds} rounds; dots are rounds, whiskers the {whiskers}"
