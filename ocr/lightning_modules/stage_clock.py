"""Where the seconds of an epoch go, measured in the process that drives the device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageClock:
    """Adds up wall-clock seconds per stage; a GPU is synchronised around each, on a CPU nothing waits."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the enclosed block to `stage`."""
        start = self.now()
        yield
        self.add(stage, self.now() - start)

    def now(self) -> float:
        """Return a monotonic time in seconds, after all device work that was queued so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere (a worker process, a wait)."""
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Return the sums so far and start again at zero."""
        seconds, self._seconds = self._seconds, {}
        return seconds
