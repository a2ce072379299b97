"""Time a process until its first batch: `python -m benchmarks.second_process --arm=reference|fast [--data PATH]`.

`reference` starts with an empty cache folder; `fast` with one that another process has filled. Both open the dataset
(hashes and checks of every image included), preload as the shipped configuration does unless `--no-preload`, and take
the first batch. `decodes` counts the images that were decoded for it, `checked` those decoded to see whether they can
be; `outputs` is the hash of the batch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from benchmarks.harness import arm_parser, digest, positive, print_line, receipts_folder, split_config
from ocr.datasets.base import OCRDataset
from ocr.datasets.collate import Batch, collate
from ocr.datasets.schemas import CacheConfig, DatasetConfig
from ocr.datasets.transforms import LetterboxTransform
from ocr.utils.image_loading import ImageLoader


class CountingLoader(ImageLoader):
    """The project's decoder, and how many images it decoded."""

    decodes = 0

    def __call__(self, path: str | Path) -> np.ndarray:
        """Decode and count."""
        self.decodes += 1
        return super().__call__(path)


def open_split(config: DatasetConfig, side: int) -> OCRDataset:
    """Return the dataset with a counting decoder, preloaded as the configuration asks."""
    split = OCRDataset(config, LetterboxTransform((side, side)), loader=CountingLoader())
    split.prepare()
    return split


def fill(config: DatasetConfig, side: int) -> None:
    """Fill every tier; the whole life of the first process."""
    open_split(config, side).cache_prepare()


def first_batch(config: DatasetConfig, side: int, batch: int) -> tuple[OCRDataset, Batch]:
    """Return the dataset, opened, and its first batch."""
    split = open_split(config, side)
    return split, next(iter(DataLoader(split, batch, collate_fn=collate)))


def remembered_checks(config: DatasetConfig) -> int:
    """Return how many images the cache folder knows to decode."""
    memo = config.cache_dir / "decode_reports.json"
    return len(json.loads(memo.read_text())) if memo.is_file() else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Take the first batch by one arm and print the line."""
    parser = arm_parser(__doc__, ("reference", "fast"), images=40, repeats=1)
    parser.add_argument("--batch", type=positive, default=16)
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, in pixels")
    parser.add_argument("--preload", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args(arguments)
    tiers = CacheConfig(cache_images=True, cache_transformed_tensors=True)
    with tempfile.TemporaryDirectory() as name:
        config = split_config(receipts_folder(given.data), given.images, Path(name), tiers, preload=given.preload)
        if given.arm == "fast":
            first = multiprocessing.get_context("spawn").Process(target=fill, args=(config, given.size))
            first.start()
            first.join()
        checks = remembered_checks(config)
        begun = time.perf_counter()
        split, batch = first_batch(config, given.size, given.batch)
        seconds = time.perf_counter() - begun
        assert isinstance(split.loader, CountingLoader)  # noqa: S101  # for the type checker
        print_line(
            given.arm,
            seconds,
            f"the first batch of {len(batch)} of {len(split)} images, side {given.size} pixels, "
            f"{'with' if given.preload else 'without'} preloading",
            split.content_hash,
            digest([batch.images.numpy(), batch.matrices]),
            decodes=split.loader.decodes,
            checked=remembered_checks(config) - checks,
        )


if __name__ == "__main__":
    main()
