"""The picture of the house: every room in the row that its imports give it, and an arrow to each room it imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from agent_tools.handbook.plots.canvas import INK, MUTED, UNPROVEN, draw, plain, write_titles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Imports = Mapping[str, Sequence[str]]
"""Room -> the rooms that it imports."""

ROW = 0.72
"""Inches from one row of rooms to the next."""


class Place(NamedTuple):
    """The centre of a room's box: `x` from 0 to 1 across the panel, `row` from the bottom."""

    x: float
    row: int


def draw_rooms(facts: Mapping[str, Any]) -> str:
    """The rooms and their imports as SVG; see `handbook.rooms.read_rooms` for the facts."""
    imports = {room["name"]: room["imports"] for room in facts["rooms"]}
    places = lay_out(imports)
    rows = 1 + max((place.row for place in places.values()), default=0)
    return draw(11.0, 1.45 + ROW * rows, lambda figure: _fill(figure, imports, places, rows))


def levels(imports: Imports) -> dict[str, int]:
    """The row of every room: one above the highest that it imports, so that arrows point down."""
    found = dict.fromkeys(imports, 0)
    for _ in imports:
        # as often as there are rooms: enough for any house without a circle, and an end where there is one
        for room, imported in imports.items():
            found[room] = max([0, *(found[other] + 1 for other in imported if other in found)])
    return {room: min(level, len(imports)) for room, level in found.items()}


def direct(imports: Imports) -> dict[str, list[str]]:
    """The imports that do not follow from others: those of a room that none of its other imports leads to."""
    return {
        room: [other for other in imported if not any(other in _reached(step, imports) for step in imported)]
        for room, imported in imports.items()
    }


def _reached(start: str, imports: Imports) -> set[str]:
    """The rooms that an import of `start` leads to, without itself."""
    found: set[str] = set()
    waiting = list(imports.get(start, ()))
    while waiting:
        room = waiting.pop()
        if room not in found:
            found.add(room)
            waiting += imports.get(room, ())
    return found


def lay_out(imports: Imports) -> dict[str, Place]:
    """A place for every room: the trainer's on the left, the workbench's on the right, in the rows of `levels`."""
    row_of = levels(imports)
    falls = _longest_falls(imports, row_of)
    places: dict[str, Place] = {}
    halves = ((0.0, 0.42, False), (0.44, 1.0, True))
    for left, right, is_workbench in halves:
        half = [room for room in imports if room.startswith("agent_tools") == is_workbench]
        for row in sorted({row_of[room] for room in half}):
            # what is imported from far above goes to the right, where the arrow passes beside the rooms between
            there = sorted((room for room in half if row_of[room] == row), key=lambda room: (falls[room], room))
            step = (right - left) / len(there)
            places |= {room: Place(left + step * (place + 0.5), row) for place, room in enumerate(there)}
    return places


def _longest_falls(imports: Imports, row_of: Mapping[str, int]) -> dict[str, int]:
    """Rows that the longest main arrow into each room crosses."""
    falls = dict.fromkeys(imports, 0)
    for room, imported in direct(imports).items():
        for other in imported:
            if other in falls:
                falls[other] = max(falls[other], row_of[room] - row_of[other])
    return falls


def _fill(figure: Figure, imports: Imports, places: Mapping[str, Place], rows: int) -> None:
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.02, 0.34 / height, 0.96, ROW * rows / height))
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.axis("off")
    main = direct(imports)
    for room, imported in imports.items():
        for other in imported:
            _draw_arrow(axes, places[room], places[other], is_main=other in main[room])
    for room, place in places.items():
        _draw_room(axes, room, place)
    explanation = "left the trainer, right agent_tools: dark arrows follow from no other; the halves meet in files only"
    write_titles(figure, "Which room imports which", explanation, "read from the code", "arrows point down")


def _draw_room(axes: Axes, room: str, place: Place) -> None:
    name = plain(room.removeprefix("agent_tools."), 30)
    axes.text(
        place.x, place.row, name, ha="center", va="center", color=INK, fontsize=9, zorder=4,
        bbox={"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": MUTED, "linewidth": 1.0},
    )  # fmt: skip


def _draw_arrow(axes: Axes, start: Place, end: Place, is_main: bool) -> None:
    colour, width = (INK, 1.0) if is_main else (UNPROVEN, 0.8)
    axes.annotate(
        "", (end.x, end.row + 0.24), (start.x, start.row - 0.24), zorder=3 if is_main else 1,
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
