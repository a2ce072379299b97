"""`OCRDataset`: index -> `Sample`, through the cache tiers that the configuration asks for."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from ocr.datasets.annotations import AnnotationSet, load_annotations, to_displayed
from ocr.datasets.schemas import ConfigError, DatasetConfig, Sample
from ocr.datasets.targets import TargetMaps
from ocr.datasets.transforms import Transform
from ocr.utils.cache_manager import CacheError, CacheTier
from ocr.utils.content_hash import ContentHashes, sha256_of_json, write_atomically
from ocr.utils.errors import OCRError, nearest
from ocr.utils.image_loading import ImageHeader, ImageLoader, PillowLoader, check_image, probe_image
from ocr.utils.orientation import displayed_size
from ocr.utils.polygons import Polygon, clip_to_rectangle, transform_points

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

MAP_BYTES_PER_PIXEL = 5
"""Shrink map and two masks at one byte, threshold map at two (float16)."""


class DatasetError(OCRError):
    """Images or annotations that do not fit together; lists every offender."""


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
        if config.cache_config.cache_transformed_tensors and not transform.deterministic:
            raise ConfigError(
                "cache_transformed_tensors=true needs a deterministic transform, but "
                f"{type(transform).__name__} is random and would be frozen at its first draw; set it to false"
            )
        self.config, self.transform, self.targets = config, transform, targets
        loading = config.image_loading_config
        self.loader = loader or ImageLoader(loading.use_turbojpeg, loading.turbojpeg_fallback)
        self._rng: np.random.Generator | None = None
        self._read_split()
        self._open_tiers()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def content_hash(self) -> str:
        """Digest of every image's bytes and of the annotations, in the order of the annotation file."""
        return self.report.content_hash

    def prepare(self) -> None:
        """Fill and touch what `preload_*` asks for; called once, in the main process, before the first batch."""
        tensors, maps = self.config.cache_config.cache_transformed_tensors, self.config.preload_maps
        if self.config.preload_images and self._images is not None:
            self._preload_images()
        if tensors and self._tensors is not None:
            logger.info("Tensor caching enabled - will cache %d transformed samples after first access", len(self))
        if maps and self._maps is not None:
            for index in range(len(self)):
                self[index]
        if self.config.load_maps and self.targets is None:
            self.report.declined["map tier"] = "val_loss: false"
            logger.info("Map caching asked for, but no loss is computed (val_loss: false): the map tier stays empty")

    def __getitem__(self, index: int) -> Sample:
        """Return one sample.

        Raises:
            ImageDecodeError: the file changed since the start and cannot be decoded any more.
        """
        sample = self._new_sample(index)
        cached = self._tensors.get(index) if self._tensors is not None else None
        if cached is None:
            polygons = self._transform(sample)
        else:
            sample.cache["tensors"] = (1, 0, cached.payload.nbytes)
            sample.image = cached.payload.view(self._tensor_dtype).reshape(*self.transform.size, 3)
            sample.matrix = cached.numbers[:9].reshape(3, 3)
            polygons = [transform_points(sample.matrix, polygon) for polygon in sample.truth] if self.targets else []
        if self.targets is not None:
            self._attach_maps(sample, polygons)
        return sample

    def cache_prepare(self) -> int:
        """Visit every sample once so that all lazy tiers are full; return how many were visited.

        A random transform leaves only the image tier to fill.
        """
        for index in range(len(self)):
            if self.transform.deterministic:
                self[index]
            else:
                self._decoded(self._new_sample(index))
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
        with _stage(sample, "transform"):
            done = self.transform(image, sample.truth, self._generator())
        sample.image, sample.matrix = done.image, done.matrix
        if self._tensors is not None:
            sample.cache["tensors"] = (0, 1, 0)
            with _stage(sample, "cache"):
                self._tensors.put(sample.index, [done.image], done.matrix.reshape(-1))
        return done.polygons

    def _decoded(self, sample: Sample) -> np.ndarray:
        height, width = sample.original_size
        cached = self._images.get(sample.index) if self._images is not None else None
        if cached is not None:
            sample.cache["images"] = (1, 0, cached.payload.nbytes)
            return cached.payload.reshape(height, width, 3)
        with _stage(sample, "decode"):
            image = self.loader(self.paths[sample.index])
        if self._images is not None:
            sample.cache["images"] = (0, 1, 0)
            with _stage(sample, "cache"):
                self._images.put(sample.index, [image])
        return image

    def _attach_maps(self, sample: Sample, polygons: list[Polygon]) -> None:
        assert self.targets is not None  # noqa: S101  # for the type checker; the caller has just asked
        height, width = self.transform.size
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
        with _stage(sample, "targets"):
            sample.maps = self.targets(sample.polygons, sample.ignore, (height, width))
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
        return {**self.__dict__, "_rng": None}

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

    def _read_split(self) -> None:
        annotations = load_annotations(self.config.annotation_path, image_dir=self.config.image_path)
        paths = {name: self.config.image_path / name for name in annotations}
        _refuse_absent(paths, self.config)
        hashes = dict(
            zip(paths, ContentHashes(self.config.cache_dir / "content_hashes.json").of([*paths.values()]), strict=True)
        )
        warnings, bad = check_images(paths, hashes, self.config.cache_dir)
        if bad and self.config.on_bad_image == "error":
            listed = "; ".join(f"{name}: {why}" for name, why in bad.items())
            raise DatasetError(
                f"{len(bad)} of {len(paths)} images in {self.config.image_path} cannot be decoded ({listed}); "
                "mend or remove them, or set on_bad_image=drop to leave them out and have them counted"
            )
        self.names = [name for name in paths if name not in bad]
        self.paths = [paths[name] for name in self.names]
        headers = [probe_image(path) for path in self.paths]
        self.sizes = [(header.height, header.width) for header in headers]
        self._hashes = [hashes[name] for name in self.names]
        self._read_truth(annotations, headers)
        digest = sha256_of_json([annotations.content_digest(), list(zip(self.names, self._hashes, strict=True))])
        self.report = DatasetReport(
            len(self.names), f"sha256:{digest}", self.loader.decoder_name, dropped=bad, decode_warnings=warnings
        )
        for name, why in bad.items():
            logger.warning("Dropped %s (on_bad_image=drop): %s", name, why)
        if self.loader.fallback_reason:
            self.report.declined["turbojpeg"] = f"decoder fallback allowed: {self.loader.fallback_reason}"

    def _read_truth(self, annotations: AnnotationSet, headers: Sequence[ImageHeader]) -> None:
        self.truth: list[list[Polygon]] = []
        self.truth_ignore: list[list[bool]] = []
        for name, header in zip(self.names, headers, strict=True):
            # The orientations that swap the sides swap them back when applied to a displayed size.
            raw_height, raw_width = displayed_size(header.orientation, header.height, header.width)
            displayed = to_displayed(
                annotations[name], header.orientation, raw_height, raw_width, self.config.polygon_frame
            )
            self.truth.append(list(displayed.polygons))
            self.truth_ignore.append(list(displayed.ignore))

    def _open_tiers(self) -> None:
        asked = self.config.cache_config
        height, width = self.transform.size
        images = {"images": self._hashes, "decoder": self.loader.decoder_name, "exif": "applied", "names": self.names}
        self._images = self._images_tier(asked.cache_images, images)
        self._tensors = self._maps = None
        if not self.transform.deterministic:
            return
        transform = self.transform.fingerprint()
        self._tensor_dtype = np.dtype(transform["dtype"])
        if asked.cache_transformed_tensors:
            length = height * width * 3 * self._tensor_dtype.itemsize
            self._tensors = self._tier("tensors", {**images, "transform": transform}, [length] * len(self))
        if asked.cache_maps and self.config.load_maps and self.targets is not None:
            maps = {
                # The polygons as displayed: which those are depends on polygon_frame, not on the file alone.
                "truth": [[polygon.tolist() for polygon in image] for image in self.truth],
                "ignore": self.truth_ignore,
                "sizes": self.sizes,
                "transform": transform,
                "targets": self.targets.fingerprint(),
            }
            self._maps = self._tier("maps", maps, [height * width * MAP_BYTES_PER_PIXEL] * len(self))

    def _images_tier(self, asked: bool, covers: dict[str, Any]) -> CacheTier | None:
        return self._tier("images", covers, [height * width * 3 for height, width in self.sizes]) if asked else None

    def _tier(self, name: str, covers: dict[str, Any], lengths: list[int]) -> CacheTier | None:
        shown = {key: value for key, value in covers.items() if key in ("decoder", "transform", "targets")}
        try:
            tier = CacheTier(self.config.cache_dir, name, sha256_of_json(covers), lengths, shown)
        except CacheError as error:
            self.report.declined[f"{name} tier"] = str(error)
            logger.warning("Going on without the %s tier: %s", name, error)
            return None
        if not tier.writable and not tier.sealed:
            self.report.declined[f"{name} tier"] = "cache folder is read-only"
        return tier


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


def _refuse_absent(paths: dict[str, Path], config: DatasetConfig) -> None:
    absent = [name for name, path in paths.items() if not path.is_file()]
    if not absent:
        return
    present = [path.name for path in config.image_path.iterdir()] if config.image_path.is_dir() else []
    hint = nearest(absent[0], present) if present else f"; the folder {config.image_path} does not exist"
    raise DatasetError(
        f"{len(absent)} of {len(paths)} images named in {config.annotation_path} are absent from {config.image_path}: "
        f"{', '.join(absent[:5])}{hint}; correct the annotation file or set image_path to the right folder"
    )


def check_images(
    paths: dict[str, Path], hashes: dict[str, str], cache_dir: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Decide once per content whether each image decodes; return (warnings, errors) by name.

    The verdict is remembered by content hash in `cache_dir`, so an unchanged file is decoded for it once.
    """
    memo = cache_dir / "decode_reports.json"
    try:
        known: dict[str, list[str | None]] = json.loads(memo.read_text())
    except (OSError, ValueError):
        known = {}
    fresh = {}
    for name, path in paths.items():
        if hashes[name] not in known:
            report = check_image(path)
            fresh[hashes[name]] = [report.warning, report.error]
    if fresh:
        try:
            write_atomically(memo, json.dumps(known | fresh).encode())
        except OSError as error:
            logger.info("Decode checks are not remembered: %s", error)
    verdicts = {name: (known | fresh)[hashes[name]] for name in paths}
    warnings = {name: verdict[0] for name, verdict in verdicts.items() if verdict[0]}
    errors = {name: verdict[1] for name, verdict in verdicts.items() if verdict[1]}
    return warnings, errors
