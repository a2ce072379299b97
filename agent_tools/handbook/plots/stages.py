"""Plots of the stages of an epoch: what removing each one would bring, and when each one ran."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agent_tools.handbook.findings import is_descriptive
from agent_tools.handbook.plots.canvas import BASELINE, INK, KEPT, UNPROVEN, draw, plain, style_rows, write_titles
from agent_tools.records.schema import Benchmark, Contrast, RunRecord, StageShare, TimelineSpan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LANE_COLOURS = (KEPT, BASELINE)


def draw_whatif(record: RunRecord) -> str:
    """Share of time of every stage beside the share of the epoch that removing it saves, as SVG.

    Raises:
        ValueError: the record is no benchmark.
    """
    benchmark = record.benchmark
    if benchmark is None:
        raise ValueError(f"Record {record.id} is no benchmark; only what-if records have this plot.")
    tall = 1.75 + 0.62 * max(1, len(benchmark.contrasts))
    return draw(9.0, tall, lambda figure: _fill_whatif(figure, record, benchmark))


def _fill_whatif(figure: Figure, record: RunRecord, benchmark: Benchmark) -> None:
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.16, 0.62 / height, 0.66, 1 - 1.42 / height))
    shares = {share.stage: share for share in benchmark.stage_shares}
    for place, contrast in enumerate(benchmark.contrasts):
        _draw_stage(axes, place, contrast, shares.get(contrast.name))
    names = [plain(contrast.name, 16) for contrast in benchmark.contrasts]
    style_rows(axes, names, "share of the epoch, percent")
    legend = "descriptive: fewer than six rounds" if is_descriptive(benchmark) else ""
    explanation = "dark: what the epoch loses without the stage; pale: its share of the wall clock; grey: of CPU time"
    write_titles(figure, "What if a stage cost nothing", explanation, f"record {record.id}", legend)


def saved(gain: float) -> float:
    """The share of the epoch that a gain saves, in percent: a ratio of 2 saves half."""
    return 100 * (1 - 1 / gain)


def _draw_stage(axes: Axes, place: int, contrast: Contrast, share: StageShare | None) -> None:
    axes.barh(place - 0.24, saved(contrast.ratio), height=0.26, color=KEPT, zorder=2)
    axes.hlines(place - 0.24, saved(contrast.low), saved(contrast.high), color=INK, linewidth=1.3, zorder=4)
    if share is not None:
        axes.barh(place + 0.02, 100 * share.wall, height=0.22, color=UNPROVEN, zorder=2)
        if not math.isnan(share.cpu):
            axes.barh(place + 0.26, 100 * share.cpu, height=0.22, color=BASELINE, zorder=2)
    axes.text(
        1.03, place, f"gains {contrast.ratio:.3f}x at most", transform=axes.get_yaxis_transform(), va="center",
        color=INK, fontsize=9,
    )  # fmt: skip


def draw_timeline(record: RunRecord) -> str:
    """When each stage of the last epoch ran, one lane per stage, as SVG.

    Raises:
        ValueError: the record holds no timeline.
    """
    spans = record.run.timeline if record.run else []
    if not spans:
        raise ValueError(f"Record {record.id} holds no timeline; profile with timeline=true.")
    lanes = _lanes(spans)
    return draw(9.0, 1.6 + 0.36 * len(lanes), _timeline_filler(record, spans, lanes))


def _lanes(spans: Sequence[TimelineSpan]) -> list[str]:
    """Stages in the order in which they first ran."""
    return list(dict.fromkeys(span.stage for span in sorted(spans, key=lambda span: span.start)))


def _timeline_filler(record: RunRecord, spans: Sequence[TimelineSpan], lanes: list[str]) -> Callable[[Figure], None]:
    def fill(figure: Figure) -> None:
        height = figure.get_size_inches()[1]
        axes = figure.add_axes((0.16, 0.62 / height, 0.8, 1 - 1.42 / height))
        for lane, stage in enumerate(lanes):
            # Neighbouring batches in turn, so that one can be followed from lane to lane.
            for parity, colour in enumerate(LANE_COLOURS):
                own = [(s.start, s.seconds) for s in spans if s.stage == stage and s.batch % 2 == parity]
                axes.broken_barh(own, (lane - 0.38, 0.76), facecolors=colour, zorder=2)
        style_rows(axes, [plain(stage, 18) for stage in lanes], "seconds since the epoch began")
        axes.margins(x=0.01)
        explanation = "each bar is one batch; blue and grey in turn, so that a batch can be followed from lane to lane"
        write_titles(figure, "The last epoch, stage by stage", explanation, f"record {record.id}", "")

    return fill
