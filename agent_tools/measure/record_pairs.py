"""Two stored records beside each other: descriptive, since they were not interleaved, and only where they are alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from agent_tools.measure.comparability import NotComparable, config_changes, refuse_unlike_records
from agent_tools.measure.ladder_summaries import warm_seconds
from agent_tools.measure.statistics import median
from agent_tools.measure.verdict import judge
from agent_tools.records.compared import Comparison, Measurement, PairedProtocol, Side, Target
from agent_tools.records.fingerprints import strip_private
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore, new_id

SIDE = "B"
"""Of a comparison record, the side that it was about."""


def compare_records(
    root: Path, a: str, b: str, treatment: Sequence[str] = (), session: str = "", *, equivalence: float, alpha: float
) -> RunRecord:
    """Put two records beside each other and store what is seen; no verdict can follow from it.

    Args:
        root: the repository.
        a: id of the first record.
        b: id of the second one.
        treatment: configuration keys that may differ.
        session: where the new record goes.
        equivalence: margin of no change, kept in the protocol.
        alpha: error rate, kept in the protocol.

    Raises:
        NotComparable: they differ in more than the treatment, or hold no samples of one metric; the field is named.
        RecordNotFound: no such record.
    """
    store = RecordStore(root)
    first, second = store.load(a), store.load(b)
    refuse_unlike_records(first, second, treatment)
    rows_a, rows_b = _samples(first, "A"), _samples(second, "B")
    shared = min(len(rows_a), len(rows_b))
    primary = _primary(rows_a, rows_b, first, second)
    samples = [*rows_a[:shared], *rows_b[:shared]]
    accuracy = [name for name in ("icdar_hmean", "cleval_hmean") if all(name in sample.metrics for sample in samples)]
    target = Target(
        name="records", command=[], primary=primary, accuracy=accuracy, gate="margin", margin=_margin(second)
    )
    protocol = PairedProtocol(
        # One more than there are: they were not interleaved, so no number of them supports a verdict.
        rounds=shared + 1,
        looks=1,
        alpha=alpha,
        equivalence=equivalence,
        order_seed=0,
        order=[["A", "B"]] * shared,
        warmup_samples=0,
        foreign_limit=1.0,
    )
    outcome = judge(samples, target, protocol, look=1).model_copy(
        update={"reason": "the records were not measured in turn, so their difference may be the machine's"}
    )
    record = RunRecord(
        id=new_id("comparison"),
        kind="comparison",
        title=f"{first.id} beside {second.id}",
        started=min(first.started, second.started),
        ended=datetime.now(UTC),
        command=["agent-tools", "bench", "compare", a, b],
        git=second.git,
        machine=second.machine,
        environment=second.environment,
        config=second.config,
        config_hash=second.config_hash,
        dataset=second.dataset,
        comparison=Comparison(
            name=f"{a} beside {b}",
            treatment="records",
            changes=[f"config {change}" for change in config_changes(first.config, second.config)]
            + _code_change(first, second),
            target=target,
            arms=[_side(first, "A"), _side(second, "B")],
            protocol=protocol,
            samples=samples,
            outcome=outcome,
        ),
    )
    store.write(strip_record(record, root), session or None)
    return record


def strip_record(record: RunRecord, root: Path) -> RunRecord:
    """Return the record without private text in its command."""
    return record.model_copy(update={"command": strip_private(record.command, root)})


def _code_change(a: RunRecord, b: RunRecord) -> list[str]:
    commits = [record.git.commit[:12] if record.git else "unknown" for record in (a, b)]
    return [f"code {commits[0]} -> {commits[1]}"] if commits[0] != commits[1] else []


def _side(record: RunRecord, name: str) -> Side:
    git = record.git
    return Side(
        name=name,
        title=record.id,
        commit=git.commit if git else "",
        tree=git.dirty_hash if git else "",
        dirty=bool(git and git.dirty),
        overrides=record.overrides,
        environment="",
        config_hash=record.config_hash,
    )


def _samples(record: RunRecord, arm: str) -> list[Measurement]:
    """The samples of the record's own subject: its last rung, its side B, or its warm epochs."""
    if record.comparison is not None:
        subject = [sample for sample in record.comparison.samples if _counts(sample)]
        if not subject:
            raise NotComparable(f"samples: record {record.id} holds only ones beside other work; measure it again.")
        return [sample.model_copy(update={"arm": arm, "round": index}) for index, sample in enumerate(subject)]
    if record.benchmark is not None and record.benchmark.summaries:
        last = record.benchmark.summaries[-1].arm
        rows = [
            ({"warm_seconds": warm_seconds(sample), "cold_seconds": sample.cold_seconds} | sample.metrics, sample.load)
            for sample in record.benchmark.samples
            if sample.arm == last
        ]
        return [_measurement(record, arm, index, metrics, load) for index, (metrics, load) in enumerate(rows)]
    if record.run is None or not record.run.epochs:
        raise NotComparable(f"kind: record {record.id} ({record.kind}) holds no samples that could be compared.")
    return [_measurement(record, arm, 0, _run_metrics(record), 0.0)]


def _counts(sample: Measurement) -> bool:
    return sample.arm == SIDE and sample.phase == "measured" and not sample.tainted


def _run_metrics(record: RunRecord) -> dict[str, float]:
    epochs = record.run.epochs if record.run else []
    last = [epoch for epoch in epochs if epoch.phase == epochs[-1].phase]
    return {"warm_seconds": median([epoch.seconds for epoch in last[1:] or last])} | last[-1].metrics


def _measurement(record: RunRecord, arm: str, number: int, metrics: dict[str, float], load: float) -> Measurement:
    return Measurement(
        arm=arm,
        round=number,
        position=0 if arm == "A" else 1,
        phase="measured",
        started=record.started,
        process_seconds=0.0,
        metrics=metrics,
        dataset=record.dataset.content_hash if record.dataset else "",
        load=load,
        foreign_cpu=0.0,
        stolen=0.0,
    )


def _primary(a: Sequence[Measurement], b: Sequence[Measurement], first: RunRecord, second: RunRecord) -> str:
    wanted = [record.comparison.target.primary for record in (first, second) if record.comparison]
    for name in [*wanted, "warm_seconds"]:
        if a and b and all(name in sample.metrics for sample in (*a, *b)):
            return name
    raise NotComparable(f"metrics: records {first.id} and {second.id} share no time; compare two of one kind.")


def _margin(record: RunRecord) -> float:
    if record.comparison is not None:
        return record.comparison.target.margin
    return record.benchmark.parity_margin if record.benchmark else 0.005
