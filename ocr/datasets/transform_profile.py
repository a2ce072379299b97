"""What each part of a transform costs per image, for four pipelines.

`naive` is the baseline's albumentations pipeline and `naive_linear` the same with the library's default resize, which
skips pixels (so it costs less and aliases thin strokes); `own` is the validation transform, `train` the training one.

The parts run one after another on the same image, each timed alone; what the whole call takes beyond their sum is the
row `rest of the call`. Normalisation of our pipelines runs on the device, in one piece; it is timed here per image.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import albumentations as A
import cv2
import numpy as np
import torch

from ocr.datasets.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    AugmentTransform,
    LetterboxTransform,
    NaiveTransform,
    letterbox_size,
    shrink_before_warp,
    warp,
)
from ocr.utils.polygons import Polygon, transform_points

Pipeline = Literal["naive", "naive_linear", "own", "train"]
REST = "rest of the call"
# The configured training transform (`configs/transforms/base.yaml`).
TRAINING: dict[str, Any] = {"scale": (0.75, 1.5), "stretch": 1.3, "rotation": 4.0, "photometric": 1.0}
# What the module does with a uint8 batch (`OCRPLModule.normalise`): one multiplication and one addition.
_SCALE = torch.tensor([1 / (255 * std) for std in IMAGENET_STD])
_SHIFT = torch.tensor([-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])


@dataclass(frozen=True)
class TransformCost:
    """Milliseconds per image of one part, and its `share` (0..1) of its pipeline with or without polygons."""

    name: str
    pipeline: Pipeline
    with_keypoints: bool
    milliseconds: float
    share: float


@dataclass
class _Clock:
    """Seconds of one pass: of the whole calls, of the parts of a call, and of what follows a call."""

    whole: float = 0.0
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    after: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def call(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.whole += time.perf_counter() - start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.parts[name] += time.perf_counter() - start

    def normalise(self, image: np.ndarray) -> None:
        start = time.perf_counter()
        torch.from_numpy(image).float().mul_(_SCALE).add_(_SHIFT)
        self.after["normalise"] += time.perf_counter() - start

    def rows(self) -> dict[str, float]:
        return {**self.parts, REST: max(0.0, self.whole - sum(self.parts.values())), **self.after}


Profiled = Callable[[np.ndarray, Sequence[Polygon], _Clock], None]


def profile_transforms(
    images: Sequence[np.ndarray], polygons: Sequence[Sequence[Polygon]], size: tuple[int, int], repeats: int
) -> list[TransformCost]:
    """Profile the four pipelines, each with and without polygons.

    Args:
        images: decoded images (h, w, 3) uint8, at least one.
        polygons: of each image, in its pixels.
        size: (height, width) of the network's input.
        repeats: timed passes over all images, after one that warms up; medians are reported.
    """
    costs = []
    for with_keypoints in (True, False):
        scenes = [(image, found if with_keypoints else []) for image, found in zip(images, polygons, strict=True)]
        pipelines: dict[Pipeline, Profiled] = {
            "naive": _naive(NaiveTransform(size).composition(size), with_keypoints),
            "naive_linear": _naive(_linear(size), with_keypoints),
            "own": _own(size),
            "train": _train(size),
        }
        for pipeline, profiled in pipelines.items():
            costs += _costs(pipeline, with_keypoints, _milliseconds(profiled, scenes, repeats))
    return costs


def _milliseconds(
    profiled: Profiled, scenes: Sequence[tuple[np.ndarray, Sequence[Polygon]]], repeats: int
) -> dict[str, float]:
    passes = []
    for _ in range(repeats + 1):
        clock = _Clock()
        for image, found in scenes:
            profiled(image, found, clock)
        passes.append(clock.rows())
    return {name: 1000 * statistics.median(row[name] for row in passes[1:]) / len(scenes) for name in passes[0]}


def _costs(pipeline: Pipeline, with_keypoints: bool, milliseconds: dict[str, float]) -> list[TransformCost]:
    total = sum(milliseconds.values())
    return [
        TransformCost(name, pipeline, with_keypoints, value, value / total if total else 0.0)
        for name, value in milliseconds.items()
    ]


def _linear(size: tuple[int, int]) -> A.Compose:
    naive = NaiveTransform(size).composition(size)
    resize = A.LongestMaxSize(max_size_hw=size, interpolation=cv2.INTER_LINEAR)
    return A.Compose([resize, *naive.transforms[1:]], keypoint_params=naive.processors["keypoints"].params)


def _naive(compose: A.Compose, with_keypoints: bool) -> Profiled:
    parts = compose.transforms
    alone = A.Compose(parts)

    def profiled(image: np.ndarray, polygons: Sequence[Polygon], clock: _Clock) -> None:
        points = np.concatenate([*polygons, np.zeros((0, 2))])
        ids = np.arange(len(points))
        with clock.call():
            if with_keypoints:
                compose(image=image, keypoints=points, polygon_id=ids)
            else:
                alone(image=image)
        data: dict[str, Any] = {"image": image}
        if with_keypoints:
            # Inside albumentations a keypoint also has a depth, an angle and a scale.
            data["keypoints"] = np.pad(points, ((0, 0), (0, 3))).astype(np.float32)
        for part in parts:
            with clock.part(type(part).__name__):
                data = part(**data)

    return profiled


def _own(size: tuple[int, int]) -> Profiled:
    transform = LetterboxTransform(size)

    def profiled(image: np.ndarray, polygons: Sequence[Polygon], clock: _Clock) -> None:
        with clock.call():
            done = transform(image, polygons, np.random.default_rng(0))
        rows, columns = letterbox_size(image.shape[0], image.shape[1], size)
        method = cv2.INTER_AREA if rows < image.shape[0] else cv2.INTER_LINEAR
        with clock.part("resize"):
            fitted = cv2.resize(image, (columns, rows), interpolation=method)
        with clock.part("pad"):
            canvas = np.zeros((*size, 3), np.uint8)
            canvas[:rows, :columns] = fitted
        with clock.part("polygons"):
            _moved(polygons, done.matrix)
        clock.normalise(canvas)

    return profiled


def _train(size: tuple[int, int]) -> Profiled:
    transform = AugmentTransform(size, **TRAINING)
    generator = np.random.default_rng(0)

    def profiled(image: np.ndarray, polygons: Sequence[Polygon], clock: _Clock) -> None:
        with clock.call():
            done = transform(image, polygons, generator)
        with clock.part("area shrink"):
            smaller, matrix = shrink_before_warp(image, done.matrix)
        with clock.part("warp"):
            pixels = warp(smaller, matrix, size)
        # Each is applied with its own probability, so its time is the mean over images that have it and that have not.
        for part in transform._photometric.transforms:
            with clock.part(type(part).__name__):
                pixels = part(image=pixels)["image"]
        with clock.part("polygons"):
            _moved(polygons, done.matrix)
        clock.normalise(pixels)

    return profiled


def _moved(polygons: Sequence[Polygon], matrix: np.ndarray) -> list[Polygon]:
    return [transform_points(matrix, polygon) for polygon in polygons]
