"""Kept kernels: state across calls, clients and servers; one user at a time; never an orphan."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest

pytest.importorskip("nbclient", reason="needs the extra 'notebook'")

from agent_tools.jobs import runners
from agent_tools.jobs.folders import JobError
from agent_tools.workflows.jobs import job_cancel, job_status
from agent_tools.workspace.notebooks.kernel_process import KernelError
from agent_tools.workspace.notebooks.kernels import in_use, start_kept
from agent_tools.workspace.notebooks.running import NotebookError, NotebookRun, notebook_run
from agent_tools.workspace.root import Root
from tests.agent_tools.jobs.waiting import until_ended
from tests.agent_tools.workspace.notebooks.small_notebooks import (
    CHILD,
    MARKER,
    outputs,
    processes,
    run,
    until,
    until_async,
    write,
)

CALL = """
import sys, anyio
from functools import partial
from pathlib import Path
from agent_tools.workspace.notebooks.running import notebook_run
from agent_tools.workspace.root import Root
result = anyio.run(partial(notebook_run, Root.at(Path(sys.argv[1])), code=sys.argv[2], kernel=sys.argv[3]))
print(result.cells[0].get("output"))
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    yield Root.at(tmp_path)
    for job in runners.list_jobs(tmp_path)[0]:
        runners.cancel(job.id, tmp_path)


@pytest.fixture
def kernel(root: Root) -> str:
    return kept(root)


def kept(root: Root, **given: float) -> str:
    return anyio.run(partial(start_kept, root, root.path, **given))


def code(root: Root, source: str, kernel: str, **given: int) -> NotebookRun:
    return run(root.path, code=source, kernel=kernel, **given)


def called_by_another_process(root: Root, source: str, kernel: str) -> str:
    command = [sys.executable, "-c", CALL, str(root.path), source, kernel]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# --- state -------------------------------------------------------------------------------------------------------


def test_a_kept_kernel_goes_on_with_its_variables_in_later_calls_and_in_another_server(root, monkeypatch):
    marker = MARKER + "kept"
    monkeypatch.setenv("TEST_MARKER", marker)
    write(root.path / "a.ipynb", "x = 20", "print(x + 1)")
    first = run(root.path, path="a.ipynb", cells="0", keep_kernel=True)
    assert (first.status, first.summary().splitlines()[-1]) == ("ok", f"kernel {first.kernel}")
    assert outputs(run(root.path, path="a.ipynb", cells="1", kernel=first.kernel)) == {"1": "21"}
    assert code(root, CHILD, first.kernel).status == "ok"
    assert called_by_another_process(root, "x += 22\nprint(x)", first.kernel) == "42"
    assert any("sleep" in one.name() for one in processes(marker)), "what a cell started belongs to the kernel"
    listed = job_status(root)
    assert [(row["job"], row["status"], row["title"]) for row in listed.jobs] == [
        (first.kernel, "running", "kernel in .")
    ]
    assert "ends after 1800 s without use" in job_status(root, first.kernel).message
    began = time.monotonic()
    assert job_cancel(root, first.kernel).status == "cancelled"
    assert time.monotonic() - began < 4
    assert processes(marker) == []
    with pytest.raises(KernelError, match="is cancelled; start another with keep_kernel"):
        code(root, "x", first.kernel)


def test_a_cell_over_its_limit_and_a_cancelled_call_leave_the_variables(root, kernel, monkeypatch):
    assert code(root, "x = 1", kernel).status == "ok"
    late = code(root, "x = 2\nimport time\ntime.sleep(300)", kernel, cell_seconds=1)
    assert (late.status, late.cells[0]["error"][:17]) == ("timed out", "KeyboardInterrupt")
    marker = root.path / "begun"

    async def cancel_in_mid_cell() -> None:
        source = f"x = 3\nopen({str(marker)!r}, 'w').close()\ntime.sleep(300)"
        async with anyio.create_task_group() as group:
            group.start_soon(partial(notebook_run, root, code=source, kernel=kernel))
            await until_async(marker.exists)
            group.cancel_scope.cancel()

    anyio.run(cancel_in_mid_cell)
    assert outputs(code(root, "x", kernel)) == {"code": "3"}


def test_a_server_that_is_killed_leaves_a_kernel_that_is_free_again(root, kernel):
    begun = root.path / "begun"
    source = f"x = 5\nopen({str(begun)!r}, 'w').close()\nimport time\ntime.sleep(300)"
    with subprocess.Popen([sys.executable, "-c", CALL, str(root.path), source, kernel]) as process:
        until(begun.exists)
        process.kill()
    assert outputs(code(root, "x", kernel)) == {"code": "5"}


# --- one at a time -----------------------------------------------------------------------------------------------


def test_a_second_caller_is_told_that_the_kernel_is_in_use(root, kernel):
    with in_use(root, kernel), pytest.raises(KernelError, match="is in use by another call"):
        code(root, "1", kernel)
    assert code(root, "1", kernel).status == "ok"


def test_a_notebook_of_another_folder_is_refused(root, kernel):
    write(root.path / "docs" / "a.ipynb", "1")
    with pytest.raises(NotebookError, match=r"works in '\.', the notebook is in 'docs'"):
        run(root.path, path="docs/a.ipynb", kernel=kernel)


# --- its end -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kept_kernel_that_nobody_uses_ends_by_itself(root, monkeypatch):
    marker = MARKER + "idle"
    monkeypatch.setenv("TEST_MARKER", marker)
    kernel = kept(root, idle_seconds=4)
    # In use, it stays.
    assert code(root, f"{CHILD}\nimport time\ntime.sleep(6)\nprint('still')", kernel).cells[0]["output"] == "still"
    job = until_ended(kernel, root.path)
    assert (job.state.status, job.log_tail) == ("finished", ["not used for 4 s: ended"])
    assert processes(marker) == []


def test_a_kept_kernel_that_dies_ends_its_job_and_says_so(root, kernel):
    died = code(root, "import os; os._exit(3)", kernel)
    assert (died.status, died.note) == (
        "died",
        "the kernel died, and its variables with it; start another with keep_kernel",
    )
    assert until_ended(kernel, root.path).state.exit_code == 3
    with pytest.raises(KernelError, match="is failed; start another"):
        code(root, "1", kernel)


def test_a_kept_kernel_dies_with_the_process_that_keeps_it(root, monkeypatch):
    marker = MARKER + "host"
    monkeypatch.setenv("TEST_MARKER", marker)
    kept(root)
    for one in processes(marker):
        if "agent_tools.workspace.notebooks.kernel_host" in one.cmdline():
            one.kill()
    until(lambda: not processes(marker), 20)


@pytest.mark.slow
def test_a_stuck_cell_keeps_the_kernel_busy_until_the_job_is_cancelled(root, kernel):
    stuck = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(300)"
    result = code(root, stuck, kernel, cell_seconds=1)
    assert (result.status, result.note) == (
        "stuck",
        "the cell ignores interrupts; job_cancel with its id ends the kernel",
    )
    with pytest.raises(NotebookError, match="a cell still runs in it; job_cancel"):
        code(root, "1", kernel)
    assert job_cancel(root, kernel).status == "cancelled"


# --- refusals ----------------------------------------------------------------------------------------------------


def test_what_is_no_kernel_is_refused_by_name(root):
    job = runners.start([sys.executable, "-c", "import time; time.sleep(300)"], "a job", root.path, measuring=False)
    with pytest.raises(KernelError, match="is no kernel but: a job"):
        code(root, "1", job.id)
    with pytest.raises(JobError, match="There is no job"):
        code(root, "1", "../../etc")


def test_a_kernel_that_cannot_start_says_why_and_leaves_no_running_job(root):
    (root.path / "ipykernel_launcher.py").write_text("raise SystemExit('broken on purpose')")
    with pytest.raises(KernelError, match="broken on purpose"):
        kept(root)
    assert [state.status for state in runners.list_jobs(root.path)[0]] == ["failed"]


def test_a_start_that_is_cancelled_leaves_no_job_running(root):
    async def cancel_while_it_starts() -> None:
        with anyio.move_on_after(0.01):
            await start_kept(root, root.path)

    anyio.run(cancel_while_it_starts)
    assert [state.status for state in runners.list_jobs(root.path)[0]] == ["cancelled"]


def test_a_kernel_stays_on_this_machine_where_jobs_go_to_slurm(root, monkeypatch):
    monkeypatch.setenv("AGENT_TOOLS_JOBS", "slurm")
    kernel = kept(root)
    assert runners.status(kernel, root.path).state.runner == "local"


def test_a_kernel_that_was_started_for_a_refused_notebook_does_not_stay(tmp_path):
    root = Root.at(tmp_path)
    write(tmp_path / "a.ipynb", "1")
    with pytest.raises(NotebookError):
        anyio.run(partial(notebook_run, root, path="a.ipynb", cells="99", keep_kernel=True))
    assert [row["status"] for row in job_status(root).jobs] == ["cancelled"]
