import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr.datasets.targets import ReferenceTargetBuilder, TargetBuilder, TargetMaps, fill_polygon
from ocr.utils.polygons import polygon_area, polygon_perimeter, rectangle_corners, shrink_distance

MAPS = ("shrink", "shrink_mask", "threshold", "threshold_mask")


def _box(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=np.float64)


def _bone(x: float, y: float) -> np.ndarray:
    """Two 40 x 40 squares joined by a 60 x 4 bar: shrunk, it falls apart."""
    outline = [
        (0, 0),
        (40, 0),
        (40, 18),
        (100, 18),
        (100, 0),
        (140, 0),
        (140, 40),
        (100, 40),
        (100, 22),
        (40, 22),
        (40, 40),
        (0, 40),
    ]
    return np.array(outline, dtype=np.float64) + np.array([x, y])


def _arc(x: float, y: float, radius: float, thickness: float) -> np.ndarray:
    angles = np.linspace(np.pi, 2 * np.pi, 9)
    outer = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius
    return np.concatenate([outer, outer[::-1] * (1 - thickness / radius)]) + np.array([x, y])


@st.composite
def _texts(draw: st.DrawFn) -> list[np.ndarray]:
    number = st.floats(-10, 110, width=32)
    polygons: list[np.ndarray] = []
    for kind in draw(st.lists(st.sampled_from(["upright", "rotated", "quad", "arc", "bone"]), max_size=5)):
        x, y = draw(number), draw(number)
        width, height = draw(st.floats(5, 60, width=32)), draw(st.floats(4, 20, width=32))
        if kind == "arc":
            polygons.append(_arc(x, y, width, min(height, width * 0.6)))
        elif kind == "bone":
            polygons.append(_bone(x, y))
        elif kind == "quad":
            shift = np.array([draw(st.floats(-1, 1)) for _ in range(8)]).reshape(4, 2)
            polygons.append(_box(x, y, width, height) + shift)
        else:
            angle = draw(st.floats(-0.7, 0.7)) if kind == "rotated" else 0.0
            polygons.append(rectangle_corners(x, y, width, height, angle))
    return polygons


def _centres(height: int, width: int) -> np.ndarray:
    return shapely.points(*np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5))


@settings(max_examples=80, deadline=None)
@given(polygons=_texts(), ratio=st.sampled_from([0.4, 0.6, 0.7]), data=st.data())
def test_both_builders_give_the_same_maps(polygons, ratio, data):
    ignore = [data.draw(st.booleans()) for _ in polygons]
    fast = TargetBuilder(ratio)(polygons, ignore, (96, 112))
    plain = ReferenceTargetBuilder(ratio)(polygons, ignore, (96, 112))
    for name in ("shrink", "shrink_mask", "threshold_mask"):
        outline = sum(polygon_perimeter(polygon) for polygon in polygons)
        differing = np.count_nonzero(getattr(fast, name) != getattr(plain, name))
        assert differing <= 2 + 0.05 * outline, name
    same = fast.threshold_mask == plain.threshold_mask
    if not polygons or np.array_equal(fast.shrink_mask, plain.shrink_mask):
        gap = np.abs(fast.threshold.astype(float) - plain.threshold.astype(float))[same]
        assert gap.max(initial=0) <= 0.03, "an arc of a round join is a polygon there"
        assert np.mean(gap <= 5e-4) >= 0.999


@settings(max_examples=60, deadline=None)
@given(x=st.floats(-20, 80), y=st.floats(-20, 80), w=st.floats(8, 60), h=st.floats(5, 25), angle=st.floats(-0.78, 0.78))
def test_maps_of_a_rectangle_follow_the_exact_geometry_at_pixel_centres(x, y, w, h, angle):
    corners = rectangle_corners(x, y, w, h, angle)
    maps = TargetBuilder(0.6, min_text_px=1)([corners], [False], (80, 90))
    distance = shrink_distance(w * h, 2 * (w + h), 0.6)
    shape, centres = shapely.Polygon(corners), _centres(80, 90)
    inside, border = shapely.contains(shape, centres), shapely.distance(shape.exterior, centres)
    depth = np.where(inside, border, -border)
    clear = 1e-3
    sure = np.abs(depth - distance) > clear
    if not maps.shrink.any():
        assert not (depth >= distance + clear).any()
        return
    np.testing.assert_array_equal(maps.shrink[sure], (depth >= distance)[sure])
    sure = np.abs(depth + distance) > clear
    near = depth >= -distance
    np.testing.assert_array_equal(maps.threshold_mask[sure], near[sure])
    expected = np.where(near, 0.3 + 0.4 * (1 - np.clip(border / distance, 0, 1)), 0)
    np.testing.assert_allclose(maps.threshold[sure], expected[sure], atol=1e-3)


@pytest.mark.parametrize("builder", [TargetBuilder, ReferenceTargetBuilder])
class TestBothBuilders:
    def test_maps_have_the_declared_types_and_size(self, builder):
        maps = builder()([_box(5, 5, 40, 10)], [False], (48, 64))
        assert {name: getattr(maps, name).dtype for name in MAPS} == {
            "shrink": np.uint8,
            "shrink_mask": np.uint8,
            "threshold": np.float16,
            "threshold_mask": np.uint8,
        }
        assert all(getattr(maps, name).shape == (48, 64) for name in MAPS)

    def test_an_image_without_text_is_background_to_learn(self, builder):
        maps = builder()([], [], (32, 48))
        assert not maps.shrink.any()
        assert maps.shrink_mask.all()
        assert not maps.threshold.any()
        assert not maps.threshold_mask.any()

    def test_all_pieces_of_a_shrunk_polygon_are_filled(self, builder):
        maps = builder(0.6)([_bone(5, 5)], [False], (50, 150))
        assert maps.shrink[25, 25] == maps.shrink[25, 125] == 1
        assert maps.shrink[25, 75] == 0, "the bar is thinner than twice the distance"

    @pytest.mark.parametrize("points", [_box(10, 10, 30, 2.9), _box(10, 10, 2.9, 30), _box(10, 10, 0.5, 0.5)])
    def test_text_too_small_to_learn_is_masked_and_never_background(self, builder, points):
        maps = builder()([points], [False], (48, 48))
        expected = np.ones((48, 48), np.uint8)
        inside = np.zeros((48, 48), np.uint8)
        fill_polygon(inside, points)
        np.testing.assert_array_equal(maps.shrink_mask, expected - inside)
        assert not maps.shrink.any()
        assert not maps.threshold_mask.any()

    def test_rotated_text_is_measured_by_its_own_short_side(self, builder):
        thin, thick = rectangle_corners(32, 32, 40, 2.5, 0.7), rectangle_corners(32, 32, 40, 3.5, 0.7)
        assert not builder(min_text_px=3)([thin], [False], (64, 64)).shrink.any()
        assert builder(min_text_px=3)([thick], [False], (64, 64)).shrink.any()

    def test_text_whose_shrunk_form_holds_no_pixel_is_masked(self, builder):
        # 0.2 px remain of 1.2 at r = 0.4, halfway between two rows of centres.
        sliver = _box(10, 10.4, 60, 1.2)
        maps = builder(0.4, min_text_px=1)([sliver], [False], (32, 80))
        assert not maps.shrink.any()
        assert not maps.shrink_mask[10:12, 10:70].any()
        assert not maps.threshold_mask.any()

    def test_ignored_text_is_masked_and_absent_from_the_threshold_maps(self, builder):
        maps = builder()([_box(10, 10, 30, 12)], [True], (48, 48))
        assert not maps.shrink_mask[10:22, 10:40].any()
        assert maps.shrink_mask.sum() == 48 * 48 - 12 * 30
        assert not maps.shrink.any()
        assert not maps.threshold.any()
        assert not maps.threshold_mask.any()

    @pytest.mark.parametrize("offset", [(-20, 10), (10, -6), (50, 40), (-500, -500), (1e6, 0)])
    def test_text_partly_or_wholly_outside_is_drawn_as_far_as_it_is_seen(self, builder, offset):
        polygon = _box(*offset, 40, 12)
        maps = builder()([polygon], [False], (48, 64))
        wide = builder()([polygon + 600.0], [False], (1300, 1300)) if abs(offset[0]) < 1e3 else None
        if wide is not None:
            np.testing.assert_array_equal(maps.shrink, wide.shrink[600:648, 600:664])
            np.testing.assert_array_equal(
                maps.threshold_mask, wide.threshold_mask[600:648, 600:664] * bool(maps.shrink.any())
            )

    def test_source_polygons_are_not_changed(self, builder):
        polygons = [_box(-5, 5, 40, 10), _bone(5, 20), _box(3, 3, 20, 2)]
        before = [polygon.copy() for polygon in polygons]
        for polygon in polygons:
            polygon.setflags(write=False)
        builder()(polygons, [False, False, True], (64, 64))
        assert all(np.array_equal(a, b) for a, b in zip(before, polygons, strict=True))

    def test_the_direction_of_the_outline_does_not_matter(self, builder):
        for polygon in (_box(8, 8, 40, 12) + 0.3, _bone(4, 4), _box(8, 8, 40, 12) + np.eye(4)[:, :2]):
            ahead, back = (builder()([p], [False], (64, 160)) for p in (polygon, polygon[::-1]))
            assert all(np.array_equal(getattr(ahead, name), getattr(back, name)) for name in MAPS)

    def test_thresholds_run_from_their_maximum_on_the_border_to_their_minimum(self, builder):
        maps = builder()([_box(10, 10, 60, 20)], [False], (48, 80))
        inside = maps.threshold[maps.threshold_mask == 1].astype(float)
        assert inside.min() == pytest.approx(0.3, abs=1e-3)
        # The centres nearest to the border lie half a pixel from it.
        distance = shrink_distance(1200, 160, 0.7)
        assert inside.max() == pytest.approx(0.3 + 0.4 * (1 - 0.5 / distance), abs=1e-3)

    def test_neighbouring_instances_keep_the_larger_threshold(self, builder):
        texts = [_box(10, 10, 40, 12), _box(10, 23, 40, 12)]
        both = builder()(texts, [False, False], (48, 64)).threshold
        single = [builder()([text], [False], (48, 64)).threshold for text in texts]
        np.testing.assert_array_equal(both, np.maximum(*single))

    def test_repeated_points_and_a_polygon_without_area_are_harmless(self, builder):
        repeated = np.repeat(_bone(5, 5), 2, axis=0)
        line = np.array([[5, 50], [40, 50], [60, 50], [5, 50]], dtype=np.float64)
        maps = builder()([repeated, line], [False, False], (64, 160))
        alone = builder()([_bone(5, 5)], [False], (64, 160))
        np.testing.assert_array_equal(maps.shrink, alone.shrink)
        np.testing.assert_array_equal(maps.threshold, alone.threshold)


def test_filling_takes_the_pixels_whose_centres_lie_inside():
    target = np.zeros((6, 8), np.uint8)
    assert fill_polygon(target, _box(1.4, 1.6, 4.0, 2.0)) == 8
    np.testing.assert_array_equal(np.argwhere(target).min(axis=0), [2, 1])
    np.testing.assert_array_equal(np.argwhere(target).max(axis=0), [3, 4])


def test_fingerprints_name_every_parameter_and_the_implementation():
    assert TargetBuilder(0.65, 2.0, 0.2, 0.8).fingerprint() == {
        "implementation": "vectorised",
        "shrink_ratio": 0.65,
        "min_text_px": 2.0,
        "threshold_min": 0.2,
        "threshold_max": 0.8,
    }
    assert ReferenceTargetBuilder().fingerprint()["implementation"] == "pyclipper"


def test_distances_are_given_for_text_to_learn_and_none_for_masked_text():
    texts = [_box(5, 5, 40, 10), _box(5, 30, 40, 2), _box(5, 40, 40, 10)]
    expected = shrink_distance(polygon_area(texts[0]), polygon_perimeter(texts[0]), 0.7)
    assert TargetBuilder().distances(texts, [False, False, True]) == [pytest.approx(expected), None, None]


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1])
def test_a_shrink_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match=rf"shrink_ratio is {ratio}; it must lie between 0 and 1"):
        TargetBuilder(ratio)


def test_a_falling_threshold_range_is_refused():
    with pytest.raises(ValueError, match=r"thresholds are 0\.7\.\.0\.3; they must increase"):
        TargetBuilder(threshold_min=0.7, threshold_max=0.3)


def test_flags_that_do_not_match_the_polygons_are_refused():
    with pytest.raises(ValueError, match="1 polygons came with 2 ignore flags"):
        TargetBuilder()([_box(0, 0, 9, 9)], [False, True], (32, 32))


def test_maps_are_a_plain_record():
    maps = TargetBuilder()([], [], (8, 8))
    assert isinstance(maps, TargetMaps)
    assert tuple(vars(maps)) == MAPS
