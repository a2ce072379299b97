"""Plots of the documents: SVG whose bytes depend on the record and on matplotlib's version alone.

A plot carries the digest of its inputs and of its own bytes in a last line, so that it can be checked, and left as it
is where nothing changed, without drawing it again (another matplotlib version would draw other bytes).
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from typing import TYPE_CHECKING

from agent_tools.handbook.blocks import text_digest
from agent_tools.handbook.findings import NO_PARITY, VERDICT_ROUNDS, is_descriptive, parity
from agent_tools.records.schema import Benchmark, RunRecord, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#52606d", "#e4e7eb"
BASELINE, KEPT, UNPROVEN, WORSE = "#a3adb8", "#5b95d1", "#c6daf0", "#d9773c"
COLOUR_LEGEND = (("worse", "orange: hmean is worse"), (NO_PARITY, "pale: no parity evidence (hmean below 0.5)"))
COVERAGE = 0.95

_STAMP = re.compile(r"\n<!-- plot inputs=(\S+) template=(\S+) body=(\S+) -->\n\Z")


def stamp(svg: str, inputs: str, template: str) -> str:
    """The SVG with its last line: what it was drawn from, and its own digest."""
    return f"{svg}\n<!-- plot inputs={inputs} template={template} body={text_digest(svg)} -->\n"


def is_current(text: str, inputs: str, template: str) -> bool:
    """Whether a stamped SVG is untouched and drawn from these inputs by this template."""
    found = _STAMP.search(text)
    return found is not None and found.groups() == (inputs, template, text_digest(text[: found.start()]))


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
    if record.benchmark is None:
        raise ValueError(f"Record {record.id} is not a ladder; only ladders have this plot.")
    # matplotlib takes a second to import and nothing but this function needs it
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {"svg.hashsalt": "agent-tools", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10.0}
        )
        figure = Figure(figsize=(9.0, 1.75 + 0.52 * len(record.benchmark.summaries)), facecolor="white")
        FigureCanvasSVG(figure)
        _fill(figure, record, record.benchmark)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().split("\n") if line.strip())


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
    names = [textwrap.fill(titles.get(summary.arm, summary.arm), 28, max_lines=2) for summary in benchmark.summaries]
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
    bottom = 0.12 / figure.get_size_inches()[1]
    figure.text(0.02, top, f"What each rung gives: ladder {benchmark.name}", color=INK, fontsize=13, fontweight="bold")
    figure.text(0.02, line, _explanation(record, benchmark), color=MUTED, fontsize=9)
    figure.text(0.81, line, "against the first", color=MUTED, fontsize=9)
    figure.text(0.02, bottom, f"record {record.id}", color=MUTED, fontsize=8)
    if is_descriptive(benchmark):
        figure.text(0.98, top, "descriptive: fewer than six rounds", color=WORSE, fontsize=10, ha="right")
    labels = {parity(summary) for summary in benchmark.summaries[1:]}
    legend = "; ".join(text for label, text in COLOUR_LEGEND if label in labels)
    figure.text(0.98, bottom, legend, color=MUTED, fontsize=8, ha="right")


def _explanation(record: RunRecord, benchmark: Benchmark) -> str:
    name = textwrap.shorten(record.dataset.name, 24, placeholder="...") if record.dataset else ""
    data = f"{record.dataset.images} images of {name}, " if record.dataset else ""
    few = len(benchmark.samples) < VERDICT_ROUNDS * len(benchmark.arms)
    whiskers = "range of the rounds" if few else "95% interval of the median"
    return f"{data}{benchmark.protocol.rounds} rounds; dots are rounds, whiskers the {whiskers}"
