"""What the server and the process of one `notebook_run` tell each other: a job file there, lines of JSON back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from agent_tools.workspace.notebooks.kernel_process import RunningKernel

JOB_FILE = "job.json"
EVENTS_FILE = "events.jsonl"

RUN_VARIABLE = "AGENT_TOOLS_NOTEBOOK"
"""Marks the processes of one run; every descendant inherits it, whatever session it moves to."""

CellStatus = Literal["ok", "failed", "timed out", "too much output", "died", "stuck"]


class NotebookJob(BaseModel):
    """What is to be run, checked by the server.

    Attributes:
        root: the repository.
        notebook: absolute; '' where only `code` runs.
        folder: the working directory of a kernel that is started.
        cells: which ones, as the caller wrote it.
        code: run after the cells; '' for none.
        save: write outputs into the notebook.
        cell_seconds: limit of each cell.
        max_seconds: limit of all.
        connection: of a kept kernel; '' starts one for this run.
        pid: of the kept kernel.
        started: of the kept kernel.
        server: process that waits for this run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path
    notebook: str
    folder: Path
    cells: str
    code: str
    save: bool
    cell_seconds: float
    max_seconds: float
    connection: str
    pid: int
    started: float
    server: int

    def kept_kernel(self) -> RunningKernel | None:
        """The kept kernel that runs it; None where one is started for it."""
        return RunningKernel(Path(self.connection), self.pid, self.started) if self.connection else None


class CellRun(BaseModel):
    """One cell that ran, or began to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: str
    code: str
    status: CellStatus
    seconds: str
    output: str
    error: str
    files: str

    def row(self) -> dict[str, str]:
        """The cell without what is empty."""
        return {name: value for name, value in self.model_dump().items() if value}


class Event(BaseModel):
    """One line: a cell that begins (`now`), one that ended (`ran`), the last word (`note`), or why nothing runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    done: int = 0
    total: int = 0
    now: str = ""
    ran: CellRun | None = None
    saved: bool = False
    note: str = ""
    problem: str = ""
