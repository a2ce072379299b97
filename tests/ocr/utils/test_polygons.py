"""Polygon geometry: closed forms, exact inverses, and clipping that never invents area."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr.utils.polygons import (
    clip_to_rectangle,
    min_area_rectangle,
    offset_polygon,
    polygon_area,
    polygon_perimeter,
    rectangle_corners,
    shrink_distance,
    transform_points,
    unclip_distance,
    unclip_distance_polygon,
)

BOX = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 20.0], [0.0, 20.0]])
L_SHAPE = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 30.0], [30.0, 30.0], [30.0, 80.0], [0.0, 80.0]])
BOW_TIE = np.array([[0.0, 0.0], [10.0, 10.0], [10.0, 0.0], [0.0, 10.0]])
sides = st.floats(1.0, 500.0)
ratios = st.floats(0.3, 0.9)
coordinates = st.floats(-50.0, 150.0)
# Time limits per example fail on a busy machine and say nothing about the geometry.
patient = settings(deadline=None)


@pytest.mark.parametrize(
    ("polygon", "area", "perimeter"),
    [
        (BOX, 2000.0, 240.0),
        (BOX[::-1], 2000.0, 240.0),  # the winding does not matter
        (L_SHAPE, 4500.0, 360.0),
        (BOX[:3], 1000.0, 120.0 + np.hypot(100.0, 20.0)),  # a triangle
        (BOX[:2], 0.0, 200.0),  # a line, there and back
        (np.zeros((4, 2)), 0.0, 0.0),
        (BOW_TIE, 0.0, 20.0 + 2 * np.hypot(10.0, 10.0)),  # opposite windings cancel
        (BOX + 1e7, 2000.0, 240.0),  # far from the origin no digits are lost
    ],
)
def test_area_and_perimeter(polygon: np.ndarray, area: float, perimeter: float) -> None:
    assert polygon_area(polygon) == pytest.approx(area, abs=1e-9)
    assert polygon_perimeter(polygon) == pytest.approx(perimeter)


def test_shrink_distance_of_the_paper() -> None:
    assert shrink_distance(2000.0, 240.0, 0.4) == pytest.approx(7.0)
    assert shrink_distance(0.0, 0.0, 0.4) == 0.0


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_shrink_ratio_outside_0_to_1_is_refused_with_its_value(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"{ratio}.*0..1"):
        shrink_distance(1.0, 1.0, ratio)
    with pytest.raises(ValueError, match=f"{ratio}.*0..1"):
        unclip_distance(1.0, 1.0, ratio)


@pytest.mark.parametrize(
    ("polygon", "distance", "areas"),
    [
        (BOX, -5.0, [90.0 * 10.0]),
        (BOX, -10.0, []),  # nothing is left of a box that is 20 high
        (BOX, 0.25, [100.5 * 20.5 - 0.25**2 * (4 - np.pi)]),  # sub-pixel, round corners
        (np.zeros((4, 2)), 3.0, []),
        (BOX[:2], 3.0, []),
    ],
)
def test_offset_gives_the_exact_area(polygon: np.ndarray, distance: float, areas: list[float]) -> None:
    assert [polygon_area(piece) for piece in offset_polygon(polygon, distance)] == pytest.approx(areas, rel=1e-3)


def test_a_dumbbell_falls_into_two_pieces_and_both_are_returned() -> None:
    dumbbell = [[0, 0], [20, 0], [20, 8], [40, 8], [40, 0], [60, 0], [60, 20], [40, 20], [40, 12], [20, 12], [20, 20]]
    pieces = offset_polygon([*dumbbell, [0, 20]], -3.0)
    assert len(pieces) == 2
    assert sorted(piece[:, 0].mean() > 30 for piece in pieces) == [False, True]


def test_offset_does_not_depend_on_the_winding() -> None:
    assert polygon_area(offset_polygon(BOX[::-1], -5.0)[0]) == pytest.approx(polygon_area(offset_polygon(BOX, -5.0)[0]))


def test_transform_by_a_matrix_and_its_inverse_is_the_identity() -> None:
    matrix = np.array([[0.5, 0.1, 3.0], [-0.2, 0.7, 9.0], [0.0, 0.0, 1.0]])
    moved = transform_points(matrix, BOX)
    np.testing.assert_allclose(moved[1], [53.0, -11.0])
    np.testing.assert_allclose(transform_points(np.linalg.inv(matrix), moved), BOX, atol=1e-10)


@pytest.mark.parametrize(
    ("polygon", "area"),
    [
        (BOX, 1000.0),  # cut at x = 50
        (np.add(BOX, [-30.0, -5.0]), 750.0),  # cut on three sides
        (np.add(BOX, [200.0, 0.0]), None),  # wholly outside
        (np.add(BOX, [50.0, 0.0]), None),  # touches the border only
        (BOX[:2], None),
        (BOX[[0, 2, 1]], 50 * 10 / 2),  # a triangle, cut
        (L_SHAPE, 50 * 30 + 30 * 50.0),
    ],
)
def test_clipping_to_the_image(polygon: np.ndarray, area: float | None) -> None:
    clipped = clip_to_rectangle(polygon, height=80.0, width=50.0)
    assert (None if clipped is None else polygon_area(clipped)) == (None if area is None else pytest.approx(area))


def test_a_polygon_inside_comes_back_unchanged_and_as_a_copy() -> None:
    clipped = clip_to_rectangle(BOX, 20.0, 100.0)
    assert clipped is not None
    np.testing.assert_array_equal(clipped, BOX)
    clipped[0] = -1.0
    assert BOX[0, 0] == 0.0


def test_a_symmetric_bow_tie_inside_is_not_taken_for_empty() -> None:
    assert clip_to_rectangle(BOW_TIE, 20.0, 20.0) is not None


@patient
@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8))
def test_clipped_polygons_stay_inside_and_keep_the_true_area(points: list[tuple[float, float]]) -> None:
    polygon = np.array(points)
    clipped = clip_to_rectangle(polygon, 60.0, 90.0)
    whole = shapely.Polygon(polygon)
    if clipped is not None:
        assert (clipped >= 0.0).all()
        assert (clipped <= [90.0, 60.0]).all()
    if whole.is_valid:
        area = 0.0 if clipped is None else polygon_area(clipped)
        assert area == pytest.approx(whole.intersection(shapely.box(0.0, 0.0, 90.0, 60.0)).area, abs=1e-6)


@patient
@given(st.floats(0.0, 5000.0), st.floats(0.0, 5000.0), sides, sides, st.floats(-np.pi / 4 + 0.01, np.pi / 4 - 0.01))
def test_the_smallest_rectangle_of_a_rectangle_is_itself(
    cx: float, cy: float, w: float, h: float, angle: float
) -> None:
    corners = rectangle_corners(cx, cy, w, h, angle)
    found = min_area_rectangle(corners)
    assert abs(found[4]) <= np.pi / 4 + 1e-6
    # Far more exact than float32 on absolute coordinates, which would be 5e-4 px here.
    np.testing.assert_allclose(rectangle_corners(*found), corners, atol=5e-4 * max(w, h) / 100 + 2e-3)


def test_corners_run_clockwise_on_the_screen_from_the_top_left_for_scalars_and_arrays() -> None:
    np.testing.assert_allclose(rectangle_corners(50.0, 10.0, 100.0, 20.0, 0.0), BOX)
    many = rectangle_corners(np.array([50.0, 50.0]), 10.0, 100.0, np.array([20.0, 20.0]), np.zeros(2))
    np.testing.assert_allclose(many, [BOX, BOX])


@pytest.mark.parametrize("points", [np.zeros((4, 2)), BOX[:2], BOX[:1]])
def test_the_smallest_rectangle_of_flat_points_has_no_area(points: np.ndarray) -> None:
    _, _, w, h, _ = min_area_rectangle(points)
    assert w * h == 0.0


@patient
@given(sides, sides, ratios)
def test_unclip_is_the_exact_inverse_of_the_shrink_of_a_rectangle(w: float, h: float, ratio: float) -> None:
    distance = shrink_distance(w * h, 2 * (w + h), ratio)
    assert unclip_distance(w - 2 * distance, h - 2 * distance, ratio) == pytest.approx(distance, rel=1e-9)


def test_unclip_is_vectorised_and_gives_0_for_boxes_without_area() -> None:
    distances = unclip_distance(np.array([86.0, 0.0, 5.0]), np.array([6.0, 0.0, 0.0]), 0.4)
    np.testing.assert_allclose(distances, [7.0, 0.0, 0.0])


@patient
@given(st.floats(8.0, 300.0), st.floats(8.0, 60.0), ratios, st.floats(-0.7, 0.7))
def test_the_general_unclip_agrees_with_the_closed_form_on_rectangles(w: float, h: float, r: float, a: float) -> None:
    box = rectangle_corners(400.0, 300.0, w, h, a)
    assert unclip_distance_polygon(box, r) == pytest.approx(unclip_distance(w, h, r), abs=0.02)


@pytest.mark.parametrize("ratio", [0.4, 0.6, 0.7])
def test_the_general_unclip_undoes_the_shrink_of_a_curved_line(ratio: float) -> None:
    x = np.linspace(0.0, 200.0, 9)
    y = 20.0 * np.sin(np.pi * x / 200.0)
    curved = np.concatenate([np.stack([x, y], 1), np.stack([x, y + 24.0], 1)[::-1]])
    distance = shrink_distance(polygon_area(curved), polygon_perimeter(curved), ratio)
    (shrunk,) = offset_polygon(curved, -distance)
    assert unclip_distance_polygon(shrunk, ratio) == pytest.approx(distance, rel=0.02)


@pytest.mark.parametrize("polygon", [np.zeros((4, 2)), BOX[:2], BOW_TIE])
def test_the_general_unclip_of_a_polygon_without_area_is_0(polygon: np.ndarray) -> None:
    assert unclip_distance_polygon(polygon, 0.5) == 0.0
