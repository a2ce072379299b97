"""Running notebooks, single cells, or code in a kept kernel: bounded, and gone when the caller is."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import anyio.to_thread
from pydantic import Field

from agent_tools.jobs import runners
from agent_tools.jobs.processes import Finished, end_all, marked, run_bounded
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import PAGE_CHARACTERS, RepositoryText
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.notebooks.job import EVENTS_FILE, JOB_FILE, RUN_VARIABLE, CellRun, Event, NotebookJob
from agent_tools.workspace.notebooks.kernels import in_use, start_kept
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.running import Report
from agent_tools.workspace.untrusted import shown

ENGINE = "agent_tools.workspace.notebooks.engine"
NEEDED = ("bs4", "ipykernel", "jupyter_client", "nbclient", "nbformat")
OUTPUT_CAP = 1 << 20

MARGIN_SECONDS = 90
"""Beside max_seconds: the start of the kernel, the reaction to an interrupt, and the last cell's pictures."""


class NotebookError(WorkbenchError):
    """A notebook, or code, that cannot be run."""


class NotebookRun(RepositoryText):
    """What the cells put out."""

    status: str = Field(description="ok, or why it ended early")
    kernel: str = Field(description="id of the kept one")
    chosen: int = Field(description="cells")
    cells: list[dict[str, str]] = Field(description="cell, code, status, seconds, output, error, files")
    omitted: str = Field(description="file with all cells")
    saved: bool
    note: str

    def summary(self) -> str:
        """Say how it ended, and every cell that put something out."""
        ran = sum(row["status"] == "ok" for row in self.cells)
        lines = [f"{self.status}: {ran} of {self.chosen} cells"] if not self.omitted else [self.status]
        lines += [line for row in self.cells for line in _lines(row)]
        ending = (self.note, f"all cells: {self.omitted}" if self.omitted else "", self._kept())
        return "\n".join([*lines, *filter(None, ending)])

    def _kept(self) -> str:
        return f"kernel {self.kernel}" if self.kernel else ""

    def is_failure(self) -> bool:
        """A cell that did not end well makes the command fail."""
        return self.status != "ok"


def _lines(row: dict[str, str]) -> list[str]:
    said = [row[name] for name in ("output", "error", "files") if name in row]
    return [f"[{row['cell']}] {row['status']}: {row.get('code', '')}", *said] if said or row["status"] != "ok" else []


async def notebook_run(
    root: Root,
    report: Report | None = None,
    path: Annotated[str, Field(description="notebook")] = "",
    cells: Annotated[str, Field(description="such as 0,2-4; '' = all")] = "",
    code: Annotated[str, Field(max_length=100_000, description="run after the cells, or alone")] = "",
    kernel: Annotated[str, Field(description="id of a kept kernel")] = "",
    keep_kernel: Annotated[bool, Field(description="start one that stays")] = False,
    save: Annotated[bool, Field(description="outputs into the file")] = False,
    cell_seconds: Annotated[int, Field(ge=1, le=3600)] = 60,
    max_seconds: Annotated[int, Field(ge=1, le=3600)] = 600,
) -> NotebookRun:
    """Run a Python notebook, some of its cells, or code; return what each cell put out, images as files.

    It stops at the first failure. Use a kept kernel to go on with its variables: a job that ends after 30 minutes
    without use. Not for scripts or tests.

    Raises:
        NotebookError: packages are missing, nothing to run is named, or the run broke off.
        KernelError: the kernel cannot be started or used.
        RootError: the path lies outside of the root.
    """
    _check_installed()
    notebook = _notebook(root, path, code)
    folder = notebook.parent if notebook else root.path
    started = await start_kept(root, folder) if keep_kernel and not kernel else ""
    kernel = kernel or started
    with tempfile.TemporaryDirectory(prefix="agent-tools-") as scratch:
        job = NotebookJob(
            root=root.path,
            notebook=str(notebook or ""),
            folder=folder,
            cells=cells,
            code=code,
            save=save,
            cell_seconds=cell_seconds,
            max_seconds=max_seconds,
            connection="",
            pid=0,
            started=0.0,
            server=os.getpid(),
        )
        try:
            with _with_kernel(root, job, kernel) as ready:
                reading = await _run(ready, Path(scratch), report)
        except NotebookError:
            # The answer is a refusal, so nobody would learn the id of the kernel.
            if started:
                await anyio.to_thread.run_sync(runners.cancel, started, root.path)
            raise
    return _result(root, reading, kernel, Path(path).stem or "code")


def _check_installed() -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise NotebookError(
            f"Running notebooks needs packages that are not installed ({', '.join(missing)}); "
            "`pip install 'ocr-workbench[notebook]'` brings them."
        )


def _notebook(root: Root, path: str, code: str) -> Path | None:
    if not path:
        if not code.strip():
            raise NotebookError("There is nothing to run; name a notebook in path, or give code.")
        return None
    notebook = root.resolve(path)
    if not notebook.is_file():
        raise NotebookError(f"'{path}' is not a file; name an .ipynb file.")
    return notebook


@contextmanager
def _with_kernel(root: Root, job: NotebookJob, kernel: str) -> Iterator[NotebookJob]:
    """Yield the job with the kept kernel, if one is named, which nobody else can use meanwhile."""
    if not kernel:
        yield job
        return
    with in_use(root, kernel) as (running, folder):
        if job.notebook and folder != job.folder:
            raise NotebookError(
                f"Kernel {kernel} works in '{root.relative(folder)}', the notebook is in '{root.relative(job.folder)}';"
                " use keep_kernel without an id to start one there."
            )
        yield job.model_copy(
            update={"connection": str(running.connection), "pid": running.pid, "started": running.started}
        )


@dataclass
class _Reading:
    """Follows what the engine says while it runs, so that a run that breaks off still tells what it saw."""

    path: Path
    report: Report | None
    ran: list[CellRun] = field(default_factory=list)
    last: Event = field(default_factory=Event)
    _position: int = 0

    async def follow(self) -> None:
        """Read the lines that are new and complete."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._position)
            lines = [line for line in stream if line.endswith(b"\n")]
        self._position += sum(map(len, lines))
        for line in lines:
            await self._take(Event.model_validate_json(line))

    async def _take(self, event: Event) -> None:
        if event.ran is not None:
            self.ran.append(event.ran)
        self.last = event
        if self.report is not None and event.now:
            await self.report(event.done, event.total, f"cell {event.now}")


async def _run(job: NotebookJob, scratch: Path, report: Report | None) -> _Reading:
    token = secrets.token_hex(8)
    (scratch / JOB_FILE).write_text(job.model_dump_json(), encoding="utf-8")
    reading = _Reading(scratch / EVENTS_FILE, report)
    finished = await run_bounded(
        # -P: a module of the repository must not stand in for one of ours.
        [sys.executable, "-P", "-W", "ignore", "-m", ENGINE, str(scratch)],
        folder=job.root,
        environment={**os.environ, RUN_VARIABLE: token},
        seconds=job.max_seconds + MARGIN_SECONDS,
        output_cap=OUTPUT_CAP,
        watch=reading.follow,
    )
    await reading.follow()
    if finished.exit_code != 0:
        await anyio.to_thread.run_sync(_end_leftovers, job, token)
    _check(reading, finished)
    return reading


def _end_leftovers(job: NotebookJob, token: str) -> None:
    """An engine that was ended could not end what it had started."""
    end_all(lambda: marked(RUN_VARIABLE, token), grace=0)
    kept = job.kept_kernel()
    if kept is not None:
        kept.interrupt()


def _check(reading: _Reading, finished: Finished) -> None:
    if reading.last.problem:
        raise NotebookError(shown(reading.last.problem))
    if finished.exit_code != 0 and not reading.ran:
        said = shown(finished.errors).strip().splitlines()
        raise NotebookError(f"The run broke off before a cell had ended: {said[-1][:300] if said else 'no reason'}.")
    if finished.exit_code != 0:
        reading.last = Event(total=reading.last.total, note="the run broke off: memory or time was over")


def _result(root: Root, reading: _Reading, kernel: str, stem: str) -> NotebookRun:
    rows = [cell.row() for cell in reading.ran]
    kept = _last_that_fit(rows)
    omitted = len(kept) < len(rows)
    return NotebookRun(
        status=_status(reading),
        kernel=kernel,
        chosen=reading.last.total,
        cells=kept,
        omitted=keep(root, f"{stem}-cells.json", json.dumps(rows, indent=1, ensure_ascii=False)) if omitted else "",
        saved=reading.last.saved,
        note=shown(reading.last.note),
    )


def _status(reading: _Reading) -> str:
    if reading.ran and reading.ran[-1].status != "ok":
        return reading.ran[-1].status
    return "ok" if len(reading.ran) == reading.last.total else "stopped"


def _last_that_fit(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The end of a run says why it stopped, so the beginning is left out."""
    room = PAGE_CHARACTERS
    for place in range(len(rows) - 1, -1, -1):
        room -= len(json.dumps(rows[place])) + 2
        if room < 0:
            return rows[place + 1 :] or rows[-1:]
    return rows
