"""Stages that are slow on purpose, by a known time per image: what verdicts and what-if are tried on.

They burn a core instead of sleeping, as a real slow stage does. Named in a configuration:

    datasets.val_dataset.loader={_target_:tests.planted_stages.SlowLoader,seconds:0.05}
    model.network._target_=tests.planted_stages.slow_dbnet +model.network.seconds=0.05
    model.postprocess._target_=tests.planted_stages.SlowPostProcessor +model.postprocess.seconds=0.05
"""

import time
from pathlib import Path
from typing import Any

from torch import Tensor

from ocr.models.architecture import DBNet, Encoder, build_dbnet
from ocr.models.postprocess import DBPostProcessor, Detections
from ocr.utils.image_loading import LoadedImage, PillowLoader


def burn(seconds: float) -> None:
    """Keep this core busy for a time."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class SlowLoader(PillowLoader):
    """Decodes, and takes `seconds` more for each image."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def load(self, path: str | Path) -> LoadedImage:
        """Decode slowly."""
        burn(self.seconds)
        return super().load(path)


class SlowDBNet(DBNet):
    """The network, and `seconds` more for each image."""

    seconds = 0.0

    def forward(self, images: Tensor, with_threshold: bool = True) -> dict[str, Tensor]:
        """Forward slowly."""
        burn(self.seconds * len(images))
        return super().forward(images, with_threshold)


def slow_dbnet(encoder: Encoder, inner_channels: int, seconds: float) -> DBNet:
    """`build_dbnet` with a slow forward."""
    built = build_dbnet(encoder, inner_channels)
    slow = SlowDBNet(built.encoder, built.decoder, built.head)
    slow.seconds = seconds
    return slow


class SlowPostProcessor(DBPostProcessor):
    """Post-processing, and `seconds` more for each image."""

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self.seconds = seconds

    def __call__(self, *image: Any) -> Detections:
        """Find polygons slowly."""
        burn(self.seconds)
        return super().__call__(*image)
