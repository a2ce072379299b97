"""What the two-armed benchmarks share: options, receipts, timing, and the one JSON line that each prints at the end.

Both arms of a benchmark do the same work on the same receipts in a process of their own; the line of each says in how
many seconds, and carries either a hash of the results (where they must be equal) or the measured agreement.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from omegaconf import OmegaConf

import configs
from ocr.datasets.schemas import CacheConfig, DatasetConfig, ImageLoadingConfig
from ocr.datasets.synthetic import ensure_dataset
from ocr.oracle import OracleImage, load_oracle_images
from ocr.utils.content_hash import sha256_of_json, write_atomically
from ocr.utils.errors import OCRError

Result = TypeVar("Result")
Figure = float | int | str

SPLIT = "val"
"""Every benchmark reads the validation split."""


class BenchmarkError(OCRError):
    """Options or data with which nothing can be measured."""


def arm_parser(description: str | None, arms: Sequence[str], images: int, repeats: int = 3) -> argparse.ArgumentParser:
    """Return a parser of `--arm`, `--data`, `--images` and `--repeats`, to which a benchmark adds its own options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=arms, default=arms[0])
    add_data_options(parser, images)
    parser.add_argument("--repeats", type=positive, default=repeats, help="timed passes; their median counts")
    return parser


def add_data_options(parser: argparse.ArgumentParser, images: int) -> None:
    """Add `--data` and `--images`."""
    parser.add_argument(
        "--data", type=Path, help="folder with images/val and jsons/val.json; by default the rendered receipts"
    )
    parser.add_argument("--images", type=positive, default=images, help="the first so many images of the split")


def positive(text: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def receipts_folder(data: Path | None) -> Path:
    """Return `data`, or the folder of the project's synthetic receipts, rendered where they are missing."""
    if data is not None:
        return data
    made = OmegaConf.load(Path(configs.__file__).parent / "data" / "synthetic.yaml").synthetic
    return ensure_dataset(Path(made.root), seed=made.seed, train=made.train, val=made.val, test=made.test)


def labelled_images(data: Path | None, images: int) -> list[OracleImage]:
    """Return the truth of the first `images` images of the split, in displayed original pixels.

    Raises:
        AnnotationError: the split is absent or malformed.
    """
    root = receipts_folder(data)
    return load_oracle_images(root / "jsons" / f"{SPLIT}.json", root / "images" / SPLIT)[:images]


def truth_hash(images: Iterable[OracleImage]) -> str:
    """Return the SHA-256 (hex) of names, sizes, polygons and flags: the data of a benchmark that reads no pixel."""
    return sha256_of_json(
        [[image.name, image.size, [p.tolist() for p in image.polygons], list(image.ignore)] for image in images]
    )


def split_config(
    data: Path | None, images: int, folder: Path, tiers: CacheConfig, split: str = SPLIT, preload: bool = False
) -> DatasetConfig:
    """Return the configuration of the first `images` images of a split, its cache below `folder`.

    Raises:
        BenchmarkError: the split has no annotation file in the project's own form.
    """
    root = receipts_folder(data)
    labels = root / "jsons" / f"{split}.json"
    if not labels.is_file():
        raise BenchmarkError(f"{labels} does not exist; --data is a folder with images/{split} and jsons/{split}.json")
    found = json.loads(labels.read_text())["images"]
    subset = folder / f"{split}.json"
    write_atomically(subset, json.dumps({"images": dict(list(found.items())[:images])}).encode())
    return DatasetConfig(
        image_path=root / "images" / split,
        annotation_path=subset,
        cache_dir=folder / "cache",
        preload_images=preload,
        cache_config=tiers,
        image_loading_config=ImageLoadingConfig(use_turbojpeg=True, turbojpeg_fallback=True),
    )


def median_seconds(run: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    """Run once to warm up, then `repeats` times; return the median of those in seconds, and the last result."""
    result = run()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), result


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 (hex) of arrays: shape, type and bytes of each, in order."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def print_line(arm: str, seconds: float, work: str, dataset: str, outputs: str = "", **figures: Figure) -> None:
    """Print the line that whoever compares the arms reads.

    Args:
        arm: which implementation ran.
        seconds: of the timed part.
        work: what was done, in words that are equal for all arms.
        dataset: content hash of what it was done on.
        outputs: hash of the results where arms must agree exactly, else empty, and a figure says how far they agree.
        **figures: scores and agreements.
    """
    line = {"arm": arm, "seconds": seconds, "outputs": outputs, "dataset": dataset, "work": work, **figures}
    sys.stdout.write(json.dumps(line) + "\n")
