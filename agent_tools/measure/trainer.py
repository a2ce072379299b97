"""Starts the trainer as a process of its own and reads what it wrote. Nothing here imports the trainer."""

from __future__ import annotations

import difflib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from agent_tools.jobs.processes import run_bounded
from agent_tools.measure.guarded import Ends, RunCancelled, RunTooLong, run_guarded
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.importers import RunFileError, load_run_file
from agent_tools.records.schema import FeatureRow, RunFile
from agent_tools.records.store import new_id

Kind = Literal["train", "evaluate"]
Progress = Callable[[int, int, str], None]
"""Called with (done, total, message); total is 0 where it is not known."""


def silent(done: int, total: int, message: str) -> None:
    """Report to nobody."""


def said_by(progress: Progress) -> Callable[[str], None]:
    """Return a function that reports a message without figures."""
    return lambda message: progress(0, 0, message)


MODULES: dict[str, tuple[str, ...]] = {"train": ("runners.train",), "evaluate": ("ocr.cli", "evaluate")}
RUN_FOLDERS = ("outputs/*/run.json", "outputs/demo/*/run.json", "outputs/ladders/*/runs/*/run.json")
OWN_RUNS = RUN_FOLDERS[:2]
"""Runs that somebody started for themselves; the samples of ladders are found by id only."""

CLEARED_PREFIXES = ("MALLOC_", "OCR_", "PYTHONPATH", "PYTHONSTARTUP")
"""Variables that are not handed on: an allocator setting of the caller would change the arm that does without it."""

RESOLVE_TIMEOUT_SECONDS = 180.0
RESOLVED_BYTES = 4 << 20
TAIL_LINES = 15


class TrainerError(WorkbenchError):
    """The trainer refused its configuration, failed, or left no run file."""


class TrainerCancelled(TrainerError):
    """The run was cancelled by the caller; its process group is gone."""


class UnknownRun(TrainerError):
    """No run has this id; the sentence names the nearest ids."""


@dataclass(frozen=True)
class ResolvedConfig:
    """The configuration of a run after composition: the YAML as printed, and the same as plain data."""

    text: str
    data: dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """One finished run: its run file, read, with the files it came from and the seconds of the whole process."""

    run: RunFile
    path: Path
    log: Path
    seconds: float


@dataclass(frozen=True)
class RunRow:
    """One line of a list of runs."""

    id: str
    kind: str
    status: str
    started: datetime
    epochs: int
    path: str


def hydra_value(text: str | Path) -> str:
    """Quote a value for a Hydra override where its grammar needs it (spaces, commas, equals signs, quotes)."""
    plain = str(text)
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", plain):
        return plain
    # Hydra's grammar reads a backslash as itself unless a run of them ends at a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), plain)
    return f"'{escaped}'"


def run_command(kind: Kind, overrides: Sequence[str], python: str = sys.executable) -> list[str]:
    """Return the command line of one run: `python -m runners.train ...` or `python -m ocr.cli evaluate ...`."""
    return [python, "-m", *MODULES[kind], *overrides]


def run_environment(root: Path) -> dict[str, str]:
    """Return the environment of a run: this process's, with the root first on the path and no allocator settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED_PREFIXES)}
    return kept | {"PYTHONPATH": str(root), "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONUNBUFFERED": "1"}


async def resolve_config(root: Path, overrides: Sequence[str] = (), python: str = sys.executable) -> ResolvedConfig:
    """Compose the training configuration without running it; a caller that is cancelled ends the process.

    Args:
        root: the repository, or another checkout of it; its own trainer composes.
        overrides: Hydra overrides.
        python: the interpreter that runs it.

    Raises:
        TrainerError: the trainer refuses an override; its own sentence is passed on.
    """
    command = [*run_command("train", ["--cfg", "job", "--resolve"], python), *overrides]
    answer = await run_bounded(
        command,
        folder=root,
        environment=run_environment(root),
        seconds=RESOLVE_TIMEOUT_SECONDS,
        output_cap=RESOLVED_BYTES,
    )
    if answer.timed_out or answer.truncated:
        limit = f"{RESOLVE_TIMEOUT_SECONDS:.0f} s" if answer.timed_out else f"{RESOLVED_BYTES >> 20} MiB"
        raise TrainerError(f"The configuration was not ready after {limit}; look for a key that refers to itself.")
    text, errors = (stream.decode("utf-8", "replace") for stream in (answer.output, answer.errors))
    if answer.exit_code != 0:
        said = _last_words(errors or text)
        raise TrainerError(f"The trainer refuses this configuration ({' '.join(overrides) or 'no overrides'}): {said}")
    data = yaml.safe_load(text)
    return ResolvedConfig(text=text, data=data if isinstance(data, dict) else {})


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and lines[-1].startswith("error: "):
        return lines[-1].removeprefix("error: ")
    useful = [line for line in lines if not line.startswith(("Set the environment variable", "Traceback", "File "))]
    return " ".join(useful[-4:]) or "without a message"


def run_trainer(
    root: Path,
    kind: Kind,
    overrides: Sequence[str] = (),
    *,
    run_id: str | None = None,
    output_dir: str = "outputs",
    log: Path | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    limit_seconds: float | None = None,
    python: str = sys.executable,
) -> FinishedRun:
    """Run the trainer to its end in a process group of its own, and read its run file.

    Args:
        root: the repository; the process runs there and imports from there.
        kind: train or evaluate.
        overrides: Hydra overrides, passed on as they are.
        run_id: id and folder of the run; a new one by default.
        output_dir: folder of the run's folder, relative to the root.
        log: file that takes everything the process prints; `OUTPUT_DIR/logs/RUN_ID.log` by default.
        progress: called after each finished epoch.
        cancel: once set, the whole process group is ended (within 2 seconds) and TrainerCancelled is raised.
        limit_seconds: after which the whole process group is ended; None waits for ever.
        python: the interpreter, whose packages the run uses.

    Raises:
        TrainerError: the run failed, ran past its limit, or left no readable run file; the end of its log is in the
            sentence.
        TrainerCancelled: `cancel` was set.
    """
    name = run_id or new_id(kind)
    file = root / output_dir / name / "run.json"
    target = log or root / output_dir / "logs" / f"{name}.log"
    command = run_command(kind, [*overrides, f"run_id={name}", f"output_dir={hydra_value(output_dir)}"], python)
    started = time.perf_counter()
    try:
        code = run_guarded(
            command,
            folder=root,
            environment=run_environment(root),
            log=target,
            ends=Ends(cancel, limit_seconds),
            watch=_Reporter(file, progress),
        )
    except RunCancelled as error:
        raise TrainerCancelled(str(error)) from error
    except RunTooLong as error:
        raise TrainerError(str(error)) from error
    seconds = time.perf_counter() - started
    if code != 0:
        raise TrainerError(_why_failed(name, code, target))
    if not file.is_file():
        raise TrainerError(f"Run {name} ended well but left no run.json. The end of its log:\n{log_tail(target)}")
    return FinishedRun(run=load_run_file(file), path=file, log=target, seconds=seconds)


def _why_failed(name: str, code: int, log: Path) -> str:
    """The trainer's own sentence where it ended with one; else the end of the log."""
    tail = log_tail(log)
    last = tail.rsplit("\n", 1)[-1]
    if last.startswith("error: "):
        return f"Run {name} failed: {last.removeprefix('error: ')}"
    return f"Run {name} failed with exit status {code}. The end of its log:\n{tail}"


class _Reporter:
    """Remembers how many epochs were reported, so that each is reported once."""

    def __init__(self, file: Path, progress: Progress | None) -> None:
        self.file, self.progress, self.seen = file, progress, 0

    def __call__(self) -> None:
        """Report epochs that the run file has gained."""
        if self.progress is None or not self.file.is_file():
            return
        run = load_run_file(self.file)
        if len(run.epochs) > self.seen:
            self.seen = len(run.epochs)
            planned = _planned_epochs(run)
            self.progress(self.seen, planned and max(planned, self.seen), epoch_line(run))


def epoch_line(run: RunFile) -> str:
    """Say in one line what the newest epoch of a run was: `val epoch 1: 12.3 s, icdar_hmean 0.812`."""
    newest = run.epochs[-1]
    score = newest.metrics.get("icdar_hmean")
    said = f"{newest.phase} epoch {newest.epoch}: {newest.seconds:.1f} s"
    return said if score is None else f"{said}, icdar_hmean {score:.3f}"


def _planned_epochs(run: RunFile) -> int:
    if run.kind == "evaluate":
        return int(run.config.get("passes") or 0)
    return 2 * int((run.config.get("trainer") or {}).get("max_epochs") or 0)


def log_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, or a word that there is none; progress bars count as their last state."""
    if not log.is_file():
        return "(no log)"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 64 * 1024))
        text = stream.read().decode(errors="replace")
    shown = [line.rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in shown if line][-lines:]) or "(the log is empty)"


# --- runs that exist ---------------------------------------------------------------------------------------------


def list_runs(root: Path, limit: int = 20) -> list[RunRow]:
    """List runs under `outputs/`, newest first; files that are no run files are left out."""
    rows: list[RunRow] = []
    for path in _run_files(root, OWN_RUNS):
        if len(rows) == limit:
            break
        try:
            run = load_run_file(path)
        except RunFileError:
            continue
        where = path.relative_to(root).as_posix()
        rows.append(RunRow(run.id, run.kind, run.status, run.started, len(run.epochs), where))
    return rows


def find_run(root: Path, run_id: str | None = None) -> Path:
    """Return the run file of a run; of the newest one without an id (or with `latest`).

    Raises:
        UnknownRun: no such run, or none at all.
    """
    if run_id in (None, "latest"):
        for path in _run_files(root, OWN_RUNS):
            return path
        raise UnknownRun("There is no run under outputs/ yet; start one with `agent-tools train run`.")
    files = {path.parent.name: path for path in _run_files(root, RUN_FOLDERS)}
    if run_id in files:
        return files[run_id]
    nearest = difflib.get_close_matches(str(run_id), list(files), n=3, cutoff=0.4)
    hint = f"The nearest are {', '.join(nearest)}" if nearest else "No id resembles it"
    raise UnknownRun(f"There is no run '{run_id}' under outputs/. {hint}; leave the id out for the newest run.")


def read_run(root: Path, run_id: str | None = None) -> RunFile:
    """Read the run file of a run, the newest one without an id.

    Raises:
        UnknownRun: no such run.
        RunFileError: its file cannot be understood.
    """
    return load_run_file(find_run(root, run_id))


def read_features(root: Path, run_id: str | None = None) -> list[FeatureRow]:
    """Return the feature check of a run (the newest one without an id): criterion, expected, seen, status.

    Raises:
        UnknownRun: no such run.
        RunFileError: its file cannot be understood.
    """
    return read_run(root, run_id).features


def _run_files(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Run files, the one written last first (ids may be chosen, so they need not sort by time)."""
    found = [path for pattern in patterns for path in root.glob(pattern)]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
