"""Dataset configuration: safe defaults, errors that name the key and the way out."""

from pathlib import Path
from typing import Any

import pytest

from ocr.datasets.schemas import CacheConfig, ConfigError, DatasetConfig, ImageLoadingConfig


def config(**values: Any) -> DatasetConfig:
    return DatasetConfig(image_path=Path("images"), annotation_path=Path("a.json"), **values)


def test_every_feature_is_off_until_a_configuration_switches_it_on() -> None:
    flags = {**config().model_dump(), **CacheConfig().model_dump(), **ImageLoadingConfig().model_dump()}
    assert not any(value for value in flags.values() if isinstance(value, bool))


@pytest.mark.parametrize(
    ("schema", "key", "near"),
    [
        (CacheConfig, "cache_image", "cache_images"),
        (CacheConfig, "cache_transformed_tensor", "cache_transformed_tensors"),
        (ImageLoadingConfig, "use_turbojepg", "use_turbojpeg"),
        (DatasetConfig, "preload_imagez", "preload_images"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_one_named(schema: Any, key: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"no key '{key}' \(did you mean '{near}'\?\)"):
        schema(**{key: True})


@pytest.mark.parametrize(
    ("key", "tier"), [("preload_images", "cache_images"), ("preload_maps", "cache_maps"), ("load_maps", "cache_maps")]
)
def test_preloading_without_its_tier_is_refused(key: str, tier: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}=true needs cache_config.{tier}=true"):
        config(**{key: True})
    needed = {"load_maps": True} if key == "preload_maps" else {}
    assert config(**needed, **{key: True}, cache_config=CacheConfig(**{tier: True}))


def test_preloading_maps_that_are_not_loaded_is_refused() -> None:
    with pytest.raises(ConfigError, match="preload_maps=true needs load_maps=true"):
        config(preload_maps=True, cache_config=CacheConfig(cache_maps=True))
