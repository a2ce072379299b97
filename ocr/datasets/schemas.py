"""Configuration of a dataset, and the sample that comes out of it.

Every default is off: the shipped files under `configs/` switch features on, so that a feature which no configuration
reaches is seen in a test and not lost in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ocr.datasets.targets import TargetMaps
from ocr.utils.errors import OCRError, nearest
from ocr.utils.polygons import Polygon


class ConfigError(OCRError):
    """A configuration that cannot work, named with the key and the way out."""


class StrictConfig(BaseModel):
    """Base of the configuration schemas: an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                allowed = ", ".join(cls.model_fields)
                raise ConfigError(
                    f"{cls.__name__} has no key {key!r}{nearest(key, cls.model_fields)}; known keys: {allowed}"
                )
        return values


class CacheConfig(StrictConfig):
    """Which cache tiers exist; each is filled lazily and shared by all processes (`ocr/utils/cache_manager.py`)."""

    cache_images: bool = Field(False, description="decoded images, uint8, packed in one file")
    cache_maps: bool = Field(False, description="shrink and threshold maps with their masks, once a loss asks for them")
    cache_transformed_tensors: bool = Field(
        False, description="the transformed image as the model gets it; refused for random transforms"
    )
    log_statistics_every_n: int = Field(0, ge=0, description="log cache statistics every N accesses; 0: never")


class ImageLoadingConfig(StrictConfig):
    """Which decoder reads JPEG files. All decoders give the same pixels."""

    use_turbojpeg: bool = Field(False, description="decode with libjpeg-turbo's own interface")
    turbojpeg_fallback: bool = Field(False, description="use OpenCV where the library is missing, and say so")


class DatasetConfig(StrictConfig):
    """One split: where it is, and how it is kept in memory."""

    image_path: Path = Field(description="folder of the images")
    annotation_path: Path = Field(description="annotation file of the split; it decides which images belong to it")
    polygon_frame: Literal["raw", "displayed", "auto"] = Field(
        "auto", description="whether polygons are in raw pixels or in the pixels after the EXIF orientation"
    )
    on_bad_image: Literal["error", "drop"] = Field("error", description="stop, or leave bad images out and count them")
    cache_dir: Path = Field(Path("outputs/cache"), description="folder of the tier files, never inside the data")
    cache_budget_gib: float | Literal["auto"] | None = Field(
        None, description="most that all tier files of cache_dir may take; auto: half of the memory; null: no limit"
    )
    aspect_buckets: int = Field(
        0, ge=0, description="most canvases of different aspect, chosen from the data; 0: every image in image_size"
    )
    image_long_side: int | None = Field(
        None, ge=32, description="shrink decoded images by area to this long side, in pixels, before anything else"
    )
    prenormalize_images: bool = Field(
        False, description="normalise before the tensor tier, which then holds float32: four times the bytes"
    )
    preload_images: bool = Field(False, description="fill the image tier and make it resident before the first batch")
    load_maps: bool = Field(False, description="serve target maps from the map tier when a loss asks for them")
    preload_maps: bool = Field(False, description="fill the map tier before the first batch, when a loss asks for it")
    cache_config: CacheConfig = Field(default_factory=CacheConfig)
    image_loading_config: ImageLoadingConfig = Field(default_factory=ImageLoadingConfig)

    @model_validator(mode="after")
    def _preload_needs_its_tier(self) -> DatasetConfig:
        needs = {
            "preload_images": ("cache_images", self.preload_images, self.cache_config.cache_images),
            "preload_maps": ("cache_maps", self.preload_maps, self.cache_config.cache_maps),
            "load_maps": ("cache_maps", self.load_maps, self.cache_config.cache_maps),
            "prenormalize_images": (
                "cache_transformed_tensors",
                self.prenormalize_images,
                self.cache_config.cache_transformed_tensors,
            ),
        }
        for key, (tier, asked, present) in needs.items():
            if asked and not present:
                raise ConfigError(
                    f"{key}=true needs cache_config.{tier}=true (it is false); switch {tier} on or {key} off"
                )
        if isinstance(self.cache_budget_gib, float) and self.cache_budget_gib <= 0:
            raise ConfigError(f"cache_budget_gib={self.cache_budget_gib}; it is auto, null or a positive number of GiB")
        if self.preload_maps and not self.load_maps:
            raise ConfigError("preload_maps=true needs load_maps=true (it is false); switch load_maps on or both off")
        return self


CacheTrace = dict[str, tuple[int, int, int]]
"""Cache tier -> (hits, misses, bytes) of one sample or batch."""


@dataclass
class Sample:
    """One image as the model gets it, with what is needed to score its detections in the original.

    Attributes:
        image: (H, W, 3) RGB, uint8 0..255, or float32 already normalised (the naive transform).
        polygons: true polygons in network pixels, clipped to the image; aligned with `ignore`.
        truth: all polygons in original displayed pixels; aligned with `truth_ignore`.
        matrix: (3, 3) float64, original displayed pixels -> network pixels.
        original_size: (height, width) after the EXIF orientation.
        stages: stage name -> CPU seconds spent on this sample.
        cache: accesses to the tiers; `images` and `tensors` count one access per sample.
    """

    index: int
    name: str
    image: np.ndarray
    polygons: list[Polygon]
    ignore: list[bool]
    truth: list[Polygon]
    truth_ignore: list[bool]
    matrix: np.ndarray
    original_size: tuple[int, int]
    maps: TargetMaps | None = None
    stages: dict[str, float] = field(default_factory=dict)
    cache: CacheTrace = field(default_factory=dict)
