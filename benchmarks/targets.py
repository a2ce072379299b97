"""Time the target maps of a split: `python -m benchmarks.targets --arm=reference|fast [--data PATH] [--images N]`.

`reference` is the published route (a polygon library, and a distance per edge by the cosine rule), `fast` the one that
training uses. `agreement` is the share of pixels that shrink map and both masks have in common, computed untimed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.harness import arm_parser, labelled_images, median_seconds, positive, print_line, truth_hash
from ocr.datasets.targets import ReferenceTargetBuilder, TargetBuilder, TargetMaps
from ocr.datasets.transforms import letterbox_matrix
from ocr.oracle import OracleImage
from ocr.utils.polygons import Polygon, transform_points

ARMS = {"reference": ReferenceTargetBuilder, "fast": TargetBuilder}


def build_maps(
    builder: TargetBuilder, images: Sequence[OracleImage], polygons: Sequence[list[Polygon]], side: int
) -> list[TargetMaps]:
    """Build the maps of every image, `side` x `side` pixels, from its polygons in network pixels."""
    return [builder(found, image.ignore, (side, side)) for image, found in zip(images, polygons, strict=True)]


def agreement(one: Sequence[TargetMaps], other: Sequence[TargetMaps]) -> tuple[float, float]:
    """Share of pixels equal in shrink map and both masks, and the mean difference of thresholds (0..1)."""
    equal, apart = [], []
    for a, b in zip(one, other, strict=True):
        names = ("shrink", "shrink_mask", "threshold_mask")
        equal += [float((getattr(a, name) == getattr(b, name)).mean()) for name in names]
        apart.append(float(np.abs(a.threshold.astype(np.float32) - b.threshold.astype(np.float32)).mean()))
    return float(np.mean(equal)), float(np.mean(apart))


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the maps by one arm, compare them with the other's, print the line."""
    parser = arm_parser(__doc__, tuple(ARMS), images=40)
    parser.add_argument("--size", type=positive, default=640, help="side of the square maps, in pixels")
    given = parser.parse_args(arguments)
    images = labelled_images(given.data, given.images)
    matrices = [letterbox_matrix(*image.size, (given.size, given.size)) for image in images]
    polygons = [
        [transform_points(matrix, polygon) for polygon in image.polygons]
        for matrix, image in zip(matrices, images, strict=True)
    ]
    seconds, maps = median_seconds(lambda: build_maps(ARMS[given.arm](), images, polygons, given.size), given.repeats)
    (other,) = (builder for arm, builder in ARMS.items() if arm != given.arm)
    equal, apart = agreement(maps, build_maps(other(), images, polygons, given.size))
    print_line(
        given.arm,
        seconds,
        f"target maps of {len(images)} images with {sum(map(len, polygons))} polygons, side {given.size} pixels",
        truth_hash(images),
        agreement=equal,
        threshold_difference=apart,
    )


if __name__ == "__main__":
    main()
