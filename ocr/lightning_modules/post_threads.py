"""Post-processing beside the device: batch N is turned into boxes and scored while the forward of N + 1 runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Literal, TypeVar

import torch

from ocr.datasets.schemas import ConfigError
from ocr.lightning_modules.epoch_limit import POST_WAIT
from ocr.lightning_modules.stage_clock import StageClock

MOST_AUTO_WORKERS = 4
QUEUED_PER_WORKER = 2

T = TypeVar("T")


def count_post_workers(asked: int | Literal["auto"], on_gpu: bool) -> int:
    """Return the number of post-processing threads; `auto` takes the cores that the network leaves idle, at most 4.

    Beside a GPU that is all cores but one, on a CPU those beyond torch's threads: usually none, and then
    post-processing stays in the main thread, since stages that share the cores gain nothing by overlapping.

    Raises:
        ConfigError: neither `auto` nor a whole number of at least 0.
    """
    if asked == "auto":
        idle = len(os.sched_getaffinity(0)) - (1 if on_gpu else torch.get_num_threads())
        return min(MOST_AUTO_WORKERS, max(0, idle))
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 0:
        raise ConfigError(f"model.post_workers={asked!r}; it is auto, 0 or a positive number of threads")
    return asked


class PostThreads(Generic[T]):
    """A pool of threads with a bounded queue, for one epoch; results come back in the order of submission.

    At most two tasks per thread wait or run. What the main thread waits for room and for the end is timed as
    `post_wait`.
    """

    def __init__(self, workers: int, clock: StageClock) -> None:
        self._clock, self._room = clock, QUEUED_PER_WORKER * workers
        self._pool = ThreadPoolExecutor(workers, "post", initializer=clock.register_thread)
        self._pending: deque[Future[T]] = deque()
        self._results: list[T] = []

    def submit(self, task: Callable[[], T]) -> None:
        """Queue a task; waits while the queue is full.

        Raises:
            Exception: what an earlier task raised, with its own traceback; no task runs any more.
        """
        self._take_in(until=self._room - 1)
        self._pending.append(self._pool.submit(task))

    def collect(self) -> list[T]:
        """Wait for all tasks, end the threads, and return the results in the order of submission.

        Raises:
            Exception: what a task raised, with its own traceback.
        """
        self._take_in(until=0)
        self.close()
        return self._results

    def close(self) -> None:
        """Drop the tasks that have not begun, wait for those that have, and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._clock.forget_threads()

    def _take_in(self, until: int) -> None:
        with self._clock.measure(POST_WAIT):
            while self._pending and (len(self._pending) > until or self._pending[0].done()):
                done = self._pending.popleft()
                if (error := done.exception()) is not None:
                    self.close()
                    raise error
                self._results.append(done.result())
