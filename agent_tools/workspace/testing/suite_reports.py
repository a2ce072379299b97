"""What pytest wrote into its report log: counted while it writes, and compared over repeated runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_tools.workspace.testing.tracebacks import Room, explained
from agent_tools.workspace.untrusted import shown

Report = Callable[[float, float | None, str], Awaitable[None]]

WORST_FIRST = ("errors", "failed", "passed", "xfailed", "skipped")
"""A test whose teardown fails after its body passed is an error as well; it counts as both, and is described once."""


@dataclass
class Tally:
    """One run, or several of the same tests put together.

    Attributes:
        room: characters kept of each failure.
        counts: by outcome, as `WORST_FIRST` names them.
        failures: test, message, traceback and output of what failed, in the order of the run.
        outcomes: of each test that ran, by its id; the worst one.
        closed: pytest came to the end of its session.
        seconds: in tests.
    """

    room: Room
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    finished_tests: int = 0
    closed: bool = False
    seconds: float = 0.0

    def add(self, entry: dict[str, Any]) -> None:
        """Count one line of the report log."""
        kind, outcome = entry.get("$report_type"), entry.get("outcome")
        self.closed |= kind == "SessionFinish"
        if kind == "CollectReport" and outcome == "failed":
            self._add_failure("errors", entry)
        if kind != "TestReport":
            return
        self.seconds += float(entry.get("duration") or 0.0)
        when = entry.get("when")
        self.finished_tests += when == "teardown"
        if outcome == "failed":
            self._add_failure("failed" if when == "call" else "errors", entry)
        elif outcome == "skipped":
            self._count("xfailed" if "wasxfail" in entry else "skipped", entry)
        elif when == "call":
            self._count("passed", entry)

    def _count(self, outcome: str, entry: dict[str, Any]) -> None:
        self.counts[outcome] += 1
        test = str(entry.get("nodeid", ""))
        self.outcomes[test] = min(outcome, self.outcomes.get(test, outcome), key=WORST_FIRST.index)

    def _add_failure(self, counted_as: str, entry: dict[str, Any]) -> None:
        self._count(counted_as, entry)
        stage = "" if entry.get("when") in ("call", None) else f" ({entry['when']})"
        test = shown(str(entry.get("nodeid", ""))) + stage
        self.failures.append({"test": test, **explained(entry, self.room)})


class Reading:
    """Follows the report log while pytest writes it, so that a run that is stopped still tells what it saw."""

    def __init__(self, log: Path, room: Room, report: Report | None, before: str = "") -> None:
        self.log, self.report, self.before, self.tally = log, report, before, Tally(room)
        self._position = 0

    async def follow(self) -> None:
        """Read the lines that are new and complete."""
        for entry in self._new_entries():
            self.tally.add(entry)
        if self.report is not None:
            done, failed = self.tally.finished_tests, len(self.tally.failures)
            await self.report(done, None, f"{self.before}{done} tests, {failed} failed")

    def _new_entries(self) -> Iterator[dict[str, Any]]:
        if not self.log.exists():
            return
        with self.log.open("rb") as stream:
            stream.seek(self._position)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._position += len(line)
                yield json.loads(line)


def merged(tallies: Sequence[Tally]) -> Tally:
    """Put runs of the same tests together: each test counts once, with the worst of its outcomes."""
    if len(tallies) == 1:
        return tallies[0]
    whole = Tally(tallies[0].room, closed=all(tally.closed for tally in tallies))
    for tally in tallies:
        whole.seconds += tally.seconds
        known = {failure["test"] for failure in whole.failures}
        whole.failures += [failure for failure in tally.failures if failure["test"] not in known]
        for test, outcome in tally.outcomes.items():
            whole.outcomes[test] = min(outcome, whole.outcomes.get(test, outcome), key=WORST_FIRST.index)
    whole.counts.update(whole.outcomes.values())
    return whole


def flaky(tallies: Sequence[Tally]) -> list[str]:
    """Say which tests ended differently in repeated runs, and in which of them they failed."""
    seen: dict[str, dict[int, str]] = {}
    for number, tally in enumerate(tallies, 1):
        for test, outcome in tally.outcomes.items():
            seen.setdefault(test, {})[number] = outcome
    return [_differing(test, runs) for test, runs in sorted(seen.items()) if len(set(runs.values())) > 1]


def _differing(test: str, runs: dict[int, str]) -> str:
    parts = []
    for outcome in WORST_FIRST:
        numbers = [str(number) for number, said in runs.items() if said == outcome]
        parts += (
            [f"{outcome} in {', '.join(numbers[:10])}{' and more' if len(numbers) > 10 else ''}"] if numbers else []
        )
    return f"{shown(test)}: {'; '.join(parts)}"
