"""Compare with docTR on the same task: `python -m benchmarks.doctr --python PATH | --setup DIR [--rounds 6]`.

Images per second of validation (forward and post-processing) and of training (targets, forward, loss, backward, step):
docTR's db_resnet50 against our DBNet with a ResNet-50 encoder, each with its own decoder, random weights, one batch.
docTR lives in an environment of its own: `--python` names its interpreter, `--setup` makes one with pip. Where neither
works, one line says why it was skipped. Every round runs each arm once in a fresh process, in a rotated order.

`as_shipped` is float32, contiguous, the allocator as it is; `switched` has channels_last and an allocator that keeps
its pages (by environment, so that docTR gets the same).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.doctr_task import Task
from benchmarks.forward import network_input
from benchmarks.harness import (
    BenchmarkError,
    add_data_options,
    labelled_images,
    positive,
)
from benchmarks.peer_environment import PeerMissingError, find_python
from benchmarks.postprocess import network_like_map
from ocr.datasets.transforms import letterbox_matrix
from ocr.utils.polygons import transform_points

ROOT = Path(__file__).resolve().parent.parent
KEPT_PAGES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_TOP_PAD_": "268435456"}
# What docTR 1.1 imports, with the headless OpenCV; torchvision and docTR come without their dependencies, of which the
# CUDA build of torch is one.
ENVIRONMENT = (
    ["torch==2.13.0"],
    ["--no-deps", "torchvision==0.28.0", "python-doctr==1.1.0"],
    [
        *("anyascii", "h5py", "huggingface-hub<2", "langdetect", "numpy", "opencv-python-headless", "Pillow"),
        *("pyclipper", "pypdfium2", "rapidfuzz", "scipy", "shapely", "tqdm", "validators"),
    ],
)


class Arm(NamedTuple):
    """Who runs, and with what switched on."""

    ours: bool
    bf16: bool
    switched: bool


ARMS = {
    "ours": Arm(ours=True, bf16=True, switched=True),
    "ours_fp32": Arm(ours=True, bf16=False, switched=True),
    "doctr_as_shipped": Arm(ours=False, bf16=False, switched=False),
    "doctr_bf16": Arm(ours=False, bf16=True, switched=False),
    "doctr_switched": Arm(ours=False, bf16=False, switched=True),
    "doctr_switched_bf16": Arm(ours=False, bf16=True, switched=True),
}


def make_task(data: Path | None, batch: int, side: int) -> tuple[Task, str]:
    """Return a batch of the first receipts and its content hash."""
    images, dataset = network_input(data, batch, side)
    generator = np.random.default_rng(0)
    labelled = labelled_images(data, batch)
    maps = np.stack([network_like_map(image, side, generator).probability for image in labelled])
    quads = []
    for image in labelled:
        matrix = letterbox_matrix(*image.size, (side, side))
        moved = [transform_points(matrix, polygon) for polygon in image.polygons if len(polygon) == 4]
        quads.append(np.clip(np.array(moved).reshape(-1, 4, 2), 0, side))
    return Task(images, maps, quads), dataset


def run_arm(arm: Arm, python: Path, task: Path, passes: int) -> dict[str, float]:
    """Run one arm in a fresh process; return its validation and training images per second, and its boxes.

    Raises:
        PeerMissingError: docTR cannot be imported.
        BenchmarkError: the process failed otherwise.
    """
    module = "benchmarks.doctr_ours" if arm.ours else "benchmarks.doctr_peer"
    command = [sys.executable if arm.ours else str(python), "-m", module, f"--task={task}", f"--passes={passes}"]
    command += ["--bf16"] * arm.bf16 + ["--channels-last"] * arm.switched
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(KEPT_PAGES if arm.switched else {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        kind = PeerMissingError if "ModuleNotFoundError" in last else BenchmarkError
        raise kind(f"{module} failed in {command[0]}: {last}")
    rates: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return rates


def interleaved(python: Path, task: Path, rounds: int, passes: int) -> dict[str, list[dict[str, float]]]:
    """Run every arm once a round, each round starting with the next arm."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    names = list(ARMS)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            rows[name].append(run_arm(ARMS[name], python, task, passes))
    return rows


def ratios(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Ours over each docTR arm, round by round, for validation and training."""
    return {
        name: {
            rate: [ours[rate] / theirs[rate] for ours, theirs in zip(rows["ours"], found, strict=True)]
            for rate in ("validation", "training")
        }
        for name, found in rows.items()
        if not ARMS[name].ours
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all arms and print the line, or the line that says why docTR was skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser, images=2)
    parser.add_argument("--python", type=Path, help="interpreter of an environment with python-doctr")
    parser.add_argument("--setup", type=Path, help="folder in which to make that environment with pip")
    parser.add_argument("--rounds", type=positive, default=2, help="a verdict needs at least 6")
    parser.add_argument("--passes", type=positive, default=2, help="timed passes of each process, after one to warm up")
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, a multiple of 32")
    given = parser.parse_args(arguments)
    line: dict[str, Any] = {"work": f"batches of {given.images} receipts, side {given.size}, ResNet-50, random weights"}
    with tempfile.TemporaryDirectory() as name:
        task_file = Path(name) / "task.npz"
        try:
            python = find_python(given.setup, given.python, "docTR", ENVIRONMENT)
            task, line["dataset"] = make_task(given.data, given.images, given.size)
            task.save(task_file)
            rows = interleaved(python, task_file, given.rounds, given.passes)
        except PeerMissingError as error:
            sys.stdout.write(json.dumps({**line, "skipped": str(error)}) + "\n")
            return
    found = ratios(rows)
    medians = {arm: {rate: statistics.median(values) for rate, values in by.items()} for arm, by in found.items()}
    sys.stdout.write(json.dumps({**line, "images_per_second": rows, "ratios": found, "median_ratios": medians}) + "\n")


if __name__ == "__main__":
    main()
