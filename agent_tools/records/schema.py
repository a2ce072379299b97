"""What a record is: one measured run (or one figure taken from a document), as plain data that is safe to commit.

The trainer's run file (`outputs/<run id>/run.json`) is read by `RunFile`; the workbench adds git, machine, environment
and protocol and keeps the result as a `RunRecord`. No absolute path, user name or host name enters a record.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 2
"""Version of `RunRecord`. Older files are read through `agent_tools.records.upgrades`; a newer one is refused.

History:
- 1 (2026-11): first form.
- 2 (2026-11): comparison, bisection, history, simulation, imported and override sections, and the kinds they need.
"""

RUN_FILE_VERSION = 1
"""Version of the trainer's run file that this workbench reads. History: 1 (2026-11): first form."""

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
]

Verdict = Literal["faster", "slower", "equivalent", "inconclusive", "incorrect", "invalid", "descriptive"]
"""What a comparison allows one to say of B against A; `descriptive`: its design can support no verdict."""

Recommendation = Literal["keep", "revert", "iterate"]

AccuracyParity = Literal["equal", "within margin", "worse", "not shown", "no parity evidence"]
"""`not shown`: the interval of the difference reaches beyond the margin, so more pairs are needed to say."""


class Frozen(BaseModel):
    """Base of every part of a record: immutable, and an unknown key is an error (a record is never half understood).

    NaN and infinities are written as the strings "NaN" and "Infinity", so that the files stay standard JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


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
    metrics: dict[str, float] = Field(description="of the last epoch: icdar_hmean, cleval_hmean, ...")
    load: float = Field(description="1-minute load average just before the process started")


class Arm(Frozen):
    """One rung of a ladder: the overrides that define it, and what was active when it ran."""

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
    icdar_hmean: float
    cleval_hmean: float
    parity: Literal["equal", "within margin", "worse", "no parity evidence"]


class Benchmark(Frozen):
    """A ladder: arms switched on in turn, their samples, and the table that follows from them."""

    name: str
    arms: list[Arm]
    protocol: Protocol
    samples: list[Sample]
    summaries: list[Summary]
    checkpoint_sha256: str
    parity_margin: float


class Side(Frozen):
    """One side of a comparison, or one commit of a history: which code ran, how it was set, in what environment."""

    name: str = Field(description="A or B; in a history the short commit")
    title: str = Field(description="as the caller named it: HEAD~1, worktree, preset=naive")
    commit: str = Field(description="the commit that its tree is based on; empty outside of a repository")
    tree: str = Field(description="git's hash of the whole tree that ran, uncommitted changes included")
    dirty: bool = Field(description="the tree holds changes that no commit has")
    overrides: list[str] = Field(description="of the trainer's configuration, or arguments of the command")
    environment: str = Field(description="hash of the pinned requirements that it ran with")
    config: dict[str, Any] = Field(default_factory=dict, description="resolved configuration, where the target has one")
    config_hash: str = ""


class Target(Frozen):
    """What is run for each sample, and what of its answer counts."""

    name: str = Field(description="evaluate, train, or the command's own name")
    command: list[str] = Field(description="what runs in each side's tree; common overrides included")
    primary: str = Field(description="the one metric that the verdict is about")
    better: Literal["lower", "higher"] = "lower"
    accuracy: list[str] = Field(description="metrics that the accuracy gate compares, 0..1, higher is better")
    gate: Literal["margin", "outputs"] = Field(
        description="margin: non-inferiority over the pairs; outputs: every sample's output hash is the same"
    )
    margin: float = Field(description="largest loss of an accuracy metric that counts as none")
    checkpoint_sha256: str = ""
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="what was asked for beside the defaults, enough to run it again; paths relative",
    )


class PairedProtocol(Frozen):
    """How the samples of a comparison were taken. The order is what really ran."""

    rounds: int = Field(description="declared before the first sample; one sample of each side per round")
    looks: int = Field(description="1, or 2: a second look at half of the rounds, each at half of alpha")
    alpha: float = Field(description="two-sided error rate of the whole comparison")
    equivalence: float = Field(description="a ratio whose interval lies within 1 +- this is no change")
    order_seed: int
    order: list[list[str]] = Field(description="per round, the sides in the order they ran")
    warmup_samples: int = Field(description="per side, first in its tree, kept and not used")
    pilot_rounds: int = Field(default=0, description="before `rounds` was declared, kept and not used")
    replacement_rounds: int = Field(default=0, description="rounds that were tainted or cut, for which others were run")
    planned_effect: float = Field(default=0.0, description="relative change that `rounds` was chosen to find; 0: none")
    resumed: int = Field(default=0, description="how often the comparison was interrupted and taken up again")
    foreign_limit: float = Field(description="share of the machine's CPU time that others may use beside a sample")
    paired_seeds: bool = Field(default=False, description="each round had a seed of its own, the same for every side")


class Measurement(Frozen):
    """One fresh process of one side, as it was measured. Nothing is ever left out: phase and taint say what counts."""

    arm: str
    round: int
    position: int = Field(description="0 for the side that ran first in its round")
    phase: Literal["warmup", "pilot", "measured"]
    started: datetime
    process_seconds: float = Field(description="wall clock of the whole process, imports included")
    metrics: dict[str, float]
    outputs: str = Field(default="", description="hash of what the target computed, where it says one")
    dataset: str = Field(default="", description="content hash of the data that this sample saw")
    run_id: str = ""
    seed: int | None = None
    load: float = Field(description="1-minute load average just before the process started")
    foreign_cpu: float = Field(description="cores that other processes used on average while it ran")
    stolen: float = Field(description="share of the machine's CPU time that its host gave to others meanwhile, 0..1")
    tainted: str = Field(default="", description="why this sample can support no verdict; empty: it can")


class MetricOutcome(Frozen):
    """One metric over the pairs. Ratios are above 1 where B is better; medians are in the metric's own unit."""

    metric: str
    a: float
    b: float
    ratio: float = Field(description="Hodges-Lehmann estimate over the pairs")
    median_ratio: float
    low: float = Field(description="exact signed-rank interval at the look's error rate; observed range under 6 pairs")
    high: float
    sign_low: float = Field(description="exact sign-test interval, which needs no symmetry")
    sign_high: float
    p: float = Field(description="exact two-sided signed-rank p")
    p_adjusted: float = Field(description="the primary's own p; Benjamini-Hochberg over all the others")


class AccuracyOutcome(Frozen):
    """One accuracy metric: B minus A over the pairs, against the margin."""

    metric: str
    a: float
    b: float
    difference: float = Field(description="Hodges-Lehmann estimate of B - A")
    low: float
    high: float
    parity: AccuracyParity


class Outcome(Frozen):
    """What follows from the samples; `agent_tools.measure.verdict` recomputes it. Effects are relative: 0.03 is 3%."""

    verdict: Verdict
    recommendation: Recommendation
    reason: str = Field(description="one sentence without numbers")
    pairs: int = Field(description="untainted rounds that count")
    look: int = Field(description="the look that decided, from 1")
    alpha: float = Field(description="two-sided error rate of that look")
    metrics: list[MetricOutcome] = Field(description="the primary first")
    accuracy: list[AccuracyOutcome]
    outputs_equal: bool | None = Field(description="None where the target hashes no outputs")
    smallest_effect: float = Field(description="relative change that this design finds 80% of the time")
    order_effect: float = Field(description="time in second place over time in first place, minus 1")
    order_p: float
    drift: float = Field(description="change of the round's time from the first round to the last one, relative")
    drift_p: float
    floor_low: float = Field(description="A against itself in neighbouring rounds: the interval that no change gives")
    floor_high: float
    outliers: int = Field(description="pairs far from the others; counted, and kept")
    tainted: int = Field(description="samples with foreign work beside them; kept, and not used")
    control: str = Field(default="", description="id of the newest A/A record of this target on this machine")
    control_low: float = 1.0
    control_high: float = 1.0


class Comparison(Frozen):
    """Two sides measured in turn, and the verdict on B."""

    name: str
    treatment: Literal["revisions", "configurations", "records", "none"] = Field(description="none: A against A")
    changes: list[str] = Field(description="every declared difference: configuration keys, commits, requirements")
    files: list[str] = Field(default_factory=list, description="files that differ between two revisions")
    target: Target
    arms: list[Side]
    protocol: PairedProtocol
    samples: list[Measurement]
    outcome: Outcome


class BisectionStep(Frozen):
    """One commit that the search looked at, against the good one."""

    commit: str
    title: str
    verdict: Literal["good", "bad", "unclear", "skipped"]
    reason: str = ""
    ratio: float = Field(default=1.0, description="good over this commit: below 1 where this one is slower")
    low: float = 1.0
    high: float = 1.0
    record: str = Field(default="", description="id of the comparison that says so")


class Bisection(Frozen):
    """The search for the first commit that is slower, or less accurate, than a good one."""

    good: str
    bad: str
    commits: int = Field(description="candidates: commits after the good one, up to the bad one")
    steps: list[BisectionStep] = Field(description="in the order in which they were looked at")
    culprit: str = Field(description="the first bad commit; empty where skipped commits hide it")
    culprit_title: str
    suspects: list[str] = Field(description="commits of which one is the first bad one; one when it was found")
    files: list[str] = Field(default_factory=list, description="files that the culprit changed")
    confirmed: str = Field(default="", description="id of the comparison of the culprit with the commit before it")


class HistoryPoint(Frozen):
    """One commit of a history. `ratio` is the commit before over this one: below 1 where this one is slower."""

    commit: str
    title: str
    committed: datetime
    value: float = Field(description="median of the primary metric")
    low: float = Field(description="interval of the median")
    high: float
    accuracy: dict[str, float]
    ratio: float = 1.0
    ratio_low: float = 1.0
    ratio_high: float = 1.0
    p_adjusted: float = 1.0
    change: Literal["", "faster", "slower", "less accurate", "more accurate"] = ""
    to_first: float = Field(default=1.0, description="the first commit over this one: many small steps add up")
    to_first_low: float = 1.0
    to_first_high: float = 1.0
    gate: Literal["", "pass", "fail", "open"] = Field(
        default="", description="no slower and no less accurate than the first commit, by more than the margins"
    )
    failed: str = Field(default="", description="why the commit could not be measured; its figures then mean nothing")


class History(Frozen):
    """Several commits measured in one interleaved run, oldest first, with the change points between them."""

    name: str
    target: Target
    arms: list[Side]
    protocol: PairedProtocol
    samples: list[Measurement]
    points: list[HistoryPoint]


class SimulationRow(Frozen):
    """How often the judge is wrong, and how often it finds a planted change, in one kind of noise."""

    scenario: str
    description: str
    rounds: int
    experiments: int
    false_positives: int = Field(description="faster or slower said of identical sides")
    false_positive_rate: float
    false_positive_low: float = Field(description="exact 95% binomial interval")
    false_positive_high: float
    detected: int = Field(description="slower said of a slowdown of twice the stated smallest effect")
    power: float
    power_low: float
    power_high: float
    stated_effect: float = Field(description="median over the experiments of the smallest effect that they state")


class Control(Frozen):
    """One comparison of a side with itself on a real machine: its verdict, and the primary metric of every sample."""

    verdict: Verdict
    ratio: float
    low: float
    high: float
    smallest_effect: float
    pairs: int
    tainted: int
    first: list[str] = Field(description="per round, the side that ran first")
    a: list[float] = Field(description="per round, side A, tainted samples included")
    b: list[float]


class Simulation(Frozen):
    """The judge judged: its verdicts on simulated noise, and on real comparisons of one side with itself."""

    seed: int
    alpha: float
    rows: list[SimulationRow]
    target: Target | None = Field(default=None, description="what the controls measured")
    rounds: int = Field(default=0, description="of each control")
    controls: list[Control] = Field(default_factory=list, description="in the order in which they were measured")
    settled: int = Field(default=0, description="controls that were called equivalent or inconclusive")


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
    stages: dict[str, float] = Field(default_factory=dict, description="for profile records: stage -> seconds")
    artifacts: dict[str, str] = Field(default_factory=dict, description="relative path -> sha256")
