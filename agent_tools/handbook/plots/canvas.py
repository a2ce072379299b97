"""What all plots of the documents share: colours, and an SVG whose bytes depend on matplotlib's version alone."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#52606d", "#e4e7eb"
BASELINE, KEPT, UNPROVEN, WORSE = "#a3adb8", "#5b95d1", "#c6daf0", "#d9773c"


def draw(width: float, height: float, fill: Callable[[Figure], None]) -> str:
    """An SVG of that size in inches, filled by a function: the same drawing gives the same bytes."""
    # matplotlib takes a second to import and nothing but this function needs it
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {"svg.hashsalt": "agent-tools", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10.0}
        )
        figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasSVG(figure)
        fill(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().split("\n") if line.strip())


def plain(text: str, length: int) -> str:
    """Text of a record as a plot shows it: on one line, cut to a length, and never read as a formula."""
    # the font has no glyph for most characters beyond these
    shown = "".join(char if ord(char) < 0x250 and char.isprintable() else " " for char in text)
    return textwrap.shorten(shown, length, placeholder="...").replace("$", r"\$")


def write_titles(figure: Figure, title: str, explanation: str, footer: str, legend: str) -> None:
    """The title and its explanation above the panels, the record and the legend below them."""
    height = figure.get_size_inches()[1]
    figure.text(0.02, 1 - 0.32 / height, title, color=INK, fontsize=13, fontweight="bold")
    figure.text(0.02, 1 - 0.58 / height, explanation, color=MUTED, fontsize=9)
    figure.text(0.02, 0.12 / height, footer, color=MUTED, fontsize=8)
    figure.text(0.98, 0.12 / height, legend, color=MUTED, fontsize=8, ha="right")


def add_panel(figure: Figure, top: float, tall: float, right: float = 0.8) -> Axes:
    """A panel across the figure, `top` inches below its upper edge and `tall` inches high, up to `right` (0..1)."""
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.09, 1 - (top + tall) / height, right - 0.09, tall / height))
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=9)
    axes.grid(axis="y", color=GRID, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(BASELINE)
    return axes


def style_rows(axes: Axes, names: Sequence[str], label: str, fontsize: float = 10.0) -> None:
    """Name the rows of a plot, the first one at the top, and its horizontal axis."""
    axes.set_yticks(range(len(names)), names, color=INK, fontsize=fontsize)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlabel(label, color=MUTED)
    axes.tick_params(length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelcolor=MUTED)
    axes.grid(axis="x", color=GRID, zorder=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(BASELINE)
