"""Where the seconds of an epoch go, measured in the process that drives the device."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ocr.lightning_modules.run_file import TimelineSpan

CALIBRATION_MEASUREMENTS = 2000


class Moment(NamedTuple):
    """Wall-clock and CPU seconds since some fixed point; only differences mean anything."""

    wall: float
    cpu: float


@dataclass
class EpochTimes:
    """What the clock saw since the epoch began: stage -> seconds, stage -> CPU seconds, spans, cost of measuring."""

    stages: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    spans: list[TimelineSpan] = field(default_factory=list)
    measurements: int = 0
    clock_seconds: float = 0.0


class StageClock:
    """Adds up wall-clock and CPU seconds per stage; a GPU is synchronised around each, on a CPU nothing waits.

    CPU seconds of a stage are those of all threads of this process, but for threads that registered themselves: they
    measure their own.

    Attributes:
        device: what is synchronised.
        timeline: also keep a span for each measurement.
        batch: number of the batch in this epoch that is worked on; -1 before the first one.
    """

    def __init__(self, timeline: bool = False) -> None:
        self.device = torch.device("cpu")
        self.timeline = timeline
        self._threads: dict[int, float] = {}
        self._lock = threading.Lock()
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Start again at zero, waiting for the first batch."""
        self._times = EpochTimes()
        self.batch = -1
        self._epoch_began = time.perf_counter()
        self.begin_wait()

    def end_epoch(self) -> EpochTimes:
        """Return the sums since the epoch began, with what measuring them cost."""
        times = self._times
        times.clock_seconds = times.measurements * cost_of_a_measurement(self.device, self.timeline)
        return times

    def begin_wait(self) -> None:
        """From here on the loader is waited for."""
        self._waiting: Moment | None = self.start()

    def end_wait(self) -> None:
        """Add the wait for the loader, which has just given the next batch."""
        self.batch += 1
        if self._waiting is not None:
            self.stop("wait", self._waiting)
            self._waiting = None

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the enclosed block to `stage`."""
        start = self.start()
        yield
        self.stop(stage, start)

    def start(self) -> Moment:
        """Return the present moment, after all device work that was queued so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return Moment(time.perf_counter(), self._cpu_now())

    def stop(self, stage: str, start: Moment) -> None:
        """Add what has passed since `start` to `stage`."""
        self._add(stage, start, self.start(), self.batch)

    def register_thread(self) -> None:
        """Leave the calling thread's CPU time out of everybody else's stages; it uses `measure_in_thread`."""
        with self._lock:
            self._threads[_own_clock()] = time.thread_time()

    def forget_threads(self) -> None:
        """Forget all registered threads, which must have ended."""
        with self._lock:
            self._threads = {}

    @contextmanager
    def measure_in_thread(self, stage: str, batch: int) -> Iterator[None]:
        """Add the time of the enclosed block to `stage`, of the calling thread alone; the device is left alone."""
        start = Moment(time.perf_counter(), time.thread_time())
        yield
        end = Moment(time.perf_counter(), time.thread_time())
        self._add(stage, start, end, batch)
        with self._lock:
            self._threads[_own_clock()] = end.cpu

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere (a worker process)."""
        with self._lock:
            self._times.stages[stage] = self._times.stages.get(stage, 0.0) + seconds

    def _add(self, stage: str, start: Moment, end: Moment, batch: int) -> None:
        times, seconds = self._times, end.wall - start.wall
        with self._lock:
            times.stages[stage] = times.stages.get(stage, 0.0) + seconds
            # The clocks of process and threads are read one after the other: a difference may be just below zero.
            times.cpu[stage] = times.cpu.get(stage, 0.0) + max(0.0, end.cpu - start.cpu)
            times.measurements += 1
            if self.timeline:
                began = start.wall - self._epoch_began
                times.spans.append(TimelineSpan(stage=stage, batch=batch, start=max(0.0, began), seconds=seconds))

    def _cpu_now(self) -> float:
        with self._lock:
            return time.process_time() - sum(_thread_seconds(clock, last) for clock, last in self._threads.items())


def _own_clock() -> int:
    return time.pthread_getcpuclockid(threading.get_ident())


def _thread_seconds(clock: int, last: float) -> float:
    """CPU seconds of a thread; of one that has ended, what it had used by its last measurement."""
    try:
        return time.clock_gettime(clock)
    except OSError:
        return last


@functools.cache
def cost_of_a_measurement(device: torch.device, timeline: bool) -> float:
    """Return the seconds that one empty measurement takes, averaged over some thousand; measured once per process.

    On a GPU that is the cost of asking for synchronisation, not what is lost by waiting.
    """
    clock = StageClock(timeline)
    clock.device = device
    start = time.perf_counter()
    for _ in range(CALIBRATION_MEASUREMENTS):
        with clock.measure("empty"):
            pass
    return (time.perf_counter() - start) / CALIBRATION_MEASUREMENTS
