"""From the trainer's run file to a record: the trainer writes what it did, the workbench adds where it was done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import environment, machine, strip_private
from agent_tools.records.repository import git_state
from agent_tools.records.schema import READABLE_RUN_FILES, DatasetFingerprint, GitState, RunFile, RunRecord
from agent_tools.records.store import new_id

JUDGED_DATASETS = ("val", "test", "train")
"""Which of a run's data sets a record is about: the one its metrics come from, in this order."""

NOT_SEEN = {"tree and machine": "not recorded: the run ended before anybody looked"}
"""Stands in the environment of a record whose run nobody watched."""


class RunFileError(WorkbenchError):
    """A run file that is missing, unfinished or not understood."""


def load_run_file(path: Path) -> RunFile:
    """Read a trainer's `run.json`.

    Raises:
        RunFileError: no such file, not JSON, another version, or a field that does not fit.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RunFileError(f"The run file {name} cannot be read ({error.strerror}); check the run id.") from error
    try:
        run = RunFile.model_validate_json(text)
    except ValidationError as error:
        raise RunFileError(_why_unreadable(text, name, error)) from error
    if run.schema_version not in READABLE_RUN_FILES:
        raise RunFileError(_other_version(name, run.schema_version))
    return run


def _why_unreadable(text: bytes, name: str, error: ValidationError) -> str:
    try:
        raw = json.loads(text)
    except ValueError as broken:
        return f"The run file {name} is not valid JSON ({broken}); start the run again."
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version is not None and version not in READABLE_RUN_FILES:
        return _other_version(name, version)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"The run file {name} does not fit: {field}: {first['msg']}. Start the run again with this checkout."


def _other_version(name: str, version: object) -> str:
    known = ", ".join(map(str, READABLE_RUN_FILES))
    return (
        f"The run file {name} has schema_version {version}, but this workbench reads versions {known}; "
        "use trainer and workbench of the same checkout and start the run again."
    )


def check_finished(run: RunFile) -> None:
    """Refuse a run that did not end well.

    Raises:
        RunFileError: the run is still going, or failed.
    """
    if run.status == "running":
        raise RunFileError(f"Run {run.id} has not finished; wait for it, then import it.")
    if run.status == "failed":
        raise RunFileError(f"Run {run.id} failed ({run.error}); correct that and start it again.")


def record_from_run(
    run: RunFile, root: Path, title: str = "", git: GitState | None = None, *, just_ran: bool = True
) -> RunRecord:
    """Make the record of one finished training or evaluation.

    Args:
        run: what the trainer wrote.
        root: the repository; paths are stored relative to it.
        title: a heading for documents; without one, the kind and the model's precision.
        git: the tree as it was when the run started; without it, the tree as it is now.
        just_ran: False for a run of an unknown day: tree and machine stay empty, and the environment is the run's own.

    Raises:
        RunFileError: the run has not finished or failed.
    """
    check_finished(run)
    clean = public_run(run, root)
    return RunRecord(
        id=new_id(run.kind, run.started),
        kind=run.kind,
        title=title or f"{run.kind} {run.precision.get('used', '')}".strip(),
        started=run.started,
        ended=run.ended or datetime.now(UTC),
        command=clean.argv,
        git=(git or public_git(root)) if just_ran else None,
        machine=machine() if just_ran else None,
        environment=(environment() if just_ran else NOT_SEEN) | clean.environment,
        config=clean.config,
        config_hash=run.config_hash,
        overrides=clean.overrides,
        dataset=judged_dataset(clean.datasets),
        run=clean,
        artifacts={
            kept["path"]: kept["sha256"] for kept in clean.checkpoints.values() if {"path", "sha256"} <= set(kept)
        },
    )


def public_run(run: RunFile, root: Path) -> RunFile:
    """Return the run file without absolute paths, user or host names (`config_hash` still hashes the original)."""
    plain: dict[str, Any] = run.model_dump()
    for field in ("argv", "overrides", "config", "environment", "error", "features", "checkpoints", "datasets"):
        plain[field] = strip_private(plain[field], root)
    return RunFile.model_validate(plain)


def public_git(root: Path) -> GitState | None:
    """Return the state of the tree without private text in its names of branches and files."""
    state = git_state(root)
    return state and GitState.model_validate(strip_private(state.model_dump(), root))


def judged_dataset(datasets: Mapping[str, DatasetFingerprint]) -> DatasetFingerprint | None:
    """Return the data set that a run's metrics come from: validation, else test, else training."""
    for name in JUDGED_DATASETS:
        if name in datasets:
            return datasets[name]
    return next(iter(datasets.values()), None)
