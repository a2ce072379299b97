"""One sample of an arm: a fresh process with its own cache folder, watched for other work, refused on other data."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Literal

import psutil

from agent_tools.measure.arms_plan import ArmsPlan, Phase
from agent_tools.measure.arms_record import ArmsTaken
from agent_tools.measure.interference import Watch, await_quiet
from agent_tools.measure.rungs import LadderError
from agent_tools.measure.statistics import PAIRS_FOR_A_VERDICT
from agent_tools.measure.trainer import (
    FinishedRun,
    TrainerCancelled,
    TrainerError,
    run_trainer,
)
from agent_tools.records.importers import RunFileError, check_finished, judged_dataset
from agent_tools.records.schema import (
    Arm,
    EpochFigures,
    RunFile,
    Sample,
)
from agent_tools.records.store import new_id

SAMPLE_SECONDS = 30 * 60.0
"""A sample that takes longer is ended: a loader that hangs must not hold the machine for ever."""

RETRIES = 2
"""How often a sample beside which other work ran is taken again."""

PREPARATION_PREFIXES = ("preload", "cache", "prepare")
"""Entries of `setup_seconds` that belong to a cold epoch: work on the data, not imports or the model."""


def untainted_sample(
    plan: ArmsPlan, state: ArmsTaken, arm: Arm, number: int, position: int, cancel: threading.Event | None
) -> Sample:
    """Take a sample, again while other work ran beside it and tries are left; those before it are kept aside."""
    retries = RETRIES if len(plan.orders) >= PAIRS_FOR_A_VERDICT else 0
    sample = take_sample(plan, state, arm, number, position, cancel)
    while sample.tainted and retries:
        state.discarded.append(sample)
        await_quiet(plan.request.foreign_limit, cancel)
        sample = take_sample(plan, state, arm, number, position, cancel)
        retries -= 1
    return sample


def take_sample(
    plan: ArmsPlan, state: ArmsTaken, arm: Arm, number: int, position: int, cancel: threading.Event | None
) -> Sample:
    """Take one sample, however the machine was used beside it; its cache and its weights are removed.

    Raises:
        LadderError: the run failed, saw other data or weights than the first one, or has no warm epoch.
        TrainerCancelled: `cancel` was set.
    """
    kind: Literal["train", "evaluate"] = "train" if plan.request.phase == "train" else "evaluate"
    run_id = new_id(kind)
    here = plan.folder.relative_to(plan.root).as_posix()
    cache = plan.folder / "cache" / run_id
    load = psutil.getloadavg()[0]
    watch = Watch(plan.request.foreign_limit)
    try:
        finished = run_trainer(
            plan.root,
            kind,
            _sample_overrides(plan, arm, f"{here}/cache/{run_id}"),
            run_id=run_id,
            output_dir=f"{here}/runs",
            log=plan.folder / "logs" / f"round{number}-{arm.name}.log",
            cancel=cancel,
            limit_seconds=SAMPLE_SECONDS,
        )
        check_finished(finished.run)
    except TrainerCancelled:
        raise
    except (TrainerError, RunFileError) as error:
        raise LadderError(_failure(plan, state, arm, number, error)) from error
    finally:
        seen = watch.stop()
        shutil.rmtree(cache, ignore_errors=True)
        _remove_weights(plan.folder / "runs" / run_id)
    _check_same(plan, state, arm, finished.run)
    state.runs[arm.name] = finished.run
    state.seconds.setdefault(arm.name, []).append(finished.seconds)
    sample = _as_sample(finished, arm, number, position, load, plan.request.phase)
    return sample.model_copy(update={"foreign_cpu": seen.foreign_cpu, "stolen": seen.stolen, "tainted": seen.tainted})


def _sample_overrides(plan: ArmsPlan, arm: Arm, cache: str) -> list[str]:
    """The arm's own overrides and the common ones, each key once: what an arm is about is never set back."""
    own = {_key(override) for override in arm.overrides}
    common = [override for override in plan.common if plan.design.design == "ladder" or _key(override) not in own]
    return [*arm.overrides, *common, f"cache_dir={cache}"]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _remove_weights(run: Path) -> None:
    # Each training leaves its weights; a night of samples would fill the disk with them.
    for weights in run.rglob("*.ckpt"):
        weights.unlink(missing_ok=True)


def _failure(plan: ArmsPlan, state: ArmsTaken, arm: Arm, number: int, error: Exception) -> str:
    kept = f"outputs/ladders/{plan.id}/samples.json"
    taken = f"The {len(state.samples)} samples taken before are kept in {kept}." if state.samples else ""
    return f"Arm {arm.name} ({' '.join(arm.overrides)}) failed in round {number}. {taken}\n{error}"


def _check_same(plan: ArmsPlan, state: ArmsTaken, arm: Arm, run: RunFile) -> None:
    """Refuse a sample that saw other data or other weights than the first one: it could not be compared."""
    dataset = run.datasets.get("train") if plan.request.phase == "train" else judged_dataset(run.datasets)
    if dataset is None:
        raise LadderError(f"Run {run.id} ({arm.name}) names no data set; without one its times cannot be compared.")
    if state.dataset is not None and dataset.content_hash != state.dataset.content_hash:
        raise LadderError(
            f"Arm {arm.name} saw other data than the first sample ({dataset.images} images with hash "
            f"{dataset.content_hash[:12]}, not {state.dataset.content_hash[:12]}); leave the data alone meanwhile."
        )
    state.dataset = state.dataset or dataset
    loaded = run.checkpoints.get("loaded", {}).get("sha256", "")
    if plan.checkpoint_sha256 and loaded != plan.checkpoint_sha256:
        raise LadderError(
            f"Arm {arm.name} loaded weights with hash {loaded[:12] or '(none)'}, not {plan.checkpoint_sha256[:12]}; "
            "every arm must load the same checkpoint."
        )


def timed_epochs(run: RunFile, phase: Phase) -> list[EpochFigures]:
    """The epochs of a run that are timed: those of one phase."""
    return [epoch for epoch in run.epochs if epoch.phase == phase]


def _as_sample(finished: FinishedRun, arm: Arm, number: int, position: int, load: float, phase: Phase) -> Sample:
    run = finished.run
    epochs = timed_epochs(run, phase)
    if len(epochs) < 2:
        named = "validation" if phase == "val" else "training"
        raise LadderError(f"Arm {arm.name} ran {len(epochs)} {named} epochs; passes=2 or more must give a warm one.")
    last = epochs[-1]
    missing = [metric for metric in ("icdar_hmean", "cleval_hmean") if metric not in last.metrics]
    if missing and phase == "val":
        raise LadderError(f"Arm {arm.name} reports no {missing[0]}; every sample of a validation is scored.")
    return Sample(
        arm=arm.name,
        round=number,
        position=position,
        run_id=run.id,
        cold_seconds=cold_seconds(epochs[0], run.setup_seconds),
        warm_seconds=[epoch.seconds for epoch in epochs[1:]],
        images=last.images,
        setup_seconds=run.setup_seconds,
        stages=last.stages,
        cpu=last.cpu,
        metrics=last.metrics,
        load=round(load, 2),
    )


def cold_seconds(first: EpochFigures, setup_seconds: dict[str, float]) -> float:
    """Return what the first epoch cost, seconds: its own time and the filling of caches before it, not the model."""
    prepared = sum(value for name, value in setup_seconds.items() if name.startswith(PREPARATION_PREFIXES))
    return first.seconds + prepared
