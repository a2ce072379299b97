"""Arms of the trainer measured in one interleaved run: one engine for ladders and every other design.

What is measured is in `rungs.py`. A sample is one process with a fresh cache folder; the arms of a round run in a
random, stored order (Abedi & Brecht, ICPE 2017), one at a time: two on one machine would contend.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.arms_plan import ArmsOutput, ArmsPlan, ArmsRequest, settle
from agent_tools.measure.arms_record import ArmsTaken, complete_rounds, record_of, save_partial
from agent_tools.measure.arms_samples import take_sample, timed_epochs, untainted_sample
from agent_tools.measure.rungs import ArmsDesign
from agent_tools.measure.trainer import (
    Progress,
    said_by,
    silent,
)
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import (
    Arm,
    EpochFigures,
    RunRecord,
)
from agent_tools.records.store import RecordStore

LOCK = ".lock"
"""File of an experiment's folder that its process holds locked."""


def run_arms(
    root: Path,
    design: ArmsDesign,
    request: ArmsRequest,
    output: ArmsOutput,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> RunRecord:
    """Measure the arms of a design in one interleaved run and store its record.

    Every finished sample is in `outputs/ladders/ID/samples.json` at once, and when a sample fails or the run is
    cancelled, the rounds that were complete become a record that the error names: nothing measured is lost.

    Args:
        root: the repository.
        design: the arms.
        request: on what, and how often.
        output: what becomes of the samples.
        progress: called before the first and after each sample with the estimated time left.
        cancel: once set, the running sample is ended and TrainerCancelled is raised.

    Raises:
        LadderError: unusable arguments, a sample that failed, or data or weights that changed between samples.
        DataError: data that cannot be cut to the images asked for.
        TrainerCancelled: `cancel` was set.
    """
    plan = settle(Path(root).resolve(), design, request, output)
    state = ArmsTaken()
    say = progress or silent
    with measuring(output.title, said_by(say), cancel), _working_folder(plan):
        try:
            _measure(plan, state, say, cancel)
        except WorkbenchError as error:
            kept = _keep_rounds(plan, state)
            raise type(error)(f"{error}{kept}") from error
    record = record_of(plan, state, len(plan.orders))
    RecordStore(plan.root).write(record, output.session, output.folder)
    return record


def run_pilot(root: Path, arm: Arm, request: ArmsRequest, cancel: threading.Event | None = None) -> EpochFigures:
    """Run one sample of an arm that is not recorded, and return its last epoch.

    Raises:
        LadderError: see `run_arms`.
    """
    alone = ArmsDesign("pilot", "settings", (arm,))
    plan, state = settle(Path(root).resolve(), alone, request, ArmsOutput("pilot", ())), ArmsTaken()
    with measuring("pilot", cancel=cancel), _working_folder(plan):
        take_sample(plan, state, arm, 0, 0, cancel)
    return timed_epochs(state.runs[arm.name], request.phase)[-1]


@contextlib.contextmanager
def _working_folder(plan: ArmsPlan) -> Iterator[None]:
    """Hold the experiment's folder, remove its caches at the end, and first those that killed ones left behind."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with (plan.folder / LOCK).open("w") as lock:
        # The kernel lets go of it with the process, however that ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep(plan.folder.parent)
        try:
            yield
        finally:
            shutil.rmtree(plan.folder / "cache", ignore_errors=True)


def _sweep(experiments: Path) -> None:
    for cache in experiments.glob("*/cache"):
        with (cache.parent / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(cache, ignore_errors=True)


def _keep_rounds(plan: ArmsPlan, state: ArmsTaken) -> str:
    """Record the rounds that are complete, and say so; '' where there is none."""
    rounds = complete_rounds(plan, state)
    if not rounds:
        return ""
    try:
        RecordStore(plan.root).write(record_of(plan, state, rounds), plan.output.session, plan.output.folder)
    except WorkbenchError as error:
        return f"\nThe complete rounds ({rounds}) could not be recorded: {error}"
    return f"\nThe complete rounds ({rounds}) are kept as record {plan.id}."


def _measure(plan: ArmsPlan, state: ArmsTaken, progress: Progress, cancel: threading.Event | None) -> None:
    arms = {arm.name: arm for arm in plan.arms}
    begun = time.monotonic()
    progress(0, plan.total, f"{plan.output.title}: {len(plan.arms)} arms x {len(plan.orders)} rounds")
    for number, order in enumerate(plan.orders):
        for position, name in enumerate(order):
            sample = untainted_sample(plan, state, arms[name], number, position, cancel)
            state.samples.append(sample)
            save_partial(plan, state)
            message = f"round {number + 1}/{len(plan.orders)}, {name}: {min(sample.warm_seconds):.2f} s warm"
            message += f" (tainted: {sample.tainted})" if sample.tainted else ""
            remaining = _time_left(plan, state, time.monotonic() - begun)
            progress(len(state.samples), plan.total, f"{message}; about {_minutes(remaining)} left")


def _time_left(plan: ArmsPlan, state: ArmsTaken, elapsed: float) -> float:
    """Seconds still to go: each remaining sample costs what its arm cost so far, else the mean of all samples."""
    done = {arm: len(values) for arm, values in state.seconds.items()}
    mean = elapsed / len(state.samples)
    return sum(
        (len(plan.orders) - done.get(arm.name, 0)) * _mean_or(state.seconds.get(arm.name, []), mean)
        for arm in plan.arms
    )


def _mean_or(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
