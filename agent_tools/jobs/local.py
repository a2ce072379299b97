"""Jobs on this machine: started detached, described by files, so that they outlive whoever started them.

The job finds the files it writes by the variables below; the layout of its folder is in `agent_tools.jobs.folders`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from agent_tools.jobs.folders import (
    ACTIVE,
    START_SECONDS,
    WAITING,
    JobError,
    JobState,
    is_recent,
    read_state,
)
from agent_tools.jobs.processes import end_all, is_alive, marked, own_module, with_program
from agent_tools.records.store import write_atomically

JOB_VARIABLE = "AGENT_TOOLS_JOB"
PROGRESS_VARIABLE = "AGENT_TOOLS_PROGRESS"
RESULT_VARIABLE = "AGENT_TOOLS_RESULT"
RESUME_VARIABLE = "AGENT_TOOLS_RESUME"


class Reporter:
    """The job's own side: where the process that does the work reports progress and leaves its result.

    Outside a job all paths are None and nothing is written.
    """

    def __init__(self) -> None:
        self.progress_path = _taken(PROGRESS_VARIABLE)
        self.result_path = _taken(RESULT_VARIABLE)
        self.resume_path = _taken(RESUME_VARIABLE)

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

    def resume_with(self, words: Sequence[str]) -> None:
        """Leave the words after `agent-tools` that go on with this work, should it end before it is done."""
        if self.resume_path is not None:
            write_atomically(self.resume_path, json.dumps(list(words)) + "\n")


def _taken(variable: str) -> Path | None:
    # Removed from the environment: a process that this one starts must not report in its name.
    path = os.environ.pop(variable, "")
    return Path(path) if path else None


def launch(folder: Path, root: Path) -> None:
    """Start the supervisor of the job in `folder`, detached.

    Raises:
        JobError: it did not start.
    """
    command = [*own_module("agent_tools.jobs.supervisor"), str(folder), str(root)]
    # The supervisor detaches itself and this process ends at once, so nobody is left to wait for it.
    try:
        answer = subprocess.run(
            command,
            cwd=root,
            env=with_program(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"The supervisor of job {folder.name} did not start in {START_SECONDS:.0f} s.") from error
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        raise JobError(f"The supervisor of job {folder.name} did not start: {said[-1] if said else 'no message'}.")


def observed(folder: Path) -> JobState:
    """Return the state of a job, `lost` where its supervisor is gone without a last word.

    Raises:
        JobError: the state file is damaged.
    """
    state = read_state(folder)
    if state.status not in ACTIVE or _supervised(state):
        return state
    # It may have ended between the two looks: its last word counts.
    state = read_state(folder)
    if state.status not in ACTIVE:
        return state
    return state.changed(status="lost", message="the process vanished without a last word")


def end(folder: Path) -> None:
    """End the processes of a job within 2 s; its supervisor then writes the last word.

    Raises:
        JobError: a process of it cannot be ended.
    """
    state = observed(folder)
    if state.status in WAITING and _supervised(state):
        # No process of the job is there yet whose end its supervisor would see.
        with suppress(psutil.Error):
            psutil.Process(state.supervisor_pid).terminate()
    leftovers = end_processes(folder.name)
    _await_end(folder)
    if leftovers:
        raise JobError(f"{leftovers} processes of job {folder.name} do not end; look at them with `ps` and try again.")


def end_processes(job_id: str) -> int:
    """End every process of a job, in whatever session it is; return how many remain. The supervisor is not one."""
    return end_all(lambda: marked(JOB_VARIABLE, job_id))


def _supervised(state: JobState) -> bool:
    if state.supervisor_pid:
        return is_alive(state.supervisor_pid, state.supervisor_started)
    return is_recent(state)


def _await_end(folder: Path, seconds: float = 1.5) -> None:
    deadline = time.monotonic() + seconds
    while observed(folder).status in ACTIVE and time.monotonic() < deadline:
        time.sleep(0.02)
