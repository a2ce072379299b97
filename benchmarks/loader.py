"""Time the validation data path: `python -m benchmarks.loader --arm=... [--data PATH] [--images N] [--batch N]`.

Every batch of an epoch goes through a DataLoader without workers.
- `reference`: the ordinary path per image: Pillow with EXIF, albumentations in float32, maps by a polygon library.
- `fast`: the tensor tier after one pass that fills it; validation without a loss needs no maps.
- `fast_with_maps`: the same with the map tier, for a validation loss.
- `original`: no tier; decode and transform as the project does, on the images as they are.
- `canonical`: the same on what `ocr data canonicalize` makes of them (made here, untimed).

`mean_difference` is how far the first batch is from the fast path's, in grey values 0..1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.harness import (
    SPLIT,
    BenchmarkError,
    arm_parser,
    median_seconds,
    positive,
    print_line,
    receipts_folder,
    split_config,
)
from ocr.datasets.base import OCRDataset
from ocr.datasets.canonical import canonicalize
from ocr.datasets.collate import Batch, collate
from ocr.datasets.schemas import CacheConfig
from ocr.datasets.targets import ReferenceTargetBuilder, TargetBuilder
from ocr.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD, LetterboxTransform, NaiveTransform
from ocr.utils.image_loading import PillowLoader

ARMS = ("reference", "fast", "fast_with_maps", "original", "canonical")


def open_split(arm: str, data: Path, images: int, folder: Path, side: int, long_side: int | None = None) -> OCRDataset:
    """Return the dataset of an arm; its cache, subset and canonical images are below `folder`."""
    if arm == "canonical":
        data = canonical_copy(data, images, folder, long_side)
    tiers = CacheConfig(cache_transformed_tensors=arm.startswith("fast"), cache_maps=arm == "fast_with_maps")
    config = split_config(data, images, folder, tiers)
    if arm == "reference":
        return OCRDataset(config, NaiveTransform((side, side)), ReferenceTargetBuilder(), PillowLoader())
    if arm == "fast_with_maps":
        config = config.model_copy(update={"load_maps": True})
        return OCRDataset(config, LetterboxTransform((side, side)), TargetBuilder())
    return OCRDataset(config, LetterboxTransform((side, side)))


def canonical_copy(data: Path, images: int, folder: Path, long_side: int | None) -> Path:
    """Return a folder with the canonical images of the split as its images, made below `folder`."""
    subset = split_config(data, images, folder / "source", CacheConfig())
    root = folder / "canonical"
    (root / "images").mkdir(parents=True)
    (root / "jsons").mkdir()
    (root / "images" / SPLIT).symlink_to(subset.image_path.resolve(), target_is_directory=True)
    (root / "jsons" / f"{SPLIT}.json").write_bytes(subset.annotation_path.read_bytes())
    canonicalize(root, SPLIT, long_side)
    (root / "images" / SPLIT).unlink()
    (root / "images" / f"{SPLIT}_canonical").rename(root / "images" / SPLIT)
    (root / "jsons" / f"{SPLIT}_canonical.json").replace(root / "jsons" / f"{SPLIT}.json")
    return root


def grey_values(batch: Batch) -> torch.Tensor:
    """Return the images of a batch (N, 3, H, W) as float32 in 0..1, whether normalised or not."""
    if batch.images.dtype == torch.uint8:
        return batch.images.float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return batch.images * std + mean


def main(arguments: Sequence[str] | None = None) -> None:
    """Run epochs by one arm and print the line."""
    parser = arm_parser(__doc__, ARMS, images=40)
    parser.add_argument("--batch", type=positive, default=16)
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, in pixels")
    parser.add_argument("--long-side", type=positive, help="of canonical images, in pixels; by default their own")
    given = parser.parse_args(arguments)
    data = receipts_folder(given.data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = open_split(given.arm, data, given.images, folder / given.arm, given.size, given.long_side)
        loader = DataLoader(split, given.batch, collate_fn=collate)
        seconds, last = median_seconds(lambda: [len(batch) for batch in loader], given.repeats)
        plain = open_split("original", data, given.images, folder / "plain", given.size)
        apart = grey_values(next(iter(loader))) - grey_values(
            next(iter(DataLoader(plain, given.batch, collate_fn=collate)))
        )
        if sum(last) != len(plain):
            raise BenchmarkError(f"The loader gave {sum(last)} of {len(plain)} images; an epoch visits each one once")
        print_line(
            given.arm,
            seconds,
            f"one validation epoch of {len(plain)} images in batches of {given.batch}, side {given.size} pixels",
            plain.content_hash,
            mean_difference=float(np.abs(apart.numpy()).mean()),
            images_per_second=len(plain) / seconds,
        )


if __name__ == "__main__":
    main()
