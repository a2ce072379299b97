"""Running the repository's tests: structured, bounded, and gone when the caller is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from agent_tools.records.store import write_atomically
from agent_tools.results import RepositoryText, ResponseFormat, page
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.suite_reports import Report, flaky, merged
from agent_tools.workspace.testing.suite_runs import (
    EXIT_NO_TESTS,
    EXIT_UNUSABLE,
    EXIT_WHOLE,
    Choice,
    SuiteError,
    SuiteRun,
    has_record,
    run_suite,
)
from agent_tools.workspace.untrusted import shown

LAST_RUN = "outputs/last_test_run.json"
"""Under the git-ignored folder: it says something of this machine's tree only."""
FLAKY_SHOWN = 50
FLAKY_CHARACTERS = 5000
LAST_WORDS = 400


class SuiteResult(RepositoryText):
    """What pytest said."""

    passed: int
    failed: int
    errors: int = Field(description="outside of test bodies")
    skipped: int
    xfailed: int
    seconds: float
    failures: list[dict[str, str]] = Field(description="test, message, traceback, output")
    omitted: int = Field(description="failures beyond limit")
    flaky: list[str] = Field(description="ended differently in repeats")
    whole: bool = Field(description="pytest came to its end")
    note: str

    def counts(self) -> str:
        """Say how many tests ended how."""
        counts = {"passed": self.passed, "failed": self.failed, "errors": self.errors, "skipped": self.skipped}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no tests ran"

    def summary(self) -> str:
        """Say the counts and the failed tests."""
        lines = [f"{self.counts()} in {self.seconds:.1f} s"]
        lines += [f"{failure['test']}: {failure['message'].splitlines()[0][:150]}" for failure in self.failures]
        lines += [f"{self.omitted} more failures; raise limit or name paths"] if self.omitted else []
        lines += [f"flaky: {line}" for line in self.flaky[:10]]
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
    affected: bool = False
    said: str = Field(description="the counts, in words")
    succeeded: bool = Field(description="nothing failed, and pytest came to its end")

    @classmethod
    def of(cls, result: SuiteResult, choice: Choice) -> LastRun:
        """Keep the outcome of a result that has just come."""
        return cls(
            ended=datetime.now(UTC).replace(microsecond=0),
            paths=tuple(map(shown, choice.arguments)),
            keyword=shown(choice.keyword),
            last_failed=choice.last_failed,
            affected=choice.affected,
            said=result.counts(),
            succeeded=not result.is_failure(),
        )


async def run_tests(
    root: Root,
    report: Report | None = None,
    paths: Annotated[tuple[str, ...], Field(description="files, folders, ids like tests/x.py::test_y")] = (),
    keyword: str = "",
    last_failed: bool = False,
    affected: bool = False,
    repeat: Annotated[int, Field(ge=1, le=20)] = 1,
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
    max_seconds: Annotated[int, Field(ge=1, le=3600)] = 600,
    response_format: ResponseFormat = "concise",
) -> SuiteResult:
    """Run pytest: counts, and each failure with its trimmed traceback (detailed: output too).

    Name paths: the whole suite takes minutes. Use last_failed after a fix, with repeat (random order) to tell flaky
    from broken; affected runs what changed code can break, the first time everything.

    Raises:
        SuiteError: pytest cannot run like this, or affected and last_failed were both asked for.
        RootError: a path outside of the root, or one that does not exist.
    """
    if affected and last_failed:
        raise SuiteError("affected and last_failed exclude each other; what failed is always among the affected.")
    arguments = tuple(checked_test(root, path) for path in paths)
    choice = Choice(arguments, keyword, last_failed, affected, detailed=response_format == "detailed")
    is_first = affected and not has_record(root)
    runs = await run_suite(root, choice, repeat, max_seconds, report)
    result = _result(runs, limit, choice, [_record_note(runs, choice, is_first), _repeat_note(runs, repeat)])
    _remember(root, LastRun.of(result, choice))
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


def _result(runs: Sequence[SuiteRun], limit: int, choice: Choice, notes: Sequence[str]) -> SuiteResult:
    broken = next((run for run in runs if not run.is_whole), runs[-1])
    tally = merged([run.tally for run in runs])
    if broken.finished.exit_code in EXIT_UNUSABLE and not tally.failures:
        raise SuiteError(f"pytest could not run: {_last_words(broken)}")
    texts = ["".join(failure.values()) for failure in tally.failures]
    described = tally.failures[: len(page(texts, 0, limit)[0])]
    return SuiteResult(
        passed=tally.counts["passed"],
        failed=tally.counts["failed"],
        errors=tally.counts["errors"],
        skipped=tally.counts["skipped"],
        xfailed=tally.counts["xfailed"],
        seconds=round(tally.seconds, 2),
        failures=described,
        omitted=len(tally.failures) - len(described),
        flaky=page(flaky([run.tally for run in runs]), 0, FLAKY_SHOWN, FLAKY_CHARACTERS)[0],
        whole=broken.is_whole,
        note="; ".join(filter(None, [_end_note(broken, choice), *notes])),
    )


def _end_note(run: SuiteRun, choice: Choice) -> str:
    finished = run.finished
    if finished.timed_out:
        return "stopped at max_seconds: name fewer paths or raise it"
    if finished.truncated:
        return "stopped because pytest printed too much: name fewer paths"
    if finished.exit_code == EXIT_NO_TESTS:
        nothing = "no failures are recorded from the last run"
        return nothing if choice.last_failed else "no tests match paths and keyword"
    if finished.exit_code not in EXIT_WHOLE:
        return f"pytest broke off with exit code {finished.exit_code}, later tests did not run: {_last_words(run)}"
    if not run.tally.closed:
        return f"pytest vanished in mid-run (exit code {finished.exit_code}): a test ended it; counts are partial"
    return ""


def _record_note(runs: Sequence[SuiteRun], choice: Choice, is_first: bool) -> str:
    if is_first:
        return "there was no record yet: all chosen tests ran, and affected chooses by what they rest on from now on"
    if choice.affected and runs[0].is_whole and not runs[0].tally.outcomes:
        return "nothing changed that the chosen tests rest on, as far as the code they import and run shows"
    return ""


def _repeat_note(runs: Sequence[SuiteRun], repeat: int) -> str:
    if repeat == 1:
        return ""
    order = "run N has the order of --random-order-bucket=global --random-order-seed=N, the first one its own"
    return f"{len(runs)} of {repeat} runs; each test counts once, by its worst end; {order}"


def _last_words(run: SuiteRun) -> str:
    lines: Sequence[str] = shown(run.finished.errors or run.finished.output).strip().splitlines()
    errors = [line for line in lines if line.startswith(("ERROR", "E ", "error"))]
    return " ".join((errors or list(lines))[-2:])[:LAST_WORDS]
