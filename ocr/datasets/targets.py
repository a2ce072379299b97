"""Training targets: shrink and threshold maps with their masks, from polygons in network pixels.

A pixel belongs to a region where its centre, (column + 0.5, row + 0.5), lies inside. That rule has no bias, so a
perfect map inverts to the polygon it came from; OpenCV's fill also paints every pixel that the outline touches, which
makes a thin line half a pixel thicker on each side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ocr.utils.polygons import (
    Polygon,
    min_area_rectangle,
    offset_polygon,
    polygon_area,
    polygon_perimeter,
    shrink_distance,
)

# Text of less area than one pixel has nothing to shrink.
MIN_AREA_PX = 1.0
# Corners this near to a rectangle's, in pixels, are a rectangle's: far below what any map can show.
RECTANGLE_TOLERANCE_PX = 1e-4

FloatMap = NDArray[np.float32]
BoolMap = NDArray[np.bool_]


@dataclass(frozen=True)
class TargetMaps:
    """Targets of one image, each (height, width).

    Attributes:
        shrink: uint8, 1 inside a shrunk text polygon, else 0.
        shrink_mask: uint8, 0 where ignored or unlearnable text lies, else 1.
        threshold: float16, from `threshold_min` to `threshold_max` near text borders, 0 outside `threshold_mask`.
        threshold_mask: uint8, 1 inside a dilated text polygon, else 0.
    """

    shrink: NDArray[np.uint8]
    shrink_mask: NDArray[np.uint8]
    threshold: NDArray[np.float16]
    threshold_mask: NDArray[np.uint8]


@dataclass(frozen=True)
class _Rectangle:
    """Centre, unit direction of the width, half sides."""

    centre: tuple[float, float]
    direction: tuple[float, float]
    half: tuple[float, float]


@dataclass(frozen=True)
class _Shape:
    """A polygon with what the rules need: pixels and square pixels."""

    points: Polygon
    area: float
    distance: float
    short_side: float
    rectangle: _Rectangle | None


class _Window:
    """The part of an image around a polygon, grown by a margin: slices and pixel centres."""

    def __init__(self, points: Polygon, margin: float, size: tuple[int, int]) -> None:
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        x0, y0 = max(math.floor(left - margin), 0), max(math.floor(top - margin), 0)
        x1, y1 = max(min(math.ceil(right + margin), size[1]), x0), max(min(math.ceil(bottom + margin), size[0]), y0)
        self.slices = (slice(y0, y1), slice(x0, x1))
        self.x = np.arange(x0, x1) + 0.5
        self.y = np.arange(y0, y1) + 0.5


class _Canvas:
    """The four maps while instances are drawn one after another."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.shrink = np.zeros(size, np.uint8)
        self.shrink_mask = np.ones(size, np.uint8)
        self.threshold = np.zeros(size, np.float16)
        self.threshold_mask = np.zeros(size, np.uint8)

    def raise_threshold(self, window: _Window, values: NDArray[np.floating]) -> None:
        """Keep the larger of what is there and `values`, none of them negative."""
        # Halves that are not negative are in the order of their bits, and integers compare many at a time.
        bits = self.threshold.view(np.uint16)[window.slices]
        np.maximum(bits, values.astype(np.float16).view(np.uint16), out=bits)

    def maps(self) -> TargetMaps:
        """The maps; thresholds outside every dilated polygon become 0."""
        bits = self.threshold.view(np.uint16)
        np.multiply(bits, self.threshold_mask, out=bits)
        return TargetMaps(self.shrink, self.shrink_mask, self.threshold, self.threshold_mask)


class TargetBuilder:
    """Targets of DB (arXiv 1911.08947, section 3.4) by one signed distance per polygon, without a polygon library.

    Shrinking by D with round joins keeps the points deeper than D, growing keeps those within D, so shrink map,
    threshold map and its mask are all read from the distance to the border. Text whose short side is below
    `min_text_px`, whose area is below one pixel, or whose shrunk form holds no pixel is masked as a whole.

    Args:
        shrink_ratio: r of D = A (1 - r^2) / L.
        min_text_px: shortest learnable side in network pixels.
        threshold_min: threshold at the distance D from a border.
        threshold_max: threshold on a border.

    Raises:
        ValueError: a ratio outside 0..1 or a threshold range that is not increasing within 0..1.
    """

    implementation = "vectorised"

    def __init__(
        self,
        shrink_ratio: float = 0.7,
        min_text_px: float = 3.0,
        threshold_min: float = 0.3,
        threshold_max: float = 0.7,
    ) -> None:
        if not 0 < shrink_ratio < 1:
            raise ValueError(f"shrink_ratio is {shrink_ratio}; it must lie between 0 and 1 (0.4 to 0.75 is usual).")
        if not 0 <= threshold_min < threshold_max <= 1:
            raise ValueError(
                f"The thresholds are {threshold_min}..{threshold_max}; they must increase within 0..1 (0.3..0.7)."
            )
        self.shrink_ratio = shrink_ratio
        self.min_text_px = min_text_px
        self.threshold_min = threshold_min
        self.threshold_max = threshold_max

    def fingerprint(self) -> dict[str, float | str]:
        """Everything that determines the maps, for a cache key."""
        return {
            "implementation": self.implementation,
            "shrink_ratio": self.shrink_ratio,
            "min_text_px": self.min_text_px,
            "threshold_min": self.threshold_min,
            "threshold_max": self.threshold_max,
        }

    def __call__(self, polygons: Sequence[Polygon], ignore: Sequence[bool], size: tuple[int, int]) -> TargetMaps:
        """Draw the maps of one image.

        Args:
            polygons: (N, 2) each, network pixels; parts outside the image are allowed. Not changed.
            ignore: per polygon, whether it is masked instead of learnt.
            size: (height, width) of the maps.

        Raises:
            ValueError: unequal numbers of polygons and flags.
        """
        if len(polygons) != len(ignore):
            raise ValueError(f"{len(polygons)} polygons came with {len(ignore)} ignore flags; give one flag each.")
        canvas = _Canvas(size)
        for shape, ignored in zip(self._shapes(polygons), ignore, strict=True):
            if not (self._learnable(shape, ignored) and self._draw(canvas, shape)):
                _mask_out(canvas, shape)
        return canvas.maps()

    def distances(self, polygons: Sequence[Polygon], ignore: Sequence[bool]) -> list[float | None]:
        """Per polygon, the distance D in pixels by which it is shrunk; None where it is masked instead of learnt."""
        shapes = self._shapes(polygons)
        return [
            shape.distance if self._learnable(shape, ignored) else None
            for shape, ignored in zip(shapes, ignore, strict=True)
        ]

    def _learnable(self, shape: _Shape, ignored: bool) -> bool:
        return not ignored and shape.area >= MIN_AREA_PX and shape.short_side >= self.min_text_px

    def _shapes(self, polygons: Sequence[Polygon]) -> list[_Shape]:
        quads = [index for index, polygon in enumerate(polygons) if len(polygon) == 4]
        shapes: dict[int, _Shape] = {}
        if quads:
            stacked = np.stack([polygons[index] for index in quads]).astype(np.float64)
            shapes = dict(zip(quads, _quad_shapes(stacked, self.shrink_ratio), strict=True))
        return [
            shapes[index] if index in shapes else _general_shape(polygon, self.shrink_ratio)
            for index, polygon in enumerate(polygons)
        ]

    def _draw(self, canvas: _Canvas, shape: _Shape) -> bool:
        """Draw one text; False, with nothing drawn, when its shrunk form holds no pixel of the image."""
        window = _Window(shape.points, shape.distance, canvas.size)
        depth = _depth(shape, window)
        shrunk = depth >= shape.distance
        if not shrunk.any():
            return False
        canvas.shrink[window.slices] |= shrunk.view(np.uint8)
        canvas.threshold_mask[window.slices] |= (depth >= -shape.distance).view(np.uint8)
        # From the maximum on the border down to the minimum at D, in place: windows are most of the time spent.
        np.abs(depth, out=depth)
        np.minimum(depth, np.float32(shape.distance), out=depth)
        depth *= np.float32((self.threshold_min - self.threshold_max) / shape.distance)
        depth += np.float32(self.threshold_max)
        canvas.raise_threshold(window, depth)
        return True


class ReferenceTargetBuilder(TargetBuilder):
    """The same maps by the ordinary published route: pyclipper offsets, and a distance per edge by the cosine rule.

    Slow and plain, the standard of comparison (`preset=naive`). Against `TargetBuilder`: shrink map and masks differ in
    less than 0.1% of the pixels (round joins are polygons here, and a centre may lie on a border), thresholds by
    float16 rounding elsewhere.
    """

    implementation = "pyclipper"

    def _shapes(self, polygons: Sequence[Polygon]) -> list[_Shape]:
        return [_general_shape(polygon, self.shrink_ratio) for polygon in polygons]

    def _draw(self, canvas: _Canvas, shape: _Shape) -> bool:
        filled = [fill_polygon(canvas.shrink, piece) for piece in offset_polygon(shape.points, -shape.distance)]
        if not any(filled):
            return False
        for grown in offset_polygon(shape.points, shape.distance):
            window = _Window(grown, 0.0, canvas.size)
            fill_polygon(canvas.threshold_mask, grown)
            near = 1.0 - np.clip(_cosine_distance(shape.points, window) / shape.distance, 0.0, 1.0)
            canvas.raise_threshold(window, self.threshold_min + near * (self.threshold_max - self.threshold_min))
        return True


def fill_polygon(target: NDArray[np.uint8], points: Polygon) -> int:
    """Set the pixels of `target` (H, W) to 1 whose centres lie inside the polygon (N, 2); returns their number."""
    height, width = target.shape
    window = _Window(points, 0.0, (height, width))
    inside = _inside(points, window)
    target[window.slices] |= inside
    return int(inside.sum())


def _mask_out(canvas: _Canvas, shape: _Shape) -> None:
    window = _Window(shape.points, 0.0, canvas.size)
    canvas.shrink_mask[window.slices] &= ~_inside(shape.points, window)


def _general_shape(polygon: Polygon, shrink_ratio: float) -> _Shape:
    points = np.asarray(polygon, dtype=np.float64)
    area = polygon_area(points)
    distance = shrink_distance(area, polygon_perimeter(points), shrink_ratio)
    width, height = min_area_rectangle(points)[2:4]
    return _Shape(points, area, distance, min(width, height), None)


def _quad_shapes(quads: NDArray[np.float64], shrink_ratio: float) -> list[_Shape]:
    """Shapes of (B, 4, 2) quads; rectangles among them are known as such, and their geometry needs no loop."""
    edges = np.roll(quads, -1, axis=1) - quads
    sides = np.hypot(edges[..., 0], edges[..., 1])
    diagonals = quads[:, 2:] - quads[:, :2]
    areas = np.abs(diagonals[:, 0, 0] * diagonals[:, 1, 1] - diagonals[:, 0, 1] * diagonals[:, 1, 0]) / 2
    # A parallelogram with equal diagonals is a rectangle.
    skew = np.abs(quads[:, 0] + quads[:, 2] - quads[:, 1] - quads[:, 3]).max(axis=1)
    lengths = np.hypot(diagonals[..., 0], diagonals[..., 1])
    is_rectangle = (skew <= RECTANGLE_TOLERANCE_PX) & (
        np.abs(lengths[:, 0] - lengths[:, 1]) * lengths[:, 0] <= RECTANGLE_TOLERANCE_PX * sides.min(axis=1)
    )
    centres, directions = quads.mean(axis=1).tolist(), edges[:, 0].tolist()
    shapes = []
    for index, (width, height) in enumerate(sides[:, :2].tolist()):
        if not is_rectangle[index] or min(width, height) <= 0.0:
            shapes.append(_general_shape(quads[index], shrink_ratio))
            continue
        area = float(areas[index])
        distance = shrink_distance(area, 2 * (width + height), shrink_ratio)
        (cx, cy), (dx, dy) = centres[index], directions[index]
        rectangle = _Rectangle((cx, cy), (dx / width, dy / width), (width / 2, height / 2))
        shapes.append(_Shape(quads[index], area, distance, min(width, height), rectangle))
    return shapes


def _depth(shape: _Shape, window: _Window) -> FloatMap:
    """Distance of each pixel centre to the border in pixels, positive inside, negative outside."""
    if shape.rectangle is not None:
        return _rectangle_depth(shape.rectangle, window)
    return _polygon_depth(shape.points, window)


def _rectangle_depth(rectangle: _Rectangle, window: _Window) -> FloatMap:
    (cx, cy), (dx, dy), (half_width, half_height) = rectangle.centre, rectangle.direction, rectangle.half
    x, y = window.x - cx, (window.y - cy)[:, None]
    if dy == 0.0:
        along, across = x[None, :], y
    elif dx == 0.0:
        along, across = y, x[None, :]
    else:
        along, across = (x * dx + y * dy), (y * dx - x * dy)
    # Depths below the two pairs of sides; axis-aligned, each is a single row or column until they meet.
    a = np.subtract(half_width, np.abs(along), dtype=np.float32)
    b = np.subtract(half_height, np.abs(across), dtype=np.float32)
    depth = np.minimum(a, b)
    np.maximum(depth, 0.0, out=depth)
    depth -= np.sqrt(np.square(np.minimum(a, 0.0)) + np.square(np.minimum(b, 0.0)))
    return depth


def _polygon_depth(points: Polygon, window: _Window) -> FloatMap:
    """The same for any polygon: the nearest of its edges, all edges at once."""
    edges = np.roll(points, -1, axis=0) - points
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    starts, edges, lengths = points[lengths > 0], edges[lengths > 0], lengths[lengths > 0]
    directions = edges / lengths[:, None]
    middles = starts + edges / 2
    x, y = window.x - middles[:, :1], window.y - middles[:, 1:]
    dx, dy = directions[:, :1], directions[:, 1:]
    along = (x * dx).astype(np.float32)[:, None, :] + (y * dy).astype(np.float32)[:, :, None]
    aside = (x * -dy).astype(np.float32)[:, None, :] + (y * dx).astype(np.float32)[:, :, None]
    inside = _left_of_all(aside) if _is_convex(directions) else _inside(points, window)
    # Beyond the ends of an edge, its end point is nearest.
    np.abs(along, out=along)
    along -= (lengths / 2).astype(np.float32)[:, None, None]
    np.maximum(along, 0.0, out=along)
    distance = np.sqrt((np.square(along, out=along) + np.square(aside, out=aside)).min(axis=0))
    return np.where(inside, distance, -distance)


def _left_of_all(aside: FloatMap) -> BoolMap:
    """Which pixels lie on the same side of all edges, whichever way round they run; (E, h, w) -> (h, w)."""
    return (aside.min(axis=0) >= 0) | (aside.max(axis=0) <= 0)


def _is_convex(directions: NDArray[np.float64]) -> bool:
    """Whether edges of these unit directions (E, 2) turn one way only, and only once round."""
    following = np.roll(directions, -1, axis=0)
    turns = directions[:, 0] * following[:, 1] - directions[:, 1] * following[:, 0]
    angles = np.arctan2(turns, (directions * following).sum(axis=1))
    return bool(((turns >= 0).all() or (turns <= 0).all()) and abs(angles.sum()) < 3 * np.pi)


def _cosine_distance(points: Polygon, window: _Window) -> NDArray[np.float64]:
    """The same distance as in the published code: from the sides of the triangle of pixel and edge."""
    best = np.full((len(window.y), len(window.x)), np.inf)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        to_start = np.square(window.x - start[0]) + np.square(window.y - start[1])[:, None]
        to_end = np.square(window.x - end[0]) + np.square(window.y - end[1])[:, None]
        edge = float(np.square(end - start).sum())
        product = 2 * np.sqrt(to_start * to_end)
        # Rounding carries cosines past 1, and a sine is then the root of a negative number.
        cosine = np.clip((edge - to_start - to_end) / np.maximum(product, 1e-12), -1.0, 1.0)
        sine_squared = 1 - np.square(cosine)
        height = np.sqrt(to_start * to_end * sine_squared / max(edge, 1e-12))
        beside = (np.abs(to_start - to_end) > edge) | (edge == 0.0)
        np.minimum(best, np.where(beside, np.sqrt(np.minimum(to_start, to_end)), height), out=best)
    return best


def _inside(points: Polygon, window: _Window) -> BoolMap:
    """Which pixel centres lie inside, by the even-odd rule: a ray to the right crosses an odd number of edges."""
    odd = np.zeros((len(window.y), len(window.x)), np.bool_)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        crossed = (start[1] <= window.y) != (end[1] <= window.y)
        if crossed.any():
            rows = window.y[crossed]
            crossing = start[0] + (rows - start[1]) * ((end[0] - start[0]) / (end[1] - start[1]))
            odd[crossed] ^= window.x < crossing[:, None]
    return odd
