"""One Python kernel as a process: how it is started, watched, interrupted. Nothing here imports Jupyter.

The kernel binds its own free ports on the loopback interface and writes them, with the key of its messages, into its
connection file: whoever picked ports for it could lose them to another process. Sockets of files would be left behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent_tools.jobs.processes import is_alive
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.testing.suite_runs import DROPPED_VARIABLES

START_SECONDS = 60.0
CONNECTION_FILE = "kernel.json"
ERRORS_FILE = "kernel.err"
OPTIONS = ("--HistoryManager.enabled=False", "--log-level=40")
"""No history in the user's folders; errors only, for it warns that the loopback interface is not encrypted."""
KEYS = {"ip", "key", "shell_port", "iopub_port", "control_port", "stdin_port", "hb_port"}


class KernelError(WorkbenchError):
    """A kernel that cannot be started, found or used."""


@dataclass(frozen=True)
class RunningKernel:
    """A kernel that runs, whoever started it.

    Attributes:
        connection: its connection file.
        pid: of its process, which leads a process group.
        started: seconds since the epoch, so that a later process with this number is not taken for it.
    """

    connection: Path
    pid: int
    started: float

    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return is_alive(self.pid, self.started)

    def interrupt(self) -> None:
        """Interrupt the running cell and the programs that it started; an idle kernel takes no notice."""
        if self.is_alive():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGINT)


def start_kernel(root: Path, folder: Path, scratch: Path) -> tuple[RunningKernel, subprocess.Popen[bytes]]:
    """Start a kernel that ends with this process, and wait until it listens.

    Args:
        root: the repository; its packages can be imported.
        folder: the working directory.
        scratch: takes the connection file, IPython's profile and the kernel's own complaints.

    Raises:
        KernelError: it ended, or did not listen in time; its last words are quoted.
    """
    connection = scratch / CONNECTION_FILE
    with (scratch / ERRORS_FILE).open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection), *OPTIONS],
            cwd=folder,
            env=_environment(root, scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    _await_connection(process, connection)
    return RunningKernel(connection, process.pid, psutil.Process(process.pid).create_time()), process


def _environment(root: Path, scratch: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
    path = os.pathsep.join(filter(None, (str(root), inherited.get("PYTHONPATH", ""))))
    return inherited | {
        "PYTHONPATH": path,
        "IPYTHONDIR": str(scratch / "ipython"),
        # The kernel looks once a second whether this process is still its parent, and ends if not.
        "JPY_PARENT_PID": str(os.getpid()),
    }


def _await_connection(process: subprocess.Popen[bytes], connection: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _listens(connection):
        if process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            continue
        process.kill()
        process.wait()
        said = (connection.parent / ERRORS_FILE).read_text(errors="replace").strip().splitlines()
        raise KernelError(f"The kernel did not start: {said[-1][:300] if said else 'it said nothing'}.")


def _listens(connection: Path) -> bool:
    # Until the kernel has written all of it, the file is no JSON.
    try:
        return json.loads(connection.read_bytes()).keys() >= KEYS
    except (OSError, ValueError):
        return False
