"""Running the repository's tests: structured, bounded, and gone when the caller is."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from agent_tools.jobs.processes import Finished, run_bounded
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import write_atomically
from agent_tools.results import RepositoryText, page
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

Report = Callable[[float, float | None, str], Awaitable[None]]

LAST_RUN = "outputs/last_test_run.json"
"""Under the git-ignored folder: it says something of this machine's tree only."""
OUTPUT_CAP = 4 << 20
MESSAGE_CAP = 400
TRACEBACK_CAP = 1500
DROPPED_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER")

EXIT_NO_TESTS = 5
EXIT_UNUSABLE = (3, 4)
EXIT_WHOLE = (0, 1, EXIT_NO_TESTS)
"""Any other exit code, a signal included, means that pytest did not come to its end."""


class SuiteError(WorkbenchError):
    """Pytest could not do what was asked."""


class SuiteResult(RepositoryText):
    """What pytest said."""

    passed: int
    failed: int
    errors: int = Field(description="outside of test bodies: setup, teardown, collection")
    skipped: int
    xfailed: int
    seconds: float
    timed_out: bool = Field(description="stopped at max_seconds; counts are partial")
    failures: list[dict[str, str]] = Field(description="test, message, traceback (its end)")
    omitted: int = Field(description="failures beyond limit")
    whole: bool = Field(description="pytest came to its end")
    note: str

    def counts(self) -> str:
        """Say how many tests ended how."""
        counts = {"passed": self.passed, "failed": self.failed, "errors": self.errors, "skipped": self.skipped}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no tests ran"

    def summary(self) -> str:
        """Say the counts and the failed tests."""
        stopped = " (stopped at the time limit)" if self.timed_out else ""
        lines = [f"{self.counts()} in {self.seconds:.1f} s{stopped}"]
        lines += [f"{failure['test']}: {failure['message'].splitlines()[0][:150]}" for failure in self.failures]
        lines += [f"{self.omitted} more failures; raise limit"] if self.omitted else []
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def is_failure(self) -> bool:
        """A failure, an error or a run that did not come to its end makes the command fail."""
        return bool(self.failed or self.errors or not self.whole)


class LastRun(BaseModel):
    """What the last run of tests said, kept in `outputs/` for whoever hands the work over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    ended: AwareDatetime
    paths: tuple[str, ...] = Field(description="empty: the whole suite")
    keyword: str
    last_failed: bool
    said: str = Field(description="the counts, in words")
    succeeded: bool = Field(description="nothing failed, and pytest came to its end")

    @classmethod
    def of(cls, result: SuiteResult, paths: Sequence[str], keyword: str, last_failed: bool) -> LastRun:
        """Keep the outcome of a result that has just come."""
        return cls(
            ended=datetime.now(UTC).replace(microsecond=0),
            paths=tuple(map(shown, paths)),
            keyword=shown(keyword),
            last_failed=last_failed,
            said=result.counts(),
            succeeded=not result.is_failure(),
        )


async def run_tests(
    root: Root,
    report: Report | None = None,
    paths: Annotated[tuple[str, ...], Field(description="files, folders or ids like tests/x.py::test_y")] = (),
    keyword: Annotated[str, Field(description="pytest -k expression")] = "",
    last_failed: Annotated[bool, Field(description="only what failed last time")] = False,
    limit: Annotated[int, Field(ge=1, le=50, description="failures described at most")] = 10,
    max_seconds: Annotated[int, Field(ge=1, le=3600)] = 600,
) -> SuiteResult:
    """Run pytest and return counts and each failure with its message and the end of its traceback.

    Name paths to keep it short; without any it runs the whole suite. Use last_failed after a fix.
    """
    arguments = [checked_test(root, path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="agent-tools-") as folder:
        log = Path(folder) / "report.jsonl"
        command = [sys.executable, "-m", "pytest", f"--report-log={log}", "-q", "--tb=short", "--color=no"]
        command += ["--last-failed", "--last-failed-no-failures=none"] if last_failed else []
        command += [f"-k={keyword}"] if keyword else []
        reading = _Reading(log, report)
        finished = await run_bounded(
            [*command, "--", *arguments],
            folder=root.path,
            environment={name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES},
            seconds=max_seconds,
            output_cap=OUTPUT_CAP,
            watch=reading.follow,
        )
        await reading.follow()
    result = _result(reading.tally, finished, limit, last_failed)
    _remember(root, LastRun.of(result, arguments, keyword, last_failed))
    return result


def checked_test(root: Root, text: str) -> str:
    """Return a file, folder or test id inside the root as pytest takes it.

    Raises:
        RootError: it is outside of the root or does not exist.
        SuiteError: the name of the test has unprintable characters.
    """
    path, separator, test = text.partition("::")
    if not test.isprintable():
        raise SuiteError(f"{text!r} has unprintable characters; name a test as pytest prints it.")
    return f"{root.relative(root.resolve(path))}{separator}{test}"


def last_run(root: Root) -> LastRun | None:
    """Return what the last run of tests here said; None where none is known, or its file cannot be read."""
    try:
        return LastRun.model_validate_json((root.path / LAST_RUN).read_bytes())
    except (OSError, ValidationError):
        return None


def _remember(root: Root, run: LastRun) -> None:
    # A disk that is full, or a tree that may not be written, does not make the tests' own result worth less.
    with suppress(OSError):
        write_atomically(root.path / LAST_RUN, run.model_dump_json(indent=1) + "\n")


@dataclass
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
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
            self.counts["xfailed" if "wasxfail" in entry else "skipped"] += 1
        elif when == "call":
            self.counts["passed"] += 1

    def _add_failure(self, counted_as: str, entry: dict[str, Any]) -> None:
        self.counts[counted_as] += 1
        message, traceback = _explain(entry.get("longrepr"))
        stage = "" if entry.get("when") in ("call", None) else f" ({entry['when']})"
        test = shown(str(entry.get("nodeid", ""))) + stage
        self.failures.append({"test": test, "message": message, "traceback": traceback})


class _Reading:
    """Follows the report log while pytest writes it, so that a run that is stopped still tells what it saw."""

    def __init__(self, log: Path, report: Report | None) -> None:
        self.log, self.report, self.tally = log, report, _Tally()
        self._position = 0

    async def follow(self) -> None:
        """Read the lines that are new and complete."""
        for entry in self._new_entries():
            self.tally.add(entry)
        if self.report is not None:
            tally = self.tally
            await self.report(tally.finished_tests, None, f"{tally.finished_tests} tests, {len(tally.failures)} failed")

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


def _explain(report: Any) -> tuple[str, str]:
    """The message and the trimmed traceback of a serialized pytest failure, in whichever of its forms it comes."""
    if not isinstance(report, dict):
        text = shown(str(report or ""))
        return _end(text, MESSAGE_CAP), _end(text, TRACEBACK_CAP)
    crash = report.get("reprcrash") or {}
    entries = (report.get("reprtraceback") or {}).get("reprentries") or []
    blocks = [_entry_text(entry.get("data") or {}) for entry in entries]
    message = str(crash.get("message") or (blocks[-1] if blocks else "failed"))
    return shown(message)[:MESSAGE_CAP], _end(shown("\n".join(blocks)), TRACEBACK_CAP)


def _entry_text(data: dict[str, Any]) -> str:
    place = data.get("reprfileloc") or {}
    where = [f"{place.get('path')}:{place.get('lineno')}: {place.get('message') or ''}".rstrip()] if place else []
    return "\n".join([*where, *map(str, data.get("lines") or [])])


def _end(text: str, cap: int) -> str:
    return text if len(text) <= cap else f"[...]{text[-cap:]}"


def _result(tally: _Tally, finished: Finished, limit: int, last_failed: bool) -> SuiteResult:
    if finished.exit_code in EXIT_UNUSABLE and not tally.failures:
        raise SuiteError(f"pytest could not run: {_last_words(finished)}")
    texts = ["".join(failure.values()) for failure in tally.failures]
    described = tally.failures[: len(page(texts, 0, limit)[0])]
    return SuiteResult(
        passed=tally.counts["passed"],
        failed=tally.counts["failed"],
        errors=tally.counts["errors"],
        skipped=tally.counts["skipped"],
        xfailed=tally.counts["xfailed"],
        seconds=round(tally.seconds, 2),
        timed_out=finished.timed_out,
        failures=described,
        omitted=len(tally.failures) - len(described),
        whole=_is_whole(finished, tally),
        note=_note(finished, tally, last_failed),
    )


def _is_whole(finished: Finished, tally: _Tally) -> bool:
    cut = finished.timed_out or finished.truncated
    return tally.closed and not cut and finished.exit_code in EXIT_WHOLE


def _note(finished: Finished, tally: _Tally, last_failed: bool) -> str:
    if finished.timed_out:
        return "stopped at max_seconds: name fewer paths or raise it"
    if finished.truncated:
        return "stopped because pytest printed too much: name fewer paths"
    if finished.exit_code == EXIT_NO_TESTS:
        return "no failures are recorded from the last run" if last_failed else "no tests match paths and keyword"
    if finished.exit_code not in EXIT_WHOLE:
        return f"pytest broke off with exit code {finished.exit_code}, later tests did not run: {_last_words(finished)}"
    if not tally.closed:
        return f"pytest vanished in mid-run (exit code {finished.exit_code}): a test ended it; counts are partial"
    return ""


def _last_words(finished: Finished) -> str:
    lines: Sequence[str] = shown(finished.errors or finished.output).strip().splitlines()
    errors = [line for line in lines if line.startswith(("ERROR", "E ", "error"))]
    return " ".join((errors or list(lines))[-2:])[:MESSAGE_CAP]
