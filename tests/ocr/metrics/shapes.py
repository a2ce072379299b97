"""Polygons and strategies that the metric tests share."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ocr.utils.polygons import Polygon

# Time limits per example fail on a busy machine and say nothing about the metrics.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# A small grid makes touching borders, equal sides and exact halves frequent.
grid = st.integers(0, 60)
points = st.tuples(grid, grid)


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    """Corners clockwise on the screen from the top left."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)


def moved(polygon: Polygon, turns: int, backwards: bool, shift: tuple[float, float]) -> Polygon:
    """The polygon with another first corner, perhaps the other way round, and somewhere else."""
    rolled = np.roll(polygon, turns, axis=0) + np.array(shift)
    return rolled[::-1].copy() if backwards else rolled


boxes = st.builds(lambda x, y, w, h: box(x, y, x + w, y + h), grid, grid, st.integers(1, 40), st.integers(1, 12))
# Any N points: convex, concave, self-intersecting, flat.
wild = st.lists(points, min_size=1, max_size=8).map(lambda xy: np.array(xy, dtype=np.float64))
curved = st.builds(
    lambda n, bend, height: np.array(
        [[12.0 * i, bend * i * (n - i) / n] for i in range(n + 1)]
        + [[12.0 * i, bend * i * (n - i) / n + height] for i in reversed(range(n + 1))]
    ),
    st.integers(2, 4),
    st.integers(-8, 8),
    st.integers(4, 12),
)
offsets = st.one_of(st.integers(-6, 6), st.floats(-6.0, 6.0, allow_subnormal=False))
polygons = st.builds(
    moved, st.one_of(boxes, boxes, curved, wild), st.integers(0, 3), st.booleans(), st.tuples(grid, grid)
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Polygon], list[Polygon], list[bool]]:
    """Truths, detections (some of them truths a little moved) and ignore flags of one image."""
    truth = draw(st.lists(polygons, max_size=6))
    detections = draw(st.lists(polygons, max_size=3))
    for polygon in truth:
        for dx, dy in draw(st.lists(st.tuples(offsets, offsets), max_size=2)):
            detections.append(np.add(polygon, (dx, dy)))
    ignore = draw(st.lists(st.booleans(), min_size=len(truth), max_size=len(truth)))
    return truth, detections, ignore
