"""Time maps to boxes: `python -m benchmarks.postprocess --arm=reference|fast [--data PATH] [--images N]`.

The maps are the shrink maps of the truth, blurred and with noise, as a trained network gives them. `reference` goes
candidate by candidate through shapely and pyclipper, `fast` is what evaluation uses. `minimum_iou` is the smallest
overlap of any box with its best counterpart of the other arm, in either direction, computed untimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.harness import arm_parser, labelled_images, median_seconds, positive, print_line, truth_hash
from ocr.datasets.targets import TargetBuilder
from ocr.datasets.transforms import letterbox_matrix
from ocr.metrics.matching import intersection_matrix, pack_polygons
from ocr.models.postprocess import DBPostProcessor, Detections, PostProcessor, ReferencePostProcessor
from ocr.oracle import OracleImage
from ocr.utils.polygons import Polygon, polygon_area, transform_points

ARMS = {"reference": ReferencePostProcessor, "fast": DBPostProcessor}
SHRINK_RATIO = 0.7
BLUR_SD_PX = 0.8
NOISE_SD = 0.03


class NetworkMap(NamedTuple):
    """Map (H, W) float32 in 0..1, matrix (3, 3) from original to network pixels, original (height, width)."""

    probability: np.ndarray
    matrix: np.ndarray
    size: tuple[int, int]


def network_like_map(image: OracleImage, side: int, generator: np.random.Generator) -> NetworkMap:
    """Return a map of the image's truth with soft edges and noise."""
    matrix = letterbox_matrix(*image.size, (side, side))
    polygons = [transform_points(matrix, polygon) for polygon in image.polygons]
    shrink = TargetBuilder(SHRINK_RATIO)(polygons, image.ignore, (side, side)).shrink.astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(shrink, (0, 0), BLUR_SD_PX)) + generator.normal(0, NOISE_SD, shrink.shape)
    return NetworkMap(np.clip(soft, 0, 1).astype(np.float32), matrix, image.size)


def minimum_iou(one: Sequence[Detections], other: Sequence[Detections]) -> float:
    """Smallest IoU of any polygon with its best counterpart; 0 where one arm finds something and the other nothing."""
    return min((_worst_match(a.polygons, b.polygons) for a, b in zip(one, other, strict=True)), default=1.0)


def _worst_match(one: list[Polygon], other: list[Polygon]) -> float:
    if not one or not other:
        return float(len(one) == len(other))
    common = intersection_matrix(pack_polygons(one), pack_polygons(other))
    areas = [np.array([polygon_area(polygon) for polygon in polygons]) for polygons in (one, other)]
    overlap = common / (areas[0][:, None] + areas[1] - common)
    return float(min(overlap.max(axis=0).min(), overlap.max(axis=1).min()))


def detect(processor: PostProcessor, maps: Sequence[NetworkMap]) -> list[Detections]:
    """Return the detections of every map."""
    return [processor(*found) for found in maps]


def main(arguments: Sequence[str] | None = None) -> None:
    """Process the maps by one arm, compare the boxes with the other's, print the line."""
    parser = arm_parser(__doc__, tuple(ARMS), images=40)
    parser.add_argument("--size", type=positive, default=640, help="side of the square maps, in pixels")
    given = parser.parse_args(arguments)
    images = labelled_images(given.data, given.images)
    generator = np.random.default_rng(0)
    maps = [network_like_map(image, given.size, generator) for image in images]
    seconds, found = median_seconds(lambda: detect(ARMS[given.arm](SHRINK_RATIO), maps), given.repeats)
    (other,) = (processor for arm, processor in ARMS.items() if arm != given.arm)
    print_line(
        given.arm,
        seconds,
        f"post-processing of {len(maps)} maps, side {given.size} pixels",
        truth_hash(images),
        minimum_iou=round(minimum_iou(found, detect(other(SHRINK_RATIO), maps)), 9),
        boxes=sum(len(item.polygons) for item in found),
    )


if __name__ == "__main__":
    main()
