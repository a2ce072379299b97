"""Every YAML composes and instantiates, every schema field can be reached from one, and precedence is as documented."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from agent_tools.handbook.configuration import read_configuration
from ocr.datasets.schemas import CacheConfig, DatasetConfig, ImageLoadingConfig
from ocr.inference import compose_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
GROUPS = sorted(
    f"{path.parent.relative_to(CONFIGS)}={path.stem}"
    for path in CONFIGS.rglob("*.yaml")
    if path.parent != CONFIGS and path.stem != "base" and path.parts[-3] != "hydra"
)


def built(config: DictConfig, tmp_path: Path, receipts: Path) -> None:
    """Instantiate every part of a composed configuration."""
    targets = instantiate(config.targets)
    for split in ("train_dataset", "val_dataset"):
        assert len(instantiate(config.datasets[split], targets=targets)) > 0
    instantiate(config.model)
    for callback in config.callbacks.values():
        instantiate(callback, dirpath=str(tmp_path))
    instantiate(config.logger, save_dir=str(tmp_path))
    instantiate(config.trainer, precision="32-true", logger=False, enable_checkpointing=False)


@pytest.mark.parametrize("choice", GROUPS)
def test_every_member_of_every_group_composes_and_instantiates(
    choice: str, synthetic_receipts: Path, tmp_path: Path
) -> None:
    overrides = [choice, f"dataset_base_path={synthetic_receipts}/", f"cache_dir={tmp_path}", "image_size=[64,64]"]
    built(compose_config("train", overrides), tmp_path, synthetic_receipts)


def test_there_are_few_configuration_files() -> None:
    assert len(list(CONFIGS.rglob("*.yaml"))) <= 25


def _keys(node: Any, target: str) -> set[str]:
    found: set[str] = set()
    if isinstance(node, dict):
        if str(node.get("_target_", "")).endswith(target):
            found |= set(node)
        for value in node.values():
            found |= _keys(value, target)
    return found


@pytest.mark.parametrize("schema", [DatasetConfig, CacheConfig, ImageLoadingConfig])
def test_every_schema_field_is_reached_by_the_shipped_configuration(schema: Any) -> None:
    config = yaml.safe_load((CONFIGS / "data/base.yaml").read_text())
    assert set(schema.model_fields) <= _keys(config, schema.__name__)


def test_the_shipped_configuration_switches_the_safe_features_on() -> None:
    config = compose_config("train", []).datasets.val_dataset.config
    tiers = config.cache_config
    assert config.preload_images
    assert tiers.cache_images
    assert tiers.cache_maps
    assert tiers.cache_transformed_tensors
    assert config.image_loading_config.use_turbojpeg


def test_the_command_line_beats_the_preset_and_the_preset_beats_the_base() -> None:
    assert compose_config("train", []).trainer.precision == "auto"
    assert compose_config("train", ["preset=naive"]).trainer.precision == "32-true"
    assert compose_config("train", ["preset=naive", "trainer.precision=bf16-mixed"]).trainer.precision == "bf16-mixed"


def test_the_job_configuration_prints_the_nested_cache_config() -> None:
    command = [sys.executable, "-m", "runners.train", "--cfg", "job", "--resolve"]
    done = subprocess.run(
        command, cwd=CONFIGS.parent, capture_output=True, text=True, timeout=120, check=True, env=os.environ
    )
    printed = yaml.safe_load(done.stdout)
    assert printed["datasets"]["val_dataset"]["config"]["cache_config"] == {
        "_target_": "ocr.datasets.schemas.CacheConfig",
        "cache_images": True,
        "cache_maps": True,
        "cache_transformed_tensors": True,
        "log_statistics_every_n": 100,
    }


def test_every_target_of_the_configuration_exists() -> None:
    config = OmegaConf.to_container(compose_config("train", []), resolve=True)

    def targets(node: Any) -> list[str]:
        if not isinstance(node, dict):
            return []
        own = [node["_target_"]] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets(value)]

    for target in targets(config):
        if target != "ocr.models.architecture.build_dbnet":  # a function
            assert get_class(target)


def test_every_key_that_the_handbook_lists_is_one_that_hydra_composes() -> None:
    composed = OmegaConf.to_container(compose_config("evaluate", ["preset=naive", "model=tiny"]))

    def there(name: str) -> bool:
        node: Any = composed
        for step in name.split("."):
            if not isinstance(node, dict) or step not in node:
                return False
            node = node[step]
        return True

    files = [file for file in read_configuration(CONFIGS, CONFIGS.parent) if file.path.name != "resnet18.yaml"]
    listed = [key.name for file in files for key in file.keys if not key.name.startswith("hydra.")]
    assert [name for name in listed if not there(name)] == []
    assert len(listed) > 100
