import cv2
import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ocr.datasets.targets import TargetBuilder
from ocr.models.postprocess import DBPostProcessor, ReferencePostProcessor
from ocr.utils.polygons import rectangle_corners, transform_points, unclip_distance

IDENTITY = np.eye(3)
BOTH = pytest.mark.parametrize("processor", [DBPostProcessor, ReferencePostProcessor])


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    first, second = shapely.Polygon(a), shapely.Polygon(b)
    return first.intersection(second).area / first.union(second).area


def _box(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=np.float64)


def _map(polygons: list[np.ndarray], size: tuple[int, int], ratio: float = 0.7) -> np.ndarray:
    return TargetBuilder(ratio, min_text_px=1)(polygons, [False] * len(polygons), size).shrink.astype(np.float32)


def _receipt(seed: int, count: int = 30) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        rectangle_corners(
            random.uniform(60, 250),
            12 + 20 * row,
            random.uniform(15, 90),
            random.uniform(8, 13),
            random.uniform(-0.03, 0.03),
        )
        for row in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(60, 100),
    y=st.floats(60, 100),
    w=st.floats(30, 90),
    h=st.floats(12, 28),
    angle=st.floats(-0.75, 0.75),
    ratio=st.sampled_from([0.6, 0.7]),
)
def test_a_perfect_map_inverts_to_its_rectangle(x, y, w, h, angle, ratio):
    assume(w > 1.3 * h)
    corners = rectangle_corners(x, y, w, h, angle)
    found = DBPostProcessor(ratio)(_map([corners], (160, 160), ratio), IDENTITY, (160, 160))
    assert len(found.polygons) == 1
    assert _iou(found.polygons[0], corners) > 0.8
    assert np.abs(found.polygons[0].mean(axis=0) - corners.mean(axis=0)).max() < 0.6


@settings(max_examples=40, deadline=None)
@given(
    x0=st.integers(10, 40),
    y0=st.integers(10, 40),
    w=st.integers(3, 60),
    h=st.integers(3, 20),
    ratio=st.sampled_from([0.4, 0.7]),
    score=st.sampled_from(["box", "contour"]),
)
def test_an_upright_block_of_pixels_grows_by_the_exact_inverse_of_its_shrink(x0, y0, w, h, ratio, score):
    probability = np.zeros((80, 120), np.float32)
    probability[y0 : y0 + h, x0 : x0 + w] = 1
    (polygon,) = DBPostProcessor(ratio, score=score)(probability, IDENTITY, (10_000, 10_000)).polygons
    width, height = polygon[1, 0] - polygon[0, 0], polygon[2, 1] - polygon[1, 1]
    distance = width * height * (1 - ratio**2) / (2 * (width + height))
    np.testing.assert_allclose([width - 2 * distance, height - 2 * distance], [w, h], atol=0.02)
    np.testing.assert_allclose(polygon.mean(axis=0), [x0 + w / 2, y0 + h / 2], atol=0.02)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options", [{}, {"score": "contour"}, {"unclip": 1.8}, {"subpixel_edges": False}, {"max_candidates": 9}]
)
def test_both_implementations_find_the_same_boxes(seed, options):
    random = np.random.default_rng(seed)
    probability = cv2.GaussianBlur(_map(_receipt(seed), (640, 320)), (0, 0), 1.2)
    probability = np.clip(probability + random.normal(0, 0.08, probability.shape), 0, 1).astype(np.float32)
    matrix = np.array([[0.31, 0.02, 3.0], [-0.02, 0.32, 4.0], [0, 0, 1]])
    fast = DBPostProcessor(box_threshold=0.5, **options)(probability, matrix, (1900, 1000))
    plain = ReferencePostProcessor(box_threshold=0.5, **options)(probability, matrix, (1900, 1000))
    assert len(fast.polygons) == len(plain.polygons) > 5
    np.testing.assert_allclose(fast.scores, plain.scores)
    assert min(_iou(a, b) for a, b in zip(fast.polygons, plain.polygons, strict=True)) >= 0.99
    # The metric of the competition depends on where an outline starts.
    assert all(
        np.abs(a[0] - b[0]).max() < 1 for a, b in zip(fast.polygons, plain.polygons, strict=True) if len(a) == len(b)
    )


@BOTH
class TestBothImplementations:
    def test_a_map_without_text_gives_no_detection(self, processor):
        found = processor()(np.zeros((64, 64), np.float32), IDENTITY, (64, 64))
        assert found.polygons == []
        assert found.scores.shape == (0,)

    def test_a_map_that_is_all_text_gives_the_whole_image(self, processor):
        found = processor()(np.ones((64, 96), np.float32), IDENTITY, (64, 96))
        np.testing.assert_allclose(found.polygons[0], _box(0, 0, 96, 64), atol=0.01)
        assert found.scores.tolist() == [1.0]

    def test_a_lone_pixel_is_below_the_size_limit(self, processor):
        probability = np.zeros((64, 64), np.float32)
        probability[20, 30] = 1
        assert processor()(probability, IDENTITY, (64, 64)).polygons == []
        assert len(processor(min_size=1.0)(probability, IDENTITY, (64, 64)).polygons) == 1

    def test_text_one_pixel_high_is_found(self, processor):
        probability = np.zeros((64, 64), np.float32)
        probability[20, 10:40] = 1
        (polygon,) = processor()(probability, IDENTITY, (64, 64)).polygons
        assert polygon[:, 1].mean() == pytest.approx(20.5, abs=0.01)

    def test_corners_run_clockwise_from_the_top_left(self, processor):
        for angle in (-0.6, -0.05, 0.0, 0.05, 0.6):
            corners = rectangle_corners(64, 64, 70, 20, angle)
            (polygon,) = processor()(_map([corners], (128, 128)), IDENTITY, (128, 128)).polygons
            assert np.abs(polygon - corners).max() < 3

    def test_detections_are_mapped_back_by_the_exact_inverse(self, processor):
        matrix = np.array([[0.4, 0.1, 7.0], [-0.08, 0.5, 9.0], [0.0, 0.0, 1.0]])
        probability = _map([_box(30, 40, 60, 16)], (128, 128))
        (there,) = processor()(probability, IDENTITY, (128, 128)).polygons
        (back,) = processor()(probability, matrix, (1000, 1000)).polygons
        np.testing.assert_allclose(transform_points(matrix, back), there, atol=1e-6)

    def test_detections_are_clipped_to_the_image_truly(self, processor):
        probability = _map([_box(-5, 20, 60, 16)], (64, 64))
        (polygon,) = processor()(probability, IDENTITY, (64, 50)).polygons
        assert polygon.min() >= 0
        assert polygon[:, 0].max() <= 50
        assert _iou(polygon, _box(0, 20, 50, 16)) > 0.8

    def test_boxes_outside_the_image_are_dropped(self, processor):
        assert processor()(_map([_box(40, 20, 20, 10)], (64, 64)), IDENTITY, (64, 30)).polygons == []

    def test_candidates_are_kept_by_score_and_sorted(self, processor):
        probability = np.zeros((120, 64), np.float32)
        for row, value in enumerate((0.7, 0.95, 0.65, 0.8, 0.9)):
            probability[10 + 20 * row : 16 + 20 * row, 10:50] = value
        found = processor(max_candidates=3)(probability, IDENTITY, (120, 64))
        np.testing.assert_allclose(found.scores, [0.95, 0.9, 0.8], atol=1e-6)
        np.testing.assert_allclose([polygon[:, 1].mean() for polygon in found.polygons], [33, 93, 73], atol=0.1)

    def test_candidates_below_the_box_threshold_are_dropped(self, processor):
        probability = 0.55 * _map([_box(10, 10, 40, 12)], (64, 64))
        assert processor(box_threshold=0.6)(probability, IDENTITY, (64, 64)).polygons == []
        assert len(processor(box_threshold=0.5)(probability, IDENTITY, (64, 64)).polygons) == 1

    def test_text_inside_a_frame_is_found_beside_the_frame(self, processor):
        probability = np.zeros((100, 100), np.float32)
        cv2.rectangle(probability, (5, 5), (95, 95), 1.0, 3)
        probability[45:55, 30:70] = 1
        found = processor(box_threshold=0.05)(probability, IDENTITY, (100, 100))
        assert len(found.polygons) == 2
        assert _iou(found.polygons[0], _box(30, 45, 40, 10)) > 0.3

    def test_a_constant_ratio_grows_by_ratio_times_area_over_perimeter(self, processor):
        probability = np.zeros((64, 100), np.float32)
        probability[20:30, 20:60] = 1
        (polygon,) = processor(unclip=1.5)(probability, IDENTITY, (64, 100)).polygons
        distance = 1.5 * 400 / 100
        np.testing.assert_allclose(
            polygon, _box(20 - distance, 20 - distance, 40 + 2 * distance, 10 + 2 * distance), atol=0.05
        )

    def test_the_map_and_the_matrix_are_not_changed(self, processor):
        probability, matrix = _map([_box(10, 10, 40, 12)], (64, 64)), np.eye(3)
        probability.setflags(write=False)
        matrix.setflags(write=False)
        assert len(processor()(probability, matrix, (64, 64)).polygons) == 1

    def test_curved_text_is_found_as_a_polygon(self, processor):
        angles = np.linspace(np.pi, 2 * np.pi, 13)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        arc = np.concatenate([circle * 70, circle[::-1] * 45]) + np.array([80, 90])
        probability = _map([arc], (100, 160))
        (polygon,) = processor(shape="polygon")(probability, IDENTITY, (100, 160)).polygons
        (rectangle,) = processor(box_threshold=0.2)(probability, IDENTITY, (100, 160)).polygons
        assert _iou(polygon, arc) > 0.85 > _iou(rectangle, arc)

    @pytest.mark.parametrize("block", [(20, 21, 30, 31), (20, 21, 10, 40), (10, 40, 20, 21)])
    def test_specks_and_lines_are_harmless_for_polygons(self, processor, block):
        probability = np.zeros((64, 64), np.float32)
        probability[block[0] : block[1], block[2] : block[3]] = 1
        assert len(processor(shape="polygon", min_size=0.1)(probability, IDENTITY, (64, 64)).polygons) == 1

    def test_several_images_at_once_are_refused(self, processor):
        with pytest.raises(ValueError, match=r"shape \(2, 64, 64\); give \(height, width\), one image"):
            processor()(np.zeros((2, 64, 64), np.float32), IDENTITY, (64, 64))


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5, 0.8])
def test_edges_are_placed_between_pixels_from_the_probabilities(shift):
    # Each pixel holds the share of it that the text covers, as a bilinear or area-resized map would.
    def cover(low: float, high: float, count: int) -> np.ndarray:
        pixel = np.arange(count)
        return np.clip(np.minimum(pixel + 1, high) - np.maximum(pixel, low), 0, 1)

    probability = np.outer(cover(20 + shift, 30 + shift, 64), cover(15 + shift, 60 + shift, 96)).astype(np.float32)
    (polygon,) = DBPostProcessor(0.7)(probability, IDENTITY, (64, 96)).polygons
    np.testing.assert_allclose(polygon.mean(axis=0), [37.5 + shift, 25 + shift], atol=0.1)
    (binary,) = DBPostProcessor(0.7, subpixel_edges=False)(probability, IDENTITY, (64, 96)).polygons
    expected = (
        DBPostProcessor(0.7)(np.pad(np.ones((10, 45), np.float32), ((20, 34), (15, 36))), IDENTITY, (64, 96)).polygons[
            0
        ]
        + shift
    )
    assert np.abs(polygon - expected).max() <= np.abs(binary - expected).max() + 0.02
    assert np.abs(polygon - expected).max() < 0.35


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(78, 82),
    y=st.floats(78, 82),
    angle=st.floats(-0.7, 0.7),
    end=st.sampled_from(["right", "left", "bottom", "top"]),
)
def test_a_faint_margin_on_one_side_of_rotated_text_moves_no_edge(x, y, angle, end):
    column, row = np.meshgrid(np.arange(160) + 0.5 - x, np.arange(160) + 0.5 - y)
    along, across = column * np.cos(angle) + row * np.sin(angle), row * np.cos(angle) - column * np.sin(angle)

    def soft(right: float, left: float, bottom: float, top: float) -> np.ndarray:
        depth = np.minimum.reduce([right - along, left + along, bottom - across, top + across])
        return np.clip(depth + 0.5, 0, 1)

    sides = {"right": 30.0, "left": 30.0, "bottom": 8.0, "top": 8.0}
    probability = np.maximum(soft(**sides), 0.4 * soft(**{**sides, end: sides[end] + 4}))
    (polygon,) = DBPostProcessor(0.7)(probability.astype(np.float32), IDENTITY, (160, 160)).polygons
    distance = float(unclip_distance(60, 16, 0.7))
    expected = rectangle_corners(x, y, 60 + 2 * distance, 16 + 2 * distance, angle)
    assert np.abs(polygon.mean(axis=0) - (x, y)).max() < 0.5
    assert _iou(polygon, expected) > 0.9


def test_a_ragged_outline_is_averaged_where_its_extremes_would_swell_the_box():
    random = np.random.default_rng(3)
    probability = np.zeros((64, 200), np.float32)
    for column in range(20, 180):
        top, bottom = 25 + random.normal(0, 1), 36 + random.normal(0, 1)
        probability[round(top) : round(bottom), column] = 1
    truth = DBPostProcessor()(
        np.pad(np.ones((11, 160), np.float32), ((25, 28), (20, 20))), IDENTITY, (64, 200)
    ).polygons[0]
    (smooth,) = DBPostProcessor()(probability, IDENTITY, (64, 200)).polygons
    (ragged,) = DBPostProcessor(subpixel_edges=False)(probability, IDENTITY, (64, 200)).polygons
    assert _iou(smooth, truth) > 0.9 > _iou(ragged, truth)


def test_thousands_of_specks_are_bounded_by_the_candidate_limit():
    probability = np.zeros((320, 320), np.float32)
    probability[2::6, 2::6] = probability[3::6, 2::6] = probability[2::6, 3::6] = probability[3::6, 3::6] = 0.9
    assert len(DBPostProcessor(max_candidates=1000)(probability, IDENTITY, (320, 320)).polygons) == 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shrink_ratio": 1.0}, "shrink_ratio is 1.0; it must lie between 0 and 1"),
        ({"binarize_threshold": 0}, "binarize_threshold is 0; it must lie between 0 and 1"),
        ({"box_threshold": 1.5}, "box_threshold is 1.5"),
        ({"edge_level": -1}, "edge_level is -1"),
        ({"unclip": "exakt"}, "unclip is 'exakt'; give 'exact' or a positive ratio"),
        ({"unclip": 0}, "unclip is 0; give 'exact'"),
        ({"max_candidates": 0}, "max_candidates is 0; it must be at least 1"),
        ({"score": "mean"}, "score is 'mean'; allowed are box, contour"),
        ({"shape": "circle"}, "shape is 'circle'; allowed are rectangle, polygon"),
    ],
)
def test_options_outside_their_range_are_named_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        DBPostProcessor(**options)
