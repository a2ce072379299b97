"""The images that a run found hardest: scores for the run file, pictures of truth and detections beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import torch

from ocr.datasets.base import OCRDataset
from ocr.datasets.collate import collate
from ocr.datasets.schemas import ConfigError
from ocr.lightning_modules.ocr_pl import ImageCounts, OCRPLModule
from ocr.lightning_modules.run_file import WorstImage
from ocr.metrics.cleval import ClevalCounts
from ocr.metrics.icdar import IcdarCounts
from ocr.utils.content_hash import write_atomically
from ocr.utils.polygons import Polygon

FOLDER = "worst"
LONG_SIDE = 720
"""Pixels of a picture's longer side: legible on a screen, small enough to be committed."""
JPEG_QUALITY = 80
TRUTH_COLOUR = (31, 119, 180)
FOUND_COLOUR = (255, 127, 14)
"""RGB; told apart by people who see red and green alike."""


def worst_names(scores: ImageCounts, count: int) -> list[str]:
    """Return the names of the `count` images of the lowest CLEval hmean, worst first; ICDAR and names break ties."""
    return sorted(scores, key=lambda name: (scores[name][1].hmean, scores[name][0].hmean, name))[:count]


def keep_worst(
    module: OCRPLModule, split: OCRDataset, count: int, folder: Path, precision: AbstractContextManager[None]
) -> list[WorstImage]:
    """Detect once more on the worst images of the last validation epoch and draw what was found.

    Args:
        module: has scored the split.
        split: the validation split.
        count: how many images, 0 or more.
        folder: of the run; the pictures go into `worst/` below it.
        precision: the precision of the epoch, as a context.

    Returns:
        Name, scores and picture of each image, the worst first. Scores are those of the detections in the picture.
    """
    indices = {name: index for index, name in enumerate(split.names)}
    shown: ImageCounts = {}
    pictures: dict[str, bytes] = {}
    was_training = module.training
    module.eval()
    with precision, torch.inference_mode():
        for name in worst_names(module.scores, count):
            batch = collate([split[indices[name]]])
            found = module.detect(batch.to(module.device))
            shown |= module.counts_of(batch, found)
            pictures[name] = draw(split.original_image(indices[name]), batch.truth[0], found[0].polygons)
    module.train(was_training)
    return [
        _kept(folder, rank, name, shown[name], pictures[name]) for rank, name in enumerate(worst_names(shown, count))
    ]


def _kept(folder: Path, rank: int, name: str, scores: tuple[IcdarCounts, ClevalCounts], picture: bytes) -> WorstImage:
    path = f"{FOLDER}/{rank:02d}.jpg"
    write_atomically(folder / path, picture)
    icdar, cleval = scores
    return WorstImage(name=name, icdar_hmean=icdar.hmean, cleval_hmean=cleval.hmean, picture=path)


def draw(image: np.ndarray, truth: Sequence[Polygon], found: Sequence[Polygon]) -> bytes:
    """Return a JPEG of an image with true polygons in blue and found ones in orange.

    Args:
        image: uint8 (H, W, 3) RGB.
        truth: polygons in pixels of the image.
        found: the same, of the detector.
    """
    scale = min(1.0, LONG_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for polygons, colour, width in ((truth, TRUTH_COLOUR, 2), (found, FOUND_COLOUR, 1)):
        points = [np.round(np.asarray(polygon) * scale).astype(np.int32) for polygon in polygons]
        cv2.polylines(canvas, points, isClosed=True, color=colour, thickness=width, lineType=cv2.LINE_AA)
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not done:
        raise ConfigError(f"a picture of {size[0]} x {size[1]} pixels cannot be encoded; set worst_images=0")
    return encoded.tobytes()


def check_count(count: object) -> int:
    """Return `worst_images` as a number.

    Raises:
        ConfigError: it is no whole number of at least 0.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ConfigError(f"worst_images={count!r}; it is a whole number of at least 0, such as 8")
    return count
