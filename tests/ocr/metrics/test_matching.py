"""Batched geometry against shapely and against values worked out by hand."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from ocr.metrics.matching import ignore_flags, intersection_matrix, pack_polygons, points_inside
from ocr.utils.polygons import Polygon
from tests.ocr.metrics.shapes import box, offsets, patient, polygons

L_SHAPE = np.array([[0, 0], [30, 0], [30, 10], [10, 10], [10, 30], [0, 30]], dtype=float)
BOW_TIE = np.array([[0, 0], [20, 20], [20, 0], [0, 20]], dtype=float)
PENTAGRAM = np.array([[50 + 40 * np.sin(4 * np.pi * k / 5), 50 - 40 * np.cos(4 * np.pi * k / 5)] for k in range(5)])


@pytest.mark.parametrize(
    ("a", "b", "area"),
    [
        (box(0, 0, 10, 10), box(5, 5, 15, 15), 25.0),
        (box(0, 0, 10, 10), box(0, 0, 10, 10), 100.0),
        (box(0, 0, 10, 10), box(10, 0, 20, 10), 0.0),  # a shared border
        (box(0, 0, 10, 10), box(2, 2, 8, 8), 36.0),  # one inside the other
        (box(0, 0, 10, 10)[::-1], box(2, 2, 8, 8), 36.0),  # opposite windings
        (
            box(0, 0, 20, 20),
            np.array([[10, -5], [25, 10], [10, 25], [-5, 10]], dtype=float),
            400 - 4 * 12.5,
        ),  # a diamond
        (L_SHAPE, box(0, 0, 30, 30), 500.0),  # concave
        (L_SHAPE, box(15, 15, 30, 30), 0.0),  # boxes overlap, polygons do not
        (BOW_TIE, box(0, 0, 20, 20), 200.0),  # both lobes, though its shoelace area is 0
        (PENTAGRAM, box(48, 48, 52, 52), 0.0),  # the even-odd rule leaves the middle out
        (box(5, 5, 5, 5), box(0, 0, 10, 10), 0.0),  # a point
        (box(0, 5, 10, 5), box(0, 0, 10, 10), 0.0),  # a line
        (np.array([[0.0, 0], [10, 0], [0, 10]]), box(0, 0, 5, 5), 25.0),  # a triangle
    ],
)
def test_intersection_of_two_polygons(a: Polygon, b: Polygon, area: float) -> None:
    assert intersection_matrix(pack_polygons([a]), pack_polygons([b]))[0, 0] == pytest.approx(area, abs=1e-9)
    assert intersection_matrix(pack_polygons([b]), pack_polygons([a]))[0, 0] == pytest.approx(area, abs=1e-9)


@patient
@given(st.lists(polygons, max_size=6), st.lists(polygons, max_size=6))
def test_the_intersection_matrix_is_what_shapely_gives_pair_by_pair(a: list[Polygon], b: list[Polygon]) -> None:
    found = intersection_matrix(pack_polygons(a), pack_polygons(b))
    assert found.shape == (len(a), len(b))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            if len(p) > 2 and len(q) > 2 and shapely.Polygon(p).is_valid and shapely.Polygon(q).is_valid:
                assert found[i, j] == pytest.approx(shapely.Polygon(p).intersection(shapely.Polygon(q)).area, abs=1e-6)


@patient
@given(st.floats(0.0, 3.1), st.floats(-1e-12, 1e-12))
def test_edges_that_coincide_but_for_rounding_keep_the_whole_area(angle: float, noise: float) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    quad = box(0, 0, 90, 17) @ turn
    assert intersection_matrix(pack_polygons([quad]), pack_polygons([quad + noise]))[0, 0] == pytest.approx(90 * 17)


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((5.0, 5.0), True),
        ((0.0, 5.0), True),  # left border
        ((5.0, 0.0), True),  # top border
        ((10.0, 5.0), False),  # right border
        ((5.0, 10.0), False),  # bottom border
        ((11.0, 5.0), False),
    ],
)
def test_the_inside_test_is_half_open(point: tuple[float, float], inside: bool) -> None:
    pairs = points_inside(np.array([point]), pack_polygons([box(0, 0, 10, 10)]))
    assert len(pairs[0]) == inside


@patient
@given(st.lists(polygons, min_size=1, max_size=4), offsets, offsets)
def test_points_off_the_border_are_inside_as_in_shapely(found: list[Polygon], dx: float, dy: float) -> None:
    queries = np.array([[30.5 + dx, 30.25 + dy], [60.5, 40.5]])
    pairs = set(zip(*(index.tolist() for index in points_inside(queries, pack_polygons(found))), strict=True))
    for j, polygon in enumerate(found):
        region = shapely.Polygon(polygon) if len(polygon) > 2 else shapely.Polygon()
        for i, query in enumerate(queries):
            if region.is_valid and region.boundary.distance(shapely.Point(query)) > 1e-9:
                assert ((i, j) in pairs) == region.contains(shapely.Point(query))


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([], r"Polygon 1 has shape \(0,\).*\(N, 2\)"),
        ([[1.0, 2.0, 3.0]], r"Polygon 1 has shape \(1, 3\)"),
        ([[0.0, 0.0], [1.0, float("nan")]], "Polygon 1 has a coordinate that is not finite.*nan"),
    ],
)
def test_a_malformed_polygon_is_named_with_its_index_and_what_is_allowed(polygon: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack_polygons([box(0, 0, 1, 1), polygon])


def test_too_few_ignore_flags_are_an_error_not_a_guess() -> None:
    with pytest.raises(ValueError, match="1 ignore flags for 2 truths"):
        ignore_flags([True], 2)
