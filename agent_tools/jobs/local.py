"""Jobs on this machine: started detached, described by files, so that they outlive whoever started them.

`outputs/jobs/<id>/` holds `state.json` (one writer: the supervisor), `log.txt`, and what the job itself writes:
`progress.jsonl` (lines such as `{"done": 3, "total": 10, "message": "round 1"}`, to the file that
`AGENT_TOOLS_PROGRESS` names) and `result.json` (to `AGENT_TOOLS_RESULT`). Whoever reads never writes, so any number of
clients may look on.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from agent_tools.jobs.processes import end_all, is_alive, marked, marks
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import write_atomically

JOB_VARIABLE = "AGENT_TOOLS_JOB"
PROGRESS_VARIABLE = "AGENT_TOOLS_PROGRESS"
RESULT_VARIABLE = "AGENT_TOOLS_RESULT"

ID_PATTERN = re.compile(r"\d{8}T\d{6}Z-[a-z]+-[0-9a-f]{6}")
RESULT_CAP = 1 << 20
START_SECONDS = 20.0

JobStatus = Literal["starting", "running", "finished", "failed", "cancelled", "lost"]
ACTIVE = ("starting", "running")


class JobError(WorkbenchError):
    """A job that cannot be started, found or read."""


class JobState(BaseModel):
    """One job as its supervisor describes it. Times are UTC in ISO 8601; `exit_code` is -1 until the job ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: str
    title: str
    command: list[str]
    status: JobStatus
    created: str
    ended: str = ""
    limit_seconds: float
    supervisor_pid: int = 0
    supervisor_started: float = 0.0
    exit_code: int = -1
    message: str = ""


class Job(BaseModel):
    """A job's state with what it has written so far."""

    model_config = ConfigDict(frozen=True)

    state: JobState
    done: float = 0.0
    total: float = 0.0
    progress: str = ""
    seconds_since_heartbeat: float = 0.0
    log_tail: list[str] = []
    result: dict[str, Any] | None = None


def start(
    command: Sequence[str], title: str, root: Path, *, kind: str = "job", limit_seconds: float = 24 * 3600
) -> JobState:
    """Start `command` detached in `root` and return its state; it goes on when the caller dies.

    One job runs at a time in a repository: two at once would disturb each other's timings.

    Raises:
        JobError: another job runs, or the supervisor could not start.
    """
    with _one_at_a_time(root):
        _refuse_a_second(root)
        state = JobState(
            id=_new_id(kind),
            kind=kind,
            title=title,
            command=list(command),
            status="starting",
            created=_now(),
            limit_seconds=limit_seconds,
        )
        folder = jobs_folder(root) / state.id
        folder.mkdir(parents=True)
        write_state(folder, state)
        _launch(folder, root)
    return read_state(folder)


def status(job_id: str, root: Path, log_lines: int = 20) -> Job:
    """Read one job: state, progress, the last `log_lines` lines of its log, its result when there is one.

    Raises:
        JobError: no such job (the nearest ids are named) or its state file is damaged.
    """
    folder = _folder(root, job_id)
    state = _observed(folder)
    done, total, message = _last_progress(folder / "progress.jsonl")
    return Job(
        state=state,
        done=done,
        total=total,
        progress=message,
        seconds_since_heartbeat=_age(folder / "heartbeat") if state.status in ACTIVE else 0.0,
        log_tail=tail(folder / "log.txt", log_lines),
        result=_read_result(folder / "result.json"),
    )


def list_jobs(root: Path) -> tuple[list[JobState], list[str]]:
    """Return all jobs, newest first, and the ids of those whose state cannot be read."""
    states, damaged = [], []
    for folder in sorted(jobs_folder(root).glob("*-*-*"), reverse=True):
        try:
            states.append(_observed(folder))
        except JobError:
            damaged.append(folder.name)
    return states, damaged


def cancel(job_id: str, root: Path) -> JobState:
    """End a job with everything it started, within 2 s, and return its state; a job that has ended stays as it is.

    Raises:
        JobError: no such job, or a process of it cannot be ended.
    """
    folder = _folder(root, job_id)
    before = _observed(folder)
    if before.status in ACTIVE:
        with suppress(OSError):
            # On a full disk the job still ends; it is then called failed.
            (folder / "cancel").touch()
    leftovers = end_processes(job_id)
    _await_end(folder)
    if leftovers:
        raise JobError(f"{leftovers} processes of job {job_id} do not end; look at them with `ps` and try again.")
    return _observed(folder)


def end_processes(job_id: str) -> int:
    """End every process of a job, in whatever session it is; return how many remain. The supervisor is not one."""
    return end_all(lambda: marked(JOB_VARIABLE, job_id))


def jobs_folder(root: Path) -> Path:
    """Return the folder that holds the jobs of a repository."""
    return root / "outputs" / "jobs"


def read_state(folder: Path) -> JobState:
    """Read a job's state file as it stands.

    Raises:
        JobError: the file is missing or damaged.
    """
    try:
        return JobState.model_validate_json((folder / "state.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise JobError(
            f"The state of job {folder.name} cannot be read; its log is outputs/jobs/{folder.name}/log.txt, "
            "and deleting that folder forgets the job."
        ) from error


def write_state(folder: Path, state: JobState) -> None:
    """Replace a job's state file atomically."""
    write_atomically(folder / "state.json", state.model_dump_json(indent=1) + "\n")


def tail(path: Path, lines: int, cap: int = 16_000) -> list[str]:
    """Return the last lines of a text file, from its last `cap` bytes; a carriage return overwrites its line."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - cap))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    kept = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").splitlines() if line.strip()]
    return kept[-lines:] if lines > 0 else []


class Reporter:
    """The job's own side: where the process that does the work reports progress and leaves its result.

    Outside a job both paths are None and nothing is written.
    """

    def __init__(self) -> None:
        # Removed from the environment: a process that this one starts must not report in its name.
        progress, result = os.environ.pop(PROGRESS_VARIABLE, ""), os.environ.pop(RESULT_VARIABLE, "")
        self.progress_path = Path(progress) if progress else None
        self.result_path = Path(result) if result else None

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Append one line of progress."""
        if self.progress_path is not None:
            line = json.dumps({"done": done, "total": total or 0.0, "message": message})
            with self.progress_path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    def result(self, value: dict[str, Any]) -> None:
        """Leave the result, whole or not at all."""
        if self.result_path is not None:
            write_atomically(self.result_path, json.dumps(value) + "\n")


def _launch(folder: Path, root: Path) -> None:
    command = [sys.executable, "-m", "agent_tools.jobs.supervisor", str(folder), str(root)]
    # The supervisor detaches itself and this process ends at once, so nobody is left to wait for it.
    try:
        answer = subprocess.run(
            command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, timeout=START_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"The supervisor of job {folder.name} did not start in {START_SECONDS:.0f} s.") from error
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        raise JobError(f"The supervisor of job {folder.name} did not start: {said[-1] if said else 'no message'}.")


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    folder = jobs_folder(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise JobError(f"outputs/jobs cannot be written ({error.strerror}); free space or fix its rights.") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _refuse_a_second(root: Path) -> None:
    states = list_jobs(root)[0]
    for state in states:
        if state.status in ACTIVE:
            raise JobError(
                f"Job {state.id} ({state.title}) is {state.status}, and two at once would disturb each other's "
                "timings; wait for it with job_status or end it with job_cancel."
            )
    lost = {state.id for state in states if state.status == "lost"}
    alive = lost & marks(JOB_VARIABLE) if lost else lost
    if alive:
        raise JobError(
            f"Job {min(alive)} lost its supervisor, but processes of it still run and would disturb the timings of "
            "another; end them with job_cancel."
        )


def _observed(folder: Path) -> JobState:
    state = read_state(folder)
    if state.status not in ACTIVE or _supervised(state):
        return state
    # It may have ended between the two looks: its last word counts.
    state = read_state(folder)
    if state.status not in ACTIVE:
        return state
    return state.model_copy(update={"status": "lost", "message": "the process vanished without a last word"})


def _supervised(state: JobState) -> bool:
    if state.supervisor_pid:
        return is_alive(state.supervisor_pid, state.supervisor_started)
    created = datetime.fromisoformat(state.created)
    return (datetime.now(UTC) - created).total_seconds() < START_SECONDS


def _await_end(folder: Path, seconds: float = 1.5) -> None:
    deadline = time.monotonic() + seconds
    while _observed(folder).status in ACTIVE and time.monotonic() < deadline:
        time.sleep(0.02)


def _folder(root: Path, job_id: str) -> Path:
    folder = jobs_folder(root) / job_id
    if ID_PATTERN.fullmatch(job_id) and folder.is_dir():
        return folder
    known = sorted((path.name for path in jobs_folder(root).glob("*-*-*")), reverse=True)
    nearest = difflib.get_close_matches(job_id, known, n=3, cutoff=0.4) or known[:3]
    hint = f"the nearest are {', '.join(nearest)}" if nearest else "no job was started here yet"
    raise JobError(f"There is no job '{job_id}': {hint}; job_status without an id lists all.")


def _last_progress(path: Path) -> tuple[float, float, str]:
    for line in reversed(tail(path, 2)):
        try:
            entry = json.loads(line)
            return float(entry["done"]), float(entry.get("total") or 0.0), str(entry.get("message", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            # The line may still be being written: the one before it is whole.
            continue
    return 0.0, 0.0, ""


def _read_result(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_bytes()[:RESULT_CAP]
        value = json.loads(text)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else {"value": value}


def _age(path: Path) -> float:
    try:
        return round(max(0.0, time.time() - path.stat().st_mtime), 1)
    except OSError:
        return 0.0


def _new_id(kind: str) -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(3)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def own_start() -> float:
    """Return when this process started, in seconds since the epoch."""
    return psutil.Process().create_time()
