"""CLEval for detection: characters found, missed and invented, with penalties for split and merged words.

Baek et al., "CLEval: Character-Level Evaluation for Text Detection and Recognition Tasks" (arXiv 2006.06244), in the
form that the receipts competition used: transcriptions are unused, a word's number of characters follows from the
aspect ratio of its smallest rectangle, up to 100 characters, and a false positive costs up to `fp_cap` characters.
Areas and the inside test use whole pixels (coordinates cut towards zero), characters lie on the exact polygon.

Two implementations with equal integers: `cleval_counts` works on all boxes of an image at once, `cleval_counts_plain`
box by box. Faithful to the reference in what looks odd:
- the aspect ratio is not symmetric: which side of a rectangle is called the height depends on the first corner;
- it is computed in float32, so that a ratio near a whole number rounds as there;
- a polygon without area counts 100 characters;
- an ignored truth that shares a detection takes part in deciding whether a match is one to one.
"""

from dataclasses import asdict, astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from ocr.metrics.matching import harmonic_mean

# A detection belongs to a truth when this share of its area lies inside.
AREA_SHARE = np.float32(0.3)
# The same where the reference compares a sum in double precision.
JOINT_AREA_SHARE = 0.3
MAX_ASPECT = np.float32(100.0)
MAX_WORD_CHARACTERS = 100
COMPETITION_FP_CAP = 100
EPSILON = np.finfo(np.float32).eps


@dataclass(frozen=True)
class ClevalCounts:
    """Counts of one image or of many: they add up exactly, in any order.

    Attributes:
        num_char_gt: characters of the truths that count.
        num_char_det: characters inside matched detections, counted once per pair, plus `num_char_fp`.
        gran_score_recall: penalty for splitting: detections beyond the first, summed over truths.
        num_char_tp_recall: characters found, each once.
        gran_score_precision: penalty for merging: truths beyond the first, summed over detections.
        num_char_tp_precision: the same as `num_char_tp_recall`.
        num_char_fp: characters of the detections that match nothing.
        num_splitted: truths with two detections or more.
        num_merged: detections with two truths or more.
        num_char_overlapped: characters found again by another detection.
    """

    num_char_gt: int = 0
    num_char_det: int = 0
    gran_score_recall: int = 0
    num_char_tp_recall: int = 0
    gran_score_precision: int = 0
    num_char_tp_precision: int = 0
    num_char_fp: int = 0
    num_splitted: int = 0
    num_merged: int = 0
    num_char_overlapped: int = 0

    def __add__(self, other: "ClevalCounts") -> "ClevalCounts":
        return ClevalCounts(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def precision(self) -> float:
        """Characters found less the merge penalty, as a share of those detected, 0..1; 0 without detections."""
        return _share(self.num_char_tp_precision - self.gran_score_precision, self.num_char_det)

    @property
    def recall(self) -> float:
        """Characters found less the split penalty, as a share of those there, 0..1; 0 without truths."""
        return _share(self.num_char_tp_recall - self.gran_score_recall, self.num_char_gt)

    @property
    def hmean(self) -> float:
        """Harmonic mean of precision and recall, 0..1."""
        return harmonic_mean(self.precision, self.recall)

    def as_dict(self) -> dict[str, float]:
        """Counts and the three scores by name."""
        return {**asdict(self), "precision": self.precision, "recall": self.recall, "hmean": self.hmean}


def _share(part: int, whole: int) -> float:
    return max(0, part) / whole if whole else 0.0


def check_cap(fp_cap: int) -> None:
    """Refuse a negative cap of false-positive characters.

    Raises:
        ValueError: it is negative.
    """
    if fp_cap < 0:
        raise ValueError(f"fp_cap is {fp_cap}; it must be 0 or more: 100 as in the competition, 10 as upstream.")


def hull_order(points: NDArray[np.float32]) -> list[int]:
    """Indices of the corners of the convex hull as Qhull walks it; empty when there is no area."""
    try:
        return ConvexHull(points).vertices.tolist()
    except QhullError:
        return []
