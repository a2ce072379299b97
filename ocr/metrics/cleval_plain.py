"""CLEval box by box: the plain implementation, for reading, for the naive preset, and to check the fast one."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from ocr.metrics.cleval_rules import (
    AREA_SHARE,
    COMPETITION_FP_CAP,
    EPSILON,
    JOINT_AREA_SHARE,
    MAX_ASPECT,
    MAX_WORD_CHARACTERS,
    ClevalCounts,
    check_cap,
    hull_order,
)
from ocr.metrics.matching import ignore_flags, repaired
from ocr.utils.polygons import Polygon, polygon_area


def cleval_counts_plain(
    truth: Sequence[Polygon],
    detections: Sequence[Polygon],
    ignore: Sequence[bool] | None = None,
    fp_cap: int = COMPETITION_FP_CAP,
) -> ClevalCounts:
    """Counts of one image, box by box, for reading and for checking; same arguments and result as `cleval_counts`."""
    check_cap(fp_cap)
    ignored = ignore_flags(ignore, len(truth)).tolist()
    words = [_PlainBox(polygon) for polygon in truth]
    found = [_PlainBox(polygon) for polygon in detections]
    centres = [word.centres() for word in words]
    inside = [[[box.contains(x, y) for x, y in points] for box in found] for points in centres]
    shares = _plain_shares(words, found, ignored)
    kept = [d for d in range(len(found)) if not _plain_in_ignored(d, shares, inside, ignored)]
    matches = _plain_matches(shares, inside, [g for g in range(len(words)) if not ignored[g]], kept)
    return _plain_tally(matches, inside, words, found, ignored, kept, fp_cap)


class _PlainBox:
    """One polygon with what CLEval asks of it."""

    def __init__(self, polygon: Polygon) -> None:
        points = np.asarray(polygon, dtype=np.float64).tolist()
        self.points = points + points[-1:] * (4 - len(points))
        self.whole = [(float(int(x)), float(int(y))) for x, y in self.points]
        region = shapely.Polygon(self.whole)
        self.region = region if region.is_valid else repaired(region)
        self.area = polygon_area(self.whole)
        self.aspect = self._aspect()

    def _aspect(self) -> np.float32:
        corners = np.array(self.points, dtype=np.float32)
        order = hull_order(corners)
        sides = [_plain_sides(corners[order], edge) for edge in range(len(order))]
        if not sides:
            return np.float32(0.0)
        along, across = min(sides, key=lambda pair: pair[0] * pair[1])
        return min(MAX_ASPECT, across / (along + EPSILON))

    def characters(self) -> int:
        """Characters of this word."""
        longest = max(self.aspect, np.float32(1.0) / (self.aspect + EPSILON))
        return min(round(np.float32(0.5) + longest), MAX_WORD_CHARACTERS)

    def false_characters(self, cap: int) -> int:
        """Characters that this detection invents when it matches nothing."""
        return min(round(np.float32(0.5) + np.float32(1.0) / (EPSILON + self.aspect)), cap)

    def centres(self) -> list[tuple[float, float]]:
        """Centres of this word's characters, from the first to the last."""
        half, steps = len(self.points) // 2, self.characters()
        top = _plain_cuts(self.points[:half], steps)
        # The bottom edge has the extra point of an odd polygon, which no section uses but its end.
        bottom = _plain_cuts(self.points[half:][::-1][:half], steps)
        bottom[-1] = self.points[half]
        return [_plain_centre(top, bottom, c * (half - 1), (c + 1) * (half - 1)) for c in range(steps)]

    def contains(self, x: float, y: float) -> bool:
        """Crossing rule, half open: left and top borders are inside."""
        inside = False
        for (x1, y1), (x0, y0) in zip(self.whole, self.whole[-1:] + self.whole[:-1], strict=True):
            if (y1 <= y) != (y0 <= y) and x < (x0 - x1) * (y - y1) / (y0 - y1) + x1:
                inside = not inside
        return inside


def _plain_sides(hull: NDArray[np.float32], edge: int) -> tuple[np.float32, np.float32]:
    """Sides of the rectangle around the hull whose first side lies along this edge."""
    dx, dy = hull[(edge + 1) % len(hull)] - hull[edge]
    length = np.sqrt(dx * dx + dy * dy)
    ux, uy = dx / length, dy / length
    along = [ux * x + uy * y for x, y in hull]
    across = [-uy * x + ux * y for x, y in hull]
    return max(along) - min(along), max(across) - min(across)


def _plain_cuts(edge: list[list[float]], steps: int) -> list[list[float]]:
    """The points of an edge with each section cut into steps, inner cuts at whole pixels."""
    cuts = []
    for (x0, y0), (x1, y1) in pairwise(edge):
        cuts.append([x0, y0])
        dx, dy = (x1 - x0) / steps, (y1 - y0) / steps
        cuts += [[float(int(x0 + dx * k)), float(int(y0 + dy * k))] for k in range(1, steps)]
    return [*cuts, edge[-1]]


def _plain_centre(top: list[list[float]], bottom: list[list[float]], start: int, end: int) -> tuple[float, float]:
    corners = (top[start], top[end], bottom[start], bottom[end])
    return sum(x for x, _ in corners) / 4.0, sum(y for _, y in corners) / 4.0


def _plain_shares(words: list[_PlainBox], found: list[_PlainBox], ignored: list[bool]) -> list[list[np.float32]]:
    shares = []
    for word, skip in zip(words, ignored, strict=True):
        region = word.region
        if skip:
            for other, other_skip in zip(words, ignored, strict=True):
                region = region if other_skip else region.difference(other.region)
        areas = [region.intersection(box.region).area for box in found]
        shares.append([np.float32(a / box.area if box.area else 0.0) for a, box in zip(areas, found, strict=True)])
    return shares


def _plain_in_ignored(
    box: int, shares: list[list[np.float32]], inside: list[list[list[bool]]], ignored: list[bool]
) -> bool:
    """Whether a detection lies in one ignored truth, or in several whose characters it holds."""
    together = np.float32(0.0)
    for word in (g for g, skip in enumerate(ignored) if skip):
        if shares[word][box] >= AREA_SHARE:
            return True
        if any(inside[word][box]):
            together += shares[word][box]
    return bool(together >= AREA_SHARE)


def _plain_matches(
    shares: list[list[np.float32]], inside: list[list[list[bool]]], valid: list[int], kept: list[int]
) -> set[tuple[int, int]]:
    """Matched pairs (truth, detection)."""
    holds = [[any(flags) for flags in row] for row in inside]
    pair = [
        [hold and share >= AREA_SHARE for hold, share in zip(*rows, strict=True)]
        for rows in zip(holds, shares, strict=True)
    ]
    matches = set()
    for g in valid:
        several = [d for d in kept if pair[g][d]]
        for d in several:
            if len(several) >= 2 or (sum(pair[g]) == 1 and sum(row[d] for row in pair) == 1):
                matches.add((g, d))
    for d in kept:
        held = [g for g in valid if holds[g][d]]
        if len(held) >= 2 and sum(float(shares[g][d]) for g in held) >= JOINT_AREA_SHARE:
            matches.update((g, d) for g in held)
    return matches


def _plain_tally(
    matches: set[tuple[int, int]],
    inside: list[list[list[bool]]],
    words: list[_PlainBox],
    found: list[_PlainBox],
    ignored: list[bool],
    kept: list[int],
    fp_cap: int,
) -> ClevalCounts:
    hits = [(g, c) for g, d in matches for c, hit in enumerate(inside[g][d]) if hit]
    once = len(set(hits))
    splits = [sum(g == word for g, _ in matches) for word in range(len(words))]
    merges = [sum(d == box for _, d in matches) for box in range(len(found))]
    invented = sum(found[d].false_characters(fp_cap) for d in kept if not merges[d])
    return ClevalCounts(
        num_char_gt=sum(word.characters() for word, skip in zip(words, ignored, strict=True) if not skip),
        num_char_det=len(hits) + invented,
        gran_score_recall=sum(max(n - 1, 0) for n in splits),
        num_char_tp_recall=once,
        gran_score_precision=sum(max(n - 1, 0) for n in merges),
        num_char_tp_precision=once,
        num_char_fp=invented,
        num_splitted=sum(n > 1 for n in splits),
        num_merged=sum(n > 1 for n in merges),
        num_char_overlapped=len(hits) - once,
    )
