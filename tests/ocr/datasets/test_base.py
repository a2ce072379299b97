"""`OCRDataset`: cached samples are bit-identical to fresh ones, and no bad or missing image passes unnoticed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from ocr.datasets import OCRDataset
from ocr.datasets.collate import Batch
from ocr.datasets.schemas import CacheConfig, ConfigError, DatasetConfig, ImageLoadingConfig
from ocr.datasets.split import DatasetError
from ocr.datasets.targets import TargetBuilder
from ocr.datasets.transforms import AugmentTransform, LetterboxTransform, NaiveTransform
from ocr.inference import compose_config
from ocr.lightning_modules.data_pl import LoaderConfig, OCRDataModule
from ocr.utils.image_loading import PillowLoader
from ocr.utils.polygons import transform_points

SIZE = (160, 96)


def dataset(root: Path, cache: Path, tiers: dict[str, bool] | None = None, **more: Any) -> OCRDataset:
    targets, transform = more.pop("targets", None), more.pop("transform", LetterboxTransform(SIZE))
    loader = more.pop("loader", None)
    config = DatasetConfig(
        image_path=root / "images/val",
        annotation_path=root / "jsons/val.json",
        cache_dir=cache,
        cache_config=CacheConfig(**(tiers or {})),
        image_loading_config=ImageLoadingConfig(use_turbojpeg=True, turbojpeg_fallback=True),
        **more,
    )
    return OCRDataset(config, transform, targets, loader)


ALL_TIERS = {"cache_images": True, "cache_maps": True, "cache_transformed_tensors": True}


def assert_same_batch(one: Batch, other: Batch) -> None:
    assert one.names == other.names
    assert torch.equal(one.images, other.images)
    np.testing.assert_array_equal(one.matrices, other.matrices)
    assert (one.targets is None) == (other.targets is None)
    for name, tensor in (one.targets or {}).items():
        assert other.targets is not None
        assert tensor.dtype == other.targets[name].dtype
        assert torch.equal(tensor, other.targets[name])


def batches(split: OCRDataset, **loader: Any) -> list[Batch]:
    return list(OCRDataModule(None, split, 2, LoaderConfig(**loader), on_gpu=False).val_dataloader())


START_METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
@pytest.mark.parametrize(
    "loader",
    [
        {},
        *(
            {"num_workers": workers, "multiprocessing_context": method}
            for workers in (1, 4)
            for method in START_METHODS
        ),
    ],
    ids=str,
)
def test_batches_are_bit_identical_cached_or_not(
    synthetic_receipts: Path, tmp_path: Path, loader: dict[str, Any]
) -> None:
    plain = batches(dataset(synthetic_receipts, tmp_path / "a", targets=TargetBuilder(), aspect_buckets=2))
    cached = dataset(
        synthetic_receipts, tmp_path / "b", ALL_TIERS, targets=TargetBuilder(), load_maps=True, aspect_buckets=2
    )
    first, second = batches(cached, **loader), batches(cached, **loader)
    for fresh, cold, warm in zip(plain, first, second, strict=True):
        assert_same_batch(fresh, cold)
        assert_same_batch(fresh, warm)
    assert sum(batch.cache["tensors"][1] for batch in first) == len(cached)
    assert sum(batch.cache["tensors"][0] for batch in second) == len(cached)
    assert sum(batch.cache["maps"][0] for batch in second) == len(cached)


def test_a_bucket_holds_the_same_pixels_as_the_square_without_its_padding(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    square = dataset(synthetic_receipts, tmp_path / "a", transform=LetterboxTransform((320, 320)))
    buckets = dataset(synthetic_receipts, tmp_path / "b", transform=LetterboxTransform((320, 320)), aspect_buckets=4)
    assert min(width for _, width in buckets.shapes) < 320
    for index, (height, width) in enumerate(buckets.shapes):
        whole, part = square[index], buckets[index]
        np.testing.assert_array_equal(whole.image[:height, :width], part.image)
        assert not whole.image[height:].any()
        assert not whole.image[:, width:].any()
        np.testing.assert_array_equal(whole.matrix, part.matrix)


def test_the_naive_transform_fills_the_canvas_of_a_bucket(synthetic_receipts: Path, tmp_path: Path) -> None:
    naive = dataset(synthetic_receipts, tmp_path / "a", transform=NaiveTransform((320, 320)), aspect_buckets=4)
    for index, shape in enumerate(naive.shapes):
        assert naive[index].image.shape == (*shape, 3)


def test_prenormalised_tensors_are_what_the_device_makes_of_uint8(synthetic_receipts: Path, tmp_path: Path) -> None:
    tiers = {"cache_transformed_tensors": True}
    plain = dataset(synthetic_receipts, tmp_path, tiers)
    early = dataset(synthetic_receipts, tmp_path, tiers, prenormalize_images=True)
    module = instantiate(compose_config("evaluate", ["model=tiny"]).model)
    for fresh, cold, warm in zip(batches(plain), batches(early), batches(early), strict=True):
        assert fresh.images.dtype == torch.uint8
        assert cold.images.dtype == torch.float32
        assert torch.equal(module.normalise(fresh.images), cold.images)
        assert torch.equal(module.normalise(cold.images), warm.images)
    assert early.image_bytes == 4 * plain.image_bytes


def test_a_smaller_loaded_image_keeps_the_geometry(synthetic_receipts: Path, tmp_path: Path) -> None:
    tiers = {"cache_images": True}
    whole = dataset(synthetic_receipts, tmp_path, tiers, targets=TargetBuilder())
    shrunk = dataset(synthetic_receipts, tmp_path, tiers, targets=TargetBuilder(), image_long_side=400)
    for _ in range(2):
        for index in range(len(whole)):
            large, small = whole[index], shrunk[index]
            assert max(shrunk.loaded_sizes[index]) == 400
            for one, other in zip(large.polygons, small.polygons, strict=True):
                np.testing.assert_allclose(one, other, atol=0.25)
            np.testing.assert_allclose(transform_points(small.matrix, small.truth[0]), small.polygons[0], atol=1e-9)
            difference = np.abs(large.image.astype(int) - small.image)
            assert difference.mean() < 8
    files = sorted(path.stat().st_size for path in tmp_path.glob("images-*"))
    assert files[0] < files[1] / 3


def test_random_training_windows_are_of_the_bucket(synthetic_receipts: Path, tmp_path: Path) -> None:
    random = AugmentTransform((320, 320), scale=(0.75, 1.5), stretch=1.1, rotation=3, photometric=0)
    split = dataset(synthetic_receipts, tmp_path, transform=random, targets=TargetBuilder(), aspect_buckets=2)
    for batch in batches(split):
        assert {tuple(batch.images.shape[2:])} == {split.shapes[index] for index in batch.indices}
        assert batch.targets is not None
        assert batch.targets["shrink"].shape[1:] == batch.images.shape[2:]


def test_replayed_stages_run_once_and_give_their_first_output(synthetic_receipts: Path, tmp_path: Path) -> None:
    random = AugmentTransform((160, 96), scale=(0.75, 1.5), stretch=1.1, rotation=3, photometric=0)
    split = dataset(synthetic_receipts, tmp_path, transform=random, targets=TargetBuilder())
    split.replay = frozenset({"decode", "transform", "targets"})
    first, second = split[0], split[0]
    assert set(first.stages) == {"decode", "transform", "targets"}
    assert second.stages == {}
    np.testing.assert_array_equal(first.image, second.image)


def test_a_second_process_worth_of_state_decodes_nothing(synthetic_receipts: Path, tmp_path: Path) -> None:
    batches(dataset(synthetic_receipts, tmp_path, ALL_TIERS, preload_images=True))

    class NoDecoder(PillowLoader):
        def __call__(self, path: str | Path) -> np.ndarray:
            raise AssertionError(f"decoded {path}")

    reopened = dataset(synthetic_receipts, tmp_path, ALL_TIERS, preload_images=True)
    reopened.loader = NoDecoder()
    reopened.prepare()
    assert sum(batch.cache["tensors"][0] for batch in batches(reopened)) == len(reopened)
    assert reopened.report.preloaded == len(reopened)


def test_images_are_channels_last_in_memory_without_a_copy(synthetic_receipts: Path, tmp_path: Path) -> None:
    images = batches(dataset(synthetic_receipts, tmp_path))[0].images
    assert images.shape == (2, 3, *SIZE)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_changed_image_label_size_or_decoder_never_meets_the_old_cache(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    root, cache = tmp_path / "data", tmp_path / "cache"
    shutil.copytree(synthetic_receipts, root)

    def hits(**more: Any) -> tuple[int, int]:
        split = dataset(root, cache, ALL_TIERS, targets=TargetBuilder(), load_maps=True, **more)
        counts = [split[index].cache for index in range(len(split))]
        return sum(count["tensors"][0] for count in counts), sum(count["maps"][0] for count in counts)

    assert hits() == (0, 0)
    assert hits() == (5, 5)
    labels = json.loads((root / "jsons/val.json").read_text())
    next(iter(next(iter(labels["images"].values()))["words"].values()))["points"][0][0] += 1
    (root / "jsons/val.json").write_text(json.dumps(labels))
    assert hits() == (5, 0)  # the pixels are the same, the maps are not
    assert hits(transform=LetterboxTransform((192, 96))) == (0, 0)
    assert hits(loader=PillowLoader()) == (0, 5)  # another decoder: new pixels; the maps depend on the labels alone
    image = next((root / "images/val").iterdir())
    data = bytearray(image.read_bytes())
    data[-3] ^= 1
    image.write_bytes(bytes(data))
    assert hits() == (0, 5)


def test_the_same_labels_in_another_frame_never_meet_the_old_maps(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "images/val").mkdir(parents=True)
    (root / "jsons").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 200), "white").save(root / "images/val/turned.jpg", exif=exif)
    words = {"0001": {"points": [[10, 20], [90, 20], [90, 60], [10, 60]]}}
    (root / "jsons/val.json").write_text(json.dumps({"images": {"turned.jpg": {"words": words}}}))

    def shrink(frame: str) -> np.ndarray:
        split = dataset(
            root, tmp_path / "cache", ALL_TIERS, targets=TargetBuilder(), load_maps=True, polygon_frame=frame
        )
        maps = split[0].maps
        assert maps is not None
        return maps.shrink.copy()

    displayed = shrink("displayed")
    assert not np.array_equal(shrink("raw"), displayed)
    np.testing.assert_array_equal(shrink("displayed"), displayed)


def test_a_tensor_tier_for_a_random_transform_is_refused(synthetic_receipts: Path, tmp_path: Path) -> None:
    random = AugmentTransform(SIZE, scale=(1, 1), stretch=1, rotation=3, photometric=0)
    with pytest.raises(ConfigError, match="needs a deterministic transform, but AugmentTransform is random"):
        dataset(synthetic_receipts, tmp_path, ALL_TIERS, transform=random)


def test_training_samples_clip_polygons_to_the_window_and_keep_flags_aligned(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    random = AugmentTransform(SIZE, scale=(1.5, 2.0), stretch=1.1, rotation=5, photometric=0)
    split = dataset(synthetic_receipts, tmp_path, targets=TargetBuilder(), transform=random)
    for index in range(len(split)):
        sample = split[index]
        assert len(sample.polygons) == len(sample.ignore)
        for polygon in sample.polygons:
            assert polygon.min() >= 0
            assert (polygon <= [SIZE[1], SIZE[0]]).all()


def test_without_a_loss_no_map_is_built(synthetic_receipts: Path, tmp_path: Path) -> None:
    split = dataset(synthetic_receipts, tmp_path, ALL_TIERS, load_maps=True)
    split.prepare()
    assert split[0].maps is None
    assert split.report.declined["map tier"] == "val_loss: false"
    assert not list(tmp_path.glob("maps-*"))


def test_preloading_reports_true_figures(
    synthetic_receipts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split = dataset(synthetic_receipts, tmp_path, ALL_TIERS, preload_images=True)
    with caplog.at_level("INFO"):
        split.prepare()
    assert f"Preloading images from {synthetic_receipts / 'images/val'} into RAM..." in caplog.text
    assert "Preloaded 5/5 images into RAM (100.0%)" in caplog.text
    assert "Tensor caching enabled - will cache 5 transformed samples after first access" in caplog.text


def test_an_absent_image_is_named_with_the_nearest_file(synthetic_receipts: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(synthetic_receipts, root)
    labels = json.loads((root / "jsons/val.json").read_text())
    name = next(iter(labels["images"]))
    labels["images"] = {name.replace(".jpg", "x.jpg"): labels["images"][name]}
    (root / "jsons/val.json").write_text(json.dumps(labels))
    with pytest.raises(DatasetError, match=r"1 of 1 images named in .*val\.json are absent .*did you mean"):
        dataset(root, tmp_path / "cache")


def test_all_broken_images_are_listed_at_the_start_and_can_be_dropped(synthetic_receipts: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(synthetic_receipts, root)
    files = sorted((root / "images/val").iterdir())
    for broken in files[:2]:
        broken.write_bytes(broken.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=r"2 of 5 images .* cannot be decoded .*on_bad_image=drop") as caught:
        dataset(root, tmp_path / "cache")
    assert all(broken.name in str(caught.value) for broken in files[:2])
    dropped = dataset(root, tmp_path / "cache", on_bad_image="drop")
    assert len(dropped) == 3
    assert set(dropped.report.dropped) == {broken.name for broken in files[:2]}
