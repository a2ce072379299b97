"""The folder of a job, the same wherever it runs, so that whoever looks on needs nothing but files.

`outputs/jobs/<id>/` holds `state.json` (one writer: the supervisor), `log.txt`, `heartbeat`, and what the job itself
writes: `progress.jsonl` (lines such as `{"done": 3, "total": 10, "message": "round 1"}`), `result.json`, and
`resume.json`, the words that go on where it stopped. Whoever reads never writes, so any number of clients may look on.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import write_atomically

ID_PATTERN = re.compile(r"\d{8}T\d{6}Z-[a-z]+-[0-9a-f]{6}")
RESULT_CAP = 1 << 20

START_SECONDS = 20.0
"""A job without a supervisor is only starting for so long; then it is lost."""

Runner = Literal["local", "slurm"]
JobStatus = Literal["starting", "queued", "running", "finished", "failed", "cancelled", "lost"]
WAITING = ("starting", "queued")
ACTIVE = (*WAITING, "running")


class JobError(WorkbenchError):
    """A job that cannot be started, found or read."""


class JobState(BaseModel):
    """One job as its supervisor describes it. Times are UTC in ISO 8601; `exit_code` is -1 until the job ends.

    `measuring` jobs have the machine to themselves; `slurm_id` is SLURM's number of a job that runs there; `resumes` is
    the id of the job that this one goes on with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: str
    title: str
    command: list[str]
    status: JobStatus
    created: str
    ended: str = ""
    limit_seconds: float
    measuring: bool = True
    runner: Runner = "local"
    slurm_id: str = ""
    resumes: str = ""
    supervisor_pid: int = 0
    supervisor_started: float = 0.0
    exit_code: int = -1
    message: str = ""

    def changed(self, **fields: Any) -> JobState:
        """Return this state with other values in `fields`."""
        return self.model_copy(update=fields)


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


def jobs_folder(root: Path) -> Path:
    """Return the folder that holds the jobs of a repository."""
    return root / "outputs" / "jobs"


def all_folders(root: Path) -> list[Path]:
    """Return the folders of all jobs of a repository, newest first."""
    return sorted(jobs_folder(root).glob("*-*-*"), reverse=True)


def find_folder(root: Path, job_id: str) -> Path:
    """Return the folder of a job.

    Raises:
        JobError: there is no such job; the nearest ids are named.
    """
    folder = jobs_folder(root) / job_id
    if ID_PATTERN.fullmatch(job_id) and folder.is_dir():
        return folder
    known = [path.name for path in all_folders(root)]
    nearest = difflib.get_close_matches(job_id, known, n=3, cutoff=0.4) or known[:3]
    hint = f"the nearest are {', '.join(nearest)}" if nearest else "no job was started here yet"
    raise JobError(f"There is no job '{job_id}': {hint}; job_status without an id lists all.")


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


def read_job(folder: Path, state: JobState, log_lines: int) -> Job:
    """Return `state` with progress, the last `log_lines` lines of the log, and the result when there is one."""
    done, total, message = _last_progress(folder / "progress.jsonl")
    return Job(
        state=state,
        done=done,
        total=total,
        progress=message,
        seconds_since_heartbeat=_age(folder / "heartbeat") if state.status == "running" else 0.0,
        log_tail=tail(folder / "log.txt", log_lines),
        result=_read_result(folder / "result.json"),
    )


def read_resume_words(folder: Path) -> list[str]:
    """Return the words after `agent-tools` that a job left to go on with; empty where it left none.

    Raises:
        JobError: the file is damaged.
    """
    try:
        return TypeAdapter(list[str]).validate_json((folder / "resume.json").read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise JobError(
            f"outputs/jobs/{folder.name}/resume.json is no list of words; delete it, and resuming starts the job anew."
        ) from error


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


def now() -> str:
    """Return this moment, fine enough to order the jobs of one repository by."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def is_recent(state: JobState) -> bool:
    """Tell whether a job was made so recently that its supervisor may not have written yet."""
    return (datetime.now(UTC) - datetime.fromisoformat(state.created)).total_seconds() < START_SECONDS


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
