import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ocr.datasets.annotations import AnnotationError
from ocr.datasets.targets import ReferenceTargetBuilder, TargetBuilder
from ocr.models.postprocess import DBPostProcessor, ReferencePostProcessor
from ocr.oracle import OracleImage, load_oracle_images, move_edges, oracle
from ocr.utils.image_loading import ImageDecodeError
from ocr.utils.polygons import polygon_area, rectangle_corners


def _page(lines: int = 12) -> OracleImage:
    polygons = [rectangle_corners(300.0, 40.0 + 60 * row, 380 - 20 * row, 30, 0.01 * row) for row in range(lines)]
    return OracleImage("page.jpg", polygons, [False] * lines, (900, 600))


@pytest.mark.shared_data
def test_perfect_maps_of_real_receipts_reach_the_ceiling_at_640(shared_receipts: Path):
    images = load_oracle_images(shared_receipts / "jsons/val.json", shared_receipts / "images/val")
    result = oracle(images, (640, 640), TargetBuilder(), DBPostProcessor())
    assert result.images == 104
    assert result.icdar.n_gt == 5644, "5,645 words, of which one is unreadable"
    assert result.icdar.hmean >= 0.995
    assert result.cleval.hmean >= 0.995


@pytest.mark.shared_data
def test_the_exact_inverse_beats_the_common_ratio_on_real_receipts(shared_receipts: Path):
    images = load_oracle_images(shared_receipts / "jsons/val.json", shared_receipts / "images/val")[:20]
    exact = oracle(images, (640, 640), TargetBuilder(0.4), DBPostProcessor(0.4))
    constant = oracle(images, (640, 640), TargetBuilder(0.4), DBPostProcessor(0.4, unclip=1.5))
    assert exact.icdar.hmean > constant.icdar.hmean + 0.05


@pytest.mark.shared_data
@pytest.mark.parametrize(("noise", "floor"), [("dilated", 0.93), ("jittered", 0.92)])
def test_the_default_survives_the_errors_of_a_network_on_real_receipts(shared_receipts: Path, noise, floor):
    images = load_oracle_images(shared_receipts / "jsons/val.json", shared_receipts / "images/val")[:40]
    default = oracle(images, (640, 640), TargetBuilder(), DBPostProcessor(), noise)
    published = oracle(images, (640, 640), TargetBuilder(0.4), DBPostProcessor(0.4), noise)
    assert default.icdar.hmean > max(floor, published.icdar.hmean + 0.05)


def test_perfect_maps_of_a_page_give_back_every_line():
    result = oracle([_page(), _page(5)], (320, 320), TargetBuilder(), DBPostProcessor())
    assert (result.images, result.icdar.tp, result.icdar.n_gt, result.icdar.n_det) == (2, 17, 17, 17)
    assert result.as_dict()["icdar"]["hmean"] == 1.0
    assert result.as_dict()["images"] == 2


def test_the_plain_implementations_reach_the_same_counts():
    fast = oracle([_page()], (320, 320), TargetBuilder(), DBPostProcessor())
    plain = oracle([_page()], (320, 320), ReferenceTargetBuilder(), ReferencePostProcessor())
    assert fast.icdar == plain.icdar


def test_the_network_size_may_be_other_than_square():
    assert oracle([_page()], (480, 320), TargetBuilder(), DBPostProcessor()).icdar.hmean == 1.0


def test_noise_costs_where_text_is_small():
    page = _page()
    clean = oracle([page], (192, 192), TargetBuilder(0.4, 1), DBPostProcessor(0.4))
    for noise in ("dilated", "jittered"):
        assert (
            oracle([page], (192, 192), TargetBuilder(0.4, 1), DBPostProcessor(0.4), noise).icdar.hmean
            < clean.icdar.hmean
        )


def test_large_text_survives_the_noise():
    for noise in ("dilated", "jittered"):
        assert oracle([_page()], (960, 640), TargetBuilder(), DBPostProcessor(), noise).icdar.hmean == 1.0


def test_jitter_is_the_same_for_the_same_seed():
    runs = [oracle([_page()], (192, 192), TargetBuilder(), DBPostProcessor(), "jittered", seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_ignored_text_counts_neither_way():
    page = _page(4)
    result = oracle(
        [OracleImage(page.name, page.polygons, [True, False, False, True], page.size)],
        (320, 320),
        TargetBuilder(),
        DBPostProcessor(),
    )
    assert (result.icdar.tp, result.icdar.n_gt, result.icdar.n_det) == (2, 2, 2)


def test_different_shrink_ratios_are_refused_in_exact_mode():
    with pytest.raises(ValueError, match=r"Targets shrink by 0\.4 and post-processing undoes 0\.7; give both the same"):
        oracle([_page()], (320, 320), TargetBuilder(0.4), DBPostProcessor(0.7))


def test_an_unknown_noise_names_the_known_ones():
    with pytest.raises(ValueError, match="noise is 'blurred'; allowed are none, dilated, jittered"):
        oracle([_page()], (320, 320), TargetBuilder(), DBPostProcessor(), "blurred")  # type: ignore[arg-type]


def test_no_image_at_all_is_refused():
    with pytest.raises(ValueError, match="got no image; give at least one"):
        oracle([], (320, 320), TargetBuilder(), DBPostProcessor())


@settings(max_examples=60, deadline=None)
@given(
    w=st.floats(5, 60), h=st.floats(5, 60), angle=st.floats(-3, 3), distance=st.floats(-2, 5), backwards=st.booleans()
)
def test_edges_moved_alike_grow_a_rectangle_by_that_distance(w, h, angle, distance, backwards):
    step = -1 if backwards else 1
    moved = move_edges(rectangle_corners(30, 30, w, h, angle)[::step], np.full(4, distance))
    expected = rectangle_corners(30, 30, w + 2 * distance, h + 2 * distance, angle)[::step]
    assert moved is not None
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_one_edge_moves_alone():
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=np.float64)
    moved = move_edges(square, np.array([0.0, 2.0, 0.0, 0.0]))
    np.testing.assert_allclose(moved, [[0, 0], [12, 0], [12, 10], [0, 10]])


def test_edges_that_pass_each_other_leave_nothing():
    assert move_edges(rectangle_corners(30, 30, 40, 4, 0.2), np.full(4, -2.5)) is None


def test_points_on_a_straight_edge_move_with_it():
    square = np.array([[0, 0], [5, 0], [10, 0], [10, 10], [0, 10]], dtype=np.float64)
    moved = move_edges(square, np.full(5, 1.0))
    assert moved is not None
    assert polygon_area(moved) == pytest.approx(144)


def _write_dataset(root: Path, orientation: int = 1) -> tuple[Path, Path]:
    image = Image.new("RGB", (120, 80))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(root / "a.jpg", exif=exif)
    words = {"0001": {"points": [[10, 10], [60, 10], [60, 20], [10, 20]]}}
    (root / "labels.json").write_text(json.dumps({"images": {"a.jpg": {"words": words}}}))
    return root / "labels.json", root


def test_truth_is_read_with_displayed_sizes(tmp_path: Path):
    (image,) = load_oracle_images(*_write_dataset(tmp_path, orientation=6), polygon_frame="displayed")
    assert (image.name, image.size, image.ignore) == ("a.jpg", (120, 80), [False])
    assert oracle([image], (96, 96), TargetBuilder(), DBPostProcessor()).icdar.tp == 1


def test_an_annotated_image_that_is_absent_is_named(tmp_path: Path):
    labels, folder = _write_dataset(tmp_path)
    (folder / "a.jpg").unlink()
    with pytest.raises(ImageDecodeError, match=r"a\.jpg"):
        load_oracle_images(labels, folder)


def test_an_annotation_without_images_is_refused(tmp_path: Path):
    (tmp_path / "labels.json").write_text('{"images": {}}')
    with pytest.raises(AnnotationError, match=r"names no image; the oracle needs at least one"):
        load_oracle_images(tmp_path / "labels.json", tmp_path)
