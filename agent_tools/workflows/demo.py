"""The whole project in minutes, in `outputs/demo/`: render receipts, train a little, climb the ladder, write it up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent_tools.handbook import render
from agent_tools.measure.ladder import run_ladder
from agent_tools.measure.trainer import FinishedRun, Progress, hydra_value, log_tail, run_trainer, silent
from agent_tools.records.importers import record_from_run
from agent_tools.records.store import RecordStore
from agent_tools.workflows.documents import Measured, described
from agent_tools.workflows.measuring import synthetic_receipts
from agent_tools.workspace.root import Root

DEMO = "outputs/demo"
IMAGES = 20
SIZE = 320
WEIGHTS = "ocr/models/pretrained/tiny-synthetic.ckpt"
"""Trained on the synthetic receipts and kept in the repository, so that parity is not measured at zero."""

MODEL = ("model=tiny", "dataloaders.num_workers=0")
TRAINING = ("trainer.max_epochs=1", "trainer.limit_train_batches=6", "trainer.limit_val_batches=2", "batch_size=4")


def run_demo(
    root: Root,
    *,
    data: Annotated[str, Field(description="your folder with images/SPLIT and jsons/SPLIT.json")] = "",
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Show the project at work on rendered receipts, or on your own: train, switch optimisations on, write it up.

    Two rounds only: the figures are descriptive. Everything is written below outputs/demo/.
    """
    say = progress or silent
    say(0, 0, "receipts: " + (data or f"{IMAGES} to validate on, rendered with known polygons"))
    folder = root.resolve_data(data) if data else synthetic_receipts(root, f"{DEMO}/receipts", train=24, val=IMAGES)
    trained = _train(root, folder, say, cancel)
    RecordStore(root.path).write(record_from_run(trained.run, root.path), folder=Path(DEMO))
    record = run_ladder(
        root.path,
        "demo",
        data=folder,
        images=IMAGES,
        size=SIZE,
        rounds=2,
        passes=3,
        checkpoint=root.path / WEIGHTS,
        overrides=MODEL,
        progress=progress,
        cancel=cancel,
        folder=Path(DEMO),
        command=["agent-tools", "demo", *(["--data", data] if data else [])],
    )
    return described(
        root,
        record,
        lambda: render.render_demo(root.path, root.path / DEMO),
        note="two rounds: descriptive, no verdict; `agent-tools bench ladder` measures with six",
    )


def _train(
    root: Root, folder: Path, say: Callable[[int, int, str], None], cancel: threading.Event | None
) -> FinishedRun:
    say(0, 0, "training: a few steps of the tiny detector")
    overrides = [
        *MODEL,
        *TRAINING,
        f"dataset_base_path={hydra_value(f'{folder}/')}",
        f"image_size=[{SIZE},{SIZE}]",
        f"cache_dir={DEMO}/cache",
    ]
    trained = run_trainer(root.path, "train", overrides, output_dir=DEMO, progress=say, cancel=cancel)
    for line in log_tail(trained.log, 8).splitlines():
        say(0, 0, line)
    return trained
