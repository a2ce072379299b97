"""Benchmarks that print facts: what must not change does not, and no forward pass beats what it is held against."""

import json
from pathlib import Path

import pytest

from benchmarks import parity, prenormalized, roofline

WEIGHTS = Path(parity.__file__).parents[1] / "ocr/models/pretrained/tiny-synthetic.ckpt"


def test_caches_ranks_and_precision_change_nothing_that_must_not_change(
    synthetic_receipts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parity.main([f"--data={synthetic_receipts}", f"--checkpoint={WEIGHTS}", "--model=tiny", "--size=320"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["batches_that_differ"] == line["ranks_that_differ"] == 0
    assert line["icdar_hmean"] > 0.5
    for name, most in (("naive_difference", 0.005), ("buckets_difference", 0.02), ("bf16_difference", 0.02)):
        assert abs(line[name]) <= most, name


def test_the_counted_operations_are_those_of_the_network(
    synthetic_receipts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for side in (64, 128):
        roofline.main([f"--data={synthetic_receipts}", "--images=2", f"--size={side}", "--repeats=1"])
    small, large = (json.loads(line) for line in capsys.readouterr().out.splitlines()[-2:])
    assert large["gigaflop_per_image"] == pytest.approx(4 * small["gigaflop_per_image"])
    assert large["seconds_per_image"] * large["share_of_peak"] == pytest.approx(large["shortest_seconds_per_image"])


def test_a_pre_normalised_tier_weighs_four_times_as_much_for_the_same_values(
    synthetic_receipts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prenormalized.main([f"--data={synthetic_receipts}", "--images=3", "--size=320"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["ratio"] == pytest.approx(4, rel=0.01)
    assert line["largest_difference"] < 1e-6
