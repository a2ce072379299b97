"""ICDAR 2015 text localisation: one to one at IoU > 0.5, counted in integers that add up over images.

Rules of the official evaluation (Karatzas et al., ICDAR 2015 Robust Reading, task 4.1).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from ocr.metrics.matching import PolygonBatch, harmonic_mean, ignore_flags, intersection_matrix, pack_polygons, regions
from ocr.utils.polygons import Polygon

IOU_LIMIT = 0.5
IGNORED_SHARE_LIMIT = 0.5


@dataclass(frozen=True)
class IcdarCounts:
    """Counts of one image or of many: they add up exactly, in any order.

    Attributes:
        tp: matched pairs.
        n_gt: truths that count (not ignored).
        n_det: detections that count (not dropped for lying in an ignored region).
    """

    tp: int = 0
    n_gt: int = 0
    n_det: int = 0

    def __add__(self, other: "IcdarCounts") -> "IcdarCounts":
        return IcdarCounts(self.tp + other.tp, self.n_gt + other.n_gt, self.n_det + other.n_det)

    @property
    def precision(self) -> float:
        """Matched share of the detections, 0..1; 0 without detections."""
        return self.tp / self.n_det if self.n_det else 0.0

    @property
    def recall(self) -> float:
        """Matched share of the truths, 0..1; 0 without truths."""
        return self.tp / self.n_gt if self.n_gt else 0.0

    @property
    def hmean(self) -> float:
        """Harmonic mean of precision and recall, 0..1."""
        return harmonic_mean(self.precision, self.recall)

    def as_dict(self) -> dict[str, float]:
        """Counts and the three scores by name."""
        return {**asdict(self), "precision": self.precision, "recall": self.recall, "hmean": self.hmean}


def icdar_counts(
    truth: Sequence[Polygon], detections: Sequence[Polygon], ignore: Sequence[bool] | None = None
) -> IcdarCounts:
    """Match the detections of one image to its truths.

    Truths in their order take the first free detection, in its order, with IoU > 0.5. A detection with more than half
    of its area inside one ignored truth is dropped first. Coordinates are used as they are, not rounded.

    Args:
        truth: polygons (N, 2) in pixels.
        detections: polygons (N, 2) in pixels.
        ignore: one flag per truth; none means that all count.

    Raises:
        ValueError: a polygon is malformed, or there are not as many flags as truths.
    """
    truths, found = pack_polygons(truth), pack_polygons(detections)
    ignored = ignore_flags(ignore, len(truths))
    common = intersection_matrix(truths, found)
    truth_areas, found_areas = _covered_areas(truths), _covered_areas(found)
    dropped = (common[ignored] > IGNORED_SHARE_LIMIT * found_areas).any(axis=0)
    union = truth_areas[:, None] + found_areas - common
    overlaps = (common > IOU_LIMIT * union) & ~ignored[:, None] & ~dropped
    return IcdarCounts(_greedy_pairs(overlaps), int((~ignored).sum()), int((~dropped).sum()))


def _covered_areas(batch: PolygonBatch) -> NDArray[np.float64]:
    """Areas (K,), by the even-odd rule where a polygon may cross itself: IoU stays within 0..1."""
    areas = batch.areas.copy()
    others = np.flatnonzero(~batch.convex)
    if len(others):
        areas[others] = shapely.area(regions(batch, others))
    return areas


def _greedy_pairs(overlaps: NDArray[np.bool_]) -> int:
    taken: set[int] = set()
    matched: set[int] = set()
    for row, column in np.argwhere(overlaps).tolist():
        if row not in matched and column not in taken:
            matched.add(row)
            taken.add(column)
    return len(matched)
