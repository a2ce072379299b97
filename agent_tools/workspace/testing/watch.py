"""Watching the tree, running what each change affects: `python -m agent_tools.workspace.testing.watch ROOT ...`.

It runs as a job, so it outlives client and server, and ends with its supervisor. What comes in one burst, or while
tests run, makes one run. After each, the job's result holds the last outcome and a history.
"""

from __future__ import annotations

import fcntl
import signal
import sys
import time
from argparse import ArgumentParser
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from agent_tools.jobs.folders import ACTIVE
from agent_tools.jobs.local import Reporter, observed
from agent_tools.jobs.machine_lock import waited_for
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.running import SuiteResult, run_tests
from agent_tools.workspace.testing.watched_tree import OWN_FOLDER, WatchedTree

LOCK = "outputs/watch.lock"
DEBOUNCE_MS = 3000
STEP_MS = 200
"""A burst of edits is over when nothing changed for `STEP_MS`, or after `DEBOUNCE_MS`."""
TIMEOUT_MS = 500
GUARD_SECONDS = 1.0
HISTORY = 20
FAILURES = 5
CHANGED_SHOWN = 10


class WatchError(WorkbenchError):
    """A watch that cannot begin."""


@dataclass
class _Told:
    """What the job says of itself: progress, log and result."""

    reporter: Reporter
    runs: int = 0
    history: deque[str] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def say(self, line: str) -> None:
        """Show what goes on now."""
        self.reporter.progress(self.runs, None, line)

    def ran(self, changed: list[str], said: str, result: SuiteResult | None) -> None:
        """Keep the outcome of a run."""
        self.runs += 1
        line = f"{datetime.now().astimezone():%H:%M:%S} {_named(changed)}: {said}"
        self.history.append(line)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        self.say(f"{line}; watching")
        last: dict[str, Any] = {"said": said, **(result.model_dump(mode="json") if result else {})}
        self.reporter.result(
            {"runs": self.runs, "changed": changed[:CHANGED_SHOWN], "last": last, "history": list(self.history)}
        )


async def watch(root: Root, paths: tuple[str, ...], idle_seconds: float, max_seconds: int, reporter: Reporter) -> None:
    """Run the affected tests once, and again after every change, until nothing changed for `idle_seconds`.

    Args:
        root: the repository.
        paths: run only tests in these files, folders or ids; none: the whole suite.
        idle_seconds: the watch ends that long after the last change.
        max_seconds: limit of one run.
        reporter: takes progress and result; its job's supervisor is the one to end with.

    Raises:
        WatchError: another watch runs here, or the system allows no more watches.
    """
    # Takes 50 ms to import, and no other tool needs it.
    from watchfiles import DefaultFilter, awatch  # noqa: PLC0415

    told, tree = _Told(reporter), await WatchedTree.of(root)
    batches = awatch(
        root.path,
        watch_filter=DefaultFilter(ignore_paths=[root.path / OWN_FOLDER]),
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        rust_timeout=TIMEOUT_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    with _alone(root):
        async with anyio.create_task_group() as group:
            group.start_soon(_end_with_supervisor, reporter, group.cancel_scope)
            group.start_soon(_end_with_signals, group.cancel_scope)
            run = partial(_run, root, paths, max_seconds, told, tree)
            await _follow(batches, tree, run, idle_seconds, told)
            group.cancel_scope.cancel()


async def _follow(batches: Any, tree: WatchedTree, run: Any, idle_seconds: float, told: _Told) -> None:
    last_change, is_first = time.monotonic(), True
    try:
        async for batch in batches:
            changed = await tree.own(path for _, path in batch)
            if changed or is_first:
                # What changes meanwhile is collected, and is the next batch.
                await run(changed)
                last_change, is_first = time.monotonic(), False
            elif time.monotonic() - last_change > idle_seconds:
                told.say(f"ended: nothing changed for {idle_seconds / 60:.0f} minutes")
                return
    except OSError as error:
        raise WatchError(
            f"The tree cannot be watched ({error.strerror or error}); raise fs.inotify.max_user_watches and "
            "max_user_instances, or end other watches."
        ) from error


async def _run(
    root: Root, paths: tuple[str, ...], max_seconds: int, told: _Told, tree: WatchedTree, changed: list[str]
) -> None:
    await _until_nothing_is_measured(told)
    told.say(f"running what is affected by {_named(changed)}")
    began = time.time()
    try:
        result = await run_tests(root, paths=paths, affected=True, limit=FAILURES, max_seconds=max_seconds)
    except WorkbenchError as error:
        told.ran(changed, str(error), None)
        return
    finally:
        tree.ran = (began, time.time())
    told.ran(changed, result.summary().replace("\n", "; ")[:400], result)


async def _until_nothing_is_measured(told: _Told) -> None:
    """Tests beside a measurement would spoil it."""
    said = ""
    while holder := waited_for():
        if holder != said:
            told.say(holder)
            said = holder
        await anyio.sleep(GUARD_SECONDS)


async def _end_with_supervisor(reporter: Reporter, scope: anyio.CancelScope) -> None:
    while reporter.progress_path is not None:
        await anyio.sleep(GUARD_SECONDS)
        if observed(reporter.progress_path.parent).status not in ACTIVE:
            scope.cancel()
            return


async def _end_with_signals(scope: anyio.CancelScope) -> None:
    """What a run of tests has put into the folder for temporary files goes with it."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _number in signals:
            scope.cancel()
            return


@contextmanager
def _alone(root: Root) -> Iterator[None]:
    (root.path / OWN_FOLDER).mkdir(exist_ok=True)
    with (root.path / LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WatchError("Another watch of this repository runs; watch_stop ends it.") from None
        yield


def _named(changed: list[str]) -> str:
    if not changed:
        return "start"
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"{', '.join(changed[:3])}{more}"


def main() -> int:
    """Watch as the arguments say; the exit code is 1 where the watch could not begin."""
    # First of all: it takes the job's variables out of the environment before anything is started.
    reporter = Reporter()
    parser = ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--idle-seconds", type=float, required=True)
    parser.add_argument("--max-seconds", type=int, required=True)
    parser.add_argument("paths", nargs="*")
    given = parser.parse_args()
    failed = False
    try:
        anyio.run(watch, Root.at(given.root), tuple(given.paths), given.idle_seconds, given.max_seconds, reporter)
    except* WorkbenchError as errors:
        failed = True
        sys.stderr.write(f"error: {errors.exceptions[0]}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
