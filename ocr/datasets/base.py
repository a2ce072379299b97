"""`OCRDataset`: index -> `Sample`, through the cache tiers that the configuration asks for."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from ocr.datasets.buckets import assign_canvases, tight_canvas
from ocr.datasets.collate import Batch, collate
from ocr.datasets.schemas import ConfigError, DatasetConfig, Sample
from ocr.datasets.split import read_split
from ocr.datasets.targets import TargetMaps
from ocr.datasets.tiers import open_tiers
from ocr.datasets.transforms import (
    ConditionalNormalize,
    Transform,
    Transformed,
    shrink_to,
    shrunk_size,
    transform_loaded,
)
from ocr.utils.cache_manager import CachedItem
from ocr.utils.image_loading import ImageLoader, PillowLoader
from ocr.utils.polygons import Polygon, clip_to_rectangle, transform_points

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)


class TargetSource(Protocol):
    """What a dataset needs of a target builder (`ocr/datasets/targets.py`)."""

    def __call__(self, polygons: Sequence[Polygon], ignore: Sequence[bool], size: tuple[int, int]) -> TargetMaps:
        """Build the maps of one image."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return the parameters that the maps depend on."""
        ...


@dataclass
class DatasetReport:
    """What became of the features that were asked for; read by the feature check and the run file."""

    images: int
    content_hash: str
    decoder: str
    preloaded: int = 0
    preload_seconds: float = 0.0
    dropped: dict[str, str] = field(default_factory=dict)
    decode_warnings: dict[str, str] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)


class OCRDataset(Dataset[Sample]):
    """One split. Deterministic in the index for deterministic transforms; safe to share between worker processes."""

    def __init__(
        self,
        config: DatasetConfig,
        transform: Transform,
        targets: TargetSource | None = None,
        loader: ImageLoader | PillowLoader | None = None,
    ) -> None:
        """Read annotations and headers, check every image once, and open the cache tiers.

        Args:
            config: the split.
            transform: from a decoded image to the network's input.
            targets: builds the maps a loss needs; without it no map is built, loaded or cached.
            loader: decoder; by default what `config.image_loading_config` says.

        Raises:
            DatasetError: an image is absent or cannot be decoded; all offenders are listed.
            ConfigError: the tensor tier is asked for with a random transform.
        """
        _check_transform(config, transform)
        self.config, self.transform, self.targets = config, transform, targets
        self.replay: frozenset[str] = frozenset()
        self._replayed: dict[tuple[str, int], Any] = {}
        self._normalize = ConditionalNormalize() if config.prenormalize_images else None
        loading = config.image_loading_config
        self.loader = loader or ImageLoader(loading.use_turbojpeg, loading.turbojpeg_fallback)
        self._rng: np.random.Generator | None = None
        self._split = split = read_split(config)
        self.names, self.sizes = split.names, split.sizes
        self.truth, self.truth_ignore = split.truth, split.ignore
        self.report = DatasetReport(
            len(split.names),
            split.content_hash,
            self.loader.decoder_name,
            dropped=split.dropped,
            decode_warnings=split.warnings,
        )
        if self.loader.fallback_reason:
            self.report.declined["turbojpeg"] = f"decoder fallback allowed: {self.loader.fallback_reason}"
        self.loaded_sizes = [shrunk_size(size, config.image_long_side) for size in self.sizes]
        self.shapes = self._canvases()
        self._open_tiers()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def content_hash(self) -> str:
        """Digest of every image's bytes and of the annotations, in the order of the annotation file."""
        return self.report.content_hash

    @property
    def image_bytes(self) -> int:
        """Bytes of all images as the network gets them."""
        return sum(height * width * 3 for height, width in self.shapes) * self._tensor_dtype.itemsize

    def shape_counts(self) -> dict[str, int]:
        """Return how many images have each network input, `HEIGHTxWIDTH` in pixels, the most frequent first."""
        return {f"{height}x{width}": number for (height, width), number in Counter(self.shapes).most_common()}

    def prepare(self) -> None:
        """Fill and touch what `preload_*` asks for; called once, in the main process, before the first batch."""
        tensors, maps = self.config.cache_config.cache_transformed_tensors, self.config.preload_maps
        if self.config.preload_images and self._images is not None:
            self._preload_images()
        if tensors and self._tensors is not None:
            logger.info("Tensor caching enabled - will cache %d transformed samples after first access", len(self))
        if maps and self._maps is not None:
            for index in range(len(self)):
                # Reading a slot makes it resident; only what is missing needs its image.
                if self._maps.get(index) is None:
                    self[index]
        if self.config.load_maps and self.targets is None:
            self.report.declined["map tier"] = "val_loss: false"
            logger.info("Map caching asked for, but no loss is computed (val_loss: false): the map tier stays empty")

    def __getitem__(self, index: int) -> Sample:
        """Return one sample.

        Raises:
            DatasetError: the file changed since the start, so its pixels are not those that the run has named.
            ImageDecodeError: it changed and cannot be decoded any more.
        """
        sample = self._new_sample(index)
        cached = self._tensors.get(index) if self._tensors is not None else None
        polygons = self._transform(sample) if cached is None else self._from_tensors(sample, cached)
        if self.targets is not None:
            self._attach_maps(sample, polygons)
        return sample

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a batch; the images of one are of one shape (`BucketBatchSampler`)."""
        return collate([self[index] for index in indices])

    def _from_tensors(self, sample: Sample, cached: CachedItem) -> list[Polygon]:
        sample.cache["tensors"] = (1, 0, cached.payload.nbytes)
        sample.image = cached.payload.view(self._tensor_dtype).reshape(*self.shapes[sample.index], 3)
        sample.matrix = cached.numbers[:9].reshape(3, 3)
        return self._moved(sample)

    def cache_prepare(self) -> int:
        """Visit every sample once so that all lazy tiers are full; return how many were visited.

        A random transform leaves only the image tier to fill.
        """
        for index in range(len(self)):
            if self._images is not None:
                self._decoded(self._new_sample(index))
            if self.transform.deterministic:
                self[index]
        return len(self)

    def _new_sample(self, index: int) -> Sample:
        return Sample(
            index=index,
            name=self.names[index],
            image=np.empty(0),
            polygons=[],
            ignore=[],
            truth=self.truth[index],
            truth_ignore=self.truth_ignore[index],
            matrix=np.eye(3),
            original_size=self.sizes[index],
        )

    def _transform(self, sample: Sample) -> list[Polygon]:
        image = self._decoded(sample)
        done = self._kept("transform", sample.index)
        if done is None:
            with _stage(sample, "transform"):
                done = self._transformed(image, sample)
            self._keep("transform", sample.index, done)
        sample.image, sample.matrix = done.image, done.matrix
        if self._tensors is not None:
            sample.cache["tensors"] = (0, 1, 0)
            with _stage(sample, "cache"):
                self._tensors.put(sample.index, [done.image], done.matrix.reshape(-1))
        return self._moved(sample) if self.transform.deterministic else done.polygons

    def _moved(self, sample: Sample) -> list[Polygon]:
        # By the sample's matrix alone, as for a cached tensor: the same bits whether its tier hit or missed.
        return [transform_points(sample.matrix, polygon) for polygon in sample.truth] if self.targets else []

    def _transformed(self, image: np.ndarray, sample: Sample) -> Transformed:
        generator, canvas = self._generator(), self.shapes[sample.index]
        done = transform_loaded(self.transform, image, sample.original_size, sample.truth, generator, canvas)
        return done if self._normalize is None else replace(done, image=self._normalize(done.image))

    def _kept(self, stage: str, index: int) -> Any:
        return self._replayed.get((stage, index))

    def _keep(self, stage: str, index: int, output: Any) -> None:
        if stage in self.replay:
            self._replayed[stage, index] = output

    def original_image(self, index: int) -> np.ndarray:
        """Return the displayed picture of an image, decoded anew: uint8 (H, W, 3) RGB in original pixels.

        Raises:
            ImageDecodeError: the file changed since the start and cannot be decoded any more.
        """
        return self.loader(self._split.paths[index])

    def _decoded(self, sample: Sample) -> np.ndarray:
        height, width = self.loaded_sizes[sample.index]
        cached = self._images.get(sample.index) if self._images is not None else None
        if cached is not None:
            sample.cache["images"] = (1, 0, cached.payload.nbytes)
            return cached.payload.reshape(height, width, 3)
        image = self._kept("decode", sample.index)
        if image is None:
            with _stage(sample, "decode"):
                image = self.loader(self._split.paths[sample.index])
                self._split.refuse_changed(sample.index)
                image = shrink_to(image, (height, width))
            self._keep("decode", sample.index, image)
        if self._images is not None:
            sample.cache["images"] = (0, 1, 0)
            with _stage(sample, "cache"):
                self._images.put(sample.index, [image])
        return image

    def _attach_maps(self, sample: Sample, polygons: list[Polygon]) -> None:
        assert self.targets is not None  # noqa: S101  # for the type checker; the caller has just asked
        height, width = self.shapes[sample.index]
        clipped = [clip_to_rectangle(polygon, height, width) for polygon in polygons]
        kept = [
            (polygon, ignore)
            for polygon, ignore in zip(clipped, sample.truth_ignore, strict=True)
            if polygon is not None
        ]
        sample.polygons, sample.ignore = [polygon for polygon, _ in kept], [ignore for _, ignore in kept]
        cached = self._maps.get(sample.index) if self._maps is not None else None
        if cached is not None:
            sample.cache["maps"] = (1, 0, cached.payload.nbytes)
            sample.maps = _maps_from(cached.payload, (height, width))
            return
        sample.maps = self._kept("targets", sample.index)
        if sample.maps is None:
            with _stage(sample, "targets"):
                sample.maps = self.targets(sample.polygons, sample.ignore, (height, width))
            self._keep("targets", sample.index, sample.maps)
        if self._maps is not None:
            sample.cache["maps"] = (0, 1, 0)
            maps = sample.maps
            self._maps.put(sample.index, [maps.shrink, maps.shrink_mask, maps.threshold, maps.threshold_mask])

    def _generator(self) -> np.random.Generator:
        # Made in the process that draws: torch gives each worker its own seed, derived from the run's.
        if self._rng is None:
            self._rng = np.random.default_rng(torch.initial_seed() % 2**63)
        return self._rng

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rng": None, "_replayed": {}}

    def _preload_images(self) -> None:
        logger.info("Preloading images from %s into RAM...", self.config.image_path)
        start = time.perf_counter()
        for index in range(len(self)):
            # Reading a slot verifies its checksum, which touches every page: resident when this returns.
            self._decoded(self._new_sample(index))
            self.report.preloaded += self._images is not None and self._images.get(index) is not None
        self.report.preload_seconds = time.perf_counter() - start
        done, total = self.report.preloaded, len(self)
        logger.info("Preloaded %d/%d images into RAM (%.1f%%)", done, total, 100 * done / max(1, total))

    def _open_tiers(self) -> None:
        tiers = open_tiers(
            self.config,
            self._split,
            self.loader.decoder_name,
            self.loaded_sizes,
            self.shapes,
            self.transform.fingerprint() if self.transform.deterministic else None,
            self.targets.fingerprint() if self.targets is not None else None,
        )
        self._images, self._tensors, self._maps = tiers.images, tiers.tensors, tiers.maps
        self._tensor_dtype = tiers.tensor_dtype
        self.report.declined |= tiers.declined

    def _canvases(self) -> list[tuple[int, int]]:
        size = self.transform.size
        if not self.config.aspect_buckets:
            return [size] * len(self)
        canvases = [tight_canvas(height, width, size) for height, width in self.loaded_sizes]
        return assign_canvases(canvases, self.config.aspect_buckets) if canvases else []


def _check_transform(config: DatasetConfig, transform: Transform) -> None:
    name = type(transform).__name__
    if config.cache_config.cache_transformed_tensors and not transform.deterministic:
        raise ConfigError(
            f"cache_transformed_tensors=true needs a deterministic transform, but {name} is random and would be frozen "
            "at its first draw; set it to false"
        )


@contextmanager
def _stage(sample: Sample, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    sample.stages[name] = sample.stages.get(name, 0.0) + time.perf_counter() - start


def _maps_from(payload: np.ndarray, size: tuple[int, int]) -> TargetMaps:
    pixels = size[0] * size[1]
    shrink, shrink_mask = payload[:pixels], payload[pixels : 2 * pixels]
    threshold = payload[2 * pixels : 4 * pixels].view(np.float16)
    return TargetMaps(
        shrink.reshape(size), shrink_mask.reshape(size), threshold.reshape(size), payload[4 * pixels :].reshape(size)
    )
