"""The profile of the transforms: which parts there are, and that their times and shares add up."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from ocr.datasets.transform_profile import REST, TransformCost, profile_transforms

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/profile_transforms.py"
NAIVE = ["LongestMaxSize", "PadIfNeeded", "Normalize", REST]
EXPECTED = {
    "naive": NAIVE,
    "naive_linear": NAIVE,
    "own": ["resize", "pad", "polygons", REST, "normalise"],
    "train": ["area shrink", "warp", "RandomBrightnessContrast", "OneOf", "ToGray", "polygons", REST, "normalise"],
}


@pytest.fixture(scope="module")
def costs() -> list[TransformCost]:
    images = [np.full((300, 200, 3), 9, np.uint8), np.zeros((90, 120, 3), np.uint8)]
    word = np.array([[10.0, 10], [60, 10], [60, 30], [10, 30]])
    return profile_transforms(images, [[word, word], []], (96, 64), repeats=2)


@pytest.mark.parametrize("with_keypoints", [True, False])
@pytest.mark.parametrize("pipeline", EXPECTED)
def test_every_part_of_every_pipeline_is_timed(costs: list[TransformCost], pipeline: str, with_keypoints: bool) -> None:
    rows = [cost for cost in costs if (cost.pipeline, cost.with_keypoints) == (pipeline, with_keypoints)]
    assert [cost.name for cost in rows] == EXPECTED[pipeline]
    assert all(cost.milliseconds > 0 for cost in rows if cost.name != REST)
    assert sum(cost.share for cost in rows) == pytest.approx(1)


def test_the_script_prints_one_json_object(
    synthetic_receipts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [f"--data={synthetic_receipts}", "--images=2", "--repeats=1", "--size=128"]
    monkeypatch.setattr(sys, "argv", ["profile_transforms.py", *options, "--json"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(SCRIPT), run_name="__main__")
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["images"], line["size"]) == (2, [128, 128])
    assert {row["pipeline"] for row in line["rows"]} == set(EXPECTED)
    assert set(line["rows"][0]) == {"name", "pipeline", "with_keypoints", "milliseconds", "share"}
    monkeypatch.setattr(sys, "argv", ["profile_transforms.py", *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "Normalize" in capsys.readouterr().out
