"""`outputs/<run id>/run.json`: what a run leaves behind for others to read, rewritten atomically after each epoch."""

from __future__ import annotations

import platform
import re
import secrets
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from pydantic import BaseModel, ConfigDict, Field

from ocr.utils.content_hash import sha256_of_json, write_atomically

RUN_FILE_VERSION = 3
"""Version of the form below.

History:
- 1 (2026-11): first form; its validation stage `metric` is `score` from version 2 on.
- 2 (2026-11): CPU seconds and limit per epoch; replayed stages, timeline and image shapes of the run.
- 3 (2026-11): the worst images of an evaluation.
"""

RunKind = Literal["train", "evaluate"]
Verdict = Literal["input-bound", "compute-bound", "post-bound", "overhead-bound"]


class _Part(BaseModel):
    # JSON has no NaN: a loss that diverged must not make the file unreadable.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class DatasetFingerprint(_Part):
    """Which data a split saw; `root` is relative to the working folder, or the folder's own name.

    `dropped` names images that cannot be decoded and were left out, `decode_warnings` those that decode with a warning.
    """

    name: str
    root: str
    images: int
    content_hash: str
    dropped: list[str] = Field(default_factory=list)
    decode_warnings: list[str] = Field(default_factory=list)


class CacheCounts(_Part):
    """Accesses to one tier in one epoch, in all processes together."""

    hits: int = 0
    misses: int = 0
    bytes: int = 0


class EpochLimit(_Part):
    """How fast the epoch could have been (`ocr/lightning_modules/epoch_limit.py`).

    `seconds` is the limit, `fraction` (0..1] its share of the epoch, `clock_seconds` what measuring the stages cost.
    """

    seconds: float
    fraction: float
    verdict: Verdict
    clock_seconds: float


class EpochFigures(_Part):
    """One pass over one split; `seconds` is wall clock, stages of worker processes are sums over the workers.

    `epoch` is the training epoch, also of its validation; in an evaluation it counts the passes. `weights` is `best`
    for the pass over the best weights after training. `cpu` is CPU seconds of this process per stage, all threads;
    where post-processing overlaps, `post` and `score` are sums over its threads and `post_wait` is what the main
    thread waited for them.
    """

    epoch: int
    phase: Literal["train", "val"]
    weights: Literal["current", "best"] = "current"
    seconds: float
    images: int
    stages: dict[str, float]
    cache: dict[str, CacheCounts]
    metrics: dict[str, float]
    counts: dict[str, dict[str, float]]
    cpu: dict[str, float] = Field(default_factory=dict)
    limit: EpochLimit | None = None


class TimelineSpan(_Part):
    """One stage of one batch; `start` is in seconds since the epoch began."""

    stage: str
    batch: int
    start: float
    seconds: float


class WorstImage(_Part):
    """An image with one of the lowest CLEval hmeans; `picture` is relative to the run's folder."""

    name: str
    icdar_hmean: float
    cleval_hmean: float
    picture: str


class FeatureRow(_Part):
    """One row of the feature check: what was asked for, how it was verified, what was seen."""

    feature: str
    criterion: str
    verified_by: str
    expected: str
    seen: str
    status: Literal["pass", "fail", "declined", "n/a"]
    reason: str = ""


class RunFile(_Part):
    """The run file. Paths in it are relative, so that it can be shared.

    `replayed` names the stages whose stored outputs were replayed: such a run measures, its scores prove nothing.
    `timeline` is of the last epoch, where it was asked for; `shapes` is split -> "HxW" -> number of images. `worst` are
    the images that `worst_images` asked for, the worst first; `rendered`: all images are the project's own receipts.
    """

    schema_version: int = RUN_FILE_VERSION
    id: str
    kind: RunKind
    status: Literal["running", "finished", "failed"] = "running"
    error: str | None = None
    started: datetime
    ended: datetime | None = None
    argv: list[str]
    overrides: list[str]
    config: dict[str, Any]
    config_hash: str
    datasets: dict[str, DatasetFingerprint] = Field(default_factory=dict)
    device: str = "cpu"
    precision: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    setup_seconds: dict[str, float] = Field(default_factory=dict)
    features: list[FeatureRow] = Field(default_factory=list)
    epochs: list[EpochFigures] = Field(default_factory=list)
    checkpoints: dict[str, dict[str, str]] = Field(default_factory=dict)
    replayed: list[str] = Field(default_factory=list)
    timeline: list[TimelineSpan] = Field(default_factory=list)
    shapes: dict[str, dict[str, int]] = Field(default_factory=dict)
    worst: list[WorstImage] = Field(default_factory=list)
    rendered: bool = False

    def write(self, folder: Path) -> Path:
        """Write `run.json` atomically into the run's folder and return its path."""
        path = folder / "run.json"
        write_atomically(path, self.model_dump_json(indent=1).encode())
        return path


def utc_now() -> datetime:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def new_run_id(kind: RunKind) -> str:
    """Return an id that sorts by time: `20261121T200622Z-train-3fa9c1`."""
    return f"{utc_now():%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(3)}"


def relative_path(path: Path) -> str:
    """Return a path relative to the working folder, else the last part alone: an absolute path says who ran it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return path.name


def config_digest(config: dict[str, Any]) -> str:
    """Return `sha256:...` of the resolved configuration, without the keys that only name this run's output."""
    kept = {key: value for key, value in config.items() if key not in ("run_id", "output_dir")}
    return f"sha256:{sha256_of_json(kept)}"


def environment(allocator: str) -> dict[str, str]:
    """Return the software and process settings that times depend on."""
    return {
        "python": platform.python_version(),
        "torch": version("torch"),
        "pytorch-lightning": version("pytorch-lightning"),
        "opencv": cv2.__version__,
        "numpy": version("numpy"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "allocator": allocator,
    }


def shareable(value: Any) -> Any:
    """Return a configuration value with absolute paths cut to their last part."""
    if isinstance(value, dict):
        return {key: shareable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shareable(item) for item in value]
    if isinstance(value, str) and "/" in value:
        key, separator, path = value.rpartition("=")
        return f"{key}{separator}{relative_path(Path(path))}" if Path(path).is_absolute() else value
    return value


def shareable_text(text: str) -> str:
    """Return a message with its absolute paths made relative to the working folder, or cut to their last part."""
    return re.sub(r"(?<![\w.])/[\w./@+-]+", lambda match: relative_path(Path(match.group().rstrip("."))), text)


def start_run_file(kind: RunKind, run_id: str, config: dict[str, Any], overrides: list[str]) -> RunFile:
    """Return the run file of a run that begins now."""
    cleaned = shareable(config)
    return RunFile(
        id=run_id,
        kind=kind,
        started=utc_now(),
        argv=[Path(sys.argv[0]).name, *shareable(sys.argv[1:])],
        overrides=shareable(overrides),
        config=cleaned,
        config_hash=config_digest(cleaned),
        seeds={"seed": int(config["seed"])},
    )
