"""The job of a kept kernel: `python -m agent_tools.workspace.notebooks.kernel_host ROOT FOLDER IDLE_SECONDS`.

It starts the kernel, says when it listens, and ends it when nobody used it for so long. The kernel dies with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from agent_tools.jobs.folders import jobs_folder
from agent_tools.jobs.local import JOB_VARIABLE, Reporter
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.notebooks.kernel_process import start_kernel
from agent_tools.workspace.notebooks.kernels import LOCK_FILE, Kept, exclusive

LONGEST_PAUSE = 1.0


def main() -> int:
    """Keep a kernel until it ends or nobody uses it."""
    root, folder, idle_seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    reporter = Reporter()
    place = jobs_folder(root) / os.environ[JOB_VARIABLE]
    try:
        kernel, process = start_kernel(root, folder, place)
    except WorkbenchError as error:
        return _said(str(error), 1)
    (place / LOCK_FILE).touch()
    Kept(pid=kernel.pid, started=kernel.started, folder=folder).write(place)
    reporter.progress(0, message=f"listens; ends after {idle_seconds:g} s without use")
    return _keep(process, place, idle_seconds)


def _keep(process: subprocess.Popen[bytes], place: Path, idle_seconds: float) -> int:
    while True:
        try:
            code = process.wait(timeout=min(LONGEST_PAUSE, idle_seconds / 4))
            return _said(f"the kernel ended with exit code {code}", code if code >= 0 else 1)
        except subprocess.TimeoutExpired:
            pass
        with exclusive(place) as unused:
            # Ended while the lock is held: nobody can begin to use it in between.
            if unused and time.time() - (place / LOCK_FILE).stat().st_mtime > idle_seconds:
                process.kill()
                process.wait()
                return _said(f"not used for {idle_seconds:g} s: ended", 0)


def _said(message: str, code: int) -> int:
    sys.stdout.write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
