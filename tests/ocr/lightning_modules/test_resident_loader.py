"""Resident batches are the loader's own, read once; a pass that ends early is gone on with."""

from pathlib import Path

import pytest
import torch

from ocr.datasets import OCRDataset
from ocr.datasets.schemas import CacheConfig, DatasetConfig
from ocr.datasets.transforms import LetterboxTransform
from ocr.lightning_modules.data_pl import LoaderConfig, OCRDataModule
from ocr.lightning_modules.resident_loader import ResidentLoader


def split(root: Path, cache: Path) -> OCRDataset:
    config = DatasetConfig(
        image_path=root / "images/val",
        annotation_path=root / "jsons/val.json",
        cache_dir=cache,
        cache_config=CacheConfig(),
    )
    return OCRDataset(config, LetterboxTransform((160, 96)))


def test_later_passes_give_the_same_batches_without_reading_anything(synthetic_receipts: Path, tmp_path: Path) -> None:
    data = OCRDataModule(None, split(synthetic_receipts, tmp_path), 2, LoaderConfig(resident=True), on_gpu=False)
    first, second = list(data.val_dataloader()), list(data.val_dataloader())
    assert [batch.names for batch in first] == [batch.names for batch in second]
    for cold, warm in zip(first, second, strict=True):
        assert warm.images.data_ptr() == cold.images.data_ptr()
        assert cold.stages["decode"] > 0
        assert warm.stages == {}
        assert warm.cache == {"resident": (len(warm), 0, warm.images.numel())}


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_a_pass_that_ends_early_is_gone_on_with(synthetic_receipts: Path, tmp_path: Path, stop: int) -> None:
    plain = OCRDataModule(None, split(synthetic_receipts, tmp_path), 2, LoaderConfig(), on_gpu=False)
    loader = ResidentLoader(plain.val_dataloader(), torch.device("cpu"))
    for number, _ in enumerate(loader, start=1):
        if number >= stop:
            break
    whole = [batch.names for batch in loader]
    assert whole == [batch.names for batch in plain.val_dataloader()]
    assert [batch.names for batch in loader] == whole


def test_a_replayed_loader_repeats_the_first_order_of_training(synthetic_receipts: Path, tmp_path: Path) -> None:
    data = OCRDataModule(
        split(synthetic_receipts, tmp_path / "a"),
        split(synthetic_receipts, tmp_path / "b"),
        2,
        LoaderConfig(),
        on_gpu=False,
        replay=frozenset({"loader"}),
    )
    loader = data.train_dataloader()
    first, second = [batch.names for batch in loader], [batch.names for batch in loader]
    assert first == second
