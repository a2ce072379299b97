"""The cache tiers of one split: which exist, what their keys cover, and what a budget makes of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import PIL

from ocr.datasets.schemas import DatasetConfig
from ocr.datasets.split import Split
from ocr.utils.cache_manager import CacheError, CacheTier
from ocr.utils.content_hash import sha256_of_json

logger = logging.getLogger(__name__)

MAP_BYTES_PER_PIXEL = 5
"""Shrink map and two masks at one byte, threshold map at two (float16)."""


@dataclass(frozen=True)
class Tiers:
    """The open tiers; None where one is not asked for or cannot be had, for the reason in `declined`."""

    images: CacheTier | None
    tensors: CacheTier | None
    maps: CacheTier | None
    tensor_dtype: np.dtype[Any]
    declined: dict[str, str]


def open_tiers(
    config: DatasetConfig,
    split: Split,
    decoder: str,
    loaded_sizes: Sequence[tuple[int, int]],
    shapes: Sequence[tuple[int, int]],
    transform: Mapping[str, Any] | None,
    targets: Mapping[str, Any] | None,
) -> Tiers:
    """Open the tiers that a configuration asks for.

    Args:
        config: of the split.
        split: names, hashes and truth, which the keys cover.
        decoder: name and version of the decoder.
        loaded_sizes: (height, width) of each decoded image, after `image_long_side`.
        shapes: (height, width) of each network input.
        transform: fingerprint of the transform; None for a random one, whose output is not cached.
        targets: fingerprint of the target builder; None where no loss asks for maps.
    """
    asked, long_side = config.cache_config, config.image_long_side
    opener = _Opener(config, {})
    images = {
        "images": split.hashes,
        "decoder": decoder,
        # They decode what is no plain JPEG, and have the last word on a file that another decoder complains of.
        "arbiters": [cv2.__version__, PIL.__version__],
        "exif": "applied",
        "names": split.names,
        "long_side": [long_side, cv2.__version__] if long_side else None,
    }
    image_tier = tensor_tier = map_tier = None
    if asked.cache_images:
        image_tier = opener.open("images", images, [height * width * 3 for height, width in loaded_sizes])
    dtype = np.dtype("float32" if config.prenormalize_images else (transform or {}).get("dtype", "uint8"))
    pixels = [height * width for height, width in shapes]
    geometry = {"transform": transform, "shapes": shapes, "dtype": dtype.name, "opencv": cv2.__version__}
    if asked.cache_transformed_tensors and transform is not None:
        tensor_tier = opener.open("tensors", images | geometry, [number * 3 * dtype.itemsize for number in pixels])
    if asked.cache_maps and config.load_maps and transform is not None and targets is not None:
        maps = {
            # The polygons as displayed: which those are depends on polygon_frame, not on the file alone.
            "truth": [[polygon.tolist() for polygon in image] for image in split.truth],
            "ignore": split.ignore,
            "sizes": [split.sizes, loaded_sizes],
            "targets": targets,
        }
        map_tier = opener.open("maps", maps | geometry, [number * MAP_BYTES_PER_PIXEL for number in pixels])
    return Tiers(image_tier, tensor_tier, map_tier, dtype, opener.declined)


@dataclass
class _Opener:
    config: DatasetConfig
    declined: dict[str, str]

    def open(self, name: str, covers: dict[str, Any], lengths: list[int]) -> CacheTier | None:
        """Open one tier, or say why the run goes on without it."""
        shown = {key: value for key, value in covers.items() if key in ("decoder", "transform", "targets")}
        try:
            budget = budget_bytes(self.config.cache_budget_gib)
            tier = CacheTier(self.config.cache_dir, name, sha256_of_json(covers), lengths, shown, budget)
        except CacheError as error:
            self.declined[f"{name} tier"] = str(error)
            logger.warning("Going on without the %s tier: %s", name, error)
            return None
        if not tier.writable and not tier.sealed:
            self.declined[f"{name} tier"] = "cache folder is read-only"
        return tier


def budget_bytes(gibibytes: float | str | None) -> int | None:
    """Return `cache_budget_gib` in bytes; `auto` is half of the machine's memory."""
    if gibibytes is None:
        return None
    if gibibytes == "auto":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return int(float(gibibytes) * 2**30)
