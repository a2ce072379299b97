"""What an experiment keeps on disk, so that nothing measured is ever lost.

`outputs/experiments/ID/` holds `plan.json`, everything settled before the first sample, and `samples.jsonl`, one line
per finished sample, on disk before the next one starts. A killed experiment goes on from these two files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from agent_tools.measure.targets import TargetRequest
from agent_tools.measure.worktrees import Snapshot, forget_worktrees
from agent_tools.records.compared import Measurement, PairedProtocol, Side
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.frozen import Frozen
from agent_tools.records.schema import DatasetFingerprint, GitState, Machine
from agent_tools.records.store import write_atomically

EXPERIMENTS = "outputs/experiments"
PLAN, SAMPLES, LOCK = "plan.json", "samples.jsonl", ".lock"
TREES = "trees"

VERBS: dict[str, str] = {"comparison": "compare", "history": "history"}
"""Kind of an experiment -> the command that starts it and goes on with it."""


class ExperimentError(WorkbenchError):
    """An experiment that cannot start, go on, or be found."""


class Plan(Frozen):
    """Everything about an experiment that is settled before its first sample. Lives in `outputs/` only."""

    id: str
    kind: str
    name: str
    command: list[str]
    started: datetime
    request: TargetRequest
    sides: list[Side]
    snapshots: list[Snapshot]
    words: list[list[str]]
    protocol: PairedProtocol
    treatment: Literal["revisions", "configurations", "none"]
    changes: list[str]
    files: list[str]
    seed: int
    replacements: int
    data: DatasetFingerprint | None
    git: GitState | None
    machine: Machine
    environment: dict[str, str]
    session: str

    checkpoint_sha256: str = ""

    @property
    def order(self) -> list[list[str]]:
        """The planned order of the sides, round by round."""
        return self.protocol.order


def experiment_folder(root: Path, experiment_id: str) -> Path:
    """Return the folder of an experiment, existing or not."""
    return root / EXPERIMENTS / Path(experiment_id).name


def save_plan(root: Path, plan: Plan) -> None:
    """Write the plan of a new experiment, or one whose declared rounds a pilot has settled."""
    write_atomically(experiment_folder(root, plan.id) / PLAN, plan.model_dump_json(indent=1) + "\n")


def load_plan(root: Path, experiment_id: str) -> Plan:
    """Read the plan of an experiment.

    Raises:
        ExperimentError: there is no such experiment (the newest are named), or its plan cannot be read.
    """
    file = experiment_folder(root, experiment_id) / PLAN
    try:
        return Plan.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        known = sorted((path.parent.name for path in (root / EXPERIMENTS).glob(f"*/{PLAN}")), reverse=True)[:3]
        hint = f"the newest are {', '.join(known)}" if known else "there is none yet"
        raise ExperimentError(f"There is no experiment '{experiment_id}' to go on with; {hint}.") from None
    except ValidationError as error:
        raise ExperimentError(
            f"The plan of experiment {experiment_id} was written by another version; start the comparison again."
        ) from error


def read_samples(folder: Path) -> list[Measurement]:
    """Return every sample that was written whole; a line torn by a kill or a full disk is left out."""
    try:
        text = (folder / SAMPLES).read_bytes()
    except FileNotFoundError:
        return []
    samples = []
    for line in text.split(b"\n"):
        with contextlib.suppress(ValidationError):
            samples.append(Measurement.model_validate_json(line))
    return samples


def append_sample(folder: Path, sample: Measurement) -> None:
    """Add one sample and wait until it is on disk.

    Raises:
        ExperimentError: the disk refuses; the samples before it are kept.
    """
    # The newline goes first: it also ends a line that was torn before.
    line = ("\n" + sample.model_dump_json()).encode()
    try:
        with (folder / SAMPLES).open("ab", buffering=0) as stream:
            if stream.write(line) != len(line):
                raise OSError(28, os.strerror(28))
            os.fsync(stream.fileno())
    except OSError as error:
        raise ExperimentError(
            f"The sample could not be written ({error.strerror}); those before it are kept. Make room, then go on with "
            f"--resume {folder.name}."
        ) from error


@contextlib.contextmanager
def held(root: Path, experiment_id: str) -> Iterator[Path]:
    """Hold an experiment's folder, so that no second process goes on with it; its trees and caches go at the end.

    Raises:
        ExperimentError: another process holds it.
    """
    folder = experiment_folder(root, experiment_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise ExperimentError(
            f"{EXPERIMENTS} cannot be written ({error.strerror}); make room and try again."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExperimentError(f"Experiment {experiment_id} is running; wait for it, or cancel its job.") from None
        _sweep(root)
        try:
            yield folder
        finally:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            shutil.rmtree(folder / TREES, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove the trees and caches that killed experiments left; those of running ones are locked."""
    for folder in (root / EXPERIMENTS).iterdir():
        if not ((folder / TREES).exists() or (folder / "cache").exists()):
            continue
        with (folder / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            forget_worktrees(root, folder / TREES)
            shutil.rmtree(folder / "cache", ignore_errors=True)
            shutil.rmtree(folder / TREES, ignore_errors=True)
