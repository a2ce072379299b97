"""Pixels and polygons move together, by one matrix that inverts exactly."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr.datasets.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    AugmentTransform,
    LetterboxTransform,
    NaiveTransform,
    letterbox_matrix,
    letterbox_size,
    warp,
)
from ocr.utils.polygons import transform_points

sides = st.integers(8, 900)
RNG = np.random.default_rng(0)


def square_image(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 255
    return image


def box_polygon(box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


@given(sides, sides)
def test_the_letterbox_fits_and_touches_a_side(height: int, width: int) -> None:
    rows, columns = letterbox_size(height, width, (320, 160))
    assert 1 <= rows <= 320
    assert 1 <= columns <= 160
    assert rows == 320 or columns == 160


@given(sides, sides)
def test_the_corner_of_the_image_lands_on_the_corner_of_the_fitted_pixels(height: int, width: int) -> None:
    size = (320, 160)
    rows, columns = letterbox_size(height, width, size)
    corner = transform_points(letterbox_matrix(height, width, size), np.array([[width, height]], float))
    np.testing.assert_allclose(corner, [[columns, rows]], atol=1e-9)


@pytest.mark.parametrize("transform_class", [LetterboxTransform, NaiveTransform])
def test_polygons_follow_the_pixels(transform_class: type[LetterboxTransform | NaiveTransform]) -> None:
    box = (120, 300, 360, 480)
    image = square_image(800, 480, box)
    done = transform_class((320, 320))(image, [box_polygon(box)], RNG)
    bright = (
        done.image[..., 0] if done.image.dtype == np.uint8 else done.image[..., 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]
    )
    rows, columns = np.nonzero(bright > bright.max() / 2)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    polygon = done.polygons[0]
    np.testing.assert_allclose(seen, [*polygon.min(0), *polygon.max(0)], atol=0.5)


def test_the_naive_and_the_fast_transform_give_the_same_pixels_and_polygons() -> None:
    image = RNG.integers(0, 256, (701, 333, 3), dtype=np.uint8)
    polygons = [box_polygon((10, 20, 200, 60)), box_polygon((0, 0, 333, 701))]
    fast = LetterboxTransform((320, 320))(image, polygons, RNG)
    naive = NaiveTransform((320, 320))(image, polygons, RNG)
    normalised = (fast.image / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(naive.image, normalised, atol=1e-5)
    np.testing.assert_allclose(naive.matrix, fast.matrix)
    for one, other in zip(naive.polygons, fast.polygons, strict=True):
        # Albumentations scales keypoints by the factor before the size is rounded to whole pixels.
        np.testing.assert_allclose(one, other, atol=0.5)


def test_the_naive_transform_keeps_polygons_apart_that_lie_outside_the_image() -> None:
    polygons = [box_polygon((-50, -50, -10, -10)), box_polygon((10, 10, 40, 40)), box_polygon((90, 90, 150, 150))]
    done = NaiveTransform((96, 96))(np.zeros((96, 96, 3), np.uint8), polygons, RNG)
    for one, other in zip(done.polygons, polygons, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@given(angle=st.floats(-0.2, 0.2), scale=st.floats(0.2, 1.8), shift=st.floats(-30, 30))
@settings(max_examples=25, deadline=None)
def test_a_warp_puts_a_bright_box_where_its_matrix_puts_the_polygon(angle: float, scale: float, shift: float) -> None:
    box = (150, 120, 310, 260)
    image = square_image(420, 460, box)
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.array([[cosine, -sine, shift], [sine, cosine, shift], [0, 0, 1]])
    warped = warp(image, matrix, (640, 640))
    # Drawn with a margin around the output, so that an edge just outside of it counts as an edge.
    expected = np.zeros((672, 672), np.uint8)
    # Eight bits below the pixel; OpenCV's fill puts pixel centres on integers, ours are half a pixel further.
    points = np.round((transform_points(matrix, box_polygon(box)) - 0.5 + 16) * 256).astype(np.int32)
    cv2.fillPoly(expected, [points], 255, shift=8)
    inside = cv2.erode(expected, np.ones((5, 5), np.uint8))[16:-16, 16:-16]
    outside = cv2.dilate(expected, np.ones((7, 7), np.uint8))[16:-16, 16:-16]
    assert (warped[..., 0][inside > 0] > 200).all()
    assert (warped[..., 0][outside == 0] < 55).all()


def test_the_augmentation_moves_polygons_with_the_pixels_and_leaves_its_input_alone() -> None:
    box = (100, 200, 300, 400)
    image, polygon = square_image(900, 500, box), box_polygon(box)
    before = image.copy(), polygon.copy()
    transform = AugmentTransform((320, 320), scale=(0.8, 1.2), stretch=1.2, rotation=5, photometric=0)
    rng = np.random.default_rng(5)
    for _ in range(20):
        done = transform(image, [polygon], rng)
        np.testing.assert_allclose(done.polygons[0], transform_points(done.matrix, polygon))
        centre = done.polygons[0].mean(0)
        if (centre > 8).all() and (centre < 312).all():
            assert done.image[int(centre[1]), int(centre[0]), 0] > 200
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(polygon, before[1])


def test_the_same_generator_state_gives_the_same_augmented_image() -> None:
    image = RNG.integers(0, 256, (300, 200, 3), dtype=np.uint8)
    transform = AugmentTransform((160, 160), scale=(0.8, 1.2), stretch=1.2, rotation=5, photometric=1)
    first = transform(image, [], np.random.default_rng(7)).image
    second = transform(image, [], np.random.default_rng(7)).image
    np.testing.assert_array_equal(first, second)
