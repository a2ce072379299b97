"""Measure the memory of all processes that share a cache: `python -m benchmarks.memory [--data PATH] [--images N]`.

For each number of workers and start method, and for two ranks, every process touches every page of a filled tensor
tier and a filled image tier. The sum of PSS (pages shared by n processes count 1/n in each) over all of them, less the
same without caches, is `pss_bytes`; `ratio` is that over the size of the tier files: 1 means one copy for all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import psutil
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import BenchmarkError, add_data_options, positive, receipts_folder, split_config
from ocr.datasets.base import OCRDataset
from ocr.datasets.schemas import CacheConfig, DatasetConfig
from ocr.datasets.transforms import AugmentTransform, LetterboxTransform
from ocr.utils.cache_manager import tier_files

PATIENCE_SECONDS = 600.0
METHODS = ("fork", "spawn", "forkserver")


@dataclass(frozen=True)
class Layout:
    """How many ranks, how many workers each has, and how those are started."""

    ranks: int
    workers: int
    method: str

    @property
    def name(self) -> str:
        """For the report; without workers nothing is started, so there is no method."""
        workers = f"{self.workers} workers by {self.method}" if self.workers else "no workers"
        return f"{self.ranks} rank{'s' * (self.ranks > 1)}, {workers}"


class EveryPage(Dataset[int]):
    """Item i is one worker's whole work: decode and transform one image, and touch each page of the tiers there are."""

    def __init__(self, config: DatasetConfig, side: int, workers: int) -> None:
        """`config` has both tiers or neither; `side` of the square input in pixels; one item for each of `workers`."""
        self.workers = workers
        letterbox, augment = LetterboxTransform((side, side)), AugmentTransform((side, side), (1.0, 1.0), 1.0, 0.0, 0.0)
        # The same work with and without tiers, so that its memory is in both sums.
        plain = config.model_copy(update={"cache_config": CacheConfig()})
        self.plain = [OCRDataset(plain, letterbox), OCRDataset(plain, augment)]
        self.cached: list[OCRDataset] = []
        if config.cache_config.cache_images:
            images = config.model_copy(update={"cache_config": CacheConfig(cache_images=True)})
            # A random transform leaves the image tier alone to be visited.
            self.cached = [OCRDataset(config, letterbox), OCRDataset(images, augment)]

    def __len__(self) -> int:
        return max(1, self.workers)

    def __getitem__(self, index: int) -> int:
        """Do the work; return how many samples were visited."""
        return sum(len(split[0].image) > 0 for split in self.plain) + sum(s.cache_prepare() for s in self.cached)


@contextmanager
def together(barrier: Barrier) -> Iterator[None]:
    """Let nobody wait at the barrier for a block that failed."""
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            barrier.abort()


def run_rank(config: DatasetConfig, side: int, layout: Layout, barrier: Barrier) -> None:
    """Live as one rank: touch everything in the workers and here, wait while it is measured, and end."""
    with together(barrier):
        pages = EveryPage(config, side, layout.workers)
        started: dict[str, Any] = {"multiprocessing_context": layout.method, "persistent_workers": True}
        loader = DataLoader(pages, 1, num_workers=layout.workers, **(started if layout.workers else {}))
        sum(int(visited) for visited in loader)
        pages[0]
        barrier.wait(PATIENCE_SECONDS)  # all have touched everything
        barrier.wait(PATIENCE_SECONDS)  # it has been measured


def fill(config: DatasetConfig, side: int) -> None:
    """Fill both tiers; the life of a process of its own, so that nobody but the measured ones maps the files."""
    OCRDataset(config, LetterboxTransform((side, side))).cache_prepare()


def pss_bytes(process: int) -> int:
    """Return the proportional set size of a process, from the kernel's own sum over its mappings.

    Raises:
        BenchmarkError: the kernel does not tell (not Linux, or another user's process).
    """
    path = Path(f"/proc/{process}/smaps_rollup")
    try:
        rows = path.read_text().splitlines()
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read ({error.strerror}); measure on Linux 4.14 or newer") from error
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith("Pss:"))


def measure(config: DatasetConfig, side: int, layout: Layout) -> int:
    """Return the sum of PSS in bytes over all ranks and their workers when each has touched everything."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(layout.ranks + 1)
    # Not daemons: a rank has children of its own.
    ranks = [spawn.Process(target=run_rank, args=(config, side, layout, barrier)) for _ in range(layout.ranks)]
    for rank in ranks:
        rank.start()
    try:
        with together(barrier):
            barrier.wait(PATIENCE_SECONDS)
            tree = [psutil.Process(rank.pid) for rank in ranks]
            tree += [child for process in tree for child in process.children(recursive=True)]
            total = sum(pss_bytes(process.pid) for process in tree)
            barrier.wait(PATIENCE_SECONDS)
    except BrokenBarrierError:
        raise BenchmarkError(f"A rank of {layout.name} ended early; its own error is printed above") from None
    finally:
        for rank in ranks:
            rank.join()
    return total


def layouts(workers: Sequence[int], methods: Sequence[str], ranks: int) -> list[Layout]:
    """Return one rank with each number of workers by each method, and `ranks` ranks without workers if several."""
    pairs = itertools.product(workers, methods)
    one_rank = [Layout(1, count, method) for count, method in pairs if count or method == methods[0]]
    return [*one_rank, Layout(ranks, 0, methods[0])] if ranks > 1 else one_rank


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the tiers, measure every layout with and without them, print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser, images=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=list(METHODS))
    parser.add_argument("--ranks", type=positive, default=2, help="ranks that share the tiers, without workers")
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, in pixels")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        both = CacheConfig(cache_images=True, cache_transformed_tensors=True)
        cached = split_config(receipts_folder(given.data), given.images, Path(name), both)
        plain = cached.model_copy(update={"cache_config": CacheConfig()})
        filler = multiprocessing.get_context("spawn").Process(target=fill, args=(cached, given.size))
        filler.start()
        filler.join()
        split = OCRDataset(plain, LetterboxTransform((given.size, given.size)))
        cache_bytes = sum(path.stat().st_size for path in tier_files(cached.cache_dir))
        rows = []
        for layout in layouts(given.workers, given.methods, given.ranks):
            constant = measure(plain, given.size, layout)
            more = measure(cached, given.size, layout) - constant
            rows.append(
                {"layout": layout.name, "pss_bytes": more, "constant_bytes": constant, "ratio": more / cache_bytes}
            )
    line = {
        "work": f"every page of the image and tensor tiers of {len(split)} images, side {given.size} pixels",
        "dataset": split.content_hash,
        "cache_bytes": cache_bytes,
        "largest_ratio": max(float(str(row["ratio"])) for row in rows),
        "layouts": rows,
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
