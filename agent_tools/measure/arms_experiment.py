"""Arms of the trainer measured in one interleaved run: one engine for ladders and every other design.

What is measured is in `rungs.py`. A sample is one process with a fresh cache folder; the arms of a round run in a
random, stored order (Abedi & Brecht, ICPE 2017), one at a time: two on one machine would contend.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import TypeAdapter

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.data_subset import data_overrides, relative_to_root, subset_annotations, training_overrides
from agent_tools.measure.interference import FOREIGN_LIMIT, Watch, await_quiet
from agent_tools.measure.ladder_summaries import contrasts, stage_shares, summaries
from agent_tools.measure.orders import random_orders
from agent_tools.measure.rungs import ArmsDesign, LadderError
from agent_tools.measure.statistics import PAIRS_FOR_A_VERDICT
from agent_tools.measure.trainer import (
    FinishedRun,
    Progress,
    TrainerCancelled,
    TrainerError,
    hydra_value,
    run_trainer,
    said_by,
    silent,
)
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import canonical_hash, environment, file_sha256, machine, strip_private
from agent_tools.records.importers import RunFileError, check_finished, judged_dataset, public_git
from agent_tools.records.schema import (
    Arm,
    Benchmark,
    DatasetFingerprint,
    EpochFigures,
    GitState,
    Machine,
    Protocol,
    RunFile,
    RunRecord,
    Sample,
    StageShare,
)
from agent_tools.records.store import RecordStore, new_id, write_atomically

Phase = Literal["val", "train"]
KindOfRecord = Literal["benchmark", "profile", "whatif"]

PARITY_MARGIN = 0.005
"""Loss of hmean that still counts as equal accuracy."""

SAMPLE_SECONDS = 30 * 60.0
"""A sample that takes longer is ended: a loader that hangs must not hold the machine for ever."""

RETRIES = 2
"""How often a sample beside which other work ran is taken again."""

LOCK = ".lock"
"""File of an experiment's folder that its process holds locked."""

PREPARATION_PREFIXES = ("preload", "cache", "prepare")
"""Entries of `setup_seconds` that belong to a cold epoch: work on the data, not imports or the model."""


# --- measuring ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArmsRequest:
    """What is to be measured, and on what.

    Attributes:
        data: a data folder with `images/SPLIT/` and `jsons/SPLIT.json`.
        split: which split is validated or trained on.
        images: how many of its images, the first by sorted name.
        size: network input, (height, width) in pixels.
        rounds: samples of each arm; fewer than 6 make the record descriptive.
        passes: epochs per process, at least 2: epoch 0 is cold, the later ones are warm.
        checkpoint: weights that every arm loads; without one there is no parity evidence.
        seed: of the random order.
        overrides: given to every arm, after its own; an arm's own value of the same key stays.
        margin: loss of hmean that still counts as equal.
        phase: whether validation or training epochs are timed.
        foreign_limit: share of the machine's CPU that others may use beside a sample, above 0 up to 1. Where a verdict
            could follow (6 rounds), a sample beside which more was used is taken again, at most `RETRIES` times.
    """

    data: Path
    split: str = "val"
    images: int = 48
    size: tuple[int, int] = (640, 640)
    rounds: int = 6
    passes: int = 3
    checkpoint: Path | None = None
    seed: int = 0
    overrides: tuple[str, ...] = ()
    margin: float = PARITY_MARGIN
    phase: Phase = "val"
    foreign_limit: float = FOREIGN_LIMIT

    def flags(self, root: Path) -> list[str]:
        """Return the request as flags and overrides of a command line, with paths relative to the root."""
        height, width = self.size
        flags: dict[str, Any] = {
            "data": relative_to_root(self.data, root),
            "split": self.split,
            "images": self.images,
            "size": height if height == width else f"{height}x{width}",
            "rounds": self.rounds,
            "passes": self.passes,
            "checkpoint": self.checkpoint and relative_to_root(self.checkpoint, root),
            "seed": self.seed,
        }
        given = [part for flag, value in flags.items() if value is not None for part in (f"--{flag}", str(value))]
        return [*given, *self.overrides]


@dataclass(frozen=True)
class ArmsOutput:
    """What becomes of the samples: kind, title and command of the record, and where it is stored.

    `folder` is inside the root and takes the place of the session's.
    """

    title: str
    command: Sequence[str]
    kind: KindOfRecord = "benchmark"
    session: str | None = None
    folder: Path | None = None


@dataclass
class _State:
    """Everything measured so far; written to disk after each sample."""

    samples: list[Sample] = field(default_factory=list)
    discarded: list[Sample] = field(default_factory=list)
    runs: dict[str, RunFile] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    dataset: DatasetFingerprint | None = None


@dataclass(frozen=True)
class _Plan:
    """What an experiment will do, settled before its first sample."""

    root: Path
    id: str
    design: ArmsDesign
    orders: list[list[str]]
    request: ArmsRequest
    output: ArmsOutput
    common: list[str]
    checkpoint_sha256: str
    started: datetime
    git: GitState | None
    machine: Machine

    @property
    def folder(self) -> Path:
        """Where the experiment keeps its working files."""
        return self.root / "outputs" / "ladders" / self.id

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms in the order of the design."""
        return self.design.arms

    @property
    def command(self) -> list[str]:
        """The command line to record, without private paths."""
        return strip_private(list(self.output.command), self.root)

    @property
    def total(self) -> int:
        """Number of samples."""
        return len(self.arms) * len(self.orders)


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
    plan = _plan(Path(root).resolve(), design, request, output)
    state = _State()
    say = progress or silent
    with measuring(output.title, said_by(say), cancel), _working_folder(plan):
        try:
            _measure(plan, state, say, cancel)
        except WorkbenchError as error:
            kept = _keep_rounds(plan, state)
            raise type(error)(f"{error}{kept}") from error
    record = _record(plan, state, len(plan.orders))
    RecordStore(plan.root).write(record, output.session, output.folder)
    return record


def run_pilot(root: Path, arm: Arm, request: ArmsRequest, cancel: threading.Event | None = None) -> EpochFigures:
    """Run one sample of an arm that is not recorded, and return its last epoch.

    Raises:
        LadderError: see `run_arms`.
    """
    alone = ArmsDesign("pilot", "settings", (arm,))
    plan, state = _plan(Path(root).resolve(), alone, request, ArmsOutput("pilot", ())), _State()
    with measuring("pilot", cancel=cancel), _working_folder(plan):
        _sample(plan, state, arm, 0, 0, cancel)
    return _timed_epochs(state.runs[arm.name], request.phase)[-1]


@contextlib.contextmanager
def _working_folder(plan: _Plan) -> Iterator[None]:
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


def _keep_rounds(plan: _Plan, state: _State) -> str:
    """Record the rounds that are complete, and say so; '' where there is none."""
    rounds = _complete_rounds(plan, state)
    if not rounds:
        return ""
    try:
        RecordStore(plan.root).write(_record(plan, state, rounds), plan.output.session, plan.output.folder)
    except WorkbenchError as error:
        return f"\nThe complete rounds ({rounds}) could not be recorded: {error}"
    return f"\nThe complete rounds ({rounds}) are kept as record {plan.id}."


def _complete_rounds(plan: _Plan, state: _State) -> int:
    return len(state.samples) // len(plan.arms)


def _plan(root: Path, design: ArmsDesign, request: ArmsRequest, output: ArmsOutput) -> _Plan:
    """Check the request, write the annotations of the subset, and settle everything before the first sample."""
    _check_request(request)
    experiment = new_id(output.kind)
    annotation = root / "outputs" / "ladders" / experiment / f"{request.split}.json"
    subset_annotations(request.data, request.split, request.images, annotation)
    return _Plan(
        root=root,
        id=experiment,
        design=design,
        orders=random_orders([arm.name for arm in design.arms], request.rounds, request.seed),
        request=request,
        output=output,
        common=_common_overrides(root, request, annotation),
        checkpoint_sha256=file_sha256(request.checkpoint) if request.checkpoint else "",
        started=datetime.now(UTC),
        git=public_git(root),
        machine=machine(),
    )


def _common_overrides(root: Path, request: ArmsRequest, annotation: Path) -> list[str]:
    height, width = request.size
    weights = [f"checkpoint={hydra_value(relative_to_root(request.checkpoint, root))}"] if request.checkpoint else []
    place = (root, request.data, request.split, annotation)
    if request.phase == "train":
        epochs = training_overrides(*place, request.passes)
    else:
        epochs = [*data_overrides(*place), f"passes={request.passes}"]
    return [*epochs, f"image_size=[{height},{width}]", *weights, *request.overrides]


def _check_request(request: ArmsRequest) -> None:
    if not 0 < request.foreign_limit <= 1:
        raise LadderError(f"foreign_limit is {request.foreign_limit}; take a share above 0 and up to 1.")
    if request.rounds < 1:
        raise LadderError(f"rounds is {request.rounds}; take at least 1, and 6 for intervals.")
    if request.passes < 2:
        raise LadderError(
            f"passes is {request.passes}; take at least 2: epoch 0 is cold, only the later ones are warm."
        )
    weights = request.checkpoint
    if weights is not None and not weights.is_file():
        near = difflib.get_close_matches(weights.name, [item.name for item in weights.parent.glob("*")], n=1)
        hint = f"; the nearest file there is {near[0]}" if near else ""
        raise LadderError(f"The checkpoint {weights} does not exist{hint}.")


def _measure(plan: _Plan, state: _State, progress: Progress, cancel: threading.Event | None) -> None:
    arms = {arm.name: arm for arm in plan.arms}
    begun = time.monotonic()
    progress(0, plan.total, f"{plan.output.title}: {len(plan.arms)} arms x {len(plan.orders)} rounds")
    for number, order in enumerate(plan.orders):
        for position, name in enumerate(order):
            sample = _untainted_sample(plan, state, arms[name], number, position, cancel)
            state.samples.append(sample)
            _save_partial(plan, state)
            message = f"round {number + 1}/{len(plan.orders)}, {name}: {min(sample.warm_seconds):.2f} s warm"
            message += f" (tainted: {sample.tainted})" if sample.tainted else ""
            remaining = _time_left(plan, state, time.monotonic() - begun)
            progress(len(state.samples), plan.total, f"{message}; about {_minutes(remaining)} left")


def _untainted_sample(
    plan: _Plan, state: _State, arm: Arm, number: int, position: int, cancel: threading.Event | None
) -> Sample:
    """Take a sample, again while other work ran beside it and tries are left; those before it are kept aside."""
    retries = RETRIES if len(plan.orders) >= PAIRS_FOR_A_VERDICT else 0
    sample = _sample(plan, state, arm, number, position, cancel)
    while sample.tainted and retries:
        state.discarded.append(sample)
        await_quiet(plan.request.foreign_limit, cancel)
        sample = _sample(plan, state, arm, number, position, cancel)
        retries -= 1
    return sample


def _sample(plan: _Plan, state: _State, arm: Arm, number: int, position: int, cancel: threading.Event | None) -> Sample:
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


def _sample_overrides(plan: _Plan, arm: Arm, cache: str) -> list[str]:
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


def _failure(plan: _Plan, state: _State, arm: Arm, number: int, error: Exception) -> str:
    kept = f"outputs/ladders/{plan.id}/samples.json"
    taken = f"The {len(state.samples)} samples taken before are kept in {kept}." if state.samples else ""
    return f"Arm {arm.name} ({' '.join(arm.overrides)}) failed in round {number}. {taken}\n{error}"


def _check_same(plan: _Plan, state: _State, arm: Arm, run: RunFile) -> None:
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


def _timed_epochs(run: RunFile, phase: Phase) -> list[EpochFigures]:
    return [epoch for epoch in run.epochs if epoch.phase == phase]


def _as_sample(finished: FinishedRun, arm: Arm, number: int, position: int, load: float, phase: Phase) -> Sample:
    run = finished.run
    epochs = _timed_epochs(run, phase)
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


def _save_partial(plan: _Plan, state: _State) -> None:
    """Keep everything that a record of the samples so far would need."""
    measured = [_measured_arm(arm, state.runs[arm.name]) if arm.name in state.runs else arm for arm in plan.arms]
    partial = {
        "id": plan.id,
        "ladder": plan.design.name,
        "design": plan.design.design,
        "phase": plan.request.phase,
        "command": plan.command,
        "started": plan.started.isoformat(),
        "overrides": strip_private(plan.common, plan.root),
        "git": plan.git and plan.git.model_dump(mode="json"),
        "machine": plan.machine.model_dump(mode="json"),
        "environment": _environment(plan, state),
        "dataset": _dataset(plan, state),
        "arms": [arm.model_dump() for arm in measured],
        "planned_order": plan.orders,
        "protocol": _protocol(plan, state.samples, _complete_rounds(plan, state), tree_changed=False).model_dump(),
        "checkpoint_sha256": plan.checkpoint_sha256,
        "parity_margin": plan.request.margin,
        "samples": [sample.model_dump(mode="json") for sample in state.samples],
        "discarded": [sample.model_dump(mode="json") for sample in state.discarded],
    }
    write_atomically(plan.folder / "samples.json", json.dumps(partial, indent=1))


def partial_samples(root: Path, experiment: str) -> list[Sample]:
    """Read the samples that an experiment took, finished or not.

    Raises:
        LadderError: there is no such experiment under `outputs/ladders/`.
    """
    file = root / "outputs" / "ladders" / Path(experiment).name / "samples.json"
    if not file.is_file():
        raise LadderError(f"There is no ladder '{experiment}' under outputs/ladders/; its samples.json is missing.")
    return TypeAdapter(list[Sample]).validate_python(json.loads(file.read_text(encoding="utf-8"))["samples"])


def _time_left(plan: _Plan, state: _State, elapsed: float) -> float:
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


# --- the record --------------------------------------------------------------------------------------------------


def _record(plan: _Plan, state: _State, rounds: int) -> RunRecord:
    """Make the record of the first `rounds` rounds."""
    config = strip_private(state.runs[plan.arms[-1].name].config, plan.root)
    changed = _tree_changes(plan)
    title = plan.output.title
    return RunRecord(
        id=plan.id,
        kind=plan.output.kind,
        title=title + (f", {rounds} of {len(plan.orders)} rounds" if rounds < len(plan.orders) else ""),
        started=plan.started,
        ended=datetime.now(UTC),
        command=plan.command,
        git=plan.git,
        machine=plan.machine,
        environment=_environment(plan, state) | changed,
        config=config,
        config_hash=canonical_hash(config),
        overrides=strip_private(plan.common, plan.root),
        dataset=DatasetFingerprint.model_validate(_dataset(plan, state)),
        benchmark=_benchmark(plan, state, rounds, tree_changed=bool(changed)),
    )


def _benchmark(plan: _Plan, state: _State, rounds: int, *, tree_changed: bool) -> Benchmark:
    samples = state.samples[: rounds * len(plan.arms)]
    arms = [_measured_arm(arm, state.runs[arm.name]) for arm in plan.arms]
    phase = plan.request.phase
    return Benchmark(
        name=plan.design.name,
        design=plan.design.design,
        phase=phase,
        arms=arms,
        protocol=_protocol(plan, samples, rounds, tree_changed=tree_changed),
        samples=samples,
        discarded=[sample for sample in state.discarded if sample.round < rounds],
        summaries=summaries(samples, arms, plan.request.margin, scored=phase == "val"),
        contrasts=contrasts(samples, plan.design.pairings),
        stage_shares=_shares(plan, samples),
        checkpoint_sha256=plan.checkpoint_sha256,
        parity_margin=plan.request.margin,
    )


def _shares(plan: _Plan, samples: Sequence[Sample]) -> list[StageShare]:
    if plan.design.design != "whatif":
        return []
    return stage_shares(samples, plan.arms[0].name, [pairing.name for pairing in plan.design.pairings])


def _dataset(plan: _Plan, state: _State) -> Any:
    return state.dataset and strip_private(state.dataset.model_dump(mode="json"), plan.root)


def _environment(plan: _Plan, state: _State) -> dict[str, str]:
    """This process's settings, and those of the last arm that has run."""
    ran = [state.runs[arm.name].environment for arm in plan.arms if arm.name in state.runs]
    return environment() | strip_private(ran[-1] if ran else {}, plan.root)


def _measured_arm(arm: Arm, run: RunFile) -> Arm:
    seen = {"precision": run.precision.get("used", ""), "decoder": run.environment.get("decoder", "")}
    return arm.model_copy(update=seen)


def _tree_changes(plan: _Plan) -> dict[str, str]:
    after = public_git(plan.root)
    if plan.git is None or after is None or (after.commit, after.dirty_hash) == (plan.git.commit, plan.git.dirty_hash):
        return {}
    # Later samples ran other code than the commit says: the figures stay, and can support no verdict.
    return {"tree": f"changed while measuring: now at {after.commit[:12]}, {', '.join(after.changed_files) or 'clean'}"}


def _protocol(plan: _Plan, samples: Sequence[Sample], rounds: int, *, tree_changed: bool) -> Protocol:
    tainted = {sample.round for sample in samples if sample.tainted}
    return Protocol(
        rounds=rounds,
        warmup_epochs=1,
        order_seed=plan.request.seed,
        order=plan.orders[:rounds],
        descriptive=tree_changed or rounds - len(tainted) < PAIRS_FOR_A_VERDICT,
    )
