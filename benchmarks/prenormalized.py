"""Weigh the pre-normalised tensor tier against the ordinary one: `python -m benchmarks.prenormalized [--data PATH]`.

Both tiers are filled from the same images. `ratio` is the size of the float32 files over that of the uint8 files;
`largest_difference` is how far a normalised value lies from the ordinary one when that is normalised later, as the
fast path does on the device. What it brings in time: `agent-tools bench ladder caches`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import add_data_options, positive, split_config
from ocr.datasets.base import OCRDataset
from ocr.datasets.schemas import CacheConfig
from ocr.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD, LetterboxTransform
from ocr.utils.cache_manager import tier_files


def filled(data: Path | None, images: int, side: int, folder: Path, prenormalized: bool) -> tuple[OCRDataset, int]:
    """Fill a tensor tier below `folder`; return its dataset and the bytes of its files."""
    config = split_config(data, images, folder, CacheConfig(cache_transformed_tensors=True))
    config = config.model_copy(update={"prenormalize_images": prenormalized})
    split = OCRDataset(config, LetterboxTransform((side, side)))
    split.cache_prepare()
    return split, sum(path.stat().st_size for path in tier_files(config.cache_dir))


def largest_difference(plain: OCRDataset, prenormalized: OCRDataset) -> float:
    """Return the largest absolute difference between both tiers' values once both are normalised."""
    mean, std = (np.asarray(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return max(
        float(np.abs((np.asarray(plain[i].image, np.float32) / 255 - mean) / std - prenormalized[i].image).max())
        for i in range(len(plain))
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill both tiers and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser, images=40)
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, in pixels")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        plain, plain_bytes = filled(given.data, given.images, given.size, Path(name) / "uint8", False)
        normalized, float_bytes = filled(given.data, given.images, given.size, Path(name) / "float32", True)
        line = {
            "work": f"tensor tiers of {len(plain)} images, side {given.size} pixels",
            "dataset": plain.content_hash,
            "uint8_bytes": plain_bytes,
            "float32_bytes": float_bytes,
            "ratio": float_bytes / plain_bytes,
            "largest_difference": largest_difference(plain, normalized),
        }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
