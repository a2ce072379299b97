"""From a probability map to text polygons in original pixels.

Two implementations with one configuration give the same boxes: `DBPostProcessor` works on all boxes at once with a
closed form for the expansion; `ReferencePostProcessor` is the ordinary route, candidate by candidate through shapely
and pyclipper.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from ocr.utils.polygons import (
    Polygon,
    clip_to_rectangle,
    min_area_rectangle,
    offset_polygon,
    polygon_area,
    polygon_perimeter,
    rectangle_corners,
    transform_points,
    unclip_distance,
    unclip_distance_polygon,
)

# A pixel reaches half a pixel beyond its centre, and contours run through centres.
HALF_PIXEL = 0.5
# An edge is sought from this many pixels inside the binary edge to this many outside.
SEARCH_INSIDE_PX = 6
SEARCH_OUTSIDE_PX = 2
# Profiles averaged per edge: across the long sides, across the short sides.
LONG_PROFILES = 32
SHORT_PROFILES = 8
# Contours of `shape=polygon` are simplified by this many pixels, below what a pixel grid can show.
SIMPLIFY_PX = 0.75

FloatArray = NDArray[np.float64]
FloatMap = NDArray[np.float32]
# (N, 2) or (N, 1, 2) integers: pixel centres on integers, as OpenCV has them.
Outline = NDArray[np.int32]


@dataclass(frozen=True)
class Detections:
    """Text of one image, best first.

    Attributes:
        polygons: float64 (N, 2) each, original pixels inside the image, clockwise; rectangles start at the top left.
        scores: float64 (number of polygons,), mean probability in 0..1.
    """

    polygons: list[Polygon]
    scores: FloatArray


@dataclass(frozen=True)
class _Boxes:
    """Rectangles in network pixels with pixel centres on integers, as arrays (K,); `half` is half a side."""

    x: FloatArray
    y: FloatArray
    half_width: FloatArray
    half_height: FloatArray
    angle: FloatArray

    def corners(self) -> FloatArray:
        """(K, 4, 2), clockwise from the top left."""
        return rectangle_corners(self.x, self.y, 2 * self.half_width, 2 * self.half_height, self.angle)


class PostProcessor(ABC):
    """The configuration both implementations share, and the way from candidates to detections.

    Args:
        shrink_ratio: r of the training targets, which the exact expansion undoes.
        binarize_threshold: pixels above this probability form the candidates.
        box_threshold: candidates with a lower score are dropped.
        unclip: "exact" inverts the shrink; a number is the constant ratio of the published code, D = A * ratio / L.
        max_candidates: at most so many candidates, those of the best scores.
        min_size: shortest side of an expanded box in network pixels; 1.5 drops lone pixels and keeps thin words.
        score: mean probability of the pixels in the candidate's "box", or inside its "contour"; always the latter for
            `shape="polygon"`, as much of the box around a curve is no text.
        shape: "rectangle" for straight text, "polygon" for curved text.
        subpixel_edges: place the sides of rectangles where the probability falls through `edge_level`, instead of at
            the outline of the binary map.
        edge_level: probability on the border of a text.

    Raises:
        ValueError: an option is outside its range, with the allowed values.
    """

    def __init__(
        self,
        shrink_ratio: float = 0.7,
        binarize_threshold: float = 0.3,
        box_threshold: float = 0.6,
        unclip: Literal["exact"] | float = "exact",
        max_candidates: int = 1000,
        min_size: float = 1.5,
        score: Literal["box", "contour"] = "box",
        shape: Literal["rectangle", "polygon"] = "rectangle",
        subpixel_edges: bool = True,
        edge_level: float = 0.5,
    ) -> None:
        _check_range("shrink_ratio", shrink_ratio)
        _check_range("binarize_threshold", binarize_threshold)
        _check_range("box_threshold", box_threshold)
        _check_range("edge_level", edge_level)
        _check_choice("score", score, ("box", "contour"))
        _check_choice("shape", shape, ("rectangle", "polygon"))
        if unclip != "exact" and not (isinstance(unclip, int | float) and unclip > 0):
            raise ValueError(f"unclip is {unclip!r}; give 'exact' or a positive ratio such as 1.5.")
        if max_candidates < 1:
            raise ValueError(f"max_candidates is {max_candidates}; it must be at least 1 (1000 is usual).")
        self.shrink_ratio = shrink_ratio
        self.binarize_threshold = binarize_threshold
        self.box_threshold = box_threshold
        self.unclip = unclip
        self.max_candidates = max_candidates
        self.min_size = min_size
        self.score = score if shape == "rectangle" else "contour"
        self.shape = shape
        self.subpixel_edges = subpixel_edges
        self.edge_level = edge_level

    def __call__(
        self, probability: FloatMap, matrix: NDArray[np.float64], original_size: tuple[int, int]
    ) -> Detections:
        """Detections of one image.

        Args:
            probability: (H, W) float32 in 0..1.
            matrix: (3, 3) original displayed pixels -> network pixels.
            original_size: (height, width) of the original image, in pixels.

        Raises:
            ValueError: the map is not two-dimensional.
        """
        if probability.ndim != 2:
            raise ValueError(f"The probability map has shape {probability.shape}; give (height, width), one image.")
        probability = np.ascontiguousarray(probability, dtype=np.float32)
        contours = _outlines(probability, self.binarize_threshold)
        polygons, scores = self._candidates(probability, contours)
        inverse = np.linalg.inv(np.asarray(matrix, dtype=np.float64))
        return _to_original(polygons, scores, inverse, original_size)

    @abstractmethod
    def _candidates(self, probability: FloatMap, contours: list[Outline]) -> tuple[list[Polygon], FloatArray]:
        """Expanded polygons in network pixels with their scores, best first."""

    def _select(self, scores: FloatArray) -> NDArray[np.intp]:
        """Indices of the candidates to keep, best first; the first found where scores are equal."""
        order = np.argsort(-scores, kind="stable")[: self.max_candidates]
        return order[scores[order] >= self.box_threshold]

    def _expansion(self, width: FloatArray, height: FloatArray) -> FloatArray:
        """Distance (K,) in pixels by which boxes of these sides grow."""
        if self.unclip == "exact":
            return np.asarray(unclip_distance(width, height, self.shrink_ratio))
        return width * height * float(self.unclip) / (2 * (width + height))

    def _expanded_polygon(self, contour: Outline) -> Polygon | None:
        """The outline of a contour, grown by the expansion: the largest piece, None when it is too small."""
        simple = cv2.approxPolyDP(contour, SIMPLIFY_PX, closed=True).reshape(-1, 2).astype(np.float64)
        if len(simple) < 3:
            simple = cv2.boxPoints(cv2.minAreaRect(contour)).astype(np.float64)
        outline = _largest(offset_polygon(simple + HALF_PIXEL, HALF_PIXEL))
        if outline is None:
            # A single pixel, or pixels in a row: no area for a polygon library to grow.
            outline = _pixel_box(simple)
        if self.unclip == "exact":
            distance = unclip_distance_polygon(outline, self.shrink_ratio)
        else:
            distance = polygon_area(outline) * float(self.unclip) / polygon_perimeter(outline)
        grown = _largest(offset_polygon(outline, distance))
        if grown is None or min(min_area_rectangle(grown)[2:4]) < self.min_size:
            return None
        return grown


class DBPostProcessor(PostProcessor):
    """All boxes at once, no polygon library for rectangles; the arguments are those of `PostProcessor`."""

    def _candidates(self, probability: FloatMap, contours: list[Outline]) -> tuple[list[Polygon], FloatArray]:
        if not contours:
            return [], np.zeros(0)
        boxes = _binary_boxes(contours)
        if self.score == "box":
            outlines: Sequence[Outline] = list(np.rint(boxes.corners()).astype(np.int32))
        else:
            outlines = contours
        scores = np.array([_mean_inside(probability, outline) for outline in outlines])
        kept = self._select(scores)
        if self.shape == "polygon":
            grown = [self._expanded_polygon(contours[index]) for index in kept]
            found = [index for index, polygon in enumerate(grown) if polygon is not None]
            return [polygon for polygon in grown if polygon is not None], scores[kept[found]]
        boxes = _take(boxes, kept)
        boxes = _refine(probability, boxes, self.edge_level) if self.subpixel_edges else _pixel_extent(boxes)
        grown_boxes, large = self._grow(boxes)
        return list(grown_boxes.corners()[large] + HALF_PIXEL), scores[kept[large]]

    def _grow(self, boxes: _Boxes) -> tuple[_Boxes, NDArray[np.bool_]]:
        distance = self._expansion(2 * boxes.half_width, 2 * boxes.half_height)
        grown = _Boxes(boxes.x, boxes.y, boxes.half_width + distance, boxes.half_height + distance, boxes.angle)
        return grown, 2 * np.minimum(grown.half_width, grown.half_height) >= self.min_size


class ReferencePostProcessor(PostProcessor):
    """One candidate at a time: shapely, pyclipper, a second min-area rectangle; arguments as `PostProcessor`."""

    def _candidates(self, probability: FloatMap, contours: list[Outline]) -> tuple[list[Polygon], FloatArray]:
        scores = np.array([self._score(probability, contour) for contour in contours])
        polygons, kept = [], []
        for index in self._select(scores):
            polygon = self._expanded(probability, contours[index])
            if polygon is not None:
                polygons.append(polygon)
                kept.append(scores[index])
        return polygons, np.array(kept)

    def _score(self, probability: FloatMap, contour: Outline) -> float:
        if self.score == "contour":
            return _mean_inside(probability, contour)
        return _mean_inside(probability, np.rint(_binary_boxes([contour]).corners()[0]).astype(np.int32))

    def _expanded(self, probability: FloatMap, contour: Outline) -> Polygon | None:
        if self.shape == "polygon":
            return self._expanded_polygon(contour)
        box = _binary_boxes([contour])
        box = _refine(probability, box, self.edge_level) if self.subpixel_edges else _pixel_extent(box)
        polygon = shapely.Polygon(box.corners()[0] + HALF_PIXEL)
        # The sides of a rectangle of this area and this length of outline.
        half, area = polygon.length / 4, polygon.area
        spread = max(half * half - area, 0.0) ** 0.5
        distance = self._expansion(np.array([half + spread]), np.array([half - spread]))
        pieces = offset_polygon(np.asarray(polygon.exterior.coords)[:-1], float(distance[0]))
        grown = max(pieces, key=lambda piece: shapely.Polygon(piece).area, default=None)
        if grown is None:
            return None
        rectangle = min_area_rectangle(grown)
        return rectangle_corners(*rectangle) if min(rectangle[2:4]) >= self.min_size else None


def _outlines(probability: FloatMap, threshold: float) -> list[Outline]:
    """Outer contours (N, 1, 2) of the components above the threshold, through pixel centres at integers."""
    binary = (probability > threshold).view(np.uint8)
    contours, hierarchy = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    # Holes have a parent; text inside the hole of another component is an outer contour of its own.
    parents = hierarchy[0, :, 3].tolist()
    return [np.asarray(contour, np.int32) for contour, parent in zip(contours, parents, strict=True) if parent < 0]


def _binary_boxes(contours: Sequence[Outline]) -> _Boxes:
    """Min-area rectangles through the outermost pixel centres, with the width nearer to the horizontal."""
    found = np.array([(*centre, *sides, degrees) for centre, sides, degrees in map(cv2.minAreaRect, contours)])
    x, y, width, height, degrees = found.T
    turns = np.rint(degrees / 90)
    swapped = turns % 2 == 1
    width, height = np.where(swapped, height, width), np.where(swapped, width, height)
    return _Boxes(x, y, width / 2, height / 2, np.deg2rad(degrees - 90 * turns))


def _pixel_extent(boxes: _Boxes) -> _Boxes:
    return _Boxes(boxes.x, boxes.y, boxes.half_width + HALF_PIXEL, boxes.half_height + HALF_PIXEL, boxes.angle)


def _take(boxes: _Boxes, kept: NDArray[np.intp]) -> _Boxes:
    return _Boxes(boxes.x[kept], boxes.y[kept], boxes.half_width[kept], boxes.half_height[kept], boxes.angle[kept])


def _mean_inside(probability: FloatMap, outline: Outline) -> float:
    """Mean probability of the pixels inside an outline, read in its own window only."""
    height, width = probability.shape
    x, y, w, h = cv2.boundingRect(outline)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [outline], 1, offset=(-x0, -y0))
    return cv2.mean(probability[y0:y1, x0:x1], mask)[0]


def _refine(probability: FloatMap, boxes: _Boxes, level: float) -> _Boxes:
    """Move each side to where the probability, averaged along that side, falls through `level`.

    On a binary map this is the border between pixels for upright text, and the mean of the staircase for rotated text.
    A side without such a fall nearby stays at the outline of the binary map.
    """
    if not len(boxes.x):
        return boxes
    cos, sin = np.cos(boxes.angle), np.sin(boxes.angle)
    along, across = np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)
    long, short = LONG_PROFILES, SHORT_PROFILES
    right, left = _edges(probability, boxes, along, across, boxes.half_width, boxes.half_height, short, level)
    bottom, top = _edges(probability, boxes, across, along, boxes.half_height, boxes.half_width, long, level)
    shift_along, shift_across = (right - left) / 2, (bottom - top) / 2
    return _Boxes(
        boxes.x + shift_along * cos - shift_across * sin,
        boxes.y + shift_along * sin + shift_across * cos,
        (right + left) / 2,
        (bottom + top) / 2,
        boxes.angle,
    )


def _edges(
    probability: FloatMap,
    boxes: _Boxes,
    outward: FloatArray,
    sideways: FloatArray,
    half: FloatArray,
    half_side: FloatArray,
    profiles: int,
    level: float,
) -> FloatArray:
    """Distances (2, K) from the centre to the edges in the directions `outward` and its opposite."""
    depth = np.arange(-SEARCH_INSIDE_PX, SEARCH_OUTSIDE_PX + 1)
    # Never past the centre: there the other edge begins.
    position = np.maximum(half[:, None] + depth, 0.0)
    fraction = (2 * np.arange(profiles) + 1) / profiles - 1
    signed = np.stack([position, -position])
    x = signed[..., None] * outward[:, 0, None, None] + (half_side[:, None] * fraction * sideways[:, 0, None])[:, None]
    y = signed[..., None] * outward[:, 1, None, None] + (half_side[:, None] * fraction * sideways[:, 1, None])[:, None]
    x, y = x + boxes.x[:, None, None], y + boxes.y[:, None, None]
    sampled = _sample(probability, x, y).mean(axis=-1)
    return np.stack([_crossing(sampled[0], position, level), _crossing(sampled[1], position, level)])


def _sample(probability: FloatMap, x: FloatArray, y: FloatArray) -> FloatMap:
    """Bilinear probability at points of any shape; 0 outside the map."""
    # OpenCV limits the sides of an image to 2^15, so the many points of many boxes become a nearly square one.
    columns = x.shape[-1] * x.shape[-2]
    map_x, map_y = (coordinate.reshape(-1, columns).astype(np.float32) for coordinate in (x, y))
    values = cv2.remap(probability, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(values, np.float32).reshape(x.shape)


def _crossing(profile: FloatMap, position: FloatArray, level: float) -> FloatArray:
    """Where profiles (K, T), read from the inside out at `position` (K, T), first fall below `level`."""
    rows = np.arange(len(profile))
    below = profile < level
    first = below.argmax(axis=1)
    found = below.any(axis=1) & (first > 0)
    before = np.maximum(first - 1, 0)
    high, low = profile[rows, before], profile[rows, first]
    fraction = np.where(found, (high - level) / np.where(found, high - low, 1.0), 0.0)
    crossing = position[rows, before] + fraction * (position[rows, first] - position[rows, before])
    return np.where(found, crossing, position[:, SEARCH_INSIDE_PX] + HALF_PIXEL)


def _largest(pieces: list[Polygon]) -> Polygon | None:
    return max(pieces, key=polygon_area, default=None)


def _pixel_box(centres: Polygon) -> Polygon:
    x, y, width, height, angle = min_area_rectangle(centres + HALF_PIXEL)
    return rectangle_corners(x, y, width + 2 * HALF_PIXEL, height + 2 * HALF_PIXEL, angle)


def _to_original(
    polygons: list[Polygon], scores: FloatArray, inverse: FloatArray, original_size: tuple[int, int]
) -> Detections:
    if not polygons:
        return Detections([], np.zeros(0))
    starts = np.cumsum([0, *(len(polygon) for polygon in polygons[:-1])])
    points = transform_points(inverse, np.concatenate(polygons))
    height, width = original_size
    within = ((points >= 0) & (points <= (width, height))).all(axis=1)
    whole = np.logical_and.reduceat(within, starts)
    mapped = [
        polygon if complete else _clip(polygon, height, width)
        for polygon, complete in zip(np.split(points, starts[1:]), whole, strict=True)
    ]
    kept = [index for index, polygon in enumerate(mapped) if polygon is not None]
    return Detections([polygon for polygon in mapped if polygon is not None], scores[kept])


def _clip(polygon: Polygon, height: int, width: int) -> Polygon | None:
    """The part inside the image, started near where the polygon starts: the first corner stays the top left one."""
    clipped = clip_to_rectangle(polygon, height, width)
    if clipped is None:
        return None
    start = np.square(clipped - np.clip(polygon[0], 0, (width, height))).sum(axis=1).argmin()
    return np.roll(clipped, -int(start), axis=0)


def _check_range(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; it must lie between 0 and 1.")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}.")
