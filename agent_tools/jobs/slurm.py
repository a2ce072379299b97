"""Jobs in SLURM: submitted through submitit, with the same supervisor inside of the allocation as on this machine.

SLURM knows a job by its name, which is our id: no number has to be kept that a starter killed between submission and
note would lose. The job's folder is on a file system that the nodes share. Neither submitit's files nor accounting are
asked for a state: only the queue, and the supervisor's word.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from agent_tools.jobs.folders import ACTIVE, JobError, JobState, is_recent, now, read_state, write_state
from agent_tools.jobs.local import end_processes
from agent_tools.jobs.settings import SlurmSettings
from agent_tools.jobs.supervisor import stand_over

COMMAND_SECONDS = 30.0
CANCEL_SECONDS = 60.0
"""Longer than SLURM's default wait between its polite signal and its final one."""

WAITS = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "RESIZING"})
RUNS = frozenset({"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED"})
HINT = 'install SLURM\'s client programs on this machine, or set jobs = "local" in [tool.agent-tools]'


def launch(folder: Path, root: Path, settings: SlurmSettings) -> None:
    """Submit the supervisor of the job in `folder`.

    Raises:
        JobError: SLURM or submitit is not installed, or the submission was refused.
    """
    try:
        import submitit  # noqa: PLC0415 - only here
    except ImportError as error:
        raise JobError("Jobs in SLURM need submitit, which is not installed; run `pip install submitit`.") from error
    _program("sbatch")
    _program("srun")
    executor = submitit.SlurmExecutor(folder=folder / "slurm")
    executor.update_parameters(**_parameters(folder.name, root, settings))
    try:
        executor.submit(stand_over, folder, root)
    except (OSError, submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise JobError(f"SLURM did not take job {folder.name}: {_last_line(str(error))}") from error


def observed(folder: Path) -> JobState:
    """Return the state of a job as its supervisor and SLURM's queue have it together.

    Raises:
        JobError: the state file is damaged.
    """
    state = read_state(folder)
    if state.status not in ACTIVE:
        return state
    try:
        slurm_id, slurm_state, reason = _queue_entry(folder.name)
    except JobError as error:
        # A controller that is away for a while ends no job.
        return state.changed(message=str(error))
    if slurm_state in WAITS:
        return state.changed(status="queued", slurm_id=slurm_id, message=f"waits in SLURM as {slurm_id} ({reason})")
    if slurm_state in RUNS or (not slurm_id and not state.supervisor_pid and is_recent(state)):
        return state.changed(slurm_id=slurm_id)
    # It may have ended between the two looks: its last word counts.
    state = read_state(folder)
    if state.status not in ACTIVE:
        return state
    message = (
        f"the job left SLURM ({slurm_state or 'no longer known there'}) without a last word; what it said there is in "
        f"outputs/jobs/{folder.name}/slurm"
    )
    return state.changed(status="lost", slurm_id=slurm_id or state.slurm_id, message=message)


def end(folder: Path) -> None:
    """Cancel a job in SLURM and wait for its last word; a job that never started gets it from here.

    Raises:
        JobError: SLURM refuses, or the job does not end.
    """
    _run("scancel", f"--name={folder.name}")
    # What escaped from the allocation of a lost supervisor, where that was on this machine.
    end_processes(folder.name)
    deadline = time.monotonic() + CANCEL_SECONDS
    while (state := observed(folder)).status in ACTIVE:
        if time.monotonic() > deadline:
            raise JobError(
                f"Job {folder.name} is still {state.status} in SLURM; look at it with `squeue` and try again."
            )
        time.sleep(0.1)
    if state.status == "lost" and not state.supervisor_pid:
        write_state(folder, state.changed(status="cancelled", ended=now(), message="cancelled before it started"))


def _parameters(name: str, root: Path, settings: SlurmSettings) -> dict[str, Any]:
    given = {
        "partition": settings.partition,
        "cpus_per_task": settings.cpus,
        "mem": f"{round(settings.memory_gib * 1024)}M" if settings.memory_gib else "",
        "gpus_per_node": settings.gpus,
        "exclusive": settings.exclusive,
    }
    return {
        "job_name": name,
        "time": settings.timeout_minutes,
        "signal_delay_s": 5,
        # A second run of the same job would write over the first one's files.
        "additional_parameters": {"chdir": str(root), "no-requeue": True},
        **{key: value for key, value in given.items() if value},
    }


def _queue_entry(name: str) -> tuple[str, str, str]:
    """Return SLURM's number, state and reason of a job; empty texts where it is unknown or forgotten."""
    listed = _run("squeue", "--noheader", f"--name={name}", "--states=all", "--format=%i|%T|%r").splitlines()
    slurm_id, _, rest = listed[-1].strip().partition("|") if listed else ("", "", "")
    state, _, reason = rest.partition("|")
    return slurm_id, state, reason


def _run(program: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [_program(program), *arguments], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"{program} did not answer in {COMMAND_SECONDS:.0f} s; is the SLURM controller up?") from error
    if done.returncode != 0:
        raise JobError(f"{program} failed: {_last_line(done.stderr)}")
    return done.stdout


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise JobError(f"Jobs in SLURM need {name}, which is not on the PATH; {HINT}.")
    return path


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no message"
