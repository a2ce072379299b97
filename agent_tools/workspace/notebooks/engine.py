"""The process in which a notebook runs: `python -m agent_tools.workspace.notebooks.engine SCRATCH_FOLDER`.

A process of its own keeps Jupyter out of the server, and stands between it and the kernel: when the server vanishes, it
ends the kernel that it started with everything that the cells started, or interrupts the kept one. Of the modules that
`notebook_run` needs, those that import Jupyter are imported here only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.asynchronous.client import AsyncKernelClient
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from agent_tools.jobs.processes import end_all, marked
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.notebooks.cell_outputs import distilled, first_line
from agent_tools.workspace.notebooks.files import NotebookFile
from agent_tools.workspace.notebooks.job import (
    EVENTS_FILE,
    JOB_FILE,
    RUN_VARIABLE,
    CellRun,
    CellStatus,
    Event,
    NotebookJob,
)
from agent_tools.workspace.notebooks.kernel_process import START_SECONDS, KernelError, RunningKernel, start_kernel
from agent_tools.workspace.root import Root

REACTION_SECONDS = 5.0
"""A cell that does not end so long after an interrupt is stuck."""

FLUSH_SECONDS = 30.0
"""After a flood it first has to get rid of what it had printed."""

ANSWER_SECONDS = 10.0
"""A kept kernel that does not answer for so long still runs a cell."""

OUTPUT_CAP = 32 << 20
"""Characters of output of all cells; more interrupts the cell."""

LEAST_TEXT, MOST_TEXT, ALL_TEXT = 200, 2000, 16_000
SERVER_POLL_SECONDS = 0.3
SHUTDOWN_SECONDS = 1.0
VANISHED = 3


class _Connection(AsyncKernelClient):
    """A client that asks the operating system whether the kernel lives: heartbeats stop on a busy machine, too."""

    kernel: RunningKernel

    async def _async_is_alive(self) -> bool:
        return self.kernel.is_alive()

    is_alive = _async_is_alive


class _Cells(NotebookClient):
    """Runs cells; what they put out beyond the cap is dropped, and reported once."""

    def __init__(self, notebook: nbformat.NotebookNode, connection: _Connection) -> None:
        # Its own time limit would wait as long again after the interrupt, and again.
        super().__init__(notebook, timeout=None, iopub_timeout=10, store_widget_state=False, record_timing=False)
        self.kc = connection
        self.room = OUTPUT_CAP
        self.full = asyncio.Event()

    def output(
        self, outs: list[nbformat.NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> nbformat.NotebookNode | None:
        """Take one output while there is room."""
        self.room -= _size(msg["content"]) if self.room >= 0 else 0
        if self.room < 0:
            self.full.set()
            return None
        return super().output(outs, msg, display_id, cell_index)


def _size(content: dict[str, Any]) -> int:
    return len(str(content.get("text", ""))) + sum(len(str(part)) for part in (content.get("data") or {}).values())


class _Run:
    """One notebook, some code, and the kernel that runs them."""

    def __init__(self, job: NotebookJob, events: Path) -> None:
        self.job = job
        self.events = events
        self.root = Root.at(job.root)
        self.file = NotebookFile.read(Path(job.notebook)) if job.notebook else None
        self.notebook = self.file.notebook if self.file else nbformat.v4.new_notebook()
        self.numbers = self.file.chosen(job.cells) if self.file else []
        self.order = list(self.numbers)
        if job.code:
            self.order.append(len(self.notebook.cells))
            self.notebook.cells.append(nbformat.v4.new_code_cell(job.code))
        self.begun: list[int] = []
        self.deadline = time.monotonic() + job.max_seconds

    def tell(self, **fields: Any) -> None:
        """Tell the server one thing."""
        with self.events.open("a", encoding="utf-8") as stream:
            stream.write(Event(total=len(self.order), **fields).model_dump_json() + "\n")

    async def run(self) -> None:
        """Run the cells in order up to the first that does not end well, and save what is to be saved."""
        async with _connected(self.job) as connection:
            cells = _Cells(self.notebook, connection)
            note = ""
            for done, number in enumerate(self.order):
                self.tell(done=done, now=self._name(number))
                if time.monotonic() >= self.deadline:
                    note = f"stopped at max_seconds ({self.job.max_seconds:g}) before cell {self._name(number)}"
                    break
                ran = await self._cell(cells, connection.kernel, number)
                self.tell(done=done + 1, ran=ran)
                if ran.status != "ok":
                    note = self._advice(ran.status)
                    break
        # Only now: a later cell may have changed what an earlier one had shown.
        unsaved = self._save()
        self.tell(saved=self.job.save and not unsaved, note="; ".join(filter(None, (note, unsaved))))

    async def _cell(self, cells: _Cells, kernel: RunningKernel, number: int) -> CellRun:
        cell = self.notebook.cells[number]
        self.begun.append(number)
        began = time.monotonic()
        seconds = min(self.job.cell_seconds, self.deadline - began)
        task = asyncio.ensure_future(cells.async_execute_cell(cell, number))
        status = await _ended(task, cells, kernel, seconds)
        name = f"{Path(self.job.notebook).stem or 'code'}-cell{self._name(number)}"
        cap = min(MOST_TEXT, max(LEAST_TEXT, ALL_TEXT // len(self.order)))
        found = distilled(self.root, name, _merged(cell.outputs), cap)
        return CellRun(
            cell=self._name(number),
            code=first_line(cell.source),
            status=status,
            seconds=f"{time.monotonic() - began:.1f}",
            output=found.text,
            error=found.error,
            files=" ".join(found.files),
        )

    def _name(self, number: int) -> str:
        return "code" if number == len(self.notebook.cells) - 1 and self.job.code else str(number)

    def _advice(self, status: CellStatus) -> str:
        kept = bool(self.job.connection)
        return {
            "failed": "",
            "timed out": "the cell was interrupted at its limit; raise cell_seconds or max_seconds",
            "too much output": f"the cell was interrupted: the run put out over {OUTPUT_CAP >> 20} MiB",
            "died": "the kernel died, and its variables with it" + ("; start another with keep_kernel" if kept else ""),
            "stuck": "the cell ignores interrupts" + ("; job_cancel with its id ends the kernel" if kept else ""),
        }.get(status, "")

    def _save(self) -> str:
        if not self.job.save:
            return ""
        if self.file is None:
            return "not saved: path names no notebook"
        for number in self.begun:
            cell = self.notebook.cells[number]
            cell.outputs = _merged(cell.outputs)
        return self.file.save(number for number in self.begun if number in self.numbers)


async def _ended(task: asyncio.Future[Any], cells: _Cells, kernel: RunningKernel, seconds: float) -> CellStatus:
    """Wait for a cell, interrupt it when its time or the room for its output is over, and tell how it ended."""
    full = asyncio.ensure_future(cells.full.wait())
    await asyncio.wait({task, full}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    full.cancel()
    early: CellStatus | None = "too much output" if cells.full.is_set() else None
    if not task.done():
        early = early or "timed out"
        # What is still on its way may be gigabytes.
        cells.iopub_timeout = 1
        kernel.interrupt()
        await asyncio.wait({task}, timeout=FLUSH_SECONDS if cells.full.is_set() else REACTION_SECONDS)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return "stuck"
    error = task.exception()
    if isinstance(error, DeadKernelError):
        return "died"
    if error is not None and not isinstance(error, CellExecutionError):
        raise error
    return early or ("failed" if error else "ok")


def _merged(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join the pieces in which one stream arrived."""
    merged: list[nbformat.NotebookNode] = []
    for name, group in groupby(outputs, key=lambda output: output.get("name", "")):
        pieces = list(group)
        if name:
            pieces = [nbformat.v4.new_output("stream", name=name, text="".join(piece["text"] for piece in pieces))]
        merged += pieces
    return merged


@asynccontextmanager
async def _connected(job: NotebookJob) -> AsyncIterator[_Connection]:
    """Connect to the kept kernel, or to one that is started here and ends here with all that its cells started."""
    kept = job.kept_kernel()
    if kept is not None:
        async with _client(kept, job.server, ANSWER_SECONDS) as connection:
            yield connection
        return
    scratch = Path(sys.argv[1])
    kernel, process = await asyncio.to_thread(start_kernel, job.root, job.folder, scratch)
    try:
        async with _client(kernel, job.server, START_SECONDS) as connection:
            yield connection
            # Whoever registered something for the end of the program gets the chance to do it.
            connection.shutdown()
            await _gone(kernel)
    finally:
        _end_everything()
        process.wait()


async def _gone(kernel: RunningKernel) -> None:
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while kernel.is_alive() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _client(kernel: RunningKernel, server: int, seconds: float) -> AsyncIterator[_Connection]:
    connection = _Connection()
    connection.kernel = kernel
    connection.load_connection_file(str(kernel.connection))
    connection.start_channels(hb=False)
    connection.allow_stdin = False
    watching = asyncio.ensure_future(_watch(server, kernel))
    try:
        await _answered(connection, seconds)
        yield connection
    finally:
        watching.cancel()
        connection.stop_channels()


async def _answered(connection: _Connection, seconds: float) -> None:
    try:
        await connection.wait_for_ready(timeout=seconds)
    except RuntimeError as error:
        raise KernelError(
            f"The kernel does not answer within {seconds:.0f} s: it died, or a cell still runs in it; "
            "job_cancel with its id ends a kept one."
        ) from error


async def _watch(server: int, kernel: RunningKernel) -> None:
    """Leave nothing behind when the server is gone: this process has another parent then."""
    while os.getppid() == server:
        await asyncio.sleep(SERVER_POLL_SECONDS)
    kernel.interrupt()
    _end_everything()
    os._exit(VANISHED)


def _end_everything() -> None:
    """End what this run started, in whatever session it is; a kept kernel is not among it."""
    end_all(lambda: marked(RUN_VARIABLE, os.environ[RUN_VARIABLE]), grace=0.3)


def main() -> None:
    """Run the job in the folder that the command line names."""
    # What Jupyter has to say there goes to nobody, and could fill the pipe.
    logging.disable(logging.CRITICAL)
    scratch = Path(sys.argv[1])
    job = NotebookJob.model_validate_json((scratch / JOB_FILE).read_bytes())
    events = scratch / EVENTS_FILE
    try:
        asyncio.run(_Run(job, events).run())
    except WorkbenchError as error:
        events.open("a", encoding="utf-8").write(Event(problem=str(error)).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
