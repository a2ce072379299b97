"""A stage that is slow on purpose is named: by the epoch's verdict, and by what-if."""

import json
from pathlib import Path

import pytest

from benchmarks.planted_stages import STAGES, planted_design, plants
from ocr.inference import evaluate

WEIGHTS = Path("ocr/models/pretrained/tiny-synthetic.ckpt").resolve()
BOUND = {"loader": "input-bound", "forward": "compute-bound", "post": "post-bound"}


@pytest.mark.parametrize("stage", STAGES)
def test_the_verdict_of_an_epoch_names_the_stage_that_was_made_slow(
    synthetic_receipts: Path, tmp_path: Path, stage: str
) -> None:
    run = json.loads(
        evaluate(
            [
                *plants(0.1)[stage],
                "model=tiny",
                f"checkpoint={WEIGHTS}",
                "passes=2",
                "image_size=[160,96]",
                f"dataset_base_path={synthetic_receipts}/",
                f"cache_dir={tmp_path / 'cache'}",
                f"output_dir={tmp_path}",
                "trainer.enable_progress_bar=false",
            ]
        ).read_text()
    )
    warm = run["epochs"][1]
    assert warm["limit"]["verdict"] == BOUND[stage]
    assert warm["seconds"] > 0.1 * warm["images"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_plant_is_in_every_arm_but_the_one_without_it(stage: str) -> None:
    overrides = plants(0.1)[stage]
    design = planted_design(stage, overrides)
    for arm in design.arms[:-1]:
        assert set(overrides) <= set(arm.overrides)
    assert not design.arms[-1].overrides
    assert [pairing.above for pairing in design.pairings] == ["planted"] * 4
