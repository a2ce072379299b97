"""Optimisations switched on one after another, and other designs that have a name: `rungs.py` says which."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from agent_tools.measure.arms_experiment import run_arms
from agent_tools.measure.arms_plan import PARITY_MARGIN, ArmsOutput, ArmsRequest, Phase
from agent_tools.measure.interference import FOREIGN_LIMIT
from agent_tools.measure.rungs import arms_design
from agent_tools.measure.trainer import Progress
from agent_tools.records.schema import RunRecord


def run_ladder(
    root: Path,
    name: str = "main",
    *,
    data: Path | str,
    split: str = "val",
    images: int = 48,
    size: int | tuple[int, int] = 640,
    rounds: int = 6,
    passes: int = 3,
    checkpoint: Path | str | None = None,
    seed: int = 0,
    margin: float = PARITY_MARGIN,
    phase: Phase = "val",
    foreign_limit: float = FOREIGN_LIMIT,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    session: str | None = None,
    folder: Path | None = None,
    command: Sequence[str] | None = None,
) -> RunRecord:
    """Measure a ladder, or another design of `rungs.py`, and store its record. See `ArmsRequest` and `run_arms`.

    Args:
        root: the repository.
        name: one of `benchmark_names()`.
        data: see `ArmsRequest`, as the arguments that are not named here.
        split: which split.
        images: how many images.
        size: (height, width), or one side of a square, pixels.
        rounds: samples of each arm.
        passes: epochs per process.
        checkpoint: weights that every arm loads.
        seed: of the random order.
        margin: loss of hmean that still counts as equal.
        phase: which epochs are timed.
        foreign_limit: share of the CPU that others may use beside a sample.
        overrides: given to every arm (`model=...`, `batch_size=...`).
        progress: called before the first and after each sample with the estimated time left.
        cancel: once set, the running sample is ended and TrainerCancelled is raised.
        session: the session that the record is stored under.
        folder: a folder inside the root that takes the place of the session's.
        command: the command line to record; by default the equivalent `agent-tools bench ladder`.

    Raises:
        LadderError: unusable arguments, a sample that failed, or data or weights that changed between samples.
        TrainerCancelled: `cancel` was set.
    """
    design = arms_design(name)
    request = ArmsRequest(
        data=Path(data),
        split=split,
        images=images,
        size=(size, size) if isinstance(size, int) else size,
        rounds=rounds,
        passes=passes,
        checkpoint=Path(checkpoint) if checkpoint is not None else None,
        seed=seed,
        overrides=tuple(overrides),
        margin=margin,
        phase=phase,
        foreign_limit=foreign_limit,
    )
    title = f"{name} ladder" if design.design == "ladder" else name.replace("_", " ")
    said = list(command or ["agent-tools", "bench", "ladder", name, *request.flags(Path(root).resolve())])
    return run_arms(root, design, request, ArmsOutput(title, said, "benchmark", session, folder), progress, cancel)
