"""What the page about performance says: the gates, the claims, and the newest record of each design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_tools.handbook.findings import (
    ContrastRow,
    Rung,
    contrast_rows,
    document_name,
    is_descriptive,
    rungs,
)
from agent_tools.handbook.markdown import SafeSource
from agent_tools.handbook.state import RecordEntry
from agent_tools.records.claims import ClaimRow, claim_verdicts
from agent_tools.records.gates import GateRow, gate_table
from agent_tools.records.schema import Benchmark, RunRecord


@dataclass(frozen=True)
class Sourced:
    """A row with the source of its numbers; None where no record measures it."""

    row: GateRow | ClaimRow
    source: SafeSource | None


@dataclass(frozen=True)
class DesignSection:
    """One record shown on the page. `rungs` are those of a ladder, `contrasts` the ratios of any other design."""

    record: RunRecord
    source: SafeSource
    title: str
    descriptive: bool
    plot: str
    rungs: list[Rung]
    contrasts: list[ContrastRow]


def performance_values(entries: Sequence[RecordEntry], plots: Mapping[str, str]) -> dict[str, Any]:
    """Everything that `performance.md.j2` prints.

    Args:
        entries: all records, in any order.
        plots: id of a record -> its plot, relative to the page.
    """
    by_id = {entry.record.id: entry for entry in entries}
    records = [entry.record for entry in entries]

    def sourced(row: GateRow | ClaimRow) -> Sourced:
        return Sourced(row, by_id[row.record.id].source if row.record is not None else None)

    def section(fits: Callable[[Benchmark], bool]) -> DesignSection | None:
        return _section(entries, plots, fits)

    return {
        "gates": [sourced(row) for row in gate_table(records)],
        "claims": [sourced(row) for row in claim_verdicts(records)],
        "main": section(lambda benchmark: benchmark.name == "main" and benchmark.design == "ladder"),
        "leave_one_out": section(lambda benchmark: benchmark.design == "leave-one-out"),
        "caches": section(lambda benchmark: benchmark.name == "caches"),
        "settings": section(lambda benchmark: benchmark.name == "tune"),
        "whatif": section(_is_whatif_of_the_trainer),
        "limits": [found for phase in ("val", "train") if (found := section(_is_limit_of(phase))) is not None],
    }


def _is_whatif_of_the_trainer(benchmark: Benchmark) -> bool:
    # By its name: a what-if on planted stages has the same design and says nothing about the trainer.
    return benchmark.name == "whatif" and benchmark.phase == "val"


def _is_limit_of(phase: str) -> Callable[[Benchmark], bool]:
    return lambda benchmark: benchmark.design == "limit" and benchmark.phase == phase


def _section(
    entries: Sequence[RecordEntry], plots: Mapping[str, str], fits: Callable[[Benchmark], bool]
) -> DesignSection | None:
    """The newest fitting record that supports a verdict; without one, the newest."""
    fitting = [
        (entry, entry.record.benchmark)
        for entry in sorted(entries, key=lambda entry: entry.record.id, reverse=True)
        if entry.record.benchmark is not None and entry.record.benchmark.summaries and fits(entry.record.benchmark)
    ]
    if not fitting:
        return None
    entry, benchmark = next((pair for pair in fitting if not is_descriptive(pair[1])), fitting[0])
    return DesignSection(
        record=entry.record,
        source=entry.source,
        title=document_name(entry.record),
        descriptive=is_descriptive(benchmark),
        plot=plots.get(entry.record.id, ""),
        rungs=rungs(entry.record) if benchmark.design == "ladder" else [],
        contrasts=contrast_rows(benchmark),
    )
