"""Stages that are slow on purpose, and whether what-if says so: `python -m benchmarks.planted_stages --session NAME`.

A loader, a network and a post-processor are each given `--seconds` more per image; they burn a core instead of
sleeping, as a real slow stage does. For each plant, one interleaved run holds the planted epoch, the same with each
stage replayed (what-if's prediction), and the epoch without the plant (what removing it gives). Each run is a record;
the table says which stage the prediction names, and how near the time it would save is to the time that was saved.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from agent_tools.measure.arms_experiment import run_arms
from agent_tools.measure.arms_plan import ArmsOutput, ArmsRequest
from agent_tools.measure.rungs import ArmsDesign, Pairing
from agent_tools.records.schema import Arm, Benchmark, RunRecord
from benchmarks.harness import positive, receipts_folder
from ocr.datasets.base import OCRDataset
from ocr.datasets.collate import Batch
from ocr.models.architecture import DBNet, Encoder, build_dbnet
from ocr.models.postprocess import DBPostProcessor, Detections

STAGES = ("loader", "forward", "post")
REMOVED = "removed"
WEIGHTS = Path("ocr/models/pretrained/tiny-synthetic.ckpt")


def burn(seconds: float) -> None:
    """Keep this core busy for a time."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class SlowDataset(OCRDataset):
    """The dataset, and `seconds` more for each image of a batch, cached or not."""

    def __init__(self, seconds: float, **parts: Any) -> None:
        super().__init__(**parts)
        self.seconds = seconds

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Load a batch slowly."""
        burn(self.seconds * len(indices))
        return super().__getitems__(indices)


class SlowDBNet(DBNet):
    """The network, and `seconds` more for each image."""

    seconds = 0.0

    def forward(self, images: Tensor, with_threshold: bool = True) -> dict[str, Tensor]:
        """Forward slowly."""
        burn(self.seconds * len(images))
        return super().forward(images, with_threshold)


def slow_dbnet(encoder: Encoder, inner_channels: int, seconds: float) -> DBNet:
    """`build_dbnet` with a slow forward."""
    built = build_dbnet(encoder, inner_channels)
    slow = SlowDBNet(built.encoder, built.decoder, built.head)
    slow.seconds = seconds
    return slow


class SlowPostProcessor(DBPostProcessor):
    """Post-processing, and `seconds` more for each image."""

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self.seconds = seconds

    def __call__(self, *image: Any) -> Detections:
        """Find polygons slowly."""
        burn(self.seconds)
        return super().__call__(*image)


def plants(seconds: float) -> dict[str, list[str]]:
    """Return the overrides that plant `seconds` per image into each stage."""
    here = "benchmarks.planted_stages"
    return {
        "loader": [
            f"datasets.val_dataset._target_={here}.SlowDataset",
            f"+datasets.val_dataset.seconds={seconds}",
        ],
        "forward": [f"model.network._target_={here}.slow_dbnet", f"+model.network.seconds={seconds}"],
        "post": [
            f"model.postprocess._target_={here}.SlowPostProcessor",
            f"+model.postprocess.seconds={seconds}",
        ],
    }


def planted_design(stage: str, overrides: Sequence[str]) -> ArmsDesign:
    """Return the design of one plant: the planted epoch, each stage of it replayed, and the epoch without the plant."""

    def arm(name: str, title: str, *given: str) -> Arm:
        return Arm(name=name, title=title, overrides=list(given), precision="", decoder="")

    replayed = [arm(name, f"{name} replayed", *overrides, f"replay=[{name}]") for name in STAGES]
    arms = (arm("planted", f"slow {stage}", *overrides), *replayed, arm(REMOVED, "without the plant"))
    return ArmsDesign(
        f"planted_{stage}", "whatif", arms, tuple(Pairing(one.name, "planted", one.name) for one in arms[1:])
    )


def measure(stage: str, overrides: Sequence[str], request: ArmsRequest, session: str | None) -> RunRecord:
    """Measure one plant and store its record."""
    command = ["python", "-m", "benchmarks.planted_stages", f"--session={session}"]
    output = ArmsOutput(f"slow {stage}, planted", command, "whatif", session)
    return run_arms(Path.cwd(), planted_design(stage, overrides), request, output)


def verdict(stage: str, benchmark: Benchmark) -> str:
    """Return one line: which stage what-if names, and the time it says would be saved beside the time that was."""
    ratios = {contrast.name: contrast.ratio for contrast in benchmark.contrasts}
    named = max(STAGES, key=lambda name: ratios[name])
    predicted, real = (1 - 1 / ratios[name] for name in (named, REMOVED))
    return (
        f"slow {stage}: what-if names {named}; would save {predicted:.1%} of the epoch; removed, {real:.1%} "
        f"({predicted / real - 1:+.1%})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every plant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session", help="session that the records are stored under")
    parser.add_argument("--seconds", type=float, default=0.1, help="planted per image")
    parser.add_argument("--images", type=positive, default=16)
    parser.add_argument("--rounds", type=positive, default=6)
    parser.add_argument("--stages", default=",".join(STAGES), help="which plants, with commas")
    given = parser.parse_args(arguments)
    request = ArmsRequest(
        data=receipts_folder(None),
        images=given.images,
        size=(320, 320),
        rounds=given.rounds,
        passes=2,
        checkpoint=WEIGHTS,
        overrides=("model=tiny",),
    )
    found = plants(given.seconds)
    for stage in given.stages.split(","):
        benchmark = measure(stage, found[stage], request, given.session).benchmark
        if benchmark is not None:
            sys.stdout.write(verdict(stage, benchmark) + "\n")


if __name__ == "__main__":
    main()
