"""Batches that stay where their first pass put them: a split in device memory, or a replay of any loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Protocol

import torch

from ocr.datasets.collate import Batch


class BatchLoader(Protocol):
    """What is iterated: a DataLoader of batches."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


class ResidentLoader:
    """Yields a loader's batches, and from the second pass on the same ones from the memory of the device.

    A pass that ends early (sanity batches, `limit_val_batches`) leaves what it saw; a later, longer one goes on from
    there. The order is that of the first pass, so for training this is a replay and no way to train.
    """

    def __init__(self, loader: BatchLoader, device: torch.device) -> None:
        self.loader, self.device = loader, device
        self._kept: list[Batch] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        yield from map(served_from_memory, list(self._kept))
        known = len(self._kept)
        if known >= len(self):
            return
        batches: Iterable[Batch] = islice(self.loader, known, None) if known else self.loader
        for batch in batches:
            moved = batch.to(self.device)
            self._kept.append(moved)
            yield moved


def served_from_memory(batch: Batch) -> Batch:
    """Return the batch with an account of this pass: no stage ran for it, and its images came from the device."""
    size = batch.images.numel() * batch.images.element_size()
    return replace(batch, stages={}, cache={"resident": (len(batch), 0, size)}, first_hit=None)
