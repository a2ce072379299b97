"""Threads beside the main one give results in order, never run far ahead, and stop at the first error."""

import os
import threading
import time
import traceback
from functools import partial

import pytest
import torch

from ocr.datasets.schemas import ConfigError
from ocr.lightning_modules.post_threads import PostThreads, count_post_workers
from ocr.lightning_modules.stage_clock import StageClock


def test_results_come_back_in_the_order_of_submission_whatever_takes_longest() -> None:
    threads: PostThreads[int] = PostThreads(3, StageClock())
    for number in range(8):
        threads.submit(partial(lambda number: (time.sleep(0.02 if number % 3 == 0 else 0), number)[1], number))
    assert threads.collect() == list(range(8))


def test_at_most_two_tasks_per_thread_wait_or_run_and_the_wait_for_room_is_timed() -> None:
    clock = StageClock()
    threads: PostThreads[None] = PostThreads(1, clock)
    began, release, ended = [0], threading.Event(), threading.Event()

    def task() -> None:
        release.wait(10)

    def feed() -> None:
        for _ in range(4):
            threads.submit(task)
            began[0] += 1
        ended.set()

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert not ended.wait(0.2)
    assert began[0] == 2
    release.set()
    feeder.join(10)
    assert len(threads.collect()) == 4
    assert clock.end_epoch().stages["post_wait"] > 0.1


def test_an_error_in_a_thread_comes_out_with_its_own_traceback_and_ends_the_threads() -> None:
    threads: PostThreads[None] = PostThreads(1, StageClock())

    def the_task_that_fails() -> None:
        raise ZeroDivisionError("no boxes")

    threads.submit(the_task_that_fails)
    with pytest.raises(ZeroDivisionError, match="no boxes") as raised:
        threads.collect()
    assert "the_task_that_fails" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("post")]


def test_an_error_is_seen_before_the_epoch_ends() -> None:
    threads: PostThreads[None] = PostThreads(1, StageClock())
    failed = threading.Event()

    def fails() -> None:
        failed.set()
        raise ZeroDivisionError

    threads.submit(fails)
    failed.wait(10)

    def go_on() -> None:
        for _ in range(5):
            threads.submit(partial(time.sleep, 0.01))

    with pytest.raises(ZeroDivisionError):
        go_on()


def test_collecting_ends_the_threads() -> None:
    threads: PostThreads[int] = PostThreads(2, StageClock())
    threads.submit(lambda: 1)
    threads.collect()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("post")]


def test_auto_takes_the_cores_that_the_network_leaves_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, torch_threads, on_gpu, expected in [
        (2, 2, False, 0),
        (2, 2, True, 1),
        (64, 2, True, 4),
        (8, 6, False, 2),
    ]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=torch_threads: threads)
        assert count_post_workers("auto", on_gpu=on_gpu) == expected


@pytest.mark.parametrize("asked", [-1, 1.5, "many", True])
def test_an_impossible_number_of_threads_is_refused(asked: int) -> None:
    with pytest.raises(ConfigError, match=r"model\.post_workers=.*auto, 0 or a positive number"):
        count_post_workers(asked, on_gpu=False)
