"""The ladders against the shipped configuration: every rung composes, and every rung changes something."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from agent_tools.measure.data_subset import data_overrides
from agent_tools.measure.rungs import LADDERS, ladder_arms

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def _configs() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        yield


def resolved(overrides: list[str]) -> dict[str, Any]:
    config = OmegaConf.to_container(compose("evaluate", overrides=overrides), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.mark.usefixtures("_configs")
@pytest.mark.parametrize("name", list(LADDERS))
def test_every_rung_composes_and_changes_the_configuration(name: str) -> None:
    configs = [resolved(arm.overrides) for arm in ladder_arms(name)]
    for before, after in itertools.pairwise(configs):
        assert before != after


@pytest.mark.usefixtures("_configs")
def test_the_top_of_the_main_ladder_is_what_is_shipped() -> None:
    top, shipped = resolved(ladder_arms("main")[-1].overrides), resolved([])
    for config in (top, shipped):
        # Maps are built for a loss alone, which the top does without; `auto` precision resolves when a run starts.
        config["trainer"].pop("precision")
        config.pop("targets")
        for key in ("load_maps", "preload_maps"):
            config["datasets"]["val_dataset"]["config"].pop(key)
        config["datasets"]["val_dataset"]["config"]["cache_config"].pop("cache_maps")
    assert top == shipped


@pytest.mark.usefixtures("_configs")
def test_the_data_overrides_point_validation_at_the_subset(tmp_path: Path) -> None:
    data, annotation = tmp_path / "my receipts, new", tmp_path / "subset.json"
    config = resolved(data_overrides(ROOT, data, "test", annotation))["datasets"]["val_dataset"]["config"]
    assert config["image_path"] == str(data / "images" / "test")
    assert config["annotation_path"] == str(annotation)
