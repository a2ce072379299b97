"""Whether the tables and verdicts of measured records still follow from their samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agent_tools.handbook.drafts import load_record
from agent_tools.handbook.inputs import record_files
from agent_tools.measure.history import history_points
from agent_tools.measure.ladder_summaries import contrasts, stage_shares, summaries
from agent_tools.measure.verdict import judge
from agent_tools.records.compared import Comparison, History
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import Benchmark, RunRecord

NOT_FROM_SAMPLES = frozenset({"control", "control_low", "control_high"})
"""Fields of an outcome that come from another record."""

NOT_MEASURED_IN_TURN = frozenset({"reason"})
"""For two stored records, the reason says why there is no verdict, whatever the samples say."""


def summary_problems(root: Path) -> list[str]:
    """Compute every benchmark, comparison and history under `logs/` again; return a sentence per differing record."""
    problems = []
    for path in record_files(root / "logs"):
        try:
            record = load_record(path, root).record
        except (WorkbenchError, OSError):
            # The documents check names a file that cannot be read.
            continue
        complaint = _complaint(record)
        if complaint:
            where = path.relative_to(root).as_posix()
            problems.append(f"{where}: broken: {complaint}; restore the record with `git checkout`, or measure again.")
    return problems


def _complaint(record: RunRecord) -> str:
    try:
        if record.benchmark is not None:
            return _benchmark_complaint(record.benchmark)
        if record.comparison is not None:
            return _comparison_complaint(record.comparison)
        return _history_complaint(record.history) if record.history is not None else ""
    except WorkbenchError as error:
        return f"its figures cannot be computed again ({error})"


def _benchmark_complaint(benchmark: Benchmark) -> str:
    samples, scored = benchmark.samples, benchmark.phase == "val"
    rows = summaries(samples, benchmark.arms, benchmark.parity_margin, scored=scored)
    shares = [share.stage for share in benchmark.stage_shares]
    base = benchmark.arms[0].name if benchmark.arms else ""
    return (
        _list_complaint("summary", "arm", rows, benchmark.summaries)
        or _list_complaint("contrast", "name", contrasts(samples, benchmark.contrasts), benchmark.contrasts)
        or _list_complaint("stage share", "stage", stage_shares(samples, base, shares), benchmark.stage_shares)
    )


def _list_complaint(what: str, key: str, fresh: Sequence[BaseModel], stored: Sequence[BaseModel]) -> str:
    """Where figures of the same rows differ, or where the rows do."""
    named = [getattr(row, key) for row in fresh]
    if named != [getattr(row, key) for row in stored]:
        return f"its samples give a {what} of {', '.join(named) or 'nothing'}, and others are stored"
    for new, old in zip(fresh, stored, strict=True):
        differing = _difference(new.model_dump(), old.model_dump())
        if differing:
            return f"the {what} of {getattr(old, key)} does not follow from its samples: {differing}"
    return ""


def _comparison_complaint(comparison: Comparison) -> str:
    outcome = comparison.outcome
    fresh = judge(
        comparison.samples,
        comparison.target,
        comparison.protocol,
        look=outcome.look,
        is_control=comparison.treatment == "none",
    )
    skipped = NOT_FROM_SAMPLES | (NOT_MEASURED_IN_TURN if comparison.treatment == "records" else frozenset())
    differing = _difference(fresh.model_dump(exclude=set(skipped)), outcome.model_dump())
    return f"its outcome does not follow from its samples: {differing}" if differing else ""


def _history_complaint(history: History) -> str:
    fresh = history_points(history.points, history.samples, history.target, history.protocol)
    for new, old in zip(fresh, history.points, strict=True):
        differing = _difference(new.model_dump(), old.model_dump())
        if differing:
            return f"the point of {old.commit[:9]} does not follow from its samples: {differing}"
    return ""


def _difference(fresh: dict[str, Any], stored: dict[str, Any]) -> str:
    for name, value in fresh.items():
        if not _same(value, stored[name]):
            return f"{name} is {value} by them, and {stored[name]} is stored"
    return ""


def _same(fresh: object, stored: object) -> bool:
    if isinstance(fresh, float) and isinstance(stored, float):
        # Libraries of another version may round the last bit of a logarithm differently.
        return math.isclose(fresh, stored, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(fresh) and math.isnan(stored))
    if isinstance(fresh, dict) and isinstance(stored, dict):
        return fresh.keys() == stored.keys() and all(_same(value, stored[name]) for name, value in fresh.items())
    if isinstance(fresh, list) and isinstance(stored, list):
        return len(fresh) == len(stored) and all(map(_same, fresh, stored))
    return fresh == stored
