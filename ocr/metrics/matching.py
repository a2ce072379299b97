"""Polygons in batches: areas, intersections and points inside, shared by both metrics.

Self-intersecting polygons cover what an odd number of turns covers (the even-odd rule), as in the reference programs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class PolygonBatch:
    """K polygons of up to M points, side by side.

    Attributes:
        points: (K, M, 2) x and y in pixels; a shorter polygon repeats its last point, which adds no area.
        counts: (K,) number of points, at least 4 (a triangle counts its last point twice).
    """

    points: Floats
    counts: Indices

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def boxes(self) -> Floats:
        """(K, 4): left, top, right, bottom."""
        return np.concatenate([self.points.min(axis=1), self.points.max(axis=1)], axis=1)

    @cached_property
    def areas(self) -> Floats:
        """(K,) shoelace areas in square pixels, absolute; parts of opposite winding cancel."""
        return shoelace(self.points - self.points[:, :1])

    @cached_property
    def convex(self) -> Bools:
        """(K,) whether the polygon is a convex quadrilateral with area: those take the fast path."""
        if self.points.shape[1] != 4:
            return np.zeros(len(self), dtype=bool)
        edges = following(self.points) - self.points
        turns = _cross(edges, following(edges))
        one_way = (turns >= 0.0).all(axis=1) | (turns <= 0.0).all(axis=1)
        return one_way & (self.areas > 0.0)

    def truncated(self) -> "PolygonBatch":
        """The batch with its coordinates cut to whole pixels (towards zero)."""
        return PolygonBatch(np.trunc(self.points), self.counts)


def pack_polygons(polygons: Sequence[ArrayLike]) -> PolygonBatch:
    """Pack polygons (N_i, 2) into a batch.

    Raises:
        ValueError: a polygon is not an array (N >= 1, 2) of finite numbers.
    """
    arrays = [np.asarray(polygon, dtype=np.float64) for polygon in polygons]
    for index, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != 2 or not len(array):
            raise ValueError(f"Polygon {index} has shape {array.shape}; it must be (N, 2) with N >= 1: one x, y a row.")
    sizes = np.array([len(array) for array in arrays], dtype=np.intp)
    widest = max(4, int(sizes.max(initial=0)))
    # All at once where every polygon is a quad, which is nearly always so.
    if arrays and (sizes == widest).all():
        points = np.array(arrays)
    else:
        points = np.empty((len(arrays), widest, 2))
        for row, array in zip(points, arrays, strict=True):
            row[: len(array)] = array
            row[len(array) :] = array[-1]
    if not np.isfinite(points).all():
        index = int(np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))[0])
        raise ValueError(f"Polygon {index} has a coordinate that is not finite: {arrays[index].tolist()}.")
    return PolygonBatch(points, np.maximum(sizes, 4))


def intersection_matrix(a: PolygonBatch, b: PolygonBatch) -> Floats:
    """Areas common to each pair, (len(a), len(b)) in square pixels.

    Pairs whose bounding boxes do not overlap are never looked at; convex quads are clipped in one numpy batch, all
    others go through shapely.
    """
    rows, columns = np.nonzero(_boxes_overlap(a.boxes, b.boxes))
    areas = np.zeros((len(a), len(b)))
    quick = a.convex[rows] & b.convex[columns]
    i, j = rows[quick], columns[quick]
    if len(i):
        areas[i, j] = _convex_intersection(a.points[i], b.points[j])
    i, j = rows[~quick], columns[~quick]
    if len(i):
        areas[i, j] = shapely.area(shapely.intersection(regions(a, i), regions(b, j)))
    return areas


def _boxes_overlap(a: Floats, b: Floats) -> Bools:
    """Which boxes (K, 4) and (L, 4) overlap, (K, L); one side at a time, as short last axes cost numpy the most."""
    left, top, right, bottom = a.T[:, :, None]
    other_left, other_top, other_right, other_bottom = b.T
    return (left < other_right) & (other_left < right) & (top < other_bottom) & (other_top < bottom)


def regions(batch: PolygonBatch, indices: Indices) -> NDArray[np.object_]:
    """Shapely geometries of the chosen polygons, valid and with area only, one per index (repeats are built once)."""
    unique, back = np.unique(indices, return_inverse=True)
    geometries = shapely.polygons(batch.points[unique])
    for k in np.flatnonzero(~shapely.is_valid(geometries)):
        geometries[k] = repaired(geometries[k])
    return geometries[back]


def repaired(geometry: shapely.Polygon) -> shapely.Geometry:
    """What an invalid polygon covers by the even-odd rule; lines and points that it leaves behind are dropped."""
    return shapely.buffer(shapely.make_valid(geometry, method="linework"), 0.0)


def points_inside(points: Floats, batch: PolygonBatch) -> tuple[Indices, Indices]:
    """Pairs (point, polygon) where a point (P, 2) lies inside, as two index arrays.

    Crossing rule, half open: a point on a left or top border is inside, on a right or bottom border outside.
    """
    x, y = points[:, :1], points[:, 1:]
    x0, y0, x1, y1 = batch.boxes.T
    which, inside = np.nonzero((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
    x, y, polygon = x[which], y[which], batch.points[inside]
    here, before = polygon, np.concatenate((polygon[:, -1:], polygon[:, :-1]), axis=1)
    dy = before[..., 1] - here[..., 1]
    spans = (here[..., 1] <= y) != (before[..., 1] <= y)
    crossing = (before[..., 0] - here[..., 0]) * (y - here[..., 1]) / np.where(dy == 0.0, 1.0, dy) + here[..., 0]
    odd = ((spans & (x < crossing)).sum(axis=1) % 2).astype(bool)
    return which[odd], inside[odd]


def ignore_flags(ignore: Sequence[bool] | None, count: int) -> NDArray[np.bool_]:
    """The flags as (count,) booleans, all false when there are none.

    Raises:
        ValueError: their number is not `count`.
    """
    flags = np.zeros(count, dtype=bool) if ignore is None else np.asarray(ignore, dtype=np.bool_).reshape(-1)
    if len(flags) != count:
        raise ValueError(f"There are {len(flags)} ignore flags for {count} truths; give one flag per truth, or None.")
    return flags


def harmonic_mean(precision: float, recall: float) -> float:
    """2 p r / (p + r), 0 when both are 0."""
    total = precision + recall
    return 2.0 * precision * recall / total if total else 0.0


def following(values: NDArray[Any]) -> NDArray[Any]:
    """Each entry replaced by its successor along axis 1, the last by the first (np.roll costs ten times as much)."""
    return np.concatenate((values[:, 1:], values[:, :1]), axis=1)


def shoelace(points: Floats) -> Floats:
    """Absolute areas (K,) of polygons (K, M, 2) that lie near the origin."""
    return np.abs(_cross(points, following(points)).sum(axis=1)) / 2.0


def _cross(u: Floats, v: Floats) -> Floats:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _convex_intersection(subject: Floats, clip: Floats) -> Floats:
    """Common areas (K,) of convex quads, two arrays (K, 4, 2): Sutherland-Hodgman on all pairs at once.

    It depends continuously on the points, so edges that nearly coincide do no harm.
    """
    origin = subject[:, :1]
    subject, clip = subject - origin, clip - origin
    winding = np.sign(_cross(clip, following(clip)).sum(axis=1))
    edges = (following(clip) - clip) * winding[:, None, None]
    for k in range(4):
        subject = _keep_positive(subject, _cross(edges[:, k : k + 1], subject - clip[:, k : k + 1]))
    return shoelace(subject)


def _keep_positive(polygons: Floats, depth: Floats) -> Floats:
    """Cut convex polygons (K, M, 2) to depth (K, M) >= 0; the result has M + 1 points, surplus ones repeated."""
    pairs, size = depth.shape
    after = following(depth)
    outside = depth < 0.0
    crosses = outside != (after < 0.0)
    share = depth / np.where(crosses, depth - after, 1.0)
    candidates = np.empty((pairs, size, 2, 2))
    candidates[:, :, 0] = polygons
    candidates[:, :, 1] = polygons + share[..., None] * (following(polygons) - polygons)
    dropped = np.stack([outside, ~crosses], axis=2).reshape(pairs, 2 * size)
    order = np.argsort(dropped, axis=1, kind="stable")
    last = 2 * size - 1 - np.count_nonzero(dropped, axis=1)
    slots = np.minimum(np.arange(size + 1), np.maximum(last, 0)[:, None])
    row = np.arange(pairs)[:, None]
    # A polygon wholly outside keeps one repeated point: no area, and none can come back.
    return candidates.reshape(pairs, 2 * size, 2)[row, order[row, slots]]
