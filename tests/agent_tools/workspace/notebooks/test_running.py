"""Running notebooks in real kernels: what comes back, what stays, and what never does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import anyio
import pytest
from PIL import Image

pytest.importorskip("nbclient", reason="needs the extra 'notebook'")

from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workspace.notebooks import running as notebooks
from agent_tools.workspace.notebooks.running import NotebookError, notebook_run
from agent_tools.workspace.root import Root, RootError
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


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what comes back ---------------------------------------------------------------------------------------------


def test_a_whole_notebook_gives_the_outputs_of_its_code_in_its_own_folder_and_the_file_stays_as_it_is(tmp_path):
    (tmp_path / "own_package.py").write_text("VALUE = 7\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "data.txt").write_text("beside the notebook")
    path = write(
        tmp_path / "docs" / "a.ipynb",
        "#md a title",
        "print(open('data.txt').read())\nx = 3",
        "import own_package\nx * own_package.VALUE",
        "import sys; print('seen', file=sys.stderr)",
        "y = 1",
    )
    before, seen = digest(path), []

    async def report(done: float, total: float | None, message: str) -> None:
        seen.append((done, total, message))

    result = run(tmp_path, path="docs/a.ipynb", report=report)
    assert (result.status, result.chosen, result.kernel, result.saved) == ("ok", 4, "", False)
    assert outputs(result) == {"1": "beside the notebook", "2": "21", "3": "[stderr] seen", "4": ""}
    assert result.cells[1]["code"] == "import own_package"
    assert seen[-1] == (3, 4, "cell 4")
    assert not result.is_failure()
    assert digest(path) == before
    files = {file.name for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".pyc"}
    assert files == {"own_package.py", "data.txt", "a.ipynb"}


def test_chosen_cells_run_in_the_order_given_and_code_after_them(tmp_path):
    write(tmp_path / "a.ipynb", "x = 1", "x = x + 1\nprint(x)", "#md text", "x = 10")
    result = run(tmp_path, path="a.ipynb", cells="3,1", code="x * 100")
    assert [row["cell"] for row in result.cells] == ["3", "1", "code"]
    assert outputs(result) == {"3": "", "1": "11", "code": "1100"}


def test_the_first_failure_stops_the_run_with_its_cell_and_a_traceback_without_colours(tmp_path):
    write(tmp_path / "a.ipynb", "print('before')", "print('partly')\ndef f(): return 1 / 0\nf()", "print('never')")
    result = run(tmp_path, path="a.ipynb")
    assert (result.status, [row["status"] for row in result.cells]) == ("failed", ["ok", "failed"])
    assert outputs(result) == {"0": "before", "1": "partly"}
    assert result.cells[1]["error"].startswith("ZeroDivisionError: division by zero\n")
    assert "return 1 / 0" in result.cells[1]["error"]
    assert "\x1b" not in result.model_dump_json()
    assert "1 of 3 cells" in result.summary()
    assert result.is_failure()


def test_a_cell_that_asks_for_input_is_told_that_nobody_is_there(tmp_path):
    began = time.monotonic()
    result = run(tmp_path, code="input('name? ')", cell_seconds=60)
    assert result.status == "failed"
    assert "StdinNotImplementedError" in result.cells[0]["error"]
    assert time.monotonic() - began < 50


def test_pictures_are_scaled_and_kept_tables_are_text_and_nothing_is_hidden(tmp_path):
    result = run(
        tmp_path,
        code="from PIL import Image\nfrom IPython.display import HTML, display\n"
        "display(Image.new('RGB', (1600, 400), 'red'))\n"
        "display(HTML('<style>b{}</style><table><tr><th>a</th><td> 1 </td></tr><tr><td>b</td></tr></table>'))\n"
        "print('\\u202e hidden', 'ghp_' + 'a' * 30)",
    )
    (row,) = result.cells
    assert row["output"] == "a | 1\nb\n<U+202E> hidden <secret masked>"
    with Image.open(Root.at(tmp_path).resolve(row["files"])) as image:
        assert image.size == (800, 200)


def test_ten_megabytes_of_prints_are_bounded_and_the_whole_is_kept(tmp_path):
    result = run(tmp_path, code="for n in range(20_000): print(f'{n:0499d}')\nprint('end')")
    (row,) = result.cells
    assert (result.status, len(row["output"]) < 2100) == ("ok", True)
    assert row["output"].endswith("\nend")
    assert "characters left out]" in row["output"]
    assert (tmp_path / row["files"]).stat().st_size > 10_000_000


@pytest.mark.slow
def test_a_flood_of_output_is_interrupted(tmp_path):
    result = run(tmp_path, code="while True: print('x' * 1_000_000)", cell_seconds=100)
    assert result.status == "too much output"
    assert "32 MiB" in result.note


def test_output_that_was_dropped_is_never_called_whole(tmp_path):
    assert run(tmp_path, code="print('x' * (33 << 20))").status == "too much output"


def test_a_long_run_stays_under_the_limit_and_its_end_is_what_is_shown(tmp_path):
    write(tmp_path / "a.ipynb", *["print('\"' * 300)"] * 150, "1 / 0")
    result = run(tmp_path, path="a.ipynb")
    assert len(result.model_dump_json()) < CHARACTER_LIMIT
    assert result.cells[-1]["error"].startswith("ZeroDivisionError")
    kept = json.loads((tmp_path / result.omitted).read_text())
    assert len(kept) == 151 > len(result.cells)


def test_the_command_line_has_the_same_tool(tmp_path):
    write(tmp_path / "a.ipynb", "print('hello')", "1 / 0")
    command = [sys.executable, "-m", "agent_tools.cli", "--root", str(tmp_path), "notebook", "run", "a.ipynb", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    result = json.loads(answer.stdout)
    assert [(row["cell"], row["status"]) for row in result["cells"]] == [("0", "ok"), ("1", "failed")]
    assert "cell 1" in answer.stderr


# --- limits ------------------------------------------------------------------------------------------------------


def test_a_cell_over_its_limit_is_interrupted_and_what_it_printed_is_returned(tmp_path):
    write(tmp_path / "a.ipynb", "print('first')", "import time\nprint('begun')\ntime.sleep(300)", "print('never')")
    began = time.monotonic()
    result = run(tmp_path, path="a.ipynb", cell_seconds=1)
    assert time.monotonic() - began < 60
    assert [row["status"] for row in result.cells] == ["ok", "timed out"]
    assert result.cells[1]["output"] == "begun"
    assert result.cells[1]["error"].startswith("KeyboardInterrupt")
    assert "cell_seconds" in result.note


def test_the_limit_of_the_run_holds_for_all_cells_together(tmp_path):
    write(tmp_path / "a.ipynb", *["import time; time.sleep(2)"] * 5)
    result = run(tmp_path, path="a.ipynb", max_seconds=3)
    assert result.status in ("timed out", "stopped")
    assert len(result.cells) < 5
    assert "max_seconds" in result.note


@pytest.mark.slow
def test_a_cell_that_ignores_interrupts_is_stuck_and_gone_nevertheless(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_MARKER", MARKER + "stuck")
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nimport time\ntime.sleep(300)"
    result = run(tmp_path, code=code, cell_seconds=1)
    assert (result.status, result.note) == ("stuck", "the cell ignores interrupts")
    assert processes(MARKER + "stuck") == []


def test_a_kernel_that_dies_is_a_sentence_with_what_was_seen(tmp_path):
    write(
        tmp_path / "a.ipynb", "print('first')", "import os, time\nprint('last', flush=True); time.sleep(1); os._exit(3)"
    )
    result = run(tmp_path, path="a.ipynb")
    assert [row["status"] for row in result.cells] == ["ok", "died"]
    assert outputs(result) == {"0": "first", "1": "last"}
    assert result.note == "the kernel died, and its variables with it"


# --- nothing stays -----------------------------------------------------------------------------------------------


def test_what_a_cell_started_is_gone_after_the_call(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_MARKER", MARKER + "child")
    fork = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(300)\n    os._exit(0)"
    assert run(tmp_path, code=f"{CHILD}\n{fork}").status == "ok"
    assert processes(MARKER + "child") == []


def test_a_cancelled_call_is_gone_within_two_seconds(tmp_path, monkeypatch):
    marker = MARKER + "cancel"
    monkeypatch.setenv("TEST_MARKER", marker)
    taken = []

    async def cancel_in_mid_cell() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(notebook_run, Root.at(tmp_path), code=f"{CHILD}\nimport time\ntime.sleep(300)"))
            await until_async(lambda: any("sleep" in one.name() for one in processes(marker)))
            began = time.monotonic()
            group.cancel_scope.cancel()
        taken.append(time.monotonic() - began)

    anyio.run(cancel_in_mid_cell)
    assert processes(marker) == []
    assert taken[0] < 2


SERVER = """
import sys, anyio
from functools import partial
from pathlib import Path
from agent_tools.workspace.notebooks.running import notebook_run
from agent_tools.workspace.root import Root
anyio.run(partial(notebook_run, Root.at(Path(sys.argv[1])), code=sys.argv[2], kernel=sys.argv[3]))
"""


def server(folder: Path, code: str, kernel: str = "") -> subprocess.Popen[bytes]:
    """A process of its own that calls the tool."""
    return subprocess.Popen([sys.executable, "-c", SERVER, str(folder), code, kernel], stderr=subprocess.DEVNULL)


def test_a_server_that_is_killed_leaves_neither_kernel_nor_children(tmp_path, monkeypatch):
    marker = MARKER + "server"
    monkeypatch.setenv("TEST_MARKER", marker)
    with server(tmp_path, f"{CHILD}\nimport time\ntime.sleep(300)") as process:
        until(lambda: any("sleep" in one.name() for one in processes(marker)))
        assert len(processes(marker)) == 4
        process.kill()
    until(lambda: not processes(marker), 20)


def test_a_run_whose_process_is_killed_tells_what_it_saw_and_leaves_nothing(tmp_path, monkeypatch):
    marker = MARKER + "engine"
    monkeypatch.setenv("TEST_MARKER", marker)
    write(tmp_path / "a.ipynb", "print('seen')", f"{CHILD}\nimport time\ntime.sleep(300)")

    async def kill_in_mid_cell() -> notebooks.NotebookRun:
        results = []

        async def call() -> None:
            results.append(await notebook_run(Root.at(tmp_path), path="a.ipynb"))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await until_async(lambda: any("sleep" in one.name() for one in processes(marker)))
            for one in processes(marker):
                if notebooks.ENGINE in one.cmdline():
                    one.kill()
        return results[0]

    result = anyio.run(kill_in_mid_cell)
    assert (result.status, outputs(result)) == ("stopped", {"0": "seen"})
    assert "broke off" in result.note
    assert processes(marker) == []


def test_a_kernel_whose_starter_is_killed_ends_by_itself(tmp_path, monkeypatch):
    marker = MARKER + "parent"
    monkeypatch.setenv("TEST_MARKER", marker)
    start = "import sys; from pathlib import Path\n"
    start += "from agent_tools.workspace.notebooks.kernel_process import start_kernel\n"
    start += (
        "folder = Path(sys.argv[1]); start_kernel(folder, folder, folder); print('up', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", start, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert len(processes(marker)) == 2
        process.kill()
    until(lambda: not processes(marker), 20)


def test_runs_at_the_same_time_do_not_meet(tmp_path):
    found = []

    async def one(number: int) -> None:
        found.append(await notebook_run(Root.at(tmp_path), code=f"x = {number}\nimport time\ntime.sleep(1)\nprint(x)"))

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(one, 1)
            group.start_soon(one, 2)

    anyio.run(both)
    assert sorted(outputs(result)["code"] for result in found) == ["1", "2"]


# --- saving ------------------------------------------------------------------------------------------------------


def test_saving_writes_the_outputs_of_the_cells_that_ran_and_nothing_else(tmp_path):
    path = write(tmp_path / "a.ipynb", "#md título", "print('a')\nprint('b')", "1 / 0", "print('not run')")
    before = json.loads(path.read_text())
    result = run(tmp_path, path="a.ipynb", code="print('in no notebook')", save=True)
    assert (result.saved, result.status) == (True, "failed")
    after = json.loads(path.read_text())
    assert after["cells"][1]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["a\n", "b\n"]}]
    assert after["cells"][1]["execution_count"] == 1
    assert after["cells"][2]["outputs"][0]["ename"] == "ZeroDivisionError"
    for cell in (1, 2):
        after["cells"][cell] |= {"outputs": [], "execution_count": None}
    assert after == before


def test_a_notebook_that_someone_else_changed_meanwhile_is_not_overwritten(tmp_path):
    path = write(tmp_path / "a.ipynb", "from pathlib import Path\nPath('a.ipynb').write_text('theirs')")
    result = run(tmp_path, path="a.ipynb", save=True)
    assert (result.saved, path.read_text()) == (False, "theirs")
    assert "changed by someone else" in result.note


def test_code_in_no_notebook_has_nowhere_to_be_saved(tmp_path):
    result = run(tmp_path, code="1", save=True)
    assert (result.status, result.saved, result.note) == ("ok", False, "not saved: path names no notebook")


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../a.ipynb", "/etc/passwd", "-a.ipynb", "missing.ipynb", "a\0.ipynb", "out.ipynb"])
def test_a_path_outside_or_in_disguise_is_refused(tmp_path, path):
    folder = tmp_path / "root"
    write(tmp_path / "other.ipynb", "1")
    folder.mkdir()
    (folder / "out.ipynb").symlink_to(tmp_path / "other.ipynb")
    with pytest.raises(RootError):
        run(folder, path=path)


def test_what_cannot_be_run_is_one_sentence(tmp_path):
    (tmp_path / "a.ipynb").write_text("{")
    (tmp_path / "folder.ipynb").mkdir()
    write(tmp_path / "b.ipynb", "1")
    for given, said in [
        ({}, "nothing to run"),
        ({"path": "folder.ipynb"}, "is not a file"),
        ({"path": "a.ipynb"}, "a.ipynb is no notebook: it is not JSON"),
        ({"path": "b.ipynb", "cells": "7"}, "has cells 0-0"),
    ]:
        with pytest.raises(NotebookError, match=said) as refusal:
            run(tmp_path, **given)
        assert "\n" not in str(refusal.value)


def test_missing_packages_are_named_with_the_command_that_brings_them(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "NEEDED", ("nbclient", "no_such_package"))
    with pytest.raises(NotebookError, match=r"\(no_such_package\); `pip install 'ocr-workbench\[notebook\]'`"):
        run(tmp_path, code="1")


def test_the_server_imports_nothing_of_jupyter():
    heavy = ("nbclient", "nbformat", "jupyter_client", "zmq", "bs4", "PIL")
    code = f"import sys, agent_tools.catalog\nprint([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
