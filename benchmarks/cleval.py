"""Time CLEval on disturbed truths: `python -m benchmarks.cleval --arm=reference|fast [--data PATH] [--images N]`.

Detections are made from the truth of the split: every corner moved, some boxes missing, some joined with the next.
`reference` counts box by box, `fast` all boxes of an image at once; `outputs` is the hash of every integer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from benchmarks.harness import arm_parser, labelled_images, median_seconds, print_line, truth_hash
from ocr.metrics.cleval import ClevalCounts, cleval_counts
from ocr.metrics.cleval_plain import cleval_counts_plain
from ocr.utils.polygons import Polygon

ARMS = {"reference": cleval_counts_plain, "fast": cleval_counts}
JITTER_SD_PX = 2.0
DROPPED_SHARE = 0.1
MERGED_SHARE = 0.08


def disturbed(truth: Sequence[Polygon], generator: np.random.Generator) -> list[Polygon]:
    """Return detections as a detector with faults gives them: moved, a tenth missing, some joined with the next."""
    found: list[Polygon] = []
    joins = False
    for polygon in truth:
        if generator.random() < DROPPED_SHARE:
            continue
        moved = polygon + generator.normal(0, JITTER_SD_PX, polygon.shape)
        if joins:
            found[-1] = _around(found[-1], moved)
        else:
            found.append(moved)
        joins = not joins and generator.random() < MERGED_SHARE
    return found


def _around(one: Polygon, other: Polygon) -> Polygon:
    points = np.concatenate([one, other])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Count by one arm and print the line."""
    given = arm_parser(__doc__, tuple(ARMS), images=40).parse_args(arguments)
    images = labelled_images(given.data, given.images)
    generator = np.random.default_rng(0)
    scenes = [(image.polygons, disturbed(image.polygons, generator), image.ignore) for image in images]
    count = ARMS[given.arm]
    seconds, counts = median_seconds(lambda: [count(*scene) for scene in scenes], given.repeats)
    print_line(
        given.arm,
        seconds,
        f"CLEval of {len(images)} images, {sum(len(scene[0]) for scene in scenes)} truths against "
        f"{sum(len(scene[1]) for scene in scenes)} detections",
        truth_hash(images),
        hashlib.sha256(repr(counts).encode()).hexdigest(),
        cleval_hmean=sum(counts, ClevalCounts()).hmean,
    )


if __name__ == "__main__":
    main()
