"""Measure what must not change while things get faster: `python -m benchmarks.parity --checkpoint PATH [--data PATH]`.

- `batches_that_differ`: warm batches of all tiers that are not, bit by bit, those of no cache.
- `naive_difference`, `buckets_difference`, `bf16_difference`: hmean that the same weights lose (ICDAR or CLEval, the
  larger loss; below zero: gain) between the naive configuration and the fast one on the same square input, the square
  and aspect buckets, float32 and bf16.
- `ranks_that_differ`: of 2, 3 and 5 ranks over 404 images, those whose gathered counts are not those of one process.

Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import add_data_options, positive, split_config
from benchmarks.matching import receipts
from ocr.datasets.base import OCRDataset
from ocr.datasets.collate import Batch
from ocr.datasets.schemas import CacheConfig
from ocr.datasets.targets import TargetBuilder
from ocr.datasets.transforms import LetterboxTransform
from ocr.inference import evaluate
from ocr.lightning_modules.data_pl import LoaderConfig, OCRDataModule
from ocr.lightning_modules.ocr_pl import ImageCounts, of_all_ranks
from ocr.metrics.cleval import ClevalCounts, cleval_counts
from ocr.metrics.icdar import IcdarCounts, icdar_counts

RANKS = (2, 3, 5)
IMAGES_OF_RANKS = 404
FLOAT32, BF16, SQUARE = "trainer.precision=32-true", "trainer.precision=bf16-mixed", "aspect_buckets=0"


def batches_that_differ(data: Path | None, images: int, side: int, folder: Path) -> int:
    """Return how many warm batches of one split differ in any bit from those without a cache."""
    tiers = CacheConfig(cache_images=True, cache_maps=True, cache_transformed_tensors=True)
    buckets = {"aspect_buckets": 4}
    plain = split_config(data, images, folder / "plain", CacheConfig()).model_copy(update=buckets)
    cached = split_config(data, images, folder / "cached", tiers).model_copy(update={**buckets, "load_maps": True})
    passes = []
    for config in (plain, cached, cached):
        split = OCRDataset(config, LetterboxTransform((side, side)), TargetBuilder())
        passes.append(list(OCRDataModule(None, split, 8, LoaderConfig(), on_gpu=False).val_dataloader()))
    fresh, _, warm = passes
    return sum(not _equal(one, other) for one, other in zip(fresh, warm, strict=True))


def _equal(one: Batch, other: Batch) -> bool:
    ours, theirs = one.targets or {}, other.targets or {}
    same_maps = ours.keys() == theirs.keys() and all(torch.equal(maps, theirs[name]) for name, maps in ours.items())
    return same_maps and torch.equal(one.images, other.images)


def hmeans(data: Path | None, given: argparse.Namespace, folder: Path, *overrides: str) -> tuple[float, float]:
    """Return (ICDAR, CLEval) hmean of the weights under a configuration."""
    config = split_config(data, given.images, folder, CacheConfig())
    path = evaluate(
        [
            *overrides,
            f"model={given.model}",
            f"checkpoint={given.checkpoint}",
            f"image_size=[{given.size},{given.size}]",
            f"dataset_base_path={config.image_path.parent.parent}/",
            f"datasets.val_dataset.config.annotation_path={config.annotation_path}",
            f"cache_dir={folder / 'cache'}",
            f"output_dir={folder / 'runs'}",
            "trainer.enable_progress_bar=false",
        ]
    )
    scores = json.loads(path.read_text())["epochs"][-1]["metrics"]
    return scores["icdar_hmean"], scores["cleval_hmean"]


def loss_of(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Return the larger of the two losses of hmean."""
    return max(one - other for one, other in zip(before, after, strict=True))


def scene_counts() -> ImageCounts:
    """Return the counts of 404 fixed random receipts by name."""
    scenes = receipts(IMAGES_OF_RANKS, seed=0)
    return {
        f"{number}.jpg": (icdar_counts(truth, found), cleval_counts(truth, found))
        for number, (truth, found) in enumerate(scenes)
    }


def pooled(counts: ImageCounts) -> tuple[IcdarCounts, ClevalCounts]:
    """Return the sums over all images."""
    return (
        reduce(add, (icdar for icdar, _ in counts.values()), IcdarCounts()),
        reduce(add, (cleval for _, cleval in counts.values()), ClevalCounts()),
    )


def gathered(rank: int, ranks: int, store: str, answers: Any) -> None:
    """Take every n-th image, gather those of all ranks, and answer with the sums."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(store, ranks), rank=rank, world_size=ranks
    )
    own = dict(list(scene_counts().items())[rank::ranks])
    answers.put(pooled(of_all_ranks(own)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def ranks_that_differ(folder: Path) -> int:
    """Return how many of the numbers of ranks give other counts than one process, in any rank."""
    expected, context, wrong = pooled(scene_counts()), multiprocessing.get_context("spawn"), 0
    for ranks in RANKS:
        answers = context.Queue()
        store = str(folder / f"store{ranks}")
        processes = [context.Process(target=gathered, args=(rank, ranks, store, answers)) for rank in range(ranks)]
        for process in processes:
            process.start()
        found = [answers.get(timeout=300) for _ in processes]
        for process in processes:
            process.join()
        wrong += any(counts != expected for counts in found)
    return wrong


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser, images=40)
    parser.add_argument("--checkpoint", required=True, help="weights that find something")
    parser.add_argument("--model", default="resnet18", help="the network of the weights")
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, pixels")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        naive = hmeans(given.data, given, folder / "naive", "preset=naive")
        fast = hmeans(given.data, given, folder / "fast", FLOAT32, SQUARE)
        buckets = hmeans(given.data, given, folder / "buckets", FLOAT32)
        bf16 = hmeans(given.data, given, folder / "bf16", BF16)
        line = {
            "batches_that_differ": batches_that_differ(given.data, given.images, given.size, folder / "batches"),
            "naive_difference": loss_of(naive, fast),
            "buckets_difference": loss_of(fast, buckets),
            "bf16_difference": loss_of(buckets, bf16),
            "ranks_that_differ": ranks_that_differ(folder),
            "icdar_hmean": bf16[0],
            "cleval_hmean": bf16[1],
            "work": f"{given.images} images at {given.size}, {IMAGES_OF_RANKS} scenes over {RANKS} ranks",
        }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
