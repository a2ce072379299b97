"""Bounded processes: every way out ends the whole tree."""

import gc
import os
import subprocess
import sys
import time
from functools import partial

import anyio
import pytest

from agent_tools.jobs import processes
from agent_tools.jobs.processes import Finished, ProcessError, run_bounded

MARKER = f"{os.getpid()}-"
"""Another run of these tests on this machine has processes of its own."""
LEAVE = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)"
STRAGGLER = f"import subprocess, sys; {LEAVE}"


def run(tmp_path, code: str, seconds: float = 20, cap: int = 10_000, marker: str = "x") -> Finished:
    async def call() -> Finished:
        return await run_bounded(
            [sys.executable, "-c", code],
            folder=tmp_path,
            environment={"PATH": os.environ["PATH"], "TEST_MARKER": MARKER + marker},
            seconds=seconds,
            output_cap=cap,
        )

    return anyio.run(call)


def test_output_errors_and_exit_code_come_back(tmp_path):
    finished = run(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (finished.output, finished.errors, finished.exit_code) == (b"out\n", b"err\n", 3)
    assert not finished.timed_out
    assert not finished.truncated


def test_the_time_limit_ends_the_whole_tree(tmp_path):
    started = time.monotonic()
    finished = run(tmp_path, STRAGGLER + "; import time; time.sleep(300)", seconds=1.0, marker="limit")
    assert finished.timed_out
    assert time.monotonic() - started < 30
    assert processes.marked("TEST_MARKER", MARKER + "limit") == []


def test_the_output_cap_ends_an_endless_printer(tmp_path):
    finished = run(tmp_path, "while True: print('x' * 1000)", cap=5000)
    assert finished.truncated
    assert len(finished.output) == 5000


def test_a_program_that_leaves_a_process_holding_its_output_does_not_hang_the_call(tmp_path):
    started = time.monotonic()
    finished = run(tmp_path, STRAGGLER + "; print('done')", marker="holder")
    assert finished.output == b"done\n"
    assert time.monotonic() - started < 30
    assert processes.marked("TEST_MARKER", MARKER + "holder") == []


def test_a_call_that_is_cancelled_while_its_process_starts_leaves_neither_process_nor_open_pipe(tmp_path):
    marker = f"{MARKER}starting"

    async def give_up() -> None:
        async with anyio.create_task_group() as group:
            command = [sys.executable, "-c", "import time; time.sleep(60)"]
            environment = {"PATH": os.environ["PATH"], "TEST_MARKER": marker}
            group.start_soon(
                partial(run_bounded, command, folder=tmp_path, environment=environment, seconds=20, output_cap=100)
            )
            while not processes.marked("TEST_MARKER", marker):
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()

    for _ in range(5):
        anyio.run(give_up)
        # What was left open complains when it is collected, and a warning is an error here.
        gc.collect()
        assert processes.marked("TEST_MARKER", marker) == []


def test_a_cancelled_call_leaves_no_process(tmp_path):
    async def vanish() -> None:
        with anyio.move_on_after(0.8):
            await run_bounded(
                [sys.executable, "-c", STRAGGLER + "; import time; time.sleep(300)"],
                folder=tmp_path,
                environment={"PATH": os.environ["PATH"], "TEST_MARKER": MARKER + "vanish"},
                seconds=60,
                output_cap=1000,
            )

    anyio.run(vanish)
    assert processes.marked("TEST_MARKER", MARKER + "vanish") == []


def test_what_a_killed_caller_left_is_ended_by_whoever_looks_next_and_nothing_else(tmp_path):
    code = (
        "import anyio, os, sys; from pathlib import Path; from agent_tools.jobs.processes import run_bounded\n"
        f"command = [sys.executable, '-c', {STRAGGLER + '; import time; time.sleep(300)'!r}]\n"
        "given = {'folder': Path('.'), 'environment': dict(os.environ), 'seconds': 300, 'output_cap': 9}\n"
        "anyio.run(lambda: run_bounded(command, **given))"
    )
    callers = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TEST_MARKER": MARKER + name})
        for name in ("killed", "alive")
    ]
    try:
        while any(len(processes.marked("TEST_MARKER", MARKER + name)) < 3 for name in ("killed", "alive")):
            time.sleep(0.05)
        callers[0].kill()
        callers[0].wait()
        assert len(processes.marked("TEST_MARKER", MARKER + "killed")) == 2
        assert processes.end_abandoned() >= 2
        assert processes.marked("TEST_MARKER", MARKER + "killed") == []
        assert len(processes.marked("TEST_MARKER", MARKER + "alive")) == 3
    finally:
        for name in ("killed", "alive"):
            processes.end_all(partial(processes.marked, "TEST_MARKER", MARKER + name))
        for caller in callers:
            caller.wait()


def test_a_missing_program_is_a_sentence(tmp_path):
    async def call() -> Finished:
        return await run_bounded(["no-such-program"], folder=tmp_path, environment={}, seconds=1, output_cap=10)

    with pytest.raises(ProcessError, match="no-such-program cannot be started"):
        anyio.run(call)


def test_a_module_of_the_folder_does_not_stand_in_for_one_that_ours_needs(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong one')")
    engine = "agent_tools.workspace.sql.engine"
    finished = anyio.run(
        partial(processes.run_own_module, engine, "{}", folder=tmp_path, seconds=20, output_cap=10_000)
    )
    assert b"the wrong one" not in finished.errors
    assert finished.exit_code in (0, 1)
