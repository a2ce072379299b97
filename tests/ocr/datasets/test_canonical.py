"""Canonical images: the same picture and the same polygons, upright, smaller where asked, written safely."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ocr.cli import app
from ocr.datasets.base import OCRDataset
from ocr.datasets.canonical import LEDGER, CanonicalError, canonicalize
from ocr.datasets.schemas import DatasetConfig
from ocr.datasets.transforms import LetterboxTransform, shrunk_size
from ocr.utils.image_loading import ImageLoader, probe_image

POINTS = [[10.0, 20.0], [50.0, 20.0], [50.0, 40.0], [10.0, 40.0]]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three photographs of 80 x 120 pixels (stored), the second one to be turned by its EXIF tag."""
    root = tmp_path / "data"
    (root / "images/val").mkdir(parents=True)
    (root / "jsons").mkdir()
    generator = np.random.default_rng(0)
    entries: dict[str, Any] = {}
    for name, orientation in (("a.jpg", 1), ("b.jpg", 6), ("c.png", 1)):
        tags = Image.Exif()
        tags[0x0112] = orientation
        tags[0x010E] = "a description"
        smooth = Image.fromarray(generator.integers(0, 255, (8, 12, 3), np.uint8)).resize((120, 80))
        smooth.save(root / "images/val" / name, exif=tags)
        words = {"w1": {"points": POINTS, "transcription": "###", "x": 1}, "w2": {"points": []}}
        entries[name] = {"words": words, "camera": "mine"}
    entries["a.jpg"] |= {"img_h": 80, "img_w": 120}
    (root / "jsons/val.json").write_text(json.dumps({"images": entries, "licence": "free"}))
    return root


def labels(root: Path, name: str = "val_canonical") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "jsons" / f"{name}.json").read_text())
    return content


def open_split(root: Path, name: str, cache: Path) -> OCRDataset:
    config = DatasetConfig(
        image_path=root / "images" / name, annotation_path=root / "jsons" / f"{name}.json", cache_dir=cache
    )
    return OCRDataset(config, LetterboxTransform((64, 64)))


def test_a_lossless_copy_is_the_same_split_to_the_last_bit(synthetic_receipts: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "jsons").mkdir()
    (root / "images/val").symlink_to(synthetic_receipts / "images/val")
    (root / "jsons/val.json").write_bytes((synthetic_receipts / "jsons/val.json").read_bytes())
    turned = {probe_image(path).orientation for path in (root / "images/val").iterdir()}
    assert turned != {1}, "photographs that are stored turned are among them"
    report = canonicalize(root, "val", lossless=True)
    assert (report.written, report.kept, report.bad) == (5, 0, {})
    original, copy = (open_split(root, name, tmp_path / "cache") for name in ("val", "val_canonical"))
    assert len(copy) == len(original) == 5
    for one, other in zip(original, copy, strict=True):
        assert one.original_size == other.original_size
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_allclose(np.concatenate(one.truth), np.concatenate(other.truth))


def test_one_number_for_the_long_side_works_through_a_real_dataset(photographs: Path, tmp_path: Path) -> None:
    canonicalize(photographs, "val", long_side=64)
    original, copy = (open_split(photographs, name, tmp_path / "cache") for name in ("val", "val_canonical"))
    assert copy.sizes == [(43, 64), (64, 43), (43, 64)]
    for one, other in zip(original, copy, strict=True):
        (height, width), (rows, columns) = one.original_size, other.original_size
        np.testing.assert_allclose(other.truth[0], one.truth[0] * [columns / width, rows / height])
        np.testing.assert_allclose(other.truth[0] @ other.matrix[:2, :2], one.truth[0] @ one.matrix[:2, :2], atol=0.5)
        assert np.abs(one.image.astype(float) - other.image).mean() < 6


@pytest.mark.parametrize("side", [(640, 640), 0, -1, 640.0, True])
def test_a_long_side_that_is_no_positive_number_is_refused(photographs: Path, side: Any) -> None:
    with pytest.raises(CanonicalError, match=r"long_side is .*; give one positive number of pixels such as 1280"):
        canonicalize(photographs, "val", long_side=side)
    assert not (photographs / "images/val_canonical").exists()


def test_small_images_keep_their_size() -> None:
    assert shrunk_size((300, 200), 400) == shrunk_size((300, 200), None) == (300, 200)
    assert shrunk_size((300, 200), 30) == (30, 20)
    assert shrunk_size((3000, 1), 30) == (30, 1)


def test_keys_flags_and_words_without_points_are_kept(photographs: Path) -> None:
    canonicalize(photographs, "val", long_side=60)
    content = labels(photographs)
    assert content["licence"] == "free"
    first = content["images"]["a.jpg"]
    assert (first["camera"], first["img_h"], first["img_w"]) == ("mine", 40, 60)
    assert first["words"]["w1"] == {"points": (np.array(POINTS) / 2).tolist(), "transcription": "###", "x": 1}
    assert first["words"]["w2"] == {"points": []}
    assert "img_h" not in content["images"]["b.jpg"]


def test_images_are_upright_jpegs_without_metadata(photographs: Path) -> None:
    canonicalize(photographs, "val")
    made = photographs / "images/val_canonical"
    assert {path.name for path in made.iterdir()} == {"a.jpg", "b.jpg", "c.jpg", LEDGER}
    for name, source in (("a.jpg", "a.jpg"), ("b.jpg", "b.jpg"), ("c.jpg", "c.png")):
        with Image.open(made / name) as image:
            assert not image.getexif()
        shown = ImageLoader()(photographs / "images/val" / source)
        copied = ImageLoader()(made / name)
        assert copied.shape == shown.shape
        assert np.abs(copied.astype(float) - shown).mean() < 3


def test_polygons_of_a_turned_image_follow_its_pixels_where_they_are_raw(photographs: Path) -> None:
    canonicalize(photographs, "val", polygon_frame="raw")
    points = labels(photographs)["images"]["b.jpg"]["words"]["w1"]["points"]
    assert points == [[80 - y, x] for x, y in POINTS]


def test_a_second_call_makes_only_what_is_missing_or_changed(photographs: Path) -> None:
    canonicalize(photographs, "val")
    made = photographs / "images/val_canonical"
    before = labels(photographs)
    (made / "a.jpg").unlink()
    with (made / LEDGER).open("a") as stream:
        stream.write('{"name": "b.j')  # a kill in mid-line
    again = canonicalize(photographs, "val")
    assert (again.written, again.kept) == (1, 2)
    assert labels(photographs) == before
    Image.new("RGB", (120, 80)).save(photographs / "images/val/b.jpg")
    assert canonicalize(photographs, "val").written == 1
    assert canonicalize(photographs, "val", long_side=60).written == 3, "another size is another image"


def test_a_copy_that_would_lead_to_its_source_is_refused(photographs: Path) -> None:
    (photographs / "images/val_canonical").symlink_to(photographs / "images/val")
    with pytest.raises(CanonicalError, match="leads to the source itself, which is never overwritten"):
        canonicalize(photographs, "val")


def test_a_folder_of_someone_else_is_not_written_to(photographs: Path) -> None:
    foreign = photographs / "images/val_canonical"
    foreign.mkdir()
    (foreign / "a.jpg").write_bytes(b"mine")
    with pytest.raises(CanonicalError, match="holds files that this command did not make"):
        canonicalize(photographs, "val")
    assert (foreign / "a.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "message"), [("c.jpg", "'c.jpg' would both become 'c.jpg'"), ("../val/a.jpg", "leads out of")]
)
def test_names_that_would_overwrite_each_other_or_the_source_are_refused(
    photographs: Path, name: str, message: str
) -> None:
    content = labels(photographs, "val")
    content["images"][name] = {"words": {}}
    (photographs / "jsons/val.json").write_text(json.dumps(content))
    with pytest.raises(CanonicalError, match=message):
        canonicalize(photographs, "val")


def test_bad_images_are_all_named_and_left_out_only_when_told_to(photographs: Path) -> None:
    (photographs / "images/val/a.jpg").write_bytes(b"\xff\xd8\xff")
    (photographs / "images/val/c.png").unlink()
    with pytest.raises(CanonicalError, match=r"2 of 3 images .*a\.jpg: .*; c\.png: the file does not exist"):
        canonicalize(photographs, "val")
    assert not (photographs / "jsons/val_canonical.json").exists()
    report = canonicalize(photographs, "val", on_bad_image="drop")
    assert (report.written, report.kept, sorted(report.bad)) == (0, 1, ["a.jpg", "c.png"])
    assert list(labels(photographs)["images"]) == ["b.jpg"]


def test_the_command_says_what_it_wrote(photographs: Path) -> None:
    (photographs / "images/val/a.jpg").write_bytes(b"\xff\xd8\xff")
    done = CliRunner().invoke(app, ["data", "canonicalize", str(photographs), "--long-side=60", "--drop-bad"])
    assert done.exit_code == 0, done.output
    assert "left out a.jpg: " in done.output
    assert "2 images written, 0 kept from before" in done.output
    assert (photographs / "jsons/val_canonical.json").is_file()
