"""Foreign work is seen, the measured process's own is not: real processes, and readings where those would flake."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_tools.measure import interference
from agent_tools.measure.interference import Watch, await_quiet

BUSY = "while True: pass"
BUSY_BRIEFLY = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"

linux_only = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="reads /proc/stat")


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that computes and is not waited for while the block runs."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.3)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which this test and the children that it waited for are all that runs."""

    def own_work(own: float) -> tuple[float, float]:
        spent = os.times()
        return spent.user + spent.system + spent.children_user + spent.children_system, 0.0

    with monkeypatch.context() as patch:
        patch.setattr(interference, "_cpu_seconds", own_work)
        yield


def readings(monkeypatch: pytest.MonkeyPatch, **changes: float) -> interference.Interference:
    """The answer for ten seconds on two cores in which the machine's counters moved by `changes`."""
    begin: dict[str, float] = {"clock": 100.0, "wall": 5000.0, "busy": 70.0, "stolen": 3.0, "own": 20.0}
    moved = {"clock": 10.0, "wall": 10.0, "busy": 8.0, "stolen": 0.0, "own": 8.0} | changes
    queue = [begin, {name: begin[name] + moved[name] for name in begin}]
    monkeypatch.setattr(interference, "_read", lambda: interference._Reading(**queue.pop(0)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    return Watch(0.1).stop()


@linux_only
def test_a_process_of_somebody_else_taints_the_sample() -> None:
    with busy_process():
        watch = Watch(limit=0.02)
        time.sleep(1.5)
        found = watch.stop()
    # On a machine as busy as a test machine may be, it gets a share of one core at least.
    assert found.foreign_cpu > 0.1
    assert "other processes used" in found.tainted


@linux_only
def test_a_child_that_is_not_waited_for_counts_as_somebody_else() -> None:
    """Hence a watch is stopped after the measured process was waited for, and not before."""
    with busy_process() as child:
        begin = interference._read()
        time.sleep(1.0)
        running = interference._read()
        child.kill()
        child.wait()
        waited = interference._read()
    assert running.own - begin.own < 0.3
    assert waited.own - begin.own > 0.3


def test_the_work_of_a_child_that_was_waited_for_is_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_else(monkeypatch):
        watch = Watch(limit=0.01)
        subprocess.run([sys.executable, "-c", BUSY_BRIEFLY], check=True)
        found = watch.stop()
    assert found.foreign_cpu < 0.1
    assert "other processes" not in found.tainted


def test_the_work_of_this_process_itself_is_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_else(monkeypatch):
        watch = Watch(limit=0.01)
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
        found = watch.stop()
    assert "other processes" not in found.tainted


def test_a_quiet_machine_taints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert readings(monkeypatch) == interference.Interference(0.0, 0.0, "")


def test_ticks_that_fall_behind_the_own_time_are_no_negative_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert readings(monkeypatch, busy=7.9) == interference.Interference(0.0, 0.0, "")


@pytest.mark.parametrize(
    ("changes", "foreign", "stolen", "tainted"),
    [
        # A tenth of two cores over ten seconds is allowed: 2 s.
        ({"busy": 9.9}, 0.19, 0.0, ""),
        ({"busy": 10.5}, 0.25, 0.0, "other processes used 0.25 cores"),
        ({"busy": 28.0}, 2.0, 0.0, "other processes used 2.00 cores"),
        # Half of the limit for the host: a twentieth of twenty seconds.
        ({"stolen": 0.9}, 0.0, 0.045, ""),
        ({"stolen": 2.0}, 0.0, 0.1, "the host took 10% of the CPU time"),
        ({"wall": 12.0}, 0.0, 0.0, "the machine slept, or its clock was set"),
        ({"wall": 10.5}, 0.0, 0.0, ""),
    ],
)
def test_the_limit_is_a_share_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, float], foreign: float, stolen: float, tainted: str
) -> None:
    found = readings(monkeypatch, **changes)
    assert (found.foreign_cpu, found.stolen, found.tainted) == (pytest.approx(foreign), pytest.approx(stolen), tainted)


def test_a_last_tick_per_core_is_not_taken_for_work_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a tenth of a second, two ticks on each of two cores read as 0.4 cores."""
    assert readings(monkeypatch, clock=0.1, wall=0.1, busy=0.09, own=0.05).tainted == ""
    assert readings(monkeypatch, clock=0.1, wall=0.1, busy=0.19, own=0.05).tainted != ""


@linux_only
def test_the_counters_of_the_machine_are_read() -> None:
    before = interference._cpu_seconds(0.0)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    after = interference._cpu_seconds(0.0)
    assert after[0] - before[0] > 0.05
    assert after[1] >= before[1] >= 0


def test_without_proc_nothing_is_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> str:
        raise FileNotFoundError("/proc/stat")

    monkeypatch.setattr(interference.Path, "read_text", refused)
    assert interference._cpu_seconds(12.5) == (12.5, 0.0)
    watch = Watch(limit=0.01)
    assert (watch.stop().foreign_cpu, watch.stop().stolen) == (0.0, 0.0)


def test_waiting_for_quiet_ends_once_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = ["other processes used 2.00 cores", "other processes used 1.00 cores", ""]

    class Told:
        def __init__(self, limit: float) -> None:
            assert limit == 0.1

        def stop(self) -> interference.Interference:
            return interference.Interference(0.0, 0.0, windows.pop(0))

    monkeypatch.setattr(interference, "Watch", Told)
    monkeypatch.setattr(interference, "QUIET_WINDOW_SECONDS", 0.001)
    await_quiet(0.1)
    assert windows == []


@linux_only
def test_waiting_for_quiet_gives_up_on_a_machine_that_stays_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interference, "QUIET_WAIT_SECONDS", 0.6)
    monkeypatch.setattr(interference, "QUIET_WINDOW_SECONDS", 0.2)
    with busy_process():
        began = time.monotonic()
        await_quiet(0.0)
    assert time.monotonic() - began >= 0.6


def test_waiting_for_quiet_ends_at_once_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interference, "QUIET_WAIT_SECONDS", 3600.0)
    monkeypatch.setattr(interference, "QUIET_WINDOW_SECONDS", 3600.0)
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    await_quiet(0.0, cancel)
    assert cancel.is_set()
