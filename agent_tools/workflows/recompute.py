"""Whether the tables of benchmark records still follow from their samples."""

from __future__ import annotations

import math
from pathlib import Path

from agent_tools.handbook.inputs import record_files
from agent_tools.handbook.render import load_record
from agent_tools.measure.statistics import summaries
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import Benchmark, Summary


def summary_problems(root: Path) -> list[str]:
    """Recompute the summaries of every benchmark record under `logs/`; return a sentence per record that differs."""
    problems = []
    for path in record_files(root / "logs"):
        try:
            benchmark = load_record(path, root).record.benchmark
        except (WorkbenchError, OSError):
            # The documents check names a file that cannot be read.
            continue
        complaint = _complaint(benchmark) if benchmark is not None else ""
        if complaint:
            where = path.relative_to(root).as_posix()
            problems.append(f"{where}: broken: {complaint}; restore the record with `git checkout`, or measure again.")
    return problems


def _complaint(benchmark: Benchmark) -> str:
    try:
        fresh = summaries(benchmark.samples, benchmark.arms, benchmark.parity_margin)
    except WorkbenchError as error:
        return f"its summaries cannot be computed again ({error})"
    stored = benchmark.summaries
    if [row.arm for row in fresh] != [row.arm for row in stored]:
        return f"its samples are of the arms {', '.join(row.arm for row in fresh) or 'none'}, its summaries of others"
    for new, old in zip(fresh, stored, strict=True):
        differing = _difference(new, old)
        if differing:
            return f"the summary of {old.arm} does not follow from its samples: {differing}"
    return ""


def _difference(fresh: Summary, stored: Summary) -> str:
    old = stored.model_dump()
    for name, value in fresh.model_dump().items():
        if not _same(value, old[name]):
            return f"{name} is {value} by them, and {old[name]} is stored"
    return ""


def _same(fresh: object, stored: object) -> bool:
    if isinstance(fresh, float) and isinstance(stored, float):
        # Libraries of another version may round the last bit of a logarithm differently.
        return math.isclose(fresh, stored, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(fresh) and math.isnan(stored))
    return fresh == stored
