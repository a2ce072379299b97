"""docTR's side of `benchmarks.doctr`, in docTR's own environment: nothing of this project but the task is imported."""

from __future__ import annotations

import numpy as np
from torch import Tensor, library

# torchvision's wheels need CUDA for their compiled operators, and torchvision fails on import where they are missing.
# A detector uses neither, so a declaration is enough.
for operator in ("nms", "qnms"):
    library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from doctr.models.detection.differentiable_binarization.pytorch import (  # type: ignore[import-not-found]
    db_resnet50,
)

from benchmarks.doctr_task import Peer, Task, measure


class Doctr(Peer):
    """db_resnet50 as shipped (straight pages), without pretrained weights."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.network = self.detector = db_resnet50(pretrained=False)

    def probabilities(self, images: Tensor) -> Tensor:
        """Forward pass without the threshold branch, and without docTR's boxes of what random weights find."""
        self.detector.exportable = True
        logits: Tensor = self.detector(images)["logits"]
        self.detector.exportable = False
        return logits.sigmoid()

    def boxes(self, maps: np.ndarray) -> int:
        """Boxes in relative coordinates."""
        return sum(len(found) for image in self.detector.postprocessor(maps[..., None]) for found in image)

    def loss(self, images: Tensor, task: Task) -> Tensor:
        """Targets, both branches, the loss: one call in docTR."""
        corners = [quads / self.side for quads in task.quads]
        straight = [np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1) for quads in corners]
        loss: Tensor = self.detector(images, [{"words": boxes.astype(np.float32)} for boxes in straight])["loss"]
        return loss


if __name__ == "__main__":
    measure(Doctr)
