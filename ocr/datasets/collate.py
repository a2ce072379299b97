"""Samples -> batch: one copy into one buffer, placed where the next process or device wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from ocr.datasets.schemas import CacheTrace, Sample
from ocr.datasets.targets import TargetMaps
from ocr.utils.polygons import Polygon


@dataclass
class Batch:
    """A batch of N samples.

    Attributes:
        images: (N, 3, H, W); uint8 0..255, or float32 already normalised. Stored pixel by pixel, so that the tensor is
            channels_last without a copy.
        targets: `shrink`, `shrink_mask`, `threshold_mask` uint8 and `threshold` float16, each (N, H, W); None where
            no loss is asked for.
        matrices: (N, 3, 3) float64, original displayed pixels -> network pixels.
        stages: CPU seconds per stage, summed over the samples.
        cache: tier -> (hits, misses, bytes), summed over the samples.
        first_hit: index of the first sample that came from the tensor tier, or None.
    """

    indices: list[int]
    names: list[str]
    images: torch.Tensor
    targets: dict[str, torch.Tensor] | None
    matrices: np.ndarray
    original_sizes: list[tuple[int, int]]
    truth: list[list[Polygon]]
    truth_ignore: list[list[bool]]
    stages: dict[str, float]
    cache: CacheTrace
    first_hit: int | None

    def __len__(self) -> int:
        return len(self.names)

    def _with_tensors(self, move: Any) -> Batch:
        targets = None if self.targets is None else {name: move(value) for name, value in self.targets.items()}
        return replace(self, images=move(self.images), targets=targets)

    def pin_memory(self) -> Batch:
        """Return the batch with its tensors in page-locked memory (called by the DataLoader)."""
        return self._with_tensors(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on `device`."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    """Copy equal arrays into one new tensor (N, ...); in a worker the tensor is in shared memory at once."""
    first = arrays[0]
    out = torch.empty((len(arrays), *first.shape), dtype=torch.from_numpy(np.empty(0, first.dtype)).dtype)
    if get_worker_info() is not None:
        storage = torch.UntypedStorage._new_shared(out.numel() * out.element_size(), device="cpu")
        out = torch.empty(0, dtype=out.dtype).set_(storage).resize_(out.shape)
    view = out.numpy()
    for row, array in enumerate(arrays):
        view[row] = array
    return out


def collate(samples: Sequence[Sample]) -> Batch:
    """Build a `Batch` from at least one sample; all images have one shape and dtype."""
    maps = [sample.maps for sample in samples if sample.maps is not None]
    stages: dict[str, float] = {}
    cache: CacheTrace = {}
    for sample in samples:
        for stage, seconds in sample.stages.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
        for tier, counts in sample.cache.items():
            before = cache.get(tier, (0, 0, 0))
            cache[tier] = (before[0] + counts[0], before[1] + counts[1], before[2] + counts[2])
    hits = [sample.index for sample in samples if sample.cache.get("tensors", (0, 0, 0))[0]]
    return Batch(
        indices=[sample.index for sample in samples],
        names=[sample.name for sample in samples],
        images=_stack([sample.image for sample in samples]).permute(0, 3, 1, 2),
        targets={part.name: _stack([getattr(item, part.name) for item in maps]) for part in fields(TargetMaps)}
        if maps
        else None,
        matrices=np.stack([sample.matrix for sample in samples]),
        original_sizes=[sample.original_size for sample in samples],
        truth=[sample.truth for sample in samples],
        truth_ignore=[sample.truth_ignore for sample in samples],
        stages=stages,
        cache=cache,
        first_hit=hits[0] if hits else None,
    )
