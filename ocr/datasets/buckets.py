"""Aspect buckets: a few canvases chosen from the data, so that tall receipts are not padded to a square.

Every image keeps the scale that the square input would give it; only the padding goes. Batches hold images of one
bucket, so a batch has one shape, and an epoch still visits every image exactly once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch.utils.data import Sampler

from ocr.datasets.transforms import letterbox_size

Size = tuple[int, int]
Item = TypeVar("Item")

SIDE_MULTIPLE = 32
"""Sides of a canvas are multiples of this: the network halves its input five times."""


def tight_canvas(height: int, width: int, size: Size) -> Size:
    """Return the smallest canvas (height, width) for an image at the scale at which it fits into `size`, in pixels."""
    rows, columns = letterbox_size(height, width, size)
    return _rounded_up(rows), _rounded_up(columns)


def _rounded_up(side: int) -> int:
    return -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE


def choose_buckets(canvases: Sequence[Size], count: int) -> list[Size]:
    """Return at most `count` canvases that hold all the given ones with the least pixels over all images.

    Sorted by aspect, each bucket holds a run of neighbours and is as large as the largest side of them: the best split
    into runs is found by dynamic programming over the distinct canvases, a few dozen at most.

    Args:
        canvases: one (height, width) per image, in pixels.
        count: the largest number of buckets, at least 1.
    """
    images = Counter(canvases)
    shapes = sorted(images, key=lambda shape: (shape[1] / shape[0], shape))
    best: list[dict[int, tuple[int, list[Size]]]] = [{0: (0, [])}]
    for end in range(1, len(shapes) + 1):
        row: dict[int, tuple[int, list[Size]]] = {}
        for start in range(end):
            run = shapes[start:end]
            bucket = (max(height for height, _ in run), max(width for _, width in run))
            cost = bucket[0] * bucket[1] * sum(images[shape] for shape in run)
            for used, (before, chosen) in best[start].items():
                if used < count and (used + 1 not in row or before + cost < row[used + 1][0]):
                    row[used + 1] = (before + cost, [*chosen, bucket])
        best.append(row)
    return min(best[-1].values(), key=lambda found: (found[0], len(found[1])))[1]


def assign_canvases(canvases: Sequence[Size], count: int) -> list[Size]:
    """Return for each image the bucket with the fewest pixels that holds its canvas."""
    buckets = sorted(choose_buckets(canvases, count), key=lambda bucket: bucket[0] * bucket[1])
    fitting = {
        canvas: next(bucket for bucket in buckets if bucket[0] >= canvas[0] and bucket[1] >= canvas[1])
        for canvas in set(canvases)
    }
    return [fitting[canvas] for canvas in canvases]


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of images of one shape; an epoch yields every index exactly once, the last batch of a shape is smaller.

    Unshuffled batches keep the order of the data within a shape, and come in the order of their first image, so that a
    run cut short by `limit_val_batches` still sees several shapes. Shuffled ones are drawn anew each epoch: images
    within a shape, then the order of the batches; the run's seed and the epoch's number decide, so that a resumed run
    goes on as if it had never stopped.

    Under several ranks each takes every n-th batch. When shuffled, the first batches are repeated until all ranks have
    equally many, as gradients are exchanged step by step; otherwise nothing is repeated.
    """

    def __init__(self, shapes: Sequence[Size], batch_size: int, shuffle: bool) -> None:
        """`shapes` has one (height, width) per index of the dataset."""
        self.batch_size, self.shuffle = batch_size, shuffle
        self._seed, self._epoch = torch.initial_seed(), 0
        self._members: dict[Size, list[int]] = {}
        for index, shape in enumerate(shapes):
            self._members.setdefault(shape, []).append(index)

    @property
    def sampler(self) -> BucketBatchSampler:
        """Itself: Lightning tells the epoch to a batch sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._of_this_rank(list(range(self._batches))))

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed((self._seed + self._epoch) % 2**63)
        self._epoch += 1
        batches = [
            ordered[start : start + self.batch_size]
            for ordered in (self._ordered(members, generator) for members in self._members.values())
            for start in range(0, len(ordered), self.batch_size)
        ]
        yield from self._of_this_rank(self._ordered(batches, generator) if self.shuffle else sorted(batches))

    @property
    def _batches(self) -> int:
        return sum(-(-len(members) // self.batch_size) for members in self._members.values())

    def _ordered(self, items: list[Item], generator: torch.Generator) -> list[Item]:
        if not self.shuffle:
            return items
        return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]

    def _of_this_rank(self, batches: list[Item]) -> list[Item]:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return batches
        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        if self.shuffle and batches:
            batches = [batches[place % len(batches)] for place in range(-(-len(batches) // ranks) * ranks)]
        return batches[rank::ranks]
