"""What is run for each sample: the trainer's evaluation or training, or any command that prints a line of metrics."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, ValidationError

from agent_tools.measure.comparability import NotComparable
from agent_tools.measure.data_subset import data_overrides, relative_to_root, subset_annotations
from agent_tools.measure.guarded import Ends, RunCancelled, run_guarded
from agent_tools.measure.ladder import PARITY_MARGIN, SAMPLE_SECONDS, cold_seconds
from agent_tools.measure.statistics import median
from agent_tools.measure.trainer import (
    FinishedRun,
    TrainerCancelled,
    hydra_value,
    log_tail,
    resolve_config,
    run_environment,
    run_trainer,
)
from agent_tools.measure.verdict import direction
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import canonical_hash, file_sha256, strip_private
from agent_tools.records.importers import check_finished, judged_dataset
from agent_tools.records.schema import DatasetFingerprint, EpochFigures, Frozen, Side, Target
from agent_tools.records.store import new_id

TargetName = Literal["evaluate", "train", "command"]

NO_DATA = "none"
"""Says that a command reads no data."""

SEED = "{seed}"
"""In a command's words: replaced by the seed of the round, the same for every side."""

OWN_KEYS = (
    *("run_id", "output_dir", "cache_dir", "checkpoint", "seed", "passes", "image_size", "hydra", "data"),
    *("dataset_base_path", "datasets.val_dataset.config.image_path", "datasets.val_dataset.config.annotation_path"),
)
"""Keys that a target gives to all sides alike; a side cannot set them."""


class TargetError(WorkbenchError):
    """A target that cannot be run, or whose answer cannot be used."""


class TargetRequest(Frozen):
    """What the caller asked to be run, as plain values that a resumed comparison reads again."""

    name: TargetName = "evaluate"
    data: str = ""
    split: str = "val"
    images: int = 48
    size: int = 640
    passes: int = 3
    checkpoint: str = ""
    overrides: list[str] = Field(default_factory=list)
    command: list[str] = Field(default_factory=list)
    metric: str = ""
    better: Literal["", "lower", "higher"] = ""
    accuracy: list[str] = Field(default_factory=list)
    gate: Literal["margin", "outputs"] = "margin"
    margin: float = PARITY_MARGIN
    limit_seconds: float = SAMPLE_SECONDS


@dataclass(frozen=True)
class Place:
    """Where a side runs: its folder and its interpreter."""

    side: Side
    tree: Path
    python: str


@dataclass(frozen=True)
class Call:
    """One sample to take: a name for its files, in which folder they go, and the seed of its round."""

    place: Place
    folder: Path
    name: str
    seed: int
    cancel: threading.Event | None = None


@dataclass(frozen=True)
class Answer:
    """What one process said of itself."""

    metrics: dict[str, float]
    outputs: str
    dataset: DatasetFingerprint | None
    run_id: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    work: dict[str, str] = field(default_factory=dict)
    """What was worked on, which has to be the same for every sample."""


class TargetRunner(Protocol):
    """A target made ready."""

    target: Target
    paired_seeds: bool

    def resolved(self, place: Place) -> dict[str, Any]:
        """Return the configuration of a side, empty where the target has none; refuses settings that it cannot take."""
        ...

    def run(self, call: Call) -> Answer:
        """Take one sample."""
        ...


def asked_options(request: TargetRequest, root: Path) -> dict[str, Any]:
    """Return what a request asks for beside the defaults, with its paths relative to the root and no private text."""
    asked = request.model_dump(exclude_defaults=True)
    for name in ("data", "checkpoint"):
        if asked.get(name) and asked[name] != NO_DATA:
            asked[name] = relative_to_root(Path(asked[name]), root)
    cleaned: dict[str, Any] = strip_private(asked, root)
    return cleaned


def asked_again(options: dict[str, Any], root: Path) -> TargetRequest:
    """Return the request that `asked_options` wrote down, with paths that exist here.

    Raises:
        TargetError: options of another version, or data that is not where it was.
    """
    try:
        request = TargetRequest.model_validate(options)
    except ValidationError as error:
        raise TargetError(f"The recorded options {options} are of another version; measure with today's.") from error
    found = {}
    for name in ("data", "checkpoint"):
        path = getattr(request, name)
        if path and path != NO_DATA:
            found[name] = str((root / path).resolve())
            if not Path(found[name]).exists():
                raise TargetError(f"{name}: {path} is not there; bring it back, or accept another record.")
    return request.model_copy(update=found)


def make_runner(request: TargetRequest, folder: Path) -> TargetRunner:
    """Return the runner of a target; `folder` takes what all its samples share.

    Raises:
        TargetError: values that the target cannot be run with.
    """
    return CommandRunner(request) if request.name == "command" else TrainerRunner(request, folder)


# --- the trainer -------------------------------------------------------------------------------------------------


class TrainerRunner:
    """Evaluation (warm epochs after a cold one) or training of one side's own trainer."""

    def __init__(self, request: TargetRequest, folder: Path) -> None:
        if request.name == "evaluate" and request.passes < 2:
            raise TargetError(f"passes is {request.passes}; take at least 2: epoch 0 is cold, the later ones are warm.")
        self.request, self.folder = request, folder
        self.paired_seeds = request.name == "train"
        self.checkpoint = Path(request.checkpoint) if request.checkpoint else None
        if self.checkpoint is not None and not self.checkpoint.is_file():
            raise TargetError(f"The checkpoint {self.checkpoint.name} does not exist; give the path of a .ckpt file.")
        primary = request.metric or ("warm_seconds" if request.name == "evaluate" else "train_seconds")
        self.annotation = folder / f"{request.split}.json"
        subset_annotations(Path(request.data), request.split, request.images, self.annotation)
        self.target = Target(
            name=request.name,
            command=["ocr", request.name, *request.overrides],
            primary=primary,
            better=request.better or direction(primary),
            accuracy=request.accuracy or ["icdar_hmean", "cleval_hmean"],
            gate=request.gate,
            margin=request.margin,
            checkpoint_sha256=file_sha256(self.checkpoint) if self.checkpoint else "",
        )

    def resolved(self, place: Place) -> dict[str, Any]:
        """Compose the configuration of a side with the side's own code.

        Raises:
            NotComparable: the side sets a key that the target gives to both alike.
            TrainerError: the side's trainer refuses an override.
        """
        for override in place.side.overrides:
            key = override.lstrip("+~").partition("=")[0]
            if key in OWN_KEYS or key.startswith("hydra."):
                raise NotComparable(
                    f"{key}: side {place.side.name} sets it, but both sides must see the same; give it as an option of "
                    "the comparison, or leave it out."
                )
        given = [*place.side.overrides, *self._common_overrides(place.tree), *self.request.overrides]
        return resolve_config(place.tree, given, place.python).data

    def run(self, call: Call) -> Answer:
        """Run one process and read its run file.

        Raises:
            TrainerError: it failed, or left no run file.
            TrainerCancelled: the call's event was set.
            TargetError: it left out an epoch or a score.
        """
        run_id = new_id(self.request.name)
        cache = call.folder / "cache" / run_id
        try:
            finished = run_trainer(
                call.place.tree,
                "train" if self.request.name == "train" else "evaluate",
                self._overrides(call, cache),
                run_id=run_id,
                output_dir=str(call.folder / "runs"),
                log=call.folder / "logs" / f"{call.name}.log",
                cancel=call.cancel,
                limit_seconds=self.request.limit_seconds,
                python=call.place.python,
            )
            check_finished(finished.run)
        finally:
            shutil.rmtree(cache, ignore_errors=True)
        self._check_weights(finished, call)
        return self._answer(finished, call)

    def _overrides(self, call: Call, cache: Path) -> list[str]:
        request = self.request
        passes = [f"passes={request.passes}"] if request.name == "evaluate" else [f"seed={call.seed}"]
        return [
            *call.place.side.overrides,
            *self._common_overrides(call.place.tree),
            *passes,
            *request.overrides,
            f"cache_dir={hydra_value(cache)}",
        ]

    def _common_overrides(self, tree: Path) -> list[str]:
        size = self.request.size
        weights = [f"checkpoint={hydra_value(relative_to_root(self.checkpoint, tree))}"] if self.checkpoint else []
        return [
            *data_overrides(tree, Path(self.request.data), self.request.split, self.annotation),
            f"image_size=[{size},{size}]",
            *weights,
        ]

    def _check_weights(self, finished: FinishedRun, call: Call) -> None:
        loaded = finished.run.checkpoints.get("loaded", {}).get("sha256", "")
        if self.target.checkpoint_sha256 and loaded != self.target.checkpoint_sha256:
            raise NotComparable(
                f"checkpoint: side {call.place.side.name} loaded weights with hash {loaded[:12] or '(none)'}, not "
                f"{self.target.checkpoint_sha256[:12]}; both sides must load the same."
            )

    def _answer(self, finished: FinishedRun, call: Call) -> Answer:
        run = finished.run
        phase = "train" if self.request.name == "train" else "val"
        epochs = [epoch for epoch in run.epochs if epoch.phase == phase]
        scored = [epoch for epoch in run.epochs if epoch.phase == "val"]
        if len(epochs) < (2 if phase == "val" else 1) or not scored:
            raise TargetError(f"Side {call.place.side.name} ran too few epochs ({len(run.epochs)}); look at its log.")
        last = scored[-1]
        missing = [name for name in self.target.accuracy if name not in last.metrics]
        if missing:
            raise TargetError(f"Side {call.place.side.name} reports no {missing[0]}; every sample is scored.")
        times = {"train_seconds": median([epoch.seconds for epoch in epochs[1:] or epochs])}
        if phase == "val":
            times = _evaluation_times(epochs, run.setup_seconds)
        stages = {f"stage.{name}": seconds for name, seconds in epochs[-1].stages.items()}
        return Answer(
            metrics=times | stages | last.metrics,
            outputs=canonical_hash(last.counts) if last.counts else "",
            dataset=judged_dataset(run.datasets),
            run_id=run.id,
            config=run.config,
            environment=run.environment | {"precision": run.precision.get("used", "")},
            work={"images in an epoch": str(epochs[-1].images), "images scored": str(last.images)}
            | {f"datasets.{name}.content_hash": data.content_hash for name, data in run.datasets.items()},
        )


def _evaluation_times(epochs: Sequence[EpochFigures], setup: dict[str, float]) -> dict[str, float]:
    warm = median([epoch.seconds for epoch in epochs[1:]])
    return {
        "warm_seconds": warm,
        "cold_seconds": cold_seconds(epochs[0], setup),
        "images_per_second": epochs[-1].images / warm,
    }


# --- any command -------------------------------------------------------------------------------------------------


class CommandRunner:
    """A command run in each side's tree, whose last line of output that is a JSON object holds the metrics.

    Numbers are metrics; `outputs` (text) is a hash of what was computed; `dataset` (text) the content hash of the data
    that was read; `work` (text), where it is given, has to be the same for every sample, such as a number of images.
    Words that a configuration side gives are added at the end.
    """

    def __init__(self, request: TargetRequest) -> None:
        if not request.command:
            raise TargetError("The target 'command' needs a command; give it with --command 'python bench.py'.")
        self.request = request
        self.paired_seeds = any(SEED in word for word in request.command)
        self.target = Target(
            name=_command_name(request.command),
            command=request.command,
            primary=request.metric or "seconds",
            better=request.better or direction(request.metric or "seconds"),
            accuracy=request.accuracy,
            gate=request.gate,
            margin=request.margin,
        )

    def resolved(self, place: Place) -> dict[str, Any]:  # noqa: ARG002 - the trainer's runner needs it
        """A command has no configuration that could be read without running it."""
        return {}

    def run(self, call: Call) -> Answer:
        """Run one process and read its line.

        Raises:
            TargetError: it failed, or printed no usable line.
            TrainerCancelled: the call's event was set.
        """
        log, output = call.folder / "logs" / f"{call.name}.log", call.folder / "logs" / f"{call.name}.out"
        words = [word.replace(SEED, str(call.seed)) for word in [*self.request.command, *call.place.side.overrides]]
        try:
            code = run_guarded(
                _with_interpreter(words, call.place.python),
                folder=call.place.tree,
                environment=command_environment(call.place.tree),
                log=log,
                output=output,
                ends=Ends(call.cancel, self.request.limit_seconds),
            )
        except RunCancelled as error:
            raise TrainerCancelled(str(error)) from error
        if code != 0:
            raise TargetError(f"the command ended with status {code}.\n{log_tail(log)}")
        return self._answer(output)

    def _answer(self, output: Path) -> Answer:
        line = last_json_object(output.read_text(encoding="utf-8", errors="replace"))
        if line is None:
            raise TargetError(
                "the command printed no JSON object on a line of its own; print one such "
                'as {"seconds": 1.5, "outputs": "hash"} as the last line.'
            )
        metrics = {
            name: float(value)
            for name, value in line.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        missing = [name for name in (self.target.primary, *self.target.accuracy) if name not in metrics]
        if missing:
            known = ", ".join(metrics) or "no numbers"
            raise TargetError(f"the command's line has no number '{missing[0]}'; it has {known}.")
        return Answer(
            metrics=metrics,
            outputs=str(line.get("outputs") or ""),
            dataset=self._dataset(line.get("dataset")),
            work={"work": str(line["work"])} if line.get("work") else {},
        )

    def _dataset(self, named: Any) -> DatasetFingerprint | None:
        if not named:
            return None
        return DatasetFingerprint(name="named by the command", root="", images=0, content_hash=str(named))


def last_json_object(text: str) -> dict[str, Any] | None:
    """Return the last line of a text that is a JSON object; None where there is none."""
    for line in reversed(text.splitlines()):
        if line.lstrip().startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                return value
    return None


def command_environment(tree: Path) -> dict[str, str]:
    """Return the environment of a command: this process's, with the side's own packages first on the path."""
    source = [str(tree / "src")] if (tree / "src").is_dir() else []
    return run_environment(tree) | {"PYTHONPATH": ":".join([*source, str(tree)])}


def _with_interpreter(words: Sequence[str], python: str) -> list[str]:
    """The words, with the side's interpreter where they begin with any Python."""
    return [python, *words[1:]] if is_python(words[0]) else list(words)


def is_python(word: str) -> bool:
    """Say whether a command's first word is any Python: it is then replaced by the side's own interpreter."""
    return re.fullmatch(r"python[\d.]*", Path(word).name) is not None or word == sys.executable


def _command_name(words: Sequence[str]) -> str:
    """What the command is called in titles: its script or module, else its first word."""
    plain = [word for word in words if not word.startswith("-")]
    return Path(plain[1] if len(plain) > 1 and Path(plain[0]).name.startswith("python") else plain[0]).name


def split_words(text: str) -> list[str]:
    """Split a command line into words as a shell would, without running one.

    Raises:
        TargetError: a quote that is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise TargetError(f"The command {text!r} cannot be split into words ({error}); close its quotes.") from error
