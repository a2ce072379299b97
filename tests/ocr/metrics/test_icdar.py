"""ICDAR 2015 IoU matching: cases worked out by hand, a second implementation, and sums over shards."""

import json
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from ocr.metrics.icdar import IcdarCounts, icdar_counts
from ocr.utils.polygons import Polygon
from tests.ocr.metrics.shapes import box, boxes, offsets, patient, scenes

WORD = box(0, 0, 100, 20)


@pytest.mark.parametrize(
    ("truth", "detections", "ignore", "counts"),
    [
        ([], [], None, (0, 0, 0)),
        ([WORD], [], None, (0, 1, 0)),  # nothing found still counts the truth
        ([], [WORD], None, (0, 0, 1)),  # nothing there still counts the detection
        ([WORD], [WORD], None, (1, 1, 1)),
        ([WORD], [box(0, 0, 50, 20)], None, (0, 1, 1)),  # IoU exactly 0.5 is not enough
        ([WORD], [box(0, 0, 51, 20)], None, (1, 1, 1)),
        ([WORD], [WORD, WORD], None, (1, 1, 2)),  # one to one
        ([WORD, WORD], [WORD], None, (1, 2, 1)),
        ([WORD], [WORD[::-1]], None, (1, 1, 1)),  # winding does not matter
        ([WORD], [np.roll(WORD, 1, axis=0)], None, (1, 1, 1)),  # nor the first corner
        # Truths choose in their order: the first takes detection 0, which leaves none for the second.
        ([WORD, box(0, 0, 80, 20)], [box(0, 0, 85, 20), box(0, 0, 175, 20)], None, (1, 2, 2)),
        ([WORD, box(0, 0, 80, 20)], [box(0, 0, 175, 20), box(0, 0, 85, 20)], None, (2, 2, 2)),
        ([WORD], [WORD], [True], (0, 0, 0)),  # ignored: neither counts
        ([WORD], [box(0, 0, 10, 20), box(200, 0, 210, 20)], [True], (0, 0, 1)),  # dropped inside, kept outside
        ([WORD], [box(50, 0, 150, 20)], [True], (0, 0, 1)),  # exactly half inside is kept
        ([WORD], [box(49, 0, 149, 20)], [True], (0, 0, 0)),
        # A detection that lies in an ignored region is dropped even where it would match.
        ([WORD, box(0, 0, 100, 19)], [WORD], [False, True], (0, 1, 0)),
        ([box(5, 5, 5, 5)], [box(5, 5, 5, 5)], None, (0, 1, 1)),  # a point overlaps nothing, not even itself
        ([box(0, 5, 9, 5)], [box(0, 0, 9, 9)], None, (0, 1, 1)),  # a line
        ([box(0, 0, 20, 20)], [box(0, 0, 20, 20)[[0, 2, 1, 3]]], None, (0, 1, 1)),  # a bow tie covers exactly half
        ([box(0, 0, 20, 20)[[0, 2, 1, 3]]], [box(0, 0, 20, 20)[[0, 2, 1, 3]]], None, (1, 1, 1)),  # itself, wholly
        ([WORD + 0.25], [WORD], None, (1, 1, 1)),  # fractions of a pixel are kept
        ([WORD[:3]], [WORD[:3]], None, (1, 1, 1)),  # a triangle
    ],
)
def test_counts_worked_out_by_hand(
    truth: list[Polygon], detections: list[Polygon], ignore: list[bool] | None, counts: tuple[int, int, int]
) -> None:
    assert icdar_counts(truth, detections, ignore) == IcdarCounts(*counts)


def test_scores_follow_from_the_counts_and_are_0_where_nothing_is_there() -> None:
    assert IcdarCounts(3, 4, 6).as_dict() == {
        "tp": 3, "n_gt": 4, "n_det": 6, "precision": 0.5, "recall": 0.75, "hmean": pytest.approx(0.6)
    }  # fmt: skip
    assert IcdarCounts().hmean == IcdarCounts(0, 5, 0).hmean == IcdarCounts(0, 0, 5).hmean == 0.0


def naive_counts(truth: list[Polygon], detections: list[Polygon], ignore: list[bool]) -> IcdarCounts:
    """The official loops, with shapely."""
    words, found = [shapely.Polygon(p) for p in truth], [shapely.Polygon(p) for p in detections]
    kept = [
        d
        for d, q in enumerate(found)
        if not any(i and p.intersection(q).area > q.area / 2 for p, i in zip(words, ignore, strict=True))
    ]
    free = list(kept)
    tp = 0
    for p in (p for p, i in zip(words, ignore, strict=True) if not i):
        for d in free:
            if p.intersection(found[d]).area / p.union(found[d]).area > 0.5:
                free.remove(d)
                tp += 1
                break
    return IcdarCounts(tp, ignore.count(False), len(kept))


@st.composite
def simple_scenes(draw: st.DrawFn) -> tuple[list[Polygon], list[Polygon], list[bool]]:
    truth = draw(st.lists(boxes, max_size=6))
    moves = st.lists(st.tuples(st.sampled_from(truth), offsets, offsets), max_size=8) if truth else st.just([])
    detections = [np.add(polygon, (dx / 3, dy / 3)) for polygon, dx, dy in draw(moves)]
    return truth, detections, draw(st.lists(st.booleans(), min_size=len(truth), max_size=len(truth)))


@patient
@given(simple_scenes())
def test_counts_are_those_of_the_official_loops(scene: tuple[list[Polygon], list[Polygon], list[bool]]) -> None:
    assert icdar_counts(*scene) == naive_counts(*scene)


@patient
@given(st.lists(scenes(), max_size=6), st.integers(1, 5))
def test_counts_are_the_same_to_the_integer_under_any_sharding(
    images: list[tuple[list[Polygon], list[Polygon], list[bool]]], ranks: int
) -> None:
    counts = [icdar_counts(*image) for image in images]
    shards = [reduce(add, counts[rank::ranks], IcdarCounts()) for rank in range(ranks)]
    by_hand = {name: sum(asdict(one)[name] for one in counts) for name in asdict(IcdarCounts())}
    assert asdict(reduce(add, reversed(shards), IcdarCounts())) == by_hand


@patient
@given(scenes())
def test_counts_are_within_their_limits_for_any_polygons(
    scene: tuple[list[Polygon], list[Polygon], list[bool]],
) -> None:
    truth, detections, ignore = scene
    counts = icdar_counts(truth, detections, ignore)
    assert counts.n_gt == ignore.count(False)
    assert counts.tp <= min(counts.n_gt, counts.n_det) <= counts.n_det <= len(detections)


@pytest.mark.shared_data
def test_counts_equal_the_official_reference_on_the_shared_cases(metric_cases: Path) -> None:
    for case in json.loads(metric_cases.read_text()):
        counts = icdar_counts([np.array(p, float) for p in case["gt"]], [np.array(p, float) for p in case["det"]])
        assert counts.as_dict() == pytest.approx(case["icdar15"])
