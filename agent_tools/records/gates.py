"""The gates of the project as data, and how each stands by the newest record that measures it.

A gate is passed where the whole interval of its figure lies on the right side of the threshold, and accuracy is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from agent_tools.records.compared import Comparison
from agent_tools.records.schema import Benchmark, RunRecord

FEWEST_ROUNDS = 6
KEPT = frozenset({"equal", "within margin", "replayed"})
"""Parities with which a gate may pass; of a replayed arm, only the time counts."""

Status = Literal["passed", "failed", "not measured"]


@dataclass(frozen=True)
class FromContrast:
    """A ratio of two arms of a benchmark: that of `experiment` with this name, over epochs of this phase."""

    experiment: str
    contrast: str
    phase: Literal["val", "train"] = "val"


@dataclass(frozen=True)
class FromComparison:
    """The ratio of a comparison whose command runs this module: the first of the two arms over the second.

    Every sample of side B has to report each metric of `zero` as 0, and each of `least` as no smaller than its value.
    """

    module: str
    arms: tuple[str, str] = ("reference", "fast")
    zero: tuple[str, ...] = ()
    least: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class FromFact:
    """A figure that a command printed: the first of the names that it has."""

    module: str
    figures: tuple[str, ...]


From = FromContrast | FromComparison | FromFact


@dataclass(frozen=True)
class Gate:
    """One line of the table: what is asked for, and where its figure comes from."""

    name: str
    title: str
    threshold: float
    sources: tuple[From, ...]
    aim: float | None = None
    at_most: bool = False

    @property
    def asked(self) -> str:
        """The threshold in words, such as `>= 8`."""
        return f"{'<=' if self.at_most else '>='} {self.threshold:g}"


def _kept(figure: str, title: str, most: float) -> Gate:
    return Gate(figure, title, most, (FromFact("benchmarks.parity", (figure,)),), at_most=True)


def _peer(rate: str, least: float) -> Gate:
    figure = f"median_ratios.doctr_as_shipped.{rate}"
    return Gate(f"doctr_{rate}", f"{rate} against docTR as shipped", least, (FromFact("benchmarks.doctr", (figure,)),))


def _server(name: str, title: str, figure: str, most: float, module: str = "benchmarks.mcp_servers") -> Gate:
    return Gate(f"server_{name}", title, most, (FromFact(module, (figure,)),), at_most=True)


GATES: tuple[Gate, ...] = (
    Gate("square", "warm epoch against naive, square input", 8, (FromContrast("gates", "square"),), aim=12),
    Gate("buckets", "warm epoch against naive, aspect buckets", 12, (FromContrast("gates", "buckets"),), aim=18),
    Gate(
        "limit",
        "warm epoch against its replay limit",
        0.95,
        (FromContrast("gates", "limit"), FromContrast("limit", "fraction")),
    ),
    Gate("training", "training against replay", 0.90, (FromContrast("limit", "fraction", "train"),)),
    Gate("loader", "warm loader against the plain data path", 50, (FromComparison("benchmarks.loader"),)),
    Gate("targets", "targets against pyclipper's", 5, (FromComparison("benchmarks.targets"),)),
    Gate("cleval", "CLEval against its reference", 20, (FromComparison("benchmarks.cleval"),)),
    Gate(
        "postprocess",
        "post-processing against shapely and pyclipper",
        5,
        (FromComparison("benchmarks.postprocess", least=(("minimum_iou", 0.99),)),),
    ),
    Gate("forward", "bf16 and channels_last forward against fp32", 2, (FromComparison("benchmarks.forward"),)),
    Gate(
        "second_process",
        "first batch: cold against a later process",
        10,
        (FromComparison("benchmarks.second_process", zero=("decodes",)),),
    ),
    Gate(
        "memory",
        "memory of all workers over one cache",
        1.05,
        (FromFact("benchmarks.memory", ("largest_ratio", "ratio")),),
        at_most=True,
    ),
    _kept("batches_that_differ", "cached batches that differ from uncached ones", 0),
    _kept("naive_difference", "hmean lost from naive to fast, same input", 0.005),
    _kept("buckets_difference", "hmean lost to aspect buckets", 0.005),
    _kept("bf16_difference", "hmean lost to bf16 evaluation", 0.002),
    _kept("ranks_that_differ", "numbers of ranks whose counts differ from one process", 0),
    *(_peer(rate, least) for rate, least in (("training", 2), ("validation", 5))),
    _server("start", "server: start to the list of tools, against mcp-server-git", "clone.ratio.start.seconds", 1),
    *(
        _server(name, f"server: {name}, against mcp-server-git", f"clone.ratio.{name}.p50_ms", 1)
        for name in ("status", "diff", "log")
    ),
    _server("large", "server: git_status over git status, many files", "large.plain_git_status.ratio", 1.3),
    _server("call", "server: a call in memory, ms", "record_list.p50_ms", 5, "benchmarks.mcp_in_memory"),
)
"""The two-core CPU column of the gates."""


@dataclass(frozen=True)
class Figure:
    """A figure with its interval, and the paths in its record; a fact has no interval."""

    value: float
    low: float
    high: float
    at: str = ""
    paths: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class GateRow:
    """How a gate stands. `record` is the newest record that fits, None where there is none."""

    gate: Gate
    status: Status
    reason: str
    record: RunRecord | None = None
    figure: Figure | None = None

    @property
    def reaches_aim(self) -> bool:
        """Whether the whole interval lies beyond the aim, where there is one."""
        return self.figure is not None and self.gate.aim is not None and self.figure.low >= self.gate.aim


def gate_table(records: Sequence[RunRecord]) -> list[GateRow]:
    """Return one row per gate, each by the newest record of a CPU machine that fits.

    Args:
        records: any records, in any order.
    """
    newest_first = sorted(
        (record for record in records if record.machine is None or not record.machine.gpu_count),
        key=lambda record: record.id,
        reverse=True,
    )
    return [_row(gate, newest_first) for gate in GATES]


def _row(gate: Gate, newest_first: Sequence[RunRecord]) -> GateRow:
    for record in newest_first:
        for source in gate.sources:
            figure = figure_of(record, source)
            if figure is not None:
                return _judged(gate, record, figure)
    return GateRow(gate, "not measured", "no record measures it")


def _judged(gate: Gate, record: RunRecord, figure: Figure) -> GateRow:
    if figure.problems:
        problem = figure.problems[0]
        status: Status = "not measured" if problem.startswith("descriptive") else "failed"
        return GateRow(gate, status, problem, record, figure)
    bounds = (figure.high, figure.value) if gate.at_most else (figure.low, figure.value)
    beyond = [value <= gate.threshold if gate.at_most else value >= gate.threshold for value in bounds]
    if all(beyond):
        return GateRow(gate, "passed", "", record, figure)
    reason = "only a part of the interval meets the threshold" if beyond[1] else "the figure misses the threshold"
    return GateRow(gate, "failed", reason, record, figure)


def figure_of(record: RunRecord, source: From) -> Figure | None:
    """Return the figure that a record holds for a source; None where it measures something else."""
    if isinstance(source, FromContrast):
        return _of_contrast(record, source)
    if isinstance(source, FromComparison):
        return _of_comparison(record, source)
    return _of_fact(record, source)


def _of_contrast(record: RunRecord, source: FromContrast) -> Figure | None:
    benchmark = record.benchmark
    if benchmark is None or (benchmark.name, benchmark.phase) != (source.experiment, source.phase):
        return None
    for index, contrast in enumerate(benchmark.contrasts):
        if contrast.name == source.contrast:
            at = f"benchmark/contrasts/{index}/"
            problems = tuple(_benchmark_problems(benchmark, contrast.above, contrast.below))
            paths = (f"{at}ratio", f"{at}low", f"{at}high")
            return Figure(contrast.ratio, contrast.low, contrast.high, at, paths, problems)
    return None


def _benchmark_problems(benchmark: Benchmark, above: str, below: str) -> Iterator[str]:
    if benchmark.protocol.descriptive or benchmark.protocol.rounds < FEWEST_ROUNDS:
        yield "descriptive: fewer than six rounds, or the tree changed meanwhile"
    if benchmark.phase == "train" or any(_parity(benchmark, arm) == "replayed" for arm in (above, below)):
        # Training epochs are not scored, and what is replayed is the same epoch.
        return
    label = _parity(benchmark, below)
    if label not in KEPT:
        yield f"accuracy: {label}"


def _parity(benchmark: Benchmark, arm: str) -> str:
    return next((row.parity for row in benchmark.summaries if row.arm == arm), "no parity evidence")


def runs_module(words: Sequence[str], module: str) -> bool:
    """Say whether a command runs a module: `python -m MODULE ...`."""
    return any(before == "-m" and word == module for before, word in itertools.pairwise(words))


def _of_comparison(record: RunRecord, source: FromComparison) -> Figure | None:
    comparison = record.comparison
    if comparison is None or not runs_module(comparison.target.command, source.module):
        return None
    sides = [" ".join(side.overrides) for side in comparison.arms]
    if not comparison.outcome.metrics or sides != [f"--arm={arm}" for arm in source.arms]:
        return None
    at = "comparison/outcome/metrics/0/"
    first = comparison.outcome.metrics[0]
    problems = tuple(_comparison_problems(comparison, source))
    return Figure(first.ratio, first.low, first.high, at, (f"{at}ratio", f"{at}low", f"{at}high"), problems)


def _comparison_problems(comparison: Comparison, source: FromComparison) -> Iterator[str]:
    verdict = comparison.outcome.verdict
    if verdict in ("descriptive", "invalid"):
        yield "descriptive: its verdict is " + verdict
    if verdict == "incorrect":
        yield "its verdict is incorrect: outputs or accuracy differ"
    measured = [sample.metrics for sample in comparison.samples if sample.arm == "B" and sample.phase == "measured"]
    for name in source.zero:
        if any(metrics.get(name, math.nan) != 0 for metrics in measured):
            yield f"{name} is not zero in every sample"
    for name, least in source.least:
        if not all(metrics.get(name, math.nan) >= least for metrics in measured):
            yield f"{name} is too low in a sample, or not printed"


def _of_fact(record: RunRecord, source: FromFact) -> Figure | None:
    fact = record.fact
    if fact is None or record.kind != "fact" or not runs_module(fact.command, source.module):
        return None
    for name in source.figures:
        if name in fact.figures:
            value, path = fact.figures[name], f"fact/figures/{quote(name, safe='')}"
            return Figure(value, value, value, path, (path,))
    return None
