"""The plot of a history: the median of every commit with its interval, and the accuracy below it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent_tools.handbook.paired import LOST_GROUND
from agent_tools.handbook.plots.canvas import BASELINE, INK, KEPT, MUTED, WORSE, add_panel, draw, plain, write_titles
from agent_tools.records.compared import History, HistoryPoint
from agent_tools.records.schema import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND = "ringed: it changed against the commit before; grey cross: could not be measured"
ACCURACY_COLOURS = (INK, KEPT, WORSE, BASELINE)
LABELS_SHOWN = 24
"""Commits that are named below the panels; of more, every second one or fewer."""


def draw_history(record: RunRecord) -> str:
    """The commits of a history as SVG, oldest first.

    Raises:
        ValueError: the record is not a history.
    """
    history = record.history
    if history is None:
        raise ValueError(f"Record {record.id} is not a history; only histories have this plot.")
    return draw(9.0, 5.05 if _metrics(history) else 3.85, lambda figure: _fill(figure, record, history))


def _metrics(history: History) -> list[str]:
    return sorted({metric for point in history.points if not point.failed for metric in point.accuracy})


def _fill(figure: Figure, record: RunRecord, history: History) -> None:
    metrics = _metrics(history)
    medians = add_panel(figure, 0.85, 2.1, right=0.84)
    _draw_medians(medians, history)
    if metrics:
        accuracy = add_panel(figure, 3.15, 0.95, right=0.84)
        _draw_accuracy(accuracy, history, metrics)
        medians.set_xticks([])
    lowest = accuracy if metrics else medians
    _name_commits(lowest, history)
    better = "down" if history.target.better == "lower" else "up"
    explanation = f"commits from the oldest to the newest; whiskers: interval of the median; better is {better}"
    title = f"{plain(history.target.primary, 30)} over commits: {plain(history.name, 40)}"
    write_titles(figure, title, explanation, f"record {record.id}", LEGEND)


def _draw_medians(axes: Axes, history: History) -> None:
    measured = [(place, point) for place, point in enumerate(history.points) if not point.failed]
    places, values = [place for place, _ in measured], [point.value for _, point in measured]
    axes.plot(places, values, color=BASELINE, linewidth=1.2, zorder=2)
    axes.vlines(places, [p.low for _, p in measured], [p.high for _, p in measured], color=INK, linewidth=1.3, zorder=3)
    axes.scatter(places, values, s=26, color=INK, zorder=4)
    for place, point in measured:
        if point.change:
            _mark_change(axes, place, point, falls=(point.ratio > 1) == (history.target.better == "lower"))
    for place in (place for place, point in enumerate(history.points) if point.failed):
        axes.scatter([place], [0.04], marker="x", s=26, color=BASELINE, transform=axes.get_xaxis_transform())
    axes.set_xlim(-0.6, len(history.points) - 0.4)
    axes.margins(y=0.22)
    axes.set_ylabel(plain(history.target.primary, 24), color=MUTED, fontsize=9)


def _mark_change(axes: Axes, place: int, point: HistoryPoint, falls: bool) -> None:
    """A ring and a word, on the side of the point where the line does not come from."""
    colour = WORSE if point.change in LOST_GROUND else KEPT
    axes.scatter([place], [point.value], s=130, facecolor="none", edgecolor=colour, linewidth=1.8, zorder=5)
    said = point.change if "accurate" in point.change else f"{point.change} {point.ratio:.2f}x"
    edge, offset, anchor = (point.low, -9, "top") if falls else (point.high, 9, "bottom")
    axes.annotate(
        said, (place, edge), xytext=(0, offset), textcoords="offset points", ha="center", va=anchor, color=colour,
        fontsize=9,
    )  # fmt: skip


def _draw_accuracy(axes: Axes, history: History, metrics: Sequence[str]) -> None:
    for colour, metric in zip(itertools.cycle(ACCURACY_COLOURS), metrics, strict=False):
        shown = [
            (place, point.accuracy[metric])
            for place, point in enumerate(history.points)
            if not point.failed and metric in point.accuracy
        ]
        places, values = [place for place, _ in shown], [value for _, value in shown]
        axes.plot(places, values, color=colour, linewidth=1, marker="o", markersize=3.5, label=plain(metric, 14))
    axes.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), frameon=False, fontsize=8, labelcolor=MUTED)
    axes.set_xlim(-0.6, len(history.points) - 0.4)
    axes.margins(y=0.25)
    axes.set_ylabel("accuracy", color=MUTED, fontsize=9)


def _name_commits(axes: Axes, history: History) -> None:
    step = -(-len(history.points) // LABELS_SHOWN)
    places = range(0, len(history.points), max(step, 1))
    names = [history.points[place].commit[:7] for place in places]
    axes.set_xticks(list(places), names, rotation=35, ha="right", fontsize=8)
