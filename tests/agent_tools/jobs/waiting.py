"""Waiting for jobs and processes in tests."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from agent_tools.jobs import runners
from agent_tools.jobs.folders import ACTIVE, Job

SLEEP = "import time; time.sleep(300)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def until_ended(job_id: str, root: Path, seconds: float = 120) -> Job:
    deadline = time.monotonic() + seconds
    while (job := runners.status(job_id, root)).state.status in ACTIVE:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
