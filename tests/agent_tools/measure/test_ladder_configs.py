"""Every design against the shipped configuration: each arm composes, and each one changes something."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from agent_tools.measure.data_subset import data_overrides, training_overrides
from agent_tools.measure.rungs import DESIGNS, LADDERS, arms_design, ladder_arms
from agent_tools.measure.tune import tune_design
from agent_tools.measure.whatif import REPLAYABLE, limit_design, whatif_design
from agent_tools.records.schema import Arm

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def _configs() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        yield


def resolved(overrides: list[str], name: str = "evaluate") -> dict[str, Any]:
    config = OmegaConf.to_container(compose(name, overrides=overrides), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.mark.usefixtures("_configs")
@pytest.mark.parametrize("name", list(LADDERS))
def test_every_rung_composes_and_changes_the_configuration(name: str) -> None:
    configs = [resolved(arm.overrides) for arm in ladder_arms(name)]
    for before, after in itertools.pairwise(configs):
        assert before != after


OTHERS = [*(arms_design(name) for name in DESIGNS), limit_design(), whatif_design(REPLAYABLE["val"])]


@pytest.mark.usefixtures("_configs")
@pytest.mark.parametrize("design", OTHERS, ids=lambda design: design.name)
def test_every_arm_of_a_design_composes_and_no_two_are_the_same(design: Any) -> None:
    configs = [resolved(arm.overrides) for arm in design.arms]
    for one, other in itertools.combinations(range(len(configs)), 2):
        assert configs[one] != configs[other], (design.arms[one].name, design.arms[other].name)


@pytest.mark.usefixtures("_configs")
@pytest.mark.parametrize("arm", tune_design().arms, ids=lambda arm: arm.name)
def test_every_value_that_is_tuned_composes(arm: Arm) -> None:
    assert resolved(arm.overrides)


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
    assert (ROOT / config["image_path"]).resolve() == data / "images" / "test"
    assert (ROOT / config["annotation_path"]).resolve() == annotation


@pytest.mark.usefixtures("_configs")
def test_the_training_overrides_time_the_subset_and_validate_nothing(tmp_path: Path) -> None:
    annotation = tmp_path / "subset.json"
    config = resolved(training_overrides(ROOT, tmp_path, "train", annotation, 3), "train")
    for split in ("train_dataset", "val_dataset"):
        assert (ROOT / config["datasets"][split]["config"]["annotation_path"]).resolve() == annotation
    assert (config["trainer"]["max_epochs"], config["trainer"]["limit_val_batches"]) == (3, 0)
    assert config["callbacks"] == {"best": None, "last": None}
