"""The clock adds up what stages took, by wall and by CPU, and says what asking it costs."""

import errno
import threading
import time
from itertools import pairwise

import pytest
import torch

from ocr.lightning_modules.stage_clock import StageClock, cost_of_a_measurement


def burn(seconds: float) -> None:
    """Keep one core busy for so many CPU seconds of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_stage_that_sleeps_takes_wall_clock_and_no_cpu_and_one_that_works_takes_both() -> None:
    clock = StageClock()
    with clock.measure("sleeps"):
        time.sleep(0.05)
    for _ in range(2):
        with clock.measure("works"):
            burn(0.02)
    times = clock.end_epoch()
    assert times.stages["sleeps"] >= 0.05
    assert times.cpu["sleeps"] < 0.02
    assert times.stages["works"] >= 0.04
    assert times.cpu["works"] >= 0.04
    assert times.measurements == 3


def test_the_cpu_time_of_a_registered_thread_counts_for_its_own_stages_alone() -> None:
    clock = StageClock()

    def beside() -> None:
        clock.register_thread()
        with clock.measure_in_thread("post", 0):
            burn(0.1)

    with clock.measure("forward"):
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
    clock.forget_threads()
    times = clock.end_epoch()
    assert times.cpu["post"] >= 0.1
    assert times.cpu["forward"] < 0.05


def test_a_registered_thread_that_has_ended_keeps_the_cpu_time_it_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StageClock()

    def beside() -> None:
        clock.register_thread()
        with clock.measure_in_thread("post", 0):
            burn(0.1)

    def of_an_ended_thread(_: int) -> float:
        raise OSError(errno.EINVAL, "Invalid argument")

    with clock.measure("forward"):
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        # The kernel forgets an ended thread sooner or later; here it has.
        monkeypatch.setattr(time, "clock_gettime", of_an_ended_thread)
    assert clock.end_epoch().cpu["forward"] < 0.05


def test_the_cpu_time_of_other_threads_counts_for_the_stage_that_started_them() -> None:
    clock = StageClock()
    with clock.measure("forward"):
        thread = threading.Thread(target=burn, args=(0.1,))
        thread.start()
        thread.join()
    assert clock.end_epoch().cpu["forward"] >= 0.1


def test_the_wait_ends_with_each_batch_and_is_counted_once() -> None:
    clock = StageClock()
    clock.begin_epoch()
    time.sleep(0.02)
    clock.end_wait()
    clock.end_wait()
    times = clock.end_epoch()
    assert times.stages["wait"] >= 0.02
    assert (times.measurements, clock.batch) == (1, 1)


def test_a_new_epoch_starts_at_zero() -> None:
    clock = StageClock()
    clock.add("loader.decode", 3.0)
    clock.begin_epoch()
    assert clock.end_epoch().stages == {}
    assert clock.batch == -1


def test_a_timeline_says_which_batch_was_in_which_stage_and_when() -> None:
    clock = StageClock(timeline=True)
    clock.begin_epoch()
    for _ in range(2):
        clock.end_wait()
        with clock.measure("forward"):
            time.sleep(0.01)
        clock.begin_wait()
    spans = clock.end_epoch().spans
    assert [(span.stage, span.batch) for span in spans] == [("wait", 0), ("forward", 0), ("wait", 1), ("forward", 1)]
    for before, after in pairwise(spans):
        assert after.start >= before.start + before.seconds - 1e-6


def test_without_a_timeline_no_span_is_kept() -> None:
    clock = StageClock()
    with clock.measure("forward"):
        pass
    assert clock.end_epoch().spans == []


def test_the_clock_states_its_cost_in_proportion_to_its_measurements() -> None:
    clock = StageClock()
    for _ in range(10):
        with clock.measure("forward"):
            pass
    once = cost_of_a_measurement(torch.device("cpu"), False)
    assert once > 0
    assert clock.end_epoch().clock_seconds == pytest.approx(10 * once)
