"""Jobs as tools: start this command line detached, look at it, end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from agent_tools.jobs import runners
from agent_tools.jobs.folders import ACTIVE, Job
from agent_tools.jobs.processes import own_module
from agent_tools.results import Cursor, RepositoryText, ToolResult, page
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

LOOK_SECONDS = 0.5
"""Between two looks at a job that somebody waits for."""


class JobStarted(ToolResult):
    """A job that was started."""

    job: str = Field(description="id for job_status and job_cancel")
    title: str

    def summary(self) -> str:
        """Say the id and how to go on."""
        return f"started {self.title}: poll job_status with job={self.job}"


class JobReport(RepositoryText):
    """One job, or the list of all."""

    job: str
    status: str = Field(description="queued, running, finished, failed, cancelled, lost; '' for a list")
    title: str
    done: float
    total: float
    message: str
    seconds_since_heartbeat: float
    exit_code: int = Field(description="-1 until it ends")
    result: dict[str, Any] = Field(description="what it left, with record_id")
    log_tail: list[str]
    jobs: list[dict[str, str]] = Field(description="job, status, title, created")
    next_cursor: str

    def summary(self) -> str:
        """Say state and progress, or one line per job."""
        if not self.job:
            lines = [f"{row['job']} {row['status']}: {row['title']}" for row in self.jobs]
            return "\n".join(lines) or "no jobs"
        progress = f" {self.done:g}/{self.total:g}" if self.total else ""
        record = f"; record {self.result['record_id']}" if self.result.get("record_id") else ""
        return f"{self.job} {self.status}{progress} {self.message}".rstrip() + record


def job_status(
    root: Root,
    job: Annotated[str, Field(description="id; '' lists all")] = "",
    wait: Annotated[int, Field(ge=0, le=50, description="seconds, for its end")] = 0,
    limit: Annotated[int, Field(ge=1, le=100, description="log lines or jobs at most")] = 20,
    cursor: Cursor = "",
    cancel: threading.Event | None = None,
) -> JobReport:
    """Show one job: status, progress, log tail, and its result when done; without an id, list the jobs.

    Poll it with wait=50 and a small limit. The result's record_id goes to record_show.
    """
    if not job:
        return _job_list(root, limit, cursor)
    give_up, ends = cancel or threading.Event(), time.monotonic() + wait
    while (seen := runners.status(job, root.path, limit)).state.status in ACTIVE and time.monotonic() < ends:
        if give_up.wait(min(LOOK_SECONDS, max(0.0, ends - time.monotonic()))):
            break
    return _job_report(seen)


class JobEnded(ToolResult):
    """How a job stands after it was to be cancelled."""

    job: str
    status: str
    message: str

    def summary(self) -> str:
        """Say the status."""
        return f"{self.job} {self.status} {self.message}".rstrip()


def job_cancel(root: Root, job: Annotated[str, Field(description="id")]) -> JobEnded:
    """End a job with every process it started, within 2 s. What it wrote so far stays; an ended job stays as it is.

    Not for a job that only seems slow: look at job_status first.
    """
    state = runners.cancel(job, root.path)
    return JobEnded(job=state.id, status=state.status, message=shown(state.message))


class JobResumed(ToolResult):
    """A job that goes on with another one."""

    job: str = Field(description="id for job_status and job_cancel")
    title: str
    resumes: str = Field(description="the job that it goes on with")
    from_start: bool = Field(description="the old job left no word how to go on")

    def summary(self) -> str:
        """Say the id, and where it starts."""
        where = (
            f"{self.resumes} left no word how to go on, so it runs from the start" if self.from_start else "it goes on"
        )
        return f"resumed {self.title}: {where}; poll job_status with job={self.job}"


def job_resume(
    root: Root, job: Annotated[str, Field(description="id of a failed, cancelled or lost job")]
) -> JobResumed:
    """Start a job that goes on where another one stopped; from the start where that one left no word how to go on."""
    state, goes_on = runners.resume(job, root.path, _program(root))
    return JobResumed(job=state.id, title=state.title, resumes=state.resumes, from_start=not goes_on)


def _job_report(job: Job) -> JobReport:
    log, _ = page([shown(line)[:400] for line in reversed(job.log_tail)], 0, len(job.log_tail), 12_000)
    return JobReport(
        job=job.state.id,
        status=job.state.status,
        title=job.state.title,
        done=job.done,
        total=job.total,
        message=shown(job.state.message or job.progress),
        seconds_since_heartbeat=job.seconds_since_heartbeat,
        exit_code=job.state.exit_code,
        result=job.result or {},
        log_tail=log[::-1],
        jobs=[],
        next_cursor="",
    )


def _job_list(root: Root, limit: int, cursor: str) -> JobReport:
    states, damaged = runners.list_jobs(root.path)
    rows = [
        {"job": state.id, "status": state.status, "title": state.title, "created": state.created} for state in states
    ]
    rows += [
        {"job": name, "status": "damaged", "title": "state.json cannot be read", "created": ""} for name in damaged
    ]
    rows = sorted((row for row in rows if not cursor or row["job"] < cursor), key=lambda row: row["job"], reverse=True)
    return JobReport(
        job="",
        status="",
        title="",
        done=0,
        total=0,
        message="",
        seconds_since_heartbeat=0,
        exit_code=-1,
        result={},
        log_tail=[],
        jobs=rows[:limit],
        next_cursor=rows[limit - 1]["job"] if len(rows) > limit else "",
    )


def start_command(
    root: Root, kind: str, title: str, command: Sequence[str], options: dict[str, Any], words: Sequence[str]
) -> JobStarted:
    """Start `agent-tools COMMAND OPTIONS -- WORDS` as a job.

    Options that are '' are left out, True becomes `--NAME` and False `--no-NAME`: as the command line has them.
    """
    given = [*command, *_written(options), "--json", "--", *words]
    line = [*_program(root), *given]
    return JobStarted(job=runners.start(line, shown(title)[:120], root.path, kind=kind).id, title=title)


def _program(root: Root) -> list[str]:
    return [*own_module("agent_tools.cli"), "--root", str(root.path)]


def _written(options: dict[str, Any]) -> list[str]:
    written = []
    for name, value in options.items():
        if isinstance(value, bool):
            written.append(f"--{name}" if value else f"--no-{name}")
        elif value != "":
            written.append(f"--{name}={value}")
    return written
