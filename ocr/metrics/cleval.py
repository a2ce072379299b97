"""CLEval of one image, all boxes at once, and the metric with its settings; the rules are in `cleval_rules`."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from ocr.metrics.characters import character_centres, false_characters, word_lengths
from ocr.metrics.cleval_plain import cleval_counts_plain
from ocr.metrics.cleval_rules import AREA_SHARE, COMPETITION_FP_CAP, JOINT_AREA_SHARE, ClevalCounts, check_cap
from ocr.metrics.matching import (
    Bools,
    Indices,
    PolygonBatch,
    ignore_flags,
    intersection_matrix,
    pack_polygons,
    points_inside,
    regions,
)
from ocr.utils.polygons import Polygon

__all__ = ["Cleval", "ClevalCounts", "cleval_counts", "cleval_counts_plain"]


class Cleval:
    """CLEval with its settings, to be named in a configuration.

    Args:
        fp_cap: most characters that one false positive costs: 100 as in the competition, 10 as upstream.
        implementation: `vectorised`, or `plain` (the same integers, box by box).

    Raises:
        ValueError: a setting is not allowed.
    """

    def __init__(
        self, fp_cap: int = COMPETITION_FP_CAP, implementation: Literal["vectorised", "plain"] = "vectorised"
    ) -> None:
        check_cap(fp_cap)
        counters = {"vectorised": cleval_counts, "plain": cleval_counts_plain}
        if implementation not in counters:
            raise ValueError(f"The CLEval implementation is {implementation!r}; choose one of {', '.join(counters)}.")
        self.fp_cap = fp_cap
        self.implementation = implementation
        self._count = counters[implementation]

    def __call__(
        self, truth: Sequence[Polygon], detections: Sequence[Polygon], ignore: Sequence[bool] | None = None
    ) -> ClevalCounts:
        """Counts of one image; arguments as in `cleval_counts`."""
        return self._count(truth, detections, ignore, self.fp_cap)


def cleval_counts(
    truth: Sequence[Polygon],
    detections: Sequence[Polygon],
    ignore: Sequence[bool] | None = None,
    fp_cap: int = COMPETITION_FP_CAP,
) -> ClevalCounts:
    """Counts of one image, all boxes at once.

    Args:
        truth: polygons (N, 2) in pixels, top edge first, then the bottom edge backwards; fewer than 4 points are
            filled up with the last one.
        detections: polygons (N, 2) in pixels.
        ignore: one flag per truth; none means that all count. Detections that lie in ignored truths are dropped.
        fp_cap: most characters that one false positive costs.

    Raises:
        ValueError: a polygon is malformed, the number of flags differs from the truths, or `fp_cap` is negative.
    """
    check_cap(fp_cap)
    truths, found = pack_polygons(truth), pack_polygons(detections)
    ignored = ignore_flags(ignore, len(truths))
    lengths = word_lengths(truths)
    whole = found.truncated()
    owners, centres = character_centres(truths, lengths)
    characters, boxes = points_inside(centres, whole)
    inside = np.zeros((len(truths), len(found)), dtype=np.intp)
    np.add.at(inside, (owners[characters], boxes), 1)
    shares = _area_shares(truths.truncated(), whole, ignored)
    dropped = _in_ignored(shares[ignored], inside[ignored])
    matches = _matches(shares >= AREA_SHARE, shares, inside, ~ignored, ~dropped)
    pairs = matches[owners[characters], boxes]
    found_once = len(np.unique(characters[pairs]))
    unmatched = np.flatnonzero(~matches.any(axis=0) & ~dropped)
    false_positives = int(false_characters(found, unmatched, fp_cap).sum())
    per_truth, per_detection = matches.sum(axis=1), matches.sum(axis=0)
    return ClevalCounts(
        num_char_gt=int(lengths[~ignored].sum()),
        num_char_det=int(pairs.sum()) + false_positives,
        gran_score_recall=int(np.maximum(per_truth - 1, 0).sum()),
        num_char_tp_recall=found_once,
        gran_score_precision=int(np.maximum(per_detection - 1, 0).sum()),
        num_char_tp_precision=found_once,
        num_char_fp=false_positives,
        num_splitted=int((per_truth > 1).sum()),
        num_merged=int((per_detection > 1).sum()),
        num_char_overlapped=int(pairs.sum()) - found_once,
    )


def _area_shares(truths: PolygonBatch, found: PolygonBatch, ignored: Bools) -> NDArray[np.float32]:
    """Share of each detection inside each truth, (G, D) float32; an ignored truth loses what others cover."""
    common = intersection_matrix(truths, found)
    rows = np.flatnonzero(ignored & common.any(axis=1))
    if len(rows):
        kept = shapely.union_all(regions(truths, np.flatnonzero(~ignored)))
        left = shapely.difference(regions(truths, rows), kept)
        some, columns = np.nonzero(common[rows])
        areas = shapely.area(shapely.intersection(left[some], regions(found, columns)))
        common[rows[some], columns] = areas
    shares = np.zeros(common.shape)
    np.divide(common, found.areas, out=shares, where=found.areas > 0.0)
    return shares.astype(np.float32)


def _in_ignored(shares: NDArray[np.float32], inside: Indices) -> Bools:
    """Detections (D,) that lie in one ignored truth, or in several whose characters they hold."""
    if not len(shares):
        return np.zeros(shares.shape[1], dtype=bool)
    together = np.where(inside > 0, shares, np.float32(0.0)).sum(axis=0)
    return (shares >= AREA_SHARE).any(axis=0) | (together >= AREA_SHARE)


def _matches(belongs: Bools, shares: NDArray[np.float32], inside: Indices, valid: Bools, kept: Bools) -> Bools:
    """Matched pairs (G, D): one to one, one truth to many detections, many truths to one detection."""
    holds = inside > 0
    pair = belongs & holds
    alone = (pair.sum(axis=1) == 1)[:, None] & (pair.sum(axis=0) == 1)
    split = pair & (pair[:, kept].sum(axis=1) >= 2)[:, None]
    held = holds & valid[:, None]
    # Not in float32: the reference adds float32 shares in double precision here.
    joint = np.where(held, shares, np.float32(0.0)).sum(axis=0, dtype=np.float64)
    merged = held & ((held.sum(axis=0) >= 2) & (joint >= JOINT_AREA_SHARE))
    return ((pair & alone) | split | merged) & valid[:, None] & kept
