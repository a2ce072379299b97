"""Time the two detection metrics on fixed random receipts: `python -m benchmarks.matching [--images N]`.

Prints one JSON line: seconds, the scores, a hash of every count, and a hash of the polygons that were scored. No
decoder, model or file is touched, so a run takes about a second: the small benchmark that controls of the judge use.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time

import numpy as np

from ocr.metrics.cleval import cleval_counts
from ocr.metrics.icdar import icdar_counts
from ocr.utils.polygons import Polygon

BOXES = 54
"""Text boxes of one receipt, the mean of the shared ones."""


def receipts(images: int, seed: int) -> list[tuple[list[Polygon], list[Polygon]]]:
    """Return (truth, found) per image: boxes in lines, each found one a little off, one in ten missing."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(images):
        left, width = generator.uniform(0, 200, BOXES), generator.uniform(40, 300, BOXES)
        top, height = np.sort(generator.uniform(0, 1500, BOXES)), generator.uniform(14, 30, BOXES)
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        truth = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
        found = truth + generator.normal(0, 1.5, truth.shape)
        made.append((list(truth), [box for box in found if generator.random() > 0.1]))
    return made


def main() -> None:
    """Score every image and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    scenes = receipts(given.images, given.seed)
    begun = time.perf_counter()
    icdar = [icdar_counts(truth, found) for truth, found in scenes]
    cleval = [cleval_counts(truth, found) for truth, found in scenes]
    seconds = time.perf_counter() - begun
    data = hashlib.sha256(
        b"".join(np.ascontiguousarray(box).tobytes() for scene in scenes for part in scene for box in part)
    )
    line = {
        "seconds": seconds,
        "icdar_hmean": sum(icdar[1:], icdar[0]).hmean,
        "cleval_hmean": sum(cleval[1:], cleval[0]).hmean,
        "outputs": hashlib.sha256(repr((icdar, cleval)).encode()).hexdigest(),
        "dataset": data.hexdigest(),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
