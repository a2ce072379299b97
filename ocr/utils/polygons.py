"""Polygon geometry shared by targets, post-processing, metrics and readers.

A polygon is a float64 array (N, 2) of (x, y) in pixels: x right, y down, origin at the corner of the first pixel.
The last point is joined to the first; it is not repeated. No function here changes its argument.
"""

import cv2
import numpy as np
import pyclipper
from numpy.typing import ArrayLike, NDArray

Polygon = NDArray[np.float64]

# pyclipper works on integers: 1/1024 px keeps a shrunk line of 1 px thickness exact to 0.1 %.
CLIPPER_SCALE = 1024.0
# How far a round join may lie off the true arc, in pixels.
ARC_TOLERANCE_PX = 0.05
# Where edges meet more sharply than 60 degrees, the mitre is cut at this many times the distance.
MITRE_LIMIT = 2.0


def polygon_area(p: ArrayLike) -> float:
    """Absolute area in square pixels of the polygon (N, 2), by the shoelace formula; 0 with fewer than 3 points.

    Where a polygon crosses itself, parts of opposite winding cancel.
    """
    points = np.asarray(p, dtype=np.float64).reshape(-1, 2)
    if len(points) < 3:
        return 0.0
    # Relative to the first point, so that a small box far from the origin loses no digits.
    x, y = (points - points[0]).T
    return float(abs(np.dot(x[1:], y[:-1]) - np.dot(x[:-1], y[1:])) / 2.0)


def polygon_perimeter(p: ArrayLike) -> float:
    """Length in pixels of the closed outline of the polygon (N, 2)."""
    points = np.asarray(p, dtype=np.float64).reshape(-1, 2)
    edges = np.roll(points, -1, axis=0) - points
    return float(np.hypot(edges[:, 0], edges[:, 1]).sum())


def shrink_distance(area: float, perimeter: float, shrink_ratio: float) -> float:
    """Distance in pixels by which DB shrinks a polygon: D = A (1 - r^2) / L (Liao et al., arXiv 1911.08947).

    A polygon without length has distance 0.

    Raises:
        ValueError: `shrink_ratio` is outside 0..1.
    """
    _check_shrink_ratio(shrink_ratio)
    return 0.0 if perimeter <= 0.0 else area * (1.0 - shrink_ratio**2) / perimeter


def offset_polygon(p: ArrayLike, distance: float) -> list[Polygon]:
    """Offset the outline by `distance` pixels: outwards when positive, inwards when negative, with round joins.

    Returns every piece (a concave polygon may fall apart), each (M, 2), none when nothing is left. A hole that opens
    when a curved polygon grows into itself is filled: text has none.
    """
    return _offset(p, distance, pyclipper.JT_ROUND)


def transform_points(matrix: ArrayLike, points: ArrayLike) -> Polygon:
    """Map points (N, 2) by a 3x3 matrix acting on columns (x, y, 1); returns float64 (N, 2)."""
    m = np.asarray(matrix, dtype=np.float64)
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    mapped = xy @ m[:2, :2].T + m[:2, 2]
    scale = xy @ m[2, :2] + m[2, 2]
    return mapped / scale[:, None]


def clip_to_rectangle(p: ArrayLike, height: float, width: float) -> Polygon | None:
    """The part of the polygon inside [0, width] x [0, height], or None when nothing with area remains.

    Sutherland-Hodgman: the order of the points is kept. Where a concave polygon falls into pieces, they stay joined by
    an edge of no area along the border, so the area is exact.
    """
    points = np.asarray(p, dtype=np.float64).reshape(-1, 2)
    inside = (points >= 0.0).all() and (points[:, 0] <= width).all() and (points[:, 1] <= height).all()
    if not inside:
        for axis, limit, sign in ((0, 0.0, 1.0), (0, float(width), -1.0), (1, 0.0, 1.0), (1, float(height), -1.0)):
            points = _clip_half_plane(points, axis, limit, sign)
        points = np.clip(points, 0.0, (width, height))
        points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    return None if _is_flat(points) else points.copy()


def min_area_rectangle(points: ArrayLike) -> tuple[float, float, float, float, float]:
    """Smallest rectangle around points (N, 2): (cx, cy, w, h, angle).

    `angle` in radians within [-pi/4, pi/4] is the direction of the width (positive turns x towards y), so `w` is the
    side nearer to the horizontal.
    """
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    # OpenCV computes in float32: relative to the middle, 5,000-pixel coordinates keep their digits.
    middle = (xy.min(axis=0) + xy.max(axis=0)) / 2.0
    (cx, cy), (w, h), degrees = cv2.minAreaRect((xy - middle).astype(np.float32))
    turns = round(degrees / 90.0)
    if turns % 2:
        w, h = h, w
    return cx + float(middle[0]), cy + float(middle[1]), float(w), float(h), float(np.deg2rad(degrees - 90.0 * turns))


def rectangle_corners(cx: ArrayLike, cy: ArrayLike, w: ArrayLike, h: ArrayLike, angle: ArrayLike) -> Polygon:
    """Corners clockwise on the screen from the top left: (4, 2) for scalars, (K, 4, 2) for arrays (K,).

    `angle` in radians is the direction of the width, as in `min_area_rectangle`.
    """
    centre = np.stack(np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (cx, cy))), axis=-1)
    half_w, half_h = np.asarray(w, dtype=np.float64) / 2.0, np.asarray(h, dtype=np.float64) / 2.0
    cos, sin = np.cos(angle), np.sin(angle)
    along = np.stack(np.broadcast_arrays(half_w * cos, half_w * sin), axis=-1)
    down = np.stack(np.broadcast_arrays(-half_h * sin, half_h * cos), axis=-1)
    corners = (centre - along - down, centre + along - down, centre + along + down, centre - along + down)
    return np.stack(corners, axis=-2)


def unclip_distance(width: ArrayLike, height: ArrayLike, shrink_ratio: float) -> float | NDArray[np.float64]:
    """Distance in pixels that undoes the shrink of a rectangle now `width` x `height`; vectorised over arrays (K,).

    The original was (w + 2d) x (h + 2d) and d its shrink distance, so with k = 1 - r^2
    d = (w+2d)(h+2d) k / (2 ((w+2d) + (h+2d))), the positive root of (8-4k) d^2 + 2 (w+h)(1-k) d - k w h = 0.

    Raises:
        ValueError: `shrink_ratio` is outside 0..1.
    """
    _check_shrink_ratio(shrink_ratio)
    k = 1.0 - shrink_ratio**2
    w, h = np.asarray(width, dtype=np.float64), np.asarray(height, dtype=np.float64)
    linear = (w + h) * (1.0 - k)
    # The root is written without a difference of near equals, so thin boxes keep their digits.
    root = linear + np.sqrt(linear**2 + (8.0 - 4.0 * k) * k * w * h)
    distance = np.divide(k * w * h, root, out=np.zeros_like(root), where=root > 0.0)
    return float(distance) if distance.ndim == 0 else distance


def unclip_distance_polygon(p: ArrayLike, shrink_ratio: float) -> float:
    """Distance in pixels that undoes the shrink of any polygon (N, 2): the d with d = A(d) (1 - r^2) / L(d).

    A(d) and L(d) are area and perimeter after growing by d with mitred corners, which is what a shrink undoes; found
    by the secant method from the root for the rectangle of equal area and perimeter. 0 for a polygon without area.

    Raises:
        ValueError: `shrink_ratio` is outside 0..1.
    """
    area, perimeter = polygon_area(p), polygon_perimeter(p)
    if area <= 0.0:
        return 0.0

    def error(distance: float) -> float:
        pieces = _offset(p, distance, pyclipper.JT_MITER)
        grown = max(pieces, key=polygon_area)
        return shrink_distance(polygon_area(grown), polygon_perimeter(grown), shrink_ratio) - distance

    half, discriminant = perimeter / 4.0, max((perimeter / 4.0) ** 2 - area, 0.0)
    old = float(unclip_distance(half + discriminant**0.5, half - discriminant**0.5, shrink_ratio))
    old_error = error(old)
    new = old + old_error
    for _ in range(20):
        new_error = error(new)
        if abs(new_error) < 1e-4 or new_error == old_error:
            break
        old, old_error, new = new, new_error, max(new - new_error * (new - old) / (new_error - old_error), 0.0)
    return new


def _check_shrink_ratio(shrink_ratio: float) -> None:
    if not 0.0 <= shrink_ratio <= 1.0:
        raise ValueError(f"The shrink ratio is {shrink_ratio}; it must lie within 0..1. Give 0.4 (the paper) to 0.75.")


def _offset(p: ArrayLike, distance: float, join: int) -> list[Polygon]:
    scaled = np.rint(np.asarray(p, dtype=np.float64).reshape(-1, 2) * CLIPPER_SCALE).astype(np.int64)
    if len(scaled) < 3:
        return []
    offset = pyclipper.PyclipperOffset(MITRE_LIMIT, ARC_TOLERANCE_PX * CLIPPER_SCALE)
    offset.AddPath(scaled.tolist(), join, pyclipper.ET_CLOSEDPOLYGON)
    pieces = offset.Execute(distance * CLIPPER_SCALE)
    return [np.asarray(piece, dtype=np.float64) / CLIPPER_SCALE for piece in pieces if pyclipper.Orientation(piece)]


def _clip_half_plane(points: Polygon, axis: int, limit: float, sign: float) -> Polygon:
    """Keep what lies on the side sign * (coordinate - limit) >= 0."""
    kept: list[Polygon] = []
    depth = sign * (points[:, axis] - limit)
    for i in range(len(points)):
        before, here = depth[i - 1], depth[i]
        if (before >= 0.0) != (here >= 0.0):
            kept.append(points[i - 1] + (points[i] - points[i - 1]) * (before / (before - here)))
        if here >= 0.0:
            kept.append(points[i])
    return np.asarray(kept, dtype=np.float64).reshape(-1, 2)


def _is_flat(points: Polygon) -> bool:
    """Whether all points lie on one line; the shoelace area would also call a symmetric bow tie empty."""
    if len(points) < 3:
        return True
    x, y = (points[1:] - points[0]).T
    return bool(np.abs(x[:-1] * y[1:] - x[1:] * y[:-1]).sum() <= 1e-9)
