"""What a record says, in one line and as a table: for lists, results and command lines."""

from __future__ import annotations

from collections.abc import Iterator

from agent_tools.handbook.findings import best_epoch
from agent_tools.measure import profile
from agent_tools.records.compared import Bisection, Comparison, History, MetricOutcome, Simulation
from agent_tools.records.schema import Benchmark, EpochFigures, Imported, RunRecord
from agent_tools.records.stages import SHARE
from agent_tools.workspace.untrusted import shown

COMMIT = 12
"""Characters of a commit that are shown."""


def headline(record: RunRecord) -> str:
    """Say the figure that a record is about."""
    return shown(_headline(record))[:300]


def _headline(record: RunRecord) -> str:
    if record.benchmark is not None:
        is_ladder = record.benchmark.design == "ladder"
        return _ladder_headline(record.benchmark) if is_ladder else _design_headline(record.benchmark)
    if record.comparison is not None:
        return _comparison_headline(record.comparison)
    if record.bisection is not None:
        return _bisection_headline(record.bisection)
    if record.history is not None:
        return _history_headline(record.history)
    if record.simulation is not None:
        return _simulation_headline(record.simulation)
    return _entered_headline(record) or _run_headline(record)


def _ladder_headline(benchmark: Benchmark) -> str:
    if not benchmark.summaries:
        return "no samples"
    last = benchmark.summaries[-1]
    kind = "descriptive, " if benchmark.protocol.descriptive else ""
    interval = f"[{last.ratio_low:.2f}, {last.ratio_high:.2f}]"
    return f"{last.ratio_to_first:.2f}x {interval} at {last.arm}, {kind}accuracy: {last.parity}"


def _design_headline(benchmark: Benchmark) -> str:
    if not benchmark.contrasts:
        return "no ratios"
    top = max(benchmark.contrasts, key=lambda contrast: contrast.ratio)
    kind = ", descriptive" if benchmark.protocol.descriptive else ""
    what = "of the limit" if benchmark.design == "limit" else f"at most, by {top.name}"
    return f"{benchmark.design}: {top.ratio:.3f} [{top.low:.3f}, {top.high:.3f}] {what}{kind}"


def _comparison_headline(comparison: Comparison) -> str:
    outcome = comparison.outcome
    parities = sorted({gate.parity for gate in outcome.accuracy})
    accuracy = f", accuracy: {', '.join(parities)}" if parities else ""
    if not outcome.metrics:
        return f"{outcome.verdict}: {outcome.reason}{accuracy}"
    primary = outcome.metrics[0]
    return f"{outcome.verdict}: {primary.metric} {_ratio(primary)}{accuracy}; {outcome.recommendation}"


def _ratio(metric: MetricOutcome) -> str:
    return f"{metric.ratio:.3f}x [{metric.low:.3f}, {metric.high:.3f}]"


def _bisection_headline(bisection: Bisection) -> str:
    if bisection.culprit:
        sure = "" if bisection.confirmed else ", not confirmed"
        return f"first bad commit {bisection.culprit[:COMMIT]} {bisection.culprit_title}{sure}"
    return f"no single culprit: one of {len(bisection.suspects)} commits"


def _history_headline(history: History) -> str:
    changed = [point for point in history.points if point.change]
    said = ", ".join(f"{point.change} at {point.commit[:COMMIT]}" for point in changed) or "no change"
    return f"{len(history.points)} commits by {history.target.primary}: {said}"


def _simulation_headline(simulation: Simulation) -> str:
    if not simulation.rows:
        return "no scenarios"
    wrong = max(row.false_positive_rate for row in simulation.rows)
    found = min(row.power for row in simulation.rows)
    return f"{len(simulation.rows)} scenarios: false positives {wrong:.3f} at most, power {found:.3f} at least"


def _entered_headline(record: RunRecord) -> str:
    if record.imported is not None:
        imported = record.imported
        return f"{len(imported.series)} series of {imported.tool} {imported.version}".rstrip() + f": {imported.source}"
    if record.override is not None:
        said = record.override
        return f"{said.decided} instead of {said.recommended} for {said.record}, by {said.by}: {said.reason}"
    if record.reported is not None:
        figure = record.reported
        amount = f"{figure.metric} {figure.value:g} {figure.unit}"
        return f"{amount} (reported, not measured here: {figure.source})"
    if record.fact is not None and record.kind == "fact":
        shown_first = [f"{name} {value:.4g}" for name, value in list(record.fact.figures.items())[:3]]
        return f"{record.fact.name}: {', '.join(shown_first)}"
    return ""


def _run_headline(record: RunRecord) -> str:
    if record.kind == "profile":
        return (stage_lines(record) or ["no stages"])[0]
    best = best_epoch(record.run) if record.run else None
    epochs = _epochs(record)
    return f"{len(epochs)} epochs" if best is None else f"best icdar_hmean {epochs[best].metrics['icdar_hmean']:.4f}"


def record_table(record: RunRecord) -> list[str]:
    """Return the figures of a record as lines, the first one naming the columns."""
    return [shown(line) for line in _table(record)]


def _table(record: RunRecord) -> Iterator[str]:
    if record.benchmark is not None:
        yield from _ladder_table(record.benchmark)
        yield from _contrast_lines(record.benchmark)
    if record.comparison is not None:
        yield from _comparison_table(record.comparison)
    if record.bisection is not None:
        yield from _bisection_table(record.bisection)
    if record.history is not None:
        yield from _history_table(record.history)
    if record.simulation is not None:
        yield from _simulation_table(record.simulation)
    if record.imported is not None:
        yield from _imported_table(record.imported)
    if record.reported is not None and record.reported.note:
        yield f"note: {record.reported.note}"
    if record.fact is not None and record.kind == "fact":
        yield from (f"{name} | {value:.6g}" for name, value in record.fact.figures.items())
    if record.kind == "profile" and record.benchmark is None:
        yield from ["stage | s | share | ms per image", *stage_lines(record)]
    elif record.run is not None:
        yield from _epoch_lines(record)


def _ladder_table(benchmark: Benchmark) -> Iterator[str]:
    yield "arm | cold s | warm s | images/s | ratio [low, high] | icdar_hmean | cleval_hmean | parity"
    for s in benchmark.summaries:
        yield (
            f"{s.arm} | {s.cold_seconds:.3f} | {s.warm_seconds:.3f} | {s.images_per_second:.2f} | "
            f"{s.ratio_to_first:.3f} [{s.ratio_low:.3f}, {s.ratio_high:.3f}] | "
            f"{s.icdar_hmean:.4f} | {s.cleval_hmean:.4f} | {s.parity}"
        )


def _contrast_lines(benchmark: Benchmark) -> Iterator[str]:
    shares = {share.stage: share for share in benchmark.stage_shares}
    if benchmark.contrasts:
        yield "ratio of warm times | above / below | ratio [low, high]" + (" | wall | CPU" if shares else "")
    for one in benchmark.contrasts:
        share = shares.get(one.name)
        of_time = f" | {100 * share.wall:.1f}% | {100 * share.cpu:.1f}%" if share else ""
        ratio = f"{one.ratio:.3f} [{one.low:.3f}, {one.high:.3f}]"
        yield f"{one.name} | {one.above} / {one.below} | {ratio}{of_time}"


def _comparison_table(comparison: Comparison) -> Iterator[str]:
    outcome = comparison.outcome
    yield "metric | A | B | ratio [low, high], above 1: B is better | p | p adjusted"
    for metric in outcome.metrics:
        values = f"{metric.a:.4g} | {metric.b:.4g} | {_ratio(metric)}"
        yield f"{metric.metric} | {values} | {metric.p:.3g} | {metric.p_adjusted:.3g}"
    for gate in outcome.accuracy:
        interval = f"{gate.difference:+.4f} [{gate.low:+.4f}, {gate.high:+.4f}]"
        yield f"{gate.metric} | {gate.a:.4f} | {gate.b:.4f} | B - A {interval} | {gate.parity} |"
    smallest = f"smallest effect {100 * outcome.smallest_effect:.1f}%"
    yield f"{outcome.pairs} pairs, {outcome.tainted} tainted samples, {smallest}"
    for side in comparison.arms:
        changed = "+" if side.dirty else ""
        yield f"{side.name}: {side.title} | {side.commit[:COMMIT]}{changed} | {' '.join(side.overrides)}".rstrip(" |")


def _bisection_table(bisection: Bisection) -> Iterator[str]:
    yield "commit | verdict | ratio [low, high] | record | title"
    for step in bisection.steps:
        interval = f"{step.ratio:.3f} [{step.low:.3f}, {step.high:.3f}]"
        reason = f" ({step.reason})" if step.reason else ""
        yield f"{step.commit[:COMMIT]} | {step.verdict}{reason} | {interval} | {step.record} | {step.title}"


def _history_table(history: History) -> Iterator[str]:
    ratios = "ratio to the one before [low, high] | change | ratio to the first | gate"
    yield f"commit | date | {history.target.primary} [low, high] | {ratios} | title"
    for point in history.points:
        told = f"{point.commit[:COMMIT]} | {point.committed:%Y-%m-%d}"
        if point.failed:
            yield f"{told} | failed: {point.failed} | | | | | {point.title}"
            continue
        value = f"{point.value:.4g} [{point.low:.4g}, {point.high:.4g}]"
        ratio = f"{point.ratio:.3f} [{point.ratio_low:.3f}, {point.ratio_high:.3f}]"
        yield f"{told} | {value} | {ratio} | {point.change} | {point.to_first:.3f} | {point.gate} | {point.title}"


def _simulation_table(simulation: Simulation) -> Iterator[str]:
    yield "scenario | rounds | experiments | false positives [low, high] | power [low, high] | stated effect"
    for row in simulation.rows:
        wrong = f"{row.false_positive_rate:.4f} [{row.false_positive_low:.4f}, {row.false_positive_high:.4f}]"
        power = f"{row.power:.4f} [{row.power_low:.4f}, {row.power_high:.4f}]"
        yield f"{row.scenario} | {row.rounds} | {row.experiments} | {wrong} | {power} | {100 * row.stated_effect:.1f}%"


def _imported_table(imported: Imported) -> Iterator[str]:
    yield "series | samples | calls | total s | mean s"
    for series in imported.series:
        mean = series.figures.get("mean")
        told = f"{mean:.4g}" if mean is not None else ""
        calls = series.calls or "not stated"
        yield f"{series.name} | {len(series.seconds)} | {calls} | {sum(series.seconds):.4g} | {told}"


def _epoch_lines(record: RunRecord) -> Iterator[str]:
    for epoch in _epochs(record):
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in epoch.metrics.items())
        yield f"{epoch.phase} epoch {epoch.epoch} | {epoch.seconds:.3f} s | {epoch.images} images | {metrics}"


def stage_lines(record: RunRecord) -> list[str]:
    """Return the stage table of a profile record as lines; of a profile of transforms, the rows that were printed."""
    if record.fact is not None:
        return _printed_lines(record)
    return [
        f"{row.stage} | {row.seconds:.3f} | {100 * row.share:.1f}% | {row.milliseconds_per_image:.2f}"
        + (f" | CPU {100 * row.cpu_share:.1f}%" if row.cpu_share is not None else "")
        for row in profile.stage_table(record)
    ]


def _printed_lines(record: RunRecord) -> list[str]:
    shares = record.fact.figures if record.fact else {}
    return [
        f"{name} | {seconds:.6f} | {100 * shares.get(name + SHARE, 0.0):.1f}% | {1000 * seconds:.3f}"
        for name, seconds in record.stages.items()
    ]


def _epochs(record: RunRecord) -> list[EpochFigures]:
    return list(record.run.epochs) if record.run else []
