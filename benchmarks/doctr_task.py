"""What docTR and this project are both given to do, and how fast a process does it.

Imported in docTR's own environment as well, so it needs torch and numpy alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Task:
    """One batch.

    Attributes:
        images: (N, 3, H, W) float32, normalised.
        maps: (N, H, W) float32 in 0..1, probabilities like a trained network's: random weights find no boxes, and both
            peers turn the same maps into boxes.
        quads: of each image, float64 (K, 4, 2) in network pixels, inside the image.
    """

    images: Tensor
    maps: np.ndarray
    quads: list[np.ndarray]

    def save(self, path: Path) -> None:
        """Write the task where `read_task` reads it."""
        counts = np.array([len(found) for found in self.quads])
        np.savez(path, images=self.images.numpy(), maps=self.maps, quads=np.concatenate(self.quads), counts=counts)


def read_task(path: Path) -> Task:
    """Read what `Task.save` wrote."""
    with np.load(path) as stored:
        quads = np.split(stored["quads"], np.cumsum(stored["counts"])[:-1])
        return Task(torch.from_numpy(stored["images"]), stored["maps"], quads)


class Peer(ABC):
    """One implementation: how it validates and trains on a batch."""

    network: torch.nn.Module

    @abstractmethod
    def probabilities(self, images: Tensor) -> Tensor:
        """Forward pass of validation: (N, 3, H, W) -> (N, H, W) or (N, 1, H, W)."""

    @abstractmethod
    def boxes(self, maps: np.ndarray) -> int:
        """Post-process maps (N, H, W); return the number of boxes."""

    @abstractmethod
    def loss(self, images: Tensor, task: Task) -> Tensor:
        """Forward pass of training with targets built from the quads, and the loss."""


def measure(build: Callable[[int], Peer]) -> None:
    """Build the peer (its argument: the side of the input), time validation and training, print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--passes", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    given = parser.parse_args()
    task = read_task(given.task)
    torch.manual_seed(0)
    peer = build(task.images.shape[-1])
    images = task.images
    if given.channels_last:
        peer.network = peer.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)
    found = 0

    def validate() -> None:
        nonlocal found
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=given.bf16):
            peer.probabilities(images).float().numpy()
        found = peer.boxes(task.maps)

    optimizer = torch.optim.AdamW(peer.network.parameters(), lr=1e-4)

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=given.bf16):
            loss = peer.loss(images, task)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    peer.network.eval()
    validation = len(images) / _seconds(validate, given.passes)
    peer.network.train()
    training = len(images) / _seconds(train, given.passes)
    sys.stdout.write(json.dumps({"validation": validation, "training": training, "boxes": found}) + "\n")


def _seconds(run: Callable[[], None], passes: int) -> float:
    """Mean of the passes after one that warms up."""
    run()
    begun = time.perf_counter()
    for _ in range(passes):
        run()
    return (time.perf_counter() - begun) / passes
