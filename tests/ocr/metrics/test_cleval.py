"""CLEval: cases worked out by hand, two implementations that agree to the integer, and sums over shards."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr.metrics.cleval import Cleval, ClevalCounts, cleval_counts, cleval_counts_plain
from ocr.utils.polygons import Polygon
from tests.ocr.metrics.shapes import box, patient, scenes

Scene = tuple[list[Polygon], list[Polygon], list[bool]]

# 200 x 20 holds 10 characters, centred at x = 10, 30, ... 190.
WORD = box(0, 0, 200, 20)
BELOW = box(0, 20, 200, 40)
LEFT, RIGHT = box(0, 0, 100, 20), box(100, 0, 200, 20)
SQUARE = box(0, 0, 20, 20)
EITHER = pytest.mark.parametrize("count", [cleval_counts, cleval_counts_plain])


def counts_of(gt: int = 0, det: int = 0, tp: int = 0, **others: int) -> ClevalCounts:
    return ClevalCounts(num_char_gt=gt, num_char_det=det, num_char_tp_recall=tp, num_char_tp_precision=tp, **others)


@EITHER
@pytest.mark.parametrize(
    ("truth", "detections", "ignore", "expected"),
    [
        ([], [], None, counts_of()),
        ([WORD], [], None, counts_of(gt=10)),  # nothing found still counts the characters
        ([], [WORD], None, counts_of(det=10, num_char_fp=10)),
        ([WORD], [WORD], None, counts_of(gt=10, det=10, tp=10)),
        ([WORD], [LEFT], None, counts_of(gt=10, det=5, tp=5)),  # half of the characters
        # Two halves: all characters, one cut too many.
        ([WORD], [LEFT, RIGHT], None, counts_of(gt=10, det=10, tp=10, gran_score_recall=1, num_splitted=1)),
        # One detection over two lines.
        (
            [WORD, BELOW], [box(0, 0, 200, 40)], None,
            counts_of(gt=20, det=20, tp=20, gran_score_precision=1, num_merged=1),
        ),
        # The same word found twice: its characters count twice as detected, once as found.
        (
            [WORD], [WORD, WORD], None,
            counts_of(gt=10, det=20, tp=10, gran_score_recall=1, num_splitted=1, num_char_overlapped=10),
        ),
        # Less than 0.3 of its area inside: no match, and the detection is invented: round(0.5 + 200 / 120) characters.
        ([WORD], [box(0, -100, 200, 20)], None, counts_of(gt=10, det=2, num_char_fp=2)),
        # Exactly 0.3 of its area inside is enough; a little less is not.
        ([box(0, 0, 20, 30)], [box(0, 0, 20, 100)], None, counts_of(gt=2, det=2, tp=2)),
        ([box(0, 0, 20, 30)], [box(0, 0, 20, 101)], None, counts_of(gt=2, det=1, num_char_fp=1)),
        # Touching a word without holding the centre of a character is no match.
        ([WORD], [box(11, 0, 29, 20)], None, counts_of(gt=10, det=1, num_char_fp=1)),
        # The inside test is half open: the left border takes the character, the right border does not.
        ([WORD], [box(10, 0, 30, 20)], None, counts_of(gt=10, det=1, tp=1)),
        # A detection of no area belongs to nothing and costs the most.
        ([WORD], [box(5, 5, 5, 5)], None, counts_of(gt=10, det=100, num_char_fp=100)),
        ([WORD], [box(0, 5, 90, 5)], None, counts_of(gt=10, det=100, num_char_fp=100)),
        # A truth of no area counts 100 characters, which a detection around it finds.
        ([box(0, 5, 90, 5)], [], None, counts_of(gt=100)),
        ([box(5, 5, 5, 5)], [], None, counts_of(gt=100)),
        # A bow tie has no shoelace area, so it belongs to nothing.
        ([SQUARE], [SQUARE[[0, 2, 1, 3]]], None, counts_of(gt=2, det=1, num_char_fp=1)),
        # Ignored truths count nothing, and take the detections on them along.
        ([WORD], [WORD, LEFT], [True], counts_of()),
        ([WORD], [BELOW], [True], counts_of(det=10, num_char_fp=10)),
        ([WORD, BELOW], [WORD, BELOW], [True, False], counts_of(gt=10, det=10, tp=10)),
        # What a counted truth covers is taken out of an ignored one.
        ([WORD, WORD], [WORD], [True, False], counts_of(gt=10, det=10, tp=10)),
        # Two ignored words, each under 0.3 of the detection, drop it together.
        ([box(0, 0, 200, 10), box(0, 30, 200, 40)], [box(0, 0, 200, 40)], [True, True], counts_of()),
        # A dropped detection still spoils one to one, and cannot make up a split: the other half matches nothing.
        (
            [WORD, box(200, 0, 300, 20)], [LEFT, box(100, 0, 300, 20)], [False, True],
            counts_of(gt=10, det=5, num_char_fp=5),
        ),
        # Fractions are cut towards zero for areas and borders: 10.9 is 10.
        ([WORD], [box(10.9, 0.9, 30.9, 20.9)], None, counts_of(gt=10, det=1, tp=1)),
        # A triangle: its last point counts twice.
        ([SQUARE], [SQUARE[:3]], None, counts_of(gt=2, det=1, tp=1)),
    ],
)  # fmt: skip
def test_counts_worked_out_by_hand(
    count: Callable[..., ClevalCounts],
    truth: list[Polygon],
    detections: list[Polygon],
    ignore: list[bool] | None,
    expected: ClevalCounts,
) -> None:
    assert count(truth, detections, ignore) == expected


@EITHER
def test_a_false_positive_costs_10_or_1_characters_by_its_first_corner(count: Callable[..., ClevalCounts]) -> None:
    costs = {count([], [np.roll(WORD, turns, axis=0)]).num_char_fp for turns in range(4)}
    assert costs == {10, 1}


@EITHER
def test_the_cap_limits_false_positives_alone(count: Callable[..., ClevalCounts]) -> None:
    long_line = box(0, 0, 900, 20)
    assert count([], [long_line]).num_char_fp == 45
    assert count([], [long_line], fp_cap=10).num_char_fp == 10
    assert count([long_line], [], fp_cap=10).num_char_gt == 45


def test_scores_take_the_penalties_off_and_never_fall_below_0() -> None:
    split = cleval_counts([WORD], [LEFT, RIGHT])
    assert (split.precision, split.recall, split.hmean) == (1.0, 0.9, pytest.approx(2 * 0.9 / 1.9))
    assert counts_of(gt=5, det=5, tp=1, gran_score_recall=3, gran_score_precision=3).as_dict()["hmean"] == 0.0
    assert ClevalCounts().hmean == 0.0


@patient
@given(scenes(), st.sampled_from([100, 10]))
def test_both_implementations_agree_to_the_integer_on_any_polygons(scene: Scene, fp_cap: int) -> None:
    assert cleval_counts(*scene, fp_cap=fp_cap) == cleval_counts_plain(*scene, fp_cap=fp_cap)


@patient
@given(st.integers(0, 2**32 - 1))
def test_both_implementations_agree_on_turned_boxes_far_from_the_origin(seed: int) -> None:
    random = np.random.default_rng(seed)
    angle = random.uniform(-0.5, 0.5)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    sizes = random.integers(4, 200, (12, 2)) // [1, 4] + 1
    truth = [box(0, 0, w, h) @ turn + random.uniform(100, 5000 if i % 2 else 400, 2) for i, (w, h) in enumerate(sizes)]
    detections = [np.roll(p, i % 4, axis=0) + random.normal(0, i % 3, (4, 2)) for i, p in enumerate(truth * 2)]
    assert cleval_counts(truth, detections) == cleval_counts_plain(truth, detections)


@patient
@given(st.lists(scenes(), max_size=5), st.integers(1, 5))
def test_counts_are_the_same_to_the_integer_under_any_sharding(images: list[Scene], ranks: int) -> None:
    counts = [cleval_counts(*image) for image in images]
    shards = [reduce(add, counts[rank::ranks], ClevalCounts()) for rank in range(ranks)]
    by_hand = {name: sum(asdict(one)[name] for one in counts) for name in asdict(ClevalCounts())}
    assert asdict(reduce(add, reversed(shards), ClevalCounts())) == by_hand


@patient
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter(scene: Scene, random: object) -> None:
    truth, detections, ignore = scene
    order = list(range(len(truth)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = ([truth[i] for i in order], detections[::-1], [ignore[i] for i in order])
    assert cleval_counts(*shuffled) == cleval_counts(*scene)


@patient
@given(scenes())
def test_neither_implementation_changes_its_arguments(scene: Scene) -> None:
    before = [polygon.copy() for polygon in (*scene[0], *scene[1])]
    cleval_counts(*scene)
    cleval_counts_plain(*scene)
    assert all((a == b).all() for a, b in zip(before, (*scene[0], *scene[1]), strict=True))


@pytest.mark.parametrize("implementation", ["vectorised", "plain"])
def test_the_configured_metric_passes_its_cap_on(implementation: str) -> None:
    metric = Cleval(fp_cap=7, implementation=implementation)  # type: ignore[arg-type]
    assert metric([], [WORD], []).num_char_fp == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"implementation": "fast"}, "'fast'.*vectorised, plain"), ({"fp_cap": -1}, "fp_cap is -1.*0 or more")],
)
def test_a_setting_that_is_not_allowed_is_named_with_those_that_are(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cleval(**settings)


@pytest.mark.shared_data
@EITHER
def test_every_count_equals_the_reference_on_the_shared_cases(
    count: Callable[..., ClevalCounts], metric_cases: Path
) -> None:
    for case in json.loads(metric_cases.read_text()):
        counts = count([np.array(p, float) for p in case["gt"]], [np.array(p, float) for p in case["det"]])
        assert counts.as_dict() == pytest.approx(case["cleval"])
