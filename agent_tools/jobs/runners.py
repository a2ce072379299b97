"""Jobs, wherever they run: `local` or `slurm`, chosen by one setting when a job is started and kept in its state."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from agent_tools.jobs import local, slurm
from agent_tools.jobs.folders import (
    ACTIVE,
    Job,
    JobError,
    JobState,
    Runner,
    all_folders,
    find_folder,
    jobs_folder,
    now,
    read_job,
    read_resume_words,
    read_state,
    write_state,
)
from agent_tools.jobs.processes import marks
from agent_tools.jobs.settings import JobSettings, job_settings

OBSERVED: dict[Runner, Callable[[Path], JobState]] = {"local": local.observed, "slurm": slurm.observed}
END: dict[Runner, Callable[[Path], None]] = {"local": local.end, "slurm": slurm.end}

ALLOCATION_MARGIN_SECONDS = 60.0
"""A job in SLURM is ended by its own supervisor, which says why, before its allocation ends."""


def start(
    command: Sequence[str],
    title: str,
    root: Path,
    *,
    kind: str = "job",
    limit_seconds: float = 24 * 3600,
    measuring: bool = True,
    resumes: str = "",
    runner: Runner | None = None,
) -> JobState:
    """Start `command` detached in `root` and return its state; it goes on when the caller dies.

    Args:
        command: program and arguments.
        title: for people.
        root: the repository; the command's working directory.
        kind: part of the id, lower-case letters.
        limit_seconds: the job is ended after that many seconds of running; waiting for its turn does not count.
        measuring: have the machine to itself; the job is `queued` while another measures there.
        resumes: the id of the job that this one goes on with.
        runner: where it runs, whatever the settings say.

    Raises:
        JobError: an unknown setting, a full disk, or a runner that cannot start it.
    """
    settings = job_settings(root)
    if runner is not None:
        settings = settings.model_copy(update={"jobs": runner})
    if settings.jobs == "slurm":
        limit_seconds = min(limit_seconds, settings.slurm.timeout_minutes * 60 - ALLOCATION_MARGIN_SECONDS)
    with _one_start_at_a_time(root):
        state = JobState(
            id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(3)}",
            kind=kind,
            title=title,
            command=list(command),
            status="starting",
            created=now(),
            limit_seconds=limit_seconds,
            measuring=measuring,
            runner=settings.jobs,
            resumes=resumes,
        )
        return _launched(state, root, settings)


def _launched(state: JobState, root: Path, settings: JobSettings) -> JobState:
    folder = jobs_folder(root) / state.id
    try:
        folder.mkdir()
        write_state(folder, state)
        if state.runner == "slurm":
            slurm.launch(folder, root, settings.slurm)
        else:
            local.launch(folder, root)
    except OSError as error:
        raise JobError(
            f"Job {state.id} cannot be written ({error.strerror}); free space and start it again."
        ) from error
    except JobError as error:
        with suppress(OSError):
            write_state(folder, state.changed(status="failed", ended=now(), message=str(error)))
        raise
    return _observed(folder)


def status(job_id: str, root: Path, log_lines: int = 20) -> Job:
    """Read one job: state, progress, the last `log_lines` lines of its log, its result when there is one.

    Raises:
        JobError: no such job (the nearest ids are named) or its state file is damaged.
    """
    folder = find_folder(root, job_id)
    return read_job(folder, _observed(folder), log_lines)


def list_jobs(root: Path) -> tuple[list[JobState], list[str]]:
    """Return all jobs, newest first, and the ids of those whose state cannot be read."""
    states, damaged = [], []
    for folder in all_folders(root):
        try:
            states.append(_observed(folder))
        except JobError:
            damaged.append(folder.name)
    return states, damaged


def cancel(job_id: str, root: Path) -> JobState:
    """End a job with everything it started and return its state; a job that has ended stays as it is.

    Within 2 s on this machine; in SLURM as soon as the cluster has ended it.

    Raises:
        JobError: no such job, or it does not end.
    """
    folder = find_folder(root, job_id)
    before = _observed(folder)
    if before.status in ACTIVE:
        with suppress(OSError):
            # On a full disk the job still ends; it is then called failed.
            (folder / "cancel").touch()
    END[before.runner](folder)
    return _observed(folder)


def resume(job_id: str, root: Path, program: Sequence[str]) -> tuple[JobState, bool]:
    """Start a job that goes on where a failed, cancelled or lost one stopped.

    Args:
        job_id: the job to go on with.
        root: the repository.
        program: what stands before the words that the job left, up to and with the program's options.

    Returns:
        The new job, and whether it goes on with words that the old one left (else it starts from the beginning).

    Raises:
        JobError: the job is not over, is finished, is gone on with already, or processes of it still run.
    """
    folder = find_folder(root, job_id)
    old = _observed(folder)
    _check_resumable(old, root)
    words = read_resume_words(folder)
    command = [*program, *words] if words else old.command
    new = start(
        command,
        old.title,
        root,
        kind=old.kind,
        limit_seconds=old.limit_seconds,
        measuring=old.measuring,
        resumes=old.id,
    )
    return new, bool(words)


def _check_resumable(old: JobState, root: Path) -> None:
    if old.status in ACTIVE:
        raise JobError(f"Job {old.id} is {old.status}: there is nothing to resume; job_cancel ends it first.")
    if old.status == "finished":
        raise JobError(f"Job {old.id} is finished: there is nothing to resume; job_status shows its result.")
    if old.id in marks(local.JOB_VARIABLE):
        raise JobError(f"Job {old.id} is {old.status}, but processes of it still run; end them with job_cancel first.")
    for other in list_jobs(root)[0]:
        if other.resumes == old.id and other.status in (*ACTIVE, "finished"):
            raise JobError(f"Job {other.id}, which is {other.status}, resumes {old.id} already; look at it instead.")


def _observed(folder: Path) -> JobState:
    return OBSERVED[read_state(folder).runner](folder)


@contextmanager
def _one_start_at_a_time(root: Path) -> Iterator[None]:
    """Jobs of a repository have an order; they start in it."""
    folder = jobs_folder(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise JobError(f"outputs/jobs cannot be written ({error.strerror}); free space or fix its rights.") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
