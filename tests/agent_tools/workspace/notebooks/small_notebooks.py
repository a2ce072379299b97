"""Small notebooks and calls for the tests of notebooks and kernels."""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import psutil

from agent_tools.jobs.processes import marked
from agent_tools.workspace.notebooks.running import NotebookRun, notebook_run
from agent_tools.workspace.root import Root

CHILD = "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)"
"""What a cell runs that leaves a process behind."""
MARKER = f"notebook-{os.getpid()}-"
"""Another run of these tests on this machine has processes of its own."""


def write(path: Path, *sources: str) -> Path:
    """Write a notebook of code cells; a source that starts with `#md` becomes a text cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content(*sources), indent=1) + "\n")
    return path


def content(*sources: str) -> dict[str, Any]:
    cells = [_cell(number, source) for number, source in enumerate(sources)]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _cell(number: int, source: str) -> dict[str, Any]:
    common = {"id": f"c{number}", "metadata": {}, "source": source.splitlines(keepends=True)}
    if source.startswith("#md"):
        return {"cell_type": "markdown", **common}
    return {"cell_type": "code", "execution_count": None, "outputs": [], **common}


def run(folder: Path, **given: Any) -> NotebookRun:
    return anyio.run(partial(notebook_run, Root.at(folder), **given))


def outputs(result: NotebookRun) -> dict[str, str]:
    return {row["cell"]: row.get("output", "") for row in result.cells}


def processes(marker: str) -> list[psutil.Process]:
    return [one for one in marked("TEST_MARKER", marker) if one.status() != psutil.STATUS_ZOMBIE]


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.03)


async def until_async(condition: Callable[[], object], seconds: float = 60) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.03)
