"""What the state page says: the newest figures per machine, and the plan ledger sorted by what is to be done."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from agent_tools.handbook.figures import Source
from agent_tools.handbook.findings import (
    NO_PARITY,
    PARITY_FLOOR,
    best_epoch,
    document_name,
    is_descriptive,
    parity,
    short_id,
)
from agent_tools.handbook.markdown import SafeSource
from agent_tools.handbook.paired import parity_label
from agent_tools.handbook.plans import Plan, read_header, read_plan
from agent_tools.records.gates import GateRow, gate_table
from agent_tools.records.schema import RunRecord

RUNS_SHOWN = 5
"""Train, evaluate and profile records per machine; the store lists the others."""
COMPARISONS_SHOWN = 5
"""Comparisons per machine; the store lists the others."""
UNMEASURED = frozenset({"reported", "override", "simulation", "imported", "fact"})
"""Kinds that say nothing about one of the machines of this page."""

FIGURES = (
    ("warm_seconds", "warm epoch, s", "", 2),
    ("ratio_to_first", "speed-up", "x", 2),
    ("icdar_hmean", "ICDAR hmean", "", 3),
    ("cleval_hmean", "CLEval hmean", "", 3),
)
"""Rows of a ladder on the state page: field of `Summary`, title, unit, decimals."""
EXTRA_FIGURES = (("cold_seconds", "cold epoch, s", "", 2), ("images_per_second", "images/s", "", 1))
"""Rows that appear only where a plan sets a target for them."""
TRUSTED_PARITY = frozenset({"equal", "within margin"})
"""Only with one of these has a ladder reached a target: speed without accuracy reaches nothing."""


@dataclass(frozen=True)
class RecordEntry:
    """A record with the source of its numbers."""

    record: RunRecord
    source: SafeSource


@dataclass(frozen=True)
class PlanEntry:
    """A plan with the source of its numbers."""

    plan: Plan
    source: SafeSource


@dataclass(frozen=True)
class FigureRow:
    """One figure of a ladder. `line` holds the numbers that stand before the gap in the table's line."""

    figure: str
    title: str
    unit: str
    decimals: int
    interval: bool
    accuracy: bool
    plan: PlanEntry | None
    standing: str
    line: tuple[float, ...]


class LadderKey(NamedTuple):
    """What makes two ladder records comparable on one machine."""

    name: str
    dataset: str
    size: str
    content: str


@dataclass(frozen=True)
class Ladder:
    """The newest record with a verdict (else the newest) of one ladder on one machine, data set and input size.

    `first` and `last` are paths of summaries.
    """

    title: str
    descriptive: bool
    parity: str
    first: str
    last: str
    rows: tuple[FigureRow, ...]
    source: SafeSource


@dataclass(frozen=True)
class RunEntry:
    """A record that is no ladder: paths of its last epoch and of its best score, empty where it has none."""

    title: str
    record: RunRecord
    source: SafeSource
    last: str
    score: str
    weak: bool


@dataclass(frozen=True)
class ComparisonEntry:
    """A comparison: its title, its accuracy in few words, and what a person decided instead (empty: nothing)."""

    title: str
    record: RunRecord
    source: SafeSource
    parity: str
    decided: str


@dataclass(frozen=True)
class MissedGate:
    """A gate that the newest record of it does not pass, with the source of its numbers."""

    row: GateRow
    source: SafeSource


@dataclass(frozen=True)
class MachineState:
    """Everything measured on machines of one key."""

    title: str
    key: str
    ladders: tuple[Ladder, ...]
    comparisons: tuple[ComparisonEntry, ...]
    runs: tuple[RunEntry, ...]


def record_source(record_id: str, data: dict[str, Any], path: Path, folder: Path) -> SafeSource:
    """Source of the numbers of a record's file, linked from a document in `folder`."""
    return SafeSource(Source(data, relative(path, folder), short_id(record_id)))


def read_ledger(paths: Iterable[Path], folder: Path) -> list[PlanEntry]:
    """The plans of a ledger, most urgent first.

    Raises:
        PlanError: a header that cannot be read.
    """
    entries = [
        PlanEntry(read_plan(path), SafeSource(Source(read_header(path), relative(path, folder), quote(path.stem))))
        for path in paths
    ]
    return sorted(entries, key=lambda entry: (entry.plan.priority, entry.plan.name))


def relative(path: Path, folder: Path) -> str:
    """A path as a document in `folder` links it."""
    return Path(os.path.relpath(path, folder)).as_posix()


def state_values(records: Sequence[RecordEntry], ledger: Sequence[PlanEntry]) -> dict[str, Any]:
    """Everything that `current_state.md.j2` prints."""
    by_time = sorted(records, key=lambda entry: (entry.record.ended, entry.record.id))
    newest_first = by_time[::-1]
    open_plans = [entry for entry in ledger if not entry.plan.closed]
    work = [entry for entry in open_plans if entry.plan.kind != "issue"]
    return {
        "newest": newest_first[0] if newest_first else None,
        "oldest": by_time[0] if by_time else None,
        "machines": _machines(
            [entry for entry in newest_first if entry.record.kind not in UNMEASURED], ledger, _decisions(by_time)
        ),
        "missed": _missed_gates(records),
        "overrides": [entry for entry in newest_first if entry.record.override],
        "reported": any(entry.record.reported for entry in records),
        "ledger": bool(ledger),
        "completed": [entry for entry in ledger if entry.plan.closed],
        "active": [entry for entry in work if entry.plan.status == "active"],
        "issues": [entry for entry in open_plans if entry.plan.kind == "issue"],
        "next": [entry for entry in work if entry.plan.status == "planned"],
    }


def _missed_gates(records: Sequence[RecordEntry]) -> list[MissedGate]:
    sources = {entry.record.id: entry.source for entry in records}
    rows = gate_table([entry.record for entry in records])
    return [MissedGate(row, sources[row.record.id]) for row in rows if row.status == "failed" and row.record]


def reported_entry(entry: RecordEntry) -> dict[str, Any]:
    """A reported figure as the templates print it: the record, its source, and the decimals that it was given with."""
    text = f"{entry.source.value('reported/value'):.10g}"
    return {"record": entry.record, "source": entry.source, "decimals": len(text.partition(".")[2])}


def _decisions(by_time: Sequence[RecordEntry]) -> dict[str, str]:
    """Id of a record -> what a person decided about it last, against the recommendation."""
    found = [entry.record.override for entry in by_time if entry.record.override is not None]
    return {override.record: override.decided for override in found}


def _machines(
    newest_first: Sequence[RecordEntry], ledger: Sequence[PlanEntry], decisions: Mapping[str, str]
) -> list[MachineState]:
    keys = dict.fromkeys(_machine_key(entry.record) for entry in newest_first)
    return [
        _machine([e for e in newest_first if _machine_key(e.record) == key], key, ledger, decisions) for key in keys
    ]


def _machine_key(record: RunRecord) -> str:
    return record.machine.key if record.machine else "not recorded"


def _machine(
    entries: Sequence[RecordEntry], key: str, ledger: Sequence[PlanEntry], decisions: Mapping[str, str]
) -> MachineState:
    machine = entries[0].record.machine
    groups: dict[LadderKey, list[RecordEntry]] = {}
    for entry in entries:
        if is_ladder(entry.record):
            groups.setdefault(_ladder_key(entry.record), []).append(entry)
    titles = _ladder_titles(groups)
    runs = [entry for entry in entries if entry.record.kind in {"train", "evaluate", "profile"} and entry.record.run]
    comparisons = [entry for entry in entries if entry.record.comparison is not None]
    return MachineState(
        title=f"{machine.cpu_model}{f', {machine.gpu_model}' if machine.gpu_model else ''}"
        if machine
        else "Unknown machine",
        key=key,
        ladders=tuple(_ladder(_most_telling(groups[group]), titles[group], ledger) for group in sorted(groups)),
        comparisons=tuple(_comparison(entry, decisions) for entry in _newest_of_each(comparisons)[:COMPARISONS_SHOWN]),
        runs=tuple(_run(entry) for entry in runs[:RUNS_SHOWN]),
    )


def _newest_of_each(newest_first: Sequence[RecordEntry]) -> list[RecordEntry]:
    """A comparison that was made again stands once, as it came out last."""
    found: dict[str, RecordEntry] = {}
    for entry in newest_first:
        found.setdefault(document_name(entry.record), entry)
    return list(found.values())


def is_ladder(record: RunRecord) -> bool:
    """Whether a record holds a ladder that was climbed: other designs have no first and last rung to compare."""
    benchmark = record.benchmark
    return benchmark is not None and benchmark.design == "ladder" and bool(benchmark.summaries)


def _ladder_key(record: RunRecord) -> LadderKey:
    benchmark, dataset = record.benchmark, record.dataset
    assert benchmark is not None  # noqa: S101 - the caller chose records that have one
    return LadderKey(
        benchmark.name,
        dataset.name if dataset else "unnamed data",
        image_size(record),
        dataset.content_hash if dataset else "",
    )


def image_size(record: RunRecord) -> str:
    """Input size of a record's runs as `640x640` (height, width); empty where neither config nor overrides name it."""
    named = [entry.partition("=")[2] for entry in record.overrides if entry.lstrip("+").startswith("image_size=")]
    return "x".join(re.findall(r"\d+", str(record.config.get("image_size") or (named or [""])[-1])))


def _ladder_titles(keys: Iterable[LadderKey]) -> dict[LadderKey, str]:
    """A title per ladder; the data's hash is part of it only where two ladders would have the same one."""
    plain = {key: f"{key.name} on {key.dataset}{f', {key.size}' if key.size else ''}" for key in keys}
    shared = Counter(plain.values())
    return {
        key: f"{title}, data {key.content.removeprefix('sha256:')[:8]}" if shared[title] > 1 else title
        for key, title in plain.items()
    }


def _most_telling(newest_first: Sequence[RecordEntry]) -> RecordEntry:
    """The newest record that supports a verdict: two quick rounds do not replace six; without one, the newest."""
    for entry in newest_first:
        if entry.record.benchmark is not None and not is_descriptive(entry.record.benchmark):
            return entry
    return newest_first[0]


def _ladder(entry: RecordEntry, title: str, ledger: Sequence[PlanEntry]) -> Ladder:
    benchmark = entry.record.benchmark
    assert benchmark is not None  # noqa: S101 - the caller chose records that have one
    last = len(benchmark.summaries) - 1
    label, descriptive = parity(benchmark.summaries[-1]), is_descriptive(benchmark)
    trusted = not descriptive and label in TRUSTED_PARITY
    targets: dict[str, PlanEntry] = {
        plan.plan.target.figure: plan
        for plan in reversed(ledger)
        if plan.plan.target is not None
        and plan.plan.target.benchmark == benchmark.name
        and plan.plan.status != "dropped"
    }
    wanted = [*FIGURES, *(row for row in EXTRA_FIGURES if row[0] in targets)]
    return Ladder(
        title=title,
        descriptive=descriptive,
        parity=label,
        first="benchmark/summaries/0/",
        last=f"benchmark/summaries/{last}/",
        rows=tuple(_row(entry.source, last, spec, targets.get(spec[0]), trusted) for spec in wanted),
        source=entry.source,
    )


def _row(
    source: SafeSource, last: int, spec: tuple[str, str, str, int], plan: PlanEntry | None, trusted: bool
) -> FigureRow:
    figure, title, unit, decimals = spec
    current = source.value(f"benchmark/summaries/{last}/{figure}")
    target = plan.plan.target if plan else None
    interval = figure == "ratio_to_first"
    bounds = (
        [source.value(f"benchmark/summaries/{last}/{name}") for name in ("ratio_low", "ratio_high")] if interval else []
    )
    return FigureRow(
        figure=figure,
        title=title,
        unit=unit,
        decimals=decimals,
        interval=interval,
        accuracy=figure == "icdar_hmean",
        plan=plan,
        standing=_standing(target is not None and target.reached_by(current), trusted),
        line=(source.value(f"benchmark/summaries/0/{figure}"), current, *bounds),
    )


def _standing(met: bool, trusted: bool) -> str:
    if not met:
        return "not reached"
    return "reached" if trusted else "met without a verdict"


def _comparison(entry: RecordEntry, decisions: Mapping[str, str]) -> ComparisonEntry:
    comparison = entry.record.comparison
    assert comparison is not None  # noqa: S101 - the caller chose records that have one
    return ComparisonEntry(
        title=document_name(entry.record),
        record=entry.record,
        source=entry.source,
        parity=parity_label(comparison.outcome),
        decided=decisions.get(entry.record.id, ""),
    )


def _run(entry: RecordEntry) -> RunEntry:
    run = entry.record.run
    best = best_epoch(run) if run else None
    score = f"run/epochs/{best}/metrics/icdar_hmean" if best is not None else ""
    return RunEntry(
        title=document_name(entry.record),
        record=entry.record,
        source=entry.source,
        last=f"run/epochs/{len(run.epochs) - 1}/" if run and run.epochs else "",
        score=score,
        weak=bool(score) and entry.source.value(score) < PARITY_FLOOR,
    )


__all__ = ["NO_PARITY", "PlanEntry", "RecordEntry", "read_ledger", "record_source", "relative", "state_values"]
