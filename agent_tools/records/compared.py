"""What a record holds of sides that were measured in turn: comparisons, bisections, histories, the judge's trial."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from agent_tools.records.frozen import Frozen

Verdict = Literal["faster", "slower", "equivalent", "inconclusive", "incorrect", "invalid", "descriptive"]
"""What a comparison allows one to say of B against A; `descriptive`: its design can support no verdict."""

Recommendation = Literal["keep", "revert", "iterate"]

AccuracyParity = Literal["equal", "within margin", "worse", "not shown", "no parity evidence"]
"""`not shown`: the interval of the difference reaches beyond the margin, so more pairs are needed to say."""


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
