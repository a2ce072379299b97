"""Pytest as a bounded process: its command line, repeated runs, and the record of what each test rests on."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from agent_tools.jobs.processes import Finished, run_bounded
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.import_digests import DIGESTS_VARIABLE
from agent_tools.workspace.testing.suite_reports import Reading, Report, Tally
from agent_tools.workspace.testing.tracebacks import CONCISE, DETAILED

RECORD_FOLDER = "outputs/testmon"
"""What each test rests on, as testmon and our own plugin recorded it; under the git-ignored folder."""
RECORD = f"{RECORD_FOLDER}/tests.db"
DIGESTS = f"{RECORD_FOLDER}/imports.json"
PLUGIN = "agent_tools.workspace.testing.affected_plugin"

OUTPUT_CAP = 4 << 20
LOCK_POLL_SECONDS = 0.2
DROPPED_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER")

EXIT_NO_TESTS = 5
EXIT_UNUSABLE = (3, 4)
EXIT_WHOLE = (0, 1, EXIT_NO_TESTS)
"""Any other exit code, a signal included, means that pytest did not come to its end."""


class SuiteError(WorkbenchError):
    """Pytest could not do what was asked."""


@dataclass(frozen=True)
class Choice:
    """Which tests are run, and how much is told of a failure.

    Attributes:
        arguments: files, folders and ids as pytest takes them; none: the whole suite.
        keyword: pytest's expression for -k.
        last_failed: only what failed when it ran last.
        affected: only what rests on something that changed since it was recorded, or failed then.
        detailed: with captured output, whole comparisons and longer tracebacks.
    """

    arguments: tuple[str, ...] = ()
    keyword: str = ""
    last_failed: bool = False
    affected: bool = False
    detailed: bool = False

    def options(self) -> list[str]:
        """The options of pytest that choose the tests, without the arguments."""
        options = ["--last-failed", "--last-failed-no-failures=none"] if self.last_failed else []
        options += [f"-k={self.keyword}"] if self.keyword else []
        # Selecting is testmon's even where a keyword or an id narrows the choice.
        options += ["--testmon", "--testmon-forceselect", "-p", PLUGIN] if self.affected else []
        return options


@dataclass(frozen=True)
class SuiteRun:
    """One run of pytest and how it ended."""

    tally: Tally
    finished: Finished

    @property
    def is_whole(self) -> bool:
        """Whether pytest came to its end."""
        cut = self.finished.timed_out or self.finished.truncated
        return self.tally.closed and not cut and self.finished.exit_code in EXIT_WHOLE


def has_record(root: Root) -> bool:
    """Tell whether an affected run has recorded here what tests rest on."""
    return (root.path / RECORD).exists()


async def run_suite(
    root: Root, choice: Choice, repeat: int, max_seconds: float, report: Report | None
) -> list[SuiteRun]:
    """Run the chosen tests `repeat` times in fresh processes, the first time in their own order, then in random ones.

    Fewer times where a run did not come to its end or no test ran.

    Args:
        root: the repository.
        choice: which tests.
        repeat: how many runs.
        max_seconds: for all runs together.
        report: told how many tests have ended.

    Raises:
        SuiteError: another run uses the record for all of the time.
    """
    deadline = anyio.current_time() + max_seconds
    with tempfile.TemporaryDirectory(prefix="agent-tools-") as name:
        runs = [await _first_run(root, choice, Path(name), deadline, _Told(report, repeat))]
        while len(runs) < repeat and runs[-1].is_whole and runs[0].tally.outcomes and anyio.current_time() < deadline:
            again = _again(choice, runs[0].tally, Path(name), len(runs) + 1)
            runs.append(await _run(root, choice, again, {}, deadline, _Told(report, repeat, len(runs) + 1), Path(name)))
    return runs


@dataclass(frozen=True)
class _Told:
    report: Report | None
    repeat: int
    number: int = 1

    @property
    def before(self) -> str:
        return f"run {self.number} of {self.repeat}: " if self.repeat > 1 else ""


async def _first_run(root: Root, choice: Choice, folder: Path, deadline: float, told: _Told) -> SuiteRun:
    options = [*choice.options(), "--", *choice.arguments]
    if not choice.affected:
        return await _run(root, choice, options, {}, deadline, told, folder)
    variables = {"TESTMON_DATAFILE": str(root.path / RECORD), DIGESTS_VARIABLE: str(root.path / DIGESTS)}
    async with _record_to_oneself(root, deadline):
        return await _run(root, choice, options, variables, deadline, told, folder)


def _again(choice: Choice, first: Tally, folder: Path, number: int) -> list[str]:
    """The words of a later run: the same tests, in another order, with a memory of failures of its own."""
    words = ["-o", f"cache_dir={folder / 'cache'}", "--random-order-bucket=global", f"--random-order-seed={number}"]
    if not (choice.affected or choice.last_failed):
        return [*words, *choice.options(), "--", *choice.arguments]
    ids = folder / "tests.txt"
    ids.write_text("\n".join(first.outcomes) + "\n", encoding="utf-8")
    return [*words, f"@{ids}"]


async def _run(
    root: Root,
    choice: Choice,
    words: list[str],
    variables: Mapping[str, str],
    deadline: float,
    told: _Told,
    folder: Path,
) -> SuiteRun:
    log = folder / f"report-{told.number}.jsonl"
    command = [sys.executable, "-m", "pytest", f"--report-log={log}", "-q", "--tb=short", "--color=no"]
    command += ["-o", "verbosity_assertions=2"] if choice.detailed else []
    reading = Reading(log, DETAILED if choice.detailed else CONCISE, told.report, told.before)
    inherited = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
    finished = await run_bounded(
        [*command, *words],
        folder=root.path,
        environment={**inherited, **variables},
        seconds=max(0.0, deadline - anyio.current_time()),
        output_cap=OUTPUT_CAP,
        watch=reading.follow,
    )
    await reading.follow()
    return SuiteRun(reading.tally, finished)


@asynccontextmanager
async def _record_to_oneself(root: Root, deadline: float) -> AsyncIterator[None]:
    """Two runs at once would each lose what the other recorded."""
    folder = root.path / RECORD_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise SuiteError(
            f"{RECORD_FOLDER} cannot be written ({error.strerror}), and affected keeps its record there; "
            "free space or fix its rights, or name paths instead."
        ) from error
    with stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if anyio.current_time() > deadline:
                    raise SuiteError(
                        "Another affected run of this repository (a watch, say) still uses the record; wait for it, "
                        "or name paths without affected."
                    ) from None
            await anyio.sleep(LOCK_POLL_SECONDS)
        yield
