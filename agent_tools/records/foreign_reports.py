"""Reports of other tools as plain series: pytest-benchmark's JSON and the text of Lightning's profilers.

The format is recognised by content. Forms read here: pytest-benchmark 5 (`--benchmark-json`), and the tables that
`SimpleProfiler` and `AdvancedProfiler` of pytorch-lightning 2 write.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import strip_private
from agent_tools.records.schema import Imported, Series

REPORT_BYTES = 64 << 20
"""A larger report is refused: its record could not be committed."""

KNOWN = "pytest-benchmark's JSON (--benchmark-json) and the text that Lightning's simple or advanced profiler writes"

_HEADING = re.compile(r"^(?:.*[^\w\s]\s*)?(?:(?P<stage>[A-Z_]+) )?Profiler Report$")
_ACTION = re.compile(r"^Profile stats for: (?P<action>.+?)(?: rank: \d+)?$")
_TOTAL = re.compile(
    r"^\s*(?P<calls>\d+) function calls?(?: \((?P<primitive>\d+) primitive calls?\))? in (?P<s>\S+) seconds$"
)
_FUNCTION = re.compile(
    r"^\s*(?P<calls>\d+)(?:/\d+)?\s+(?P<own>\d+\.\d+)\s+\d+\.\d+\s+(?P<cumulative>\d+\.\d+)\s+\d+\.\d+\s+(?P<name>\S.*)$"
)


class ReportError(WorkbenchError):
    """A report that is missing or not understood."""


@dataclass(frozen=True)
class ForeignReport:
    """A report that was read.

    Attributes:
        imported: its series, without private text.
        measured: when it was measured, where it says so.
        environment: what it says of the place it was measured in.
    """

    imported: Imported
    measured: datetime | None = None
    environment: dict[str, str] = field(default_factory=dict)


def read_report(path: Path, root: Path) -> ForeignReport:
    """Read a report of another tool.

    Args:
        path: the file.
        root: the repository; paths in the report become relative to it.

    Raises:
        ReportError: unreadable, too large, of no known format, or without a single figure.
    """
    try:
        if path.stat().st_size > REPORT_BYTES:
            raise ReportError(f"{path.name} has more than {REPORT_BYTES >> 20} MiB; import a report of fewer samples.")
        data = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path.name} cannot be read ({error.strerror}); name a report's file.") from error
    text = data.decode("utf-8", errors="replace")
    report = _from_benchmark(text, path.name) or _from_profiler(text)
    if report is None:
        raise ReportError(f"{path.name} is no report that is known here; what can be imported is {KNOWN}.")
    if not report.imported.series:
        raise ReportError(f"{path.name} holds no figures; let the run finish, then import its report.")
    said = report.imported.model_dump() | {"source": path.name, "source_sha256": hashlib.sha256(data).hexdigest()}
    clean = Imported.model_validate(strip_private(said, root))
    return ForeignReport(clean, report.measured, strip_private(report.environment, root))


def _from_benchmark(text: str, name: str) -> ForeignReport | None:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or not {"benchmarks", "machine_info"} <= raw.keys():
        return None
    try:
        return ForeignReport(
            _imported("pytest-benchmark", [_of_benchmark(entry) for entry in raw["benchmarks"]], str(raw["version"])),
            datetime.fromisoformat(raw["datetime"]).astimezone(UTC),
            _benchmark_environment(raw),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else f"{type(error).__name__} {error}"
        raise ReportError(
            f"{name} looks like pytest-benchmark's, but lacks its fields ({why}); write it again with version 5."
        ) from error


def _of_benchmark(entry: dict[str, Any]) -> Series:
    stats = entry["stats"]
    numbers = {key: float(value) for key, value in stats.items() if isinstance(value, int | float)}
    return Series(
        name=entry["fullname"],
        seconds=stats.get("data") or [stats["total"]],
        calls=stats["rounds"] * stats["iterations"],
        figures={key: value for key, value in numbers.items() if math.isfinite(value)},
    )


def _benchmark_environment(raw: dict[str, Any]) -> dict[str, str]:
    """What identifies no person and no host; the machine stays unknown, for its key needs facts that are not there."""
    machine, commit = raw["machine_info"], raw.get("commit_info") or {}
    said = {
        "python": machine.get("python_version"),
        "cpu": (machine.get("cpu") or {}).get("brand_raw"),
        "system": machine.get("system"),
        "commit": commit.get("id") if commit.get("id") != "unversioned" else None,
        "dirty": commit.get("dirty") if commit.get("id") != "unversioned" else None,
    }
    return {f"reported {key}": str(value) for key, value in said.items() if value is not None}


def _from_profiler(text: str) -> ForeignReport | None:
    lines = [line.rstrip() for line in text.splitlines()]
    if not any(_HEADING.match(line) for line in lines):
        return None
    return ForeignReport(_imported("lightning-profiler", list(_of_profiler(lines))))


def _of_profiler(lines: list[str]) -> Iterator[Series]:
    stage = action = ""
    for line in lines:
        if heading := _HEADING.match(line):
            stage, action = f"{heading['stage']} " if heading["stage"] else "", ""
        elif started := _ACTION.match(line):
            action = f"{stage}{started['action']}"
        elif line.startswith("|"):
            yield from _of_row(stage, line)
        elif total := _TOTAL.match(line):
            counts = {"function_calls": float(total["calls"])}
            yield Series(name=action, seconds=[float(total["s"])], calls=0, figures=counts)
        elif function := _FUNCTION.match(line):
            figures = {"cumulative_seconds": float(function["cumulative"])}
            name = f"{action}: {function['name']}"
            yield Series(name=name, seconds=[float(function["own"])], calls=int(function["calls"]), figures=figures)


def _of_row(stage: str, line: str) -> Iterator[Series]:
    """A row of the simple profiler's table: with all five columns, or with three."""
    cells = [cell.strip() for cell in re.split(r"\t\|", line.strip().removeprefix("|").removesuffix("|"))]
    name = f"{stage}{cells[0]}"
    try:
        if len(cells) == 5:
            mean, calls, total, percent = cells[1:]
            figures = {} if mean == "-" else {"mean": float(mean), "percent": float(percent)}
            yield Series(name=name, seconds=[float(total)], calls=int(calls), figures=figures)
        elif len(cells) == 3:
            yield Series(name=name, seconds=[float(cells[2])], calls=0, figures={"mean": float(cells[1])})
    except ValueError:
        # The row that names the columns holds no numbers.
        return


def _imported(tool: str, series: list[Series], version: str = "") -> Imported:
    return Imported.model_validate(
        {"tool": tool, "version": version, "source": "", "source_sha256": "", "series": series}
    )
