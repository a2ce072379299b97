"""This project's side of `benchmarks.doctr`, in a process of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.doctr_task import Peer, Task, measure
from ocr.datasets.targets import TargetBuilder
from ocr.models.architecture import build_dbnet
from ocr.models.encoder import ResNetEncoder
from ocr.models.loss import DBLoss
from ocr.models.postprocess import DBPostProcessor

TARGET_NAMES = ("shrink", "shrink_mask", "threshold", "threshold_mask")


class Ours(Peer):
    """DBNet with a ResNet-50 encoder and the decoder that this project ships."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.network = self.detector = build_dbnet(ResNetEncoder(50))
        self.targets, self.criterion, self.postprocess = TargetBuilder(), DBLoss(), DBPostProcessor()

    def probabilities(self, images: Tensor) -> Tensor:
        """Forward pass without the threshold branch."""
        return self.detector.predict_probability(images)

    def boxes(self, maps: np.ndarray) -> int:
        """Boxes in network pixels."""
        size = (self.side, self.side)
        return sum(len(self.postprocess(probability, np.eye(3), size).polygons) for probability in maps)

    def loss(self, images: Tensor, task: Task) -> Tensor:
        """Targets, both branches, the loss."""
        made = [self.targets(list(quads), [False] * len(quads), (self.side, self.side)) for quads in task.quads]
        targets = {name: torch.from_numpy(np.stack([getattr(m, name) for m in made])) for name in TARGET_NAMES}
        loss: Tensor = self.criterion(self.detector(images, with_threshold=True), targets)["loss"]
        return loss


if __name__ == "__main__":
    measure(Ours)
