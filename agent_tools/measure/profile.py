"""Where the seconds of an epoch go: the stage times of a run, as a table and as a record."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.trainer import Progress, find_run, run_trainer
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.importers import load_run_file, public_git, record_from_run
from agent_tools.records.pictures import keep_pictures
from agent_tools.records.schema import EpochFigures, RunFile, RunRecord
from agent_tools.records.stages import UNTIMED, profiled_index, stage_seconds
from agent_tools.records.store import RecordStore, new_id

__all__ = ["UNTIMED", "ProfileError", "StageRow", "profile_run", "stage_rows", "stage_seconds", "stage_table"]


class ProfileError(WorkbenchError):
    """A run without the stage times that a profile is made of."""


@dataclass(frozen=True)
class StageRow:
    """One stage of one epoch.

    `share` is of the epoch's wall clock, `cpu_share` of the CPU seconds of all stages, None where they were not
    measured. Parts (see `stage_seconds`) are CPU seconds; with workers they overlap with
    the rest, and their shares may exceed that of the wait.
    """

    stage: str
    seconds: float
    share: float
    milliseconds_per_image: float
    cpu_share: float | None = None


def profile_run(
    root: Path,
    run_id: str | None = None,
    overrides: Sequence[str] = (),
    *,
    phase: Literal["train", "val"] = "val",
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    session: str | None = None,
) -> RunRecord:
    """Store the stage times of a run as a profile record: of an existing run, or of a new evaluation.

    The record of an existing run names no tree and no machine: those of today need not be the run's.

    Args:
        root: the repository.
        run_id: an existing run (`latest` for the newest); without one, an evaluation is run.
        overrides: Hydra overrides of that evaluation; `passes=2` and `timeline=true` are added, so
            that a warm epoch is profiled and drawn.
        phase: which kind of epoch is profiled; the last one of that kind.
        progress: called after each epoch of the evaluation.
        cancel: once set, the evaluation is ended and TrainerCancelled is raised.
        session: the session that the record is stored under; pictures of its worst images (`worst_images=8`) go there
            too where all images are rendered receipts.

    Raises:
        ProfileError: overrides for an existing run, or a run without a timed epoch of that kind.
        TrainerError: no such run, or the evaluation failed.
    """
    if run_id is not None and overrides:
        raise ProfileError("A run that exists cannot be given overrides; leave out either the run id or the overrides.")
    before = public_git(root) if run_id is None else None
    run = load_run_file(find_run(root, run_id)) if run_id is not None else _evaluate(root, overrides, progress, cancel)
    epoch = profiled_epoch(run, phase)
    title = f"Stages of {run.kind} {run.id}, {phase} epoch {epoch.epoch}"
    record = record_from_run(run, root, title=title, git=before, just_ran=run_id is None)
    store, record_id = RecordStore(root), new_id("profile")
    changes = {"id": record_id, "kind": "profile", "stages": stage_seconds(epoch)}
    if session:
        place = store.session_folder(session, record.started)
        changes["artifacts"] = keep_pictures(run, find_run(root, run.id).parent, place, record_id)
    record = record.model_copy(update=changes)
    store.write(record, session)
    return record


def _evaluate(
    root: Path, overrides: Sequence[str], progress: Progress | None, cancel: threading.Event | None
) -> RunFile:
    asked = list(overrides)
    if not any(override.lstrip("+").startswith("passes=") for override in asked):
        asked.append("passes=2")
    if not any(override.lstrip("+").startswith("timeline=") for override in asked):
        asked.append("timeline=true")
    with measuring("profile", progress and (lambda said: progress(0, 0, said)), cancel):
        return run_trainer(root, "evaluate", asked, progress=progress, cancel=cancel).run


def profiled_epoch(run: RunFile, phase: Literal["train", "val"]) -> EpochFigures:
    """Return the last epoch of a phase.

    Raises:
        ProfileError: the run has none, or it has no stage times.
    """
    epochs = [epoch for epoch in run.epochs if epoch.phase == phase]
    if not epochs:
        present = sorted({epoch.phase for epoch in run.epochs})
        raise ProfileError(f"Run {run.id} has no {phase} epoch; it has {', '.join(present) or 'no epochs at all'}.")
    if not epochs[-1].stages:
        raise ProfileError(f"Run {run.id} timed no stages in its last {phase} epoch; start it again.")
    return epochs[-1]


def stage_rows(epoch: EpochFigures) -> list[StageRow]:
    """Return the stage table of an epoch, in the order of `stage_seconds`."""
    return [
        StageRow(
            stage=stage,
            seconds=seconds,
            share=seconds / epoch.seconds if epoch.seconds else 0.0,
            milliseconds_per_image=1000 * seconds / epoch.images if epoch.images else 0.0,
            cpu_share=_cpu_share(epoch, stage),
        )
        for stage, seconds in stage_seconds(epoch).items()
    ]


def _cpu_share(epoch: EpochFigures, stage: str) -> float | None:
    total = sum(epoch.cpu.values())
    return epoch.cpu[stage] / total if total and stage in epoch.cpu else None


def stage_table(record: RunRecord) -> list[StageRow]:
    """Return the stage table of a profile record.

    Raises:
        ProfileError: the record is of another kind, or holds no run.
    """
    if record.kind != "profile" or record.run is None:
        raise ProfileError(f"Record {record.id} is of kind {record.kind}; choose one that `profile run` wrote.")
    index = profiled_index(record)
    if index is None:
        raise ProfileError(f"Record {record.id} holds stage times that are in no epoch of its run; it was edited.")
    return stage_rows(record.run.epochs[index])
