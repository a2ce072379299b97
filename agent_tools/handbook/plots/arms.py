"""The plot of a design that is no ladder: every ratio that it asks for, with its interval, against one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent_tools.handbook.findings import ContrastRow, contrast_rows, is_descriptive
from agent_tools.handbook.plots.canvas import (
    BASELINE,
    INK,
    KEPT,
    UNPROVEN,
    WORSE,
    draw,
    plain,
    style_rows,
    write_titles,
)
from agent_tools.records.schema import Benchmark, Contrast, RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"faster": KEPT, "slower": WORSE, "no change": BASELINE}
TITLES = {
    "leave-one-out": "What each optimisation gives where all others are on",
    "limit": "The epoch against its limit",
    "tune": "What each setting gives on this machine",
}


def draw_arms(record: RunRecord) -> str:
    """The ratios of a design as SVG: median, interval, and one as the line of no change.

    Raises:
        ValueError: the record is no benchmark.
    """
    benchmark = record.benchmark
    if benchmark is None:
        raise ValueError(f"Record {record.id} is no benchmark; only benchmarks have this plot.")
    tall = 1.75 + 0.42 * max(1, len(benchmark.contrasts))
    return draw(9.0, tall, lambda figure: _fill(figure, record, benchmark))


def _fill(figure: Figure, record: RunRecord, benchmark: Benchmark) -> None:
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.33, 0.62 / height, 0.5, 1 - 1.42 / height))
    rows = contrast_rows(benchmark)
    for place, (row, contrast) in enumerate(zip(rows, benchmark.contrasts, strict=True)):
        _draw_contrast(axes, place, row, contrast)
    _style(axes, rows)
    title = TITLES.get(benchmark.design, "What each change of the settings gives")
    legend = "descriptive: fewer than six rounds" if is_descriptive(benchmark) else ""
    write_titles(figure, f"{title}: {plain(benchmark.name, 30)}", _explanation(record), f"record {record.id}", legend)


def _draw_contrast(axes: Axes, place: int, row: ContrastRow, contrast: Contrast) -> None:
    axes.barh(place, contrast.ratio - 1, left=1, height=0.55, color=COLOURS.get(row.outcome, UNPROVEN), zorder=2)
    axes.hlines(place, contrast.low, contrast.high, color=INK, linewidth=1.4, zorder=4)
    axes.vlines([contrast.low, contrast.high], place - 0.14, place + 0.14, color=INK, linewidth=1.4, zorder=4)
    axes.text(
        1.03, place, f"{contrast.ratio:.3f}x", transform=axes.get_yaxis_transform(), va="center", color=INK, fontsize=10
    )


def _style(axes: Axes, rows: Sequence[ContrastRow]) -> None:
    names = [textwrap.fill(plain(row.title, 64), 34, max_lines=2) for row in rows]
    axes.axvline(1, color=INK, linewidth=0.9, zorder=3)
    axes.margins(x=0.08)
    style_rows(axes, names, "ratio of times, one is no change", fontsize=9)


def _explanation(record: RunRecord) -> str:
    benchmark = record.benchmark
    rounds = benchmark.protocol.rounds if benchmark else 0
    data = f"{record.dataset.images} images of {plain(record.dataset.name, 24)}, " if record.dataset else ""
    return f"{data}{rounds} rounds; whiskers: interval of the ratio, or its range under six rounds"
