"""What a record is: one measured run (or one figure taken from a document), as plain data that is safe to commit.

The trainer's run file (`outputs/<run id>/run.json`) is read by `RunFile`; the workbench adds git, machine, environment
and protocol and keeps the result as a `RunRecord`. No absolute path, user name or host name enters a record.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from agent_tools.records.compared import Bisection, Comparison, History, Recommendation, Simulation
from agent_tools.records.frozen import Frozen

SCHEMA_VERSION = 4
"""Version of `RunRecord`. Older files are read through `agent_tools.records.upgrades`; a newer one is refused.

History:
- 1 (2026-11): first form.
- 2 (2026-11): comparison, bisection, history, simulation, imported and override sections, and the kinds they need.
- 3 (2026-11): benchmarks of any design (design, phase, contrasts, stage shares), CPU seconds of samples, facts.
- 4 (2026-11): the worst images of a run, and whether its images are rendered ones.
"""

RUN_FILE_VERSION = 3
"""Version of the trainer's run file. The workbench also reads the older ones: what they lack has a default.

History:
- 1 (2026-11): first form; its validation stage `metric` is `score` from version 2 on.
- 2 (2026-11): CPU seconds and limit per epoch; replayed stages, timeline and image shapes of the run.
- 3 (2026-11): the worst images of an evaluation.
"""

READABLE_RUN_FILES = tuple(range(1, RUN_FILE_VERSION + 1))

RecordKind = Literal[
    "train",
    "evaluate",
    "benchmark",
    "comparison",
    "bisection",
    "history",
    "simulation",
    "profile",
    "whatif",
    "imported",
    "override",
    "reported",
    "fact",
]

Design = Literal["ladder", "leave-one-out", "settings", "limit", "whatif", "tune"]
"""What the arms of a benchmark are to each other; see `Benchmark.design`."""


class DatasetFingerprint(Frozen):
    """Which data a run saw. `content_hash` covers every image's bytes and the annotations."""

    name: str
    root: str = Field(description="relative to the repository, or the folder's own name; never absolute")
    images: int
    content_hash: str
    dropped: list[str] = Field(
        default_factory=list, description="images left out because they cannot be decoded (on_bad_image=drop)"
    )
    decode_warnings: list[str] = Field(default_factory=list, description="images that decode with a warning")


class CacheCounts(Frozen):
    """Accesses to one cache tier in one epoch, counted in whatever process made them."""

    hits: int
    misses: int
    bytes: int


class EpochLimit(Frozen):
    """How fast an epoch could have been, and which group of stages held it back."""

    seconds: float = Field(description="the limit; its formula is in `ocr/lightning_modules/epoch_limit.py`")
    fraction: float = Field(description="limit / epoch, above 0 and at most 1")
    verdict: Literal["input-bound", "compute-bound", "post-bound", "overhead-bound"]
    clock_seconds: float = Field(description="what measuring the stages cost, within the epoch's seconds")


class EpochFigures(Frozen):
    """One pass over one split. Times are seconds of wall clock; stage times of worker processes are CPU-side sums."""

    epoch: int
    phase: Literal["train", "val"]
    seconds: float
    images: int
    stages: dict[str, float]
    cache: dict[str, CacheCounts]
    metrics: dict[str, float]
    counts: dict[str, dict[str, float]] = Field(description="metric name -> pooled integer counts")
    weights: Literal["current", "best"] = Field(
        default="current", description="best: the pass over the best weights after training"
    )
    cpu: dict[str, float] = Field(
        default_factory=dict, description="stage -> CPU seconds of the trainer's main process, all threads"
    )
    limit: EpochLimit | None = None


class TimelineSpan(Frozen):
    """One stage of one batch."""

    stage: str
    batch: int
    start: float = Field(description="seconds since the epoch began")
    seconds: float


class WorstImage(Frozen):
    """An image with one of the lowest CLEval hmeans of a run."""

    name: str
    icdar_hmean: float
    cleval_hmean: float
    picture: str = Field(description="JPEG with truth in blue and detections in orange, relative to the run's folder")


class FeatureRow(Frozen):
    """One row of the feature check: what was asked for, how it was verified, what was seen."""

    feature: str
    criterion: str
    verified_by: str
    expected: str
    seen: str
    status: Literal["pass", "fail", "declined", "n/a"]
    reason: str = ""


class RunFile(Frozen):
    """`outputs/<run id>/run.json`, written by the trainer (see `ocr/lightning_modules/run_file.py`)."""

    schema_version: int
    id: str
    kind: Literal["train", "evaluate"]
    status: Literal["running", "finished", "failed"]
    error: str | None
    started: datetime
    ended: datetime | None
    argv: list[str]
    overrides: list[str]
    config: dict[str, Any]
    config_hash: str
    datasets: dict[str, DatasetFingerprint]
    device: str
    precision: dict[str, str] = Field(description="asked, used, reason")
    environment: dict[str, str] = Field(description="python, torch, decoder, threads, allocator, ...")
    seeds: dict[str, int]
    setup_seconds: dict[str, float] = Field(description="work before the first batch: preload, model, ...")
    features: list[FeatureRow]
    epochs: list[EpochFigures]
    checkpoints: dict[str, dict[str, str]] = Field(description="best, last, loaded -> {path, sha256}")
    replayed: list[str] = Field(
        default_factory=list, description="stages whose stored outputs were replayed: scores prove nothing"
    )
    timeline: list[TimelineSpan] = Field(default_factory=list, description="of the last epoch, where asked for")
    shapes: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="split -> HxW of the network's input -> number of images"
    )
    worst: list[WorstImage] = Field(default_factory=list, description="the worst first, where asked for")
    rendered: bool = Field(default=False, description="all images are the project's own receipts")


class GitState(Frozen):
    """The tree that was measured. `dirty_hash` is the hash of the uncommitted diff, empty when clean."""

    commit: str
    branch: str
    dirty: bool
    dirty_hash: str
    changed_files: list[str] = Field(default_factory=list, description="uncommitted files, as `git status` names them")


class Machine(Frozen):
    """`key` hashes the stable fields only; `observations` (load, frequency) are never part of it."""

    key: str
    cpu_model: str
    cores: int
    memory_gib: int
    gpu_model: str
    gpu_count: int
    os: str
    libraries: dict[str, str]
    observations: dict[str, float] = Field(default_factory=dict)


class Protocol(Frozen):
    """How samples were taken: the declared number of rounds, and the order that was really run."""

    rounds: int
    warmup_epochs: int
    order_seed: int
    order: list[list[str]] = Field(description="per round, the arm names in the order they ran")
    fresh_process: bool = True
    fresh_cache: bool = True
    descriptive: bool = Field(description="fewer than 6 rounds: no verdict can follow from it")


class Sample(Frozen):
    """One fresh process of one arm, in the order measured."""

    arm: str
    round: int
    position: int
    run_id: str
    cold_seconds: float = Field(description="epoch 0 with everything that it had to prepare (preloading included)")
    warm_seconds: list[float] = Field(description="each later epoch")
    images: int
    setup_seconds: dict[str, float]
    stages: dict[str, float] = Field(description="stage seconds of the last warm epoch")
    cpu: dict[str, float] = Field(default_factory=dict, description="CPU seconds per stage of the last warm epoch")
    metrics: dict[str, float] = Field(description="of the last epoch: icdar_hmean, cleval_hmean, ...")
    load: float = Field(description="1-minute load average just before the process started")


class Arm(Frozen):
    """One arm of a benchmark: the overrides that define it, and what was active when it ran."""

    name: str
    title: str
    overrides: list[str]
    precision: str
    decoder: str


class Summary(Frozen):
    """Figures derived from the samples of one arm by `agent_tools.measure.ladder_summaries`; recomputable."""

    arm: str
    cold_seconds: float
    warm_seconds: float
    images_per_second: float
    ratio_to_first: float = Field(description="median over rounds of first arm's warm time / this arm's")
    ratio_low: float = Field(
        description="of the exact 95% signed-rank interval, or of the observed range: see interval"
    )
    ratio_high: float
    ratio_to_previous: float
    ratio_hodges_lehmann: float = Field(default=1.0, description="estimate that the signed-rank interval surrounds")
    sign_low: float = Field(default=1.0, description="exact 95% sign-test interval; the observed range under 6 pairs")
    sign_high: float = 1.0
    pairs: int = Field(default=0, description="rounds in which this arm and the first one were both measured")
    interval: Literal["95% signed rank", "observed range"] = "observed range"
    icdar_hmean: float = Field(description="NaN where the samples are not scored: training epochs")
    cleval_hmean: float
    parity: Literal["equal", "within margin", "worse", "no parity evidence", "replayed"] = Field(
        description="replayed: a stage's stored outputs were used again, so the scores say nothing of the arm"
    )


class Contrast(Frozen):
    """The ratio of the warm times of two arms, paired by round: what one design is measured for."""

    name: str
    above: str = Field(description="the arm whose time is divided")
    below: str = Field(description="the arm that it is divided by; above 1, this one is the faster of the two")
    ratio: float = Field(description="median over the rounds")
    low: float = Field(description="exact 95% signed-rank interval; the observed range under 6 pairs")
    high: float
    pairs: int
    interval: Literal["95% signed rank", "observed range"]


class StageShare(Frozen):
    """What one stage takes of the first arm's warm epochs: median over its samples, shares 0..1."""

    stage: str
    seconds: float
    wall: float = Field(description="of the epoch's wall clock")
    cpu: float = Field(description="of the CPU seconds of all stages; NaN where they were not measured")


class Benchmark(Frozen):
    """Arms measured in turn in one interleaved run, their samples, and the figures that follow from them."""

    name: str
    design: Design = Field(
        default="ladder",
        description="ladder: each arm keeps what the arms before it switched on; leave-one-out: the first arm has all, "
        "each other lacks one; settings, tune: each other changes one thing of the first; limit, whatif: each other "
        "replays stages of the first",
    )
    phase: Literal["val", "train"] = Field(default="val", description="which epochs the seconds are of")
    arms: list[Arm]
    protocol: Protocol
    samples: list[Sample]
    summaries: list[Summary]
    contrasts: list[Contrast] = Field(default_factory=list, description="ratios of two arms that the design asks for")
    stage_shares: list[StageShare] = Field(default_factory=list, description="of the first arm: limit and whatif")
    checkpoint_sha256: str
    parity_margin: float


class Series(Frozen):
    """One timed thing of an imported report."""

    name: str
    seconds: list[float] = Field(description="raw samples where the report has them, else its one total")
    calls: int = Field(description="executions behind the figures; 0: not stated")
    figures: dict[str, float] = Field(default_factory=dict, description="the report's own: mean, stddev, min, max, ...")


class Imported(Frozen):
    """What another tool measured. Not interleaved with anything, so never a side of a verdict."""

    tool: Literal["pytest-benchmark", "lightning-profiler"]
    version: str
    source: str = Field(description="name of the file, without its folders")
    source_sha256: str
    series: list[Series]


class Override(Frozen):
    """A person's decision against a recommendation, with a name and a reason; the record it is about stays."""

    record: str
    recommended: Recommendation
    decided: Recommendation
    by: str
    reason: str


class Fact(Frozen):
    """Figures that a command printed of this machine: measured, and not a comparison of two sides."""

    name: str
    command: list[str]
    figures: dict[str, float]
    work: str = ""


class Reported(Frozen):
    """A figure that stands in a document and was not measured here."""

    metric: str
    value: float
    unit: str
    source: str
    note: str = ""
    date: str = ""


class RunRecord(Frozen):
    """One JSON file under `logs/YYYY-MM-DD_NAME/records/` or `outputs/records/`; append-only."""

    schema_version: int = SCHEMA_VERSION
    id: str
    kind: RecordKind
    title: str = ""
    started: datetime
    ended: datetime
    command: list[str]
    git: GitState | None = None
    machine: Machine | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    config_hash: str = ""
    overrides: list[str] = Field(default_factory=list)
    dataset: DatasetFingerprint | None = None
    run: RunFile | None = Field(default=None, description="the trainer's run file, for train and evaluate records")
    benchmark: Benchmark | None = None
    comparison: Comparison | None = None
    bisection: Bisection | None = None
    history: History | None = None
    simulation: Simulation | None = None
    imported: Imported | None = None
    override: Override | None = None
    reported: Reported | None = None
    fact: Fact | None = None
    stages: dict[str, float] = Field(default_factory=dict, description="for profile records: stage -> seconds")
    artifacts: dict[str, str] = Field(default_factory=dict, description="relative path -> sha256")
