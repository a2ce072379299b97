"""Watching as tools: a job that runs what each change affects, and its end."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent_tools.jobs import runners
from agent_tools.jobs.folders import ACTIVE, JobState
from agent_tools.jobs.processes import own_module
from agent_tools.records.errors import WorkbenchError
from agent_tools.workflows.jobs import JobEnded, JobStarted
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.running import checked_test
from agent_tools.workspace.untrusted import shown

KIND = "watch"
LIMIT_SECONDS = 7 * 24 * 3600.0
"""However busy the tree is; the idle limit ends most watches long before."""


class WatchRuns(WorkbenchError):
    """There is one watch per repository."""


def watch_start(
    root: Root,
    paths: Annotated[tuple[str, ...], Field(description="only tests in these files, folders or ids")] = (),
    idle_minutes: Annotated[int, Field(ge=1, le=2880, description="ends after so long without a change")] = 480,
    max_seconds: Annotated[int, Field(ge=1, le=3600, description="limit of one run")] = 1800,
) -> JobStarted:
    """Start a job that runs the affected tests now and after every change of the tree.

    Poll job_status: message, result.last and result.history tell how they ended. Name paths where the whole suite is
    long. Not for a single run: test_run.

    Raises:
        WatchRuns: one runs already.
        RootError: a path that does not exist or lies outside of the root.
    """
    tests = [checked_test(root, path) for path in paths]
    running = _clear_away(root)
    if running is not None:
        raise WatchRuns(f"A watch of this repository runs already: job {running.id}; watch_stop ends it.")
    command = [*own_module("agent_tools.workspace.testing.watch"), f"--idle-seconds={idle_minutes * 60}"]
    command += [f"--max-seconds={max_seconds}", "--", str(root.path), *tests]
    title = f"watching {' '.join(tests) or 'the whole suite'}"
    # On this machine whatever runs jobs: another one is not told of changes here.
    state = runners.start(
        command,
        shown(title)[:120],
        root.path,
        kind=KIND,
        limit_seconds=LIMIT_SECONDS,
        measuring=False,
        runner="local",
    )
    return JobStarted(job=state.id, title=state.title)


def watch_stop(root: Root) -> JobEnded:
    """End the watch of this repository with every process it started. Use it when you are done; job_status keeps the
    history.
    """
    running = _clear_away(root)
    if running is None:
        return JobEnded(job="", status="none", message="no watch runs here")
    state = runners.cancel(running.id, root.path)
    return JobEnded(job=state.id, status=state.status, message=shown(state.message))


def _clear_away(root: Root) -> JobState | None:
    """End what lost watches left, and return the one that runs."""
    running = None
    for state in runners.list_jobs(root.path)[0]:
        if state.kind == KIND and state.status == "lost":
            runners.cancel(state.id, root.path)
        if state.kind == KIND and state.status in ACTIVE:
            running = state
    return running
