"""What else the machine did while a sample ran: other processes, and the host that the machine is a guest of."""

from __future__ import annotations

import os
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path

FOREIGN_LIMIT = 0.1
"""Share of the machine's CPU time that other processes may use before a sample is tainted; half of it for the host."""

QUIET_WINDOW_SECONDS = 0.5
QUIET_WAIT_SECONDS = 30.0
SLEEP_SECONDS = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Interference:
    """See `Measurement`: average cores used by others, share of stolen CPU time, and why the sample is tainted."""

    foreign_cpu: float
    stolen: float
    tainted: str


@dataclass(frozen=True)
class _Reading:
    clock: float
    wall: float
    busy: float
    stolen: float
    own: float


class Watch:
    """Reads the counters when it is made, and again at `stop`; nothing runs in between."""

    def __init__(self, limit: float = FOREIGN_LIMIT) -> None:
        self._limit = limit
        self._start = _read()
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def stop(self) -> Interference:
        """Return what happened since the watch was made. The processes that were measured must have been waited for."""
        begin, end = self._start, _read()
        seconds = max(end.clock - begin.clock, 1e-6)
        # Ticks are counted by sampling: over a short time they can read less than what the processes used.
        foreign = max(0.0, (end.busy - begin.busy) - (end.own - begin.own)) / seconds
        stolen = max(0.0, end.stolen - begin.stolen) / seconds / self._cores
        return Interference(round(foreign, 3), round(stolen, 4), self._taint(begin, end, foreign, stolen))

    def _taint(self, begin: _Reading, end: _Reading, foreign: float, stolen: float) -> str:
        if (end.wall - begin.wall) - (end.clock - begin.clock) > SLEEP_SECONDS:
            return "the machine slept, or its clock was set"
        # The last tick of a process may be counted after it: two ticks a core are no work of others.
        ticks = 2 * self._cores / _TICKS / max(end.clock - begin.clock, 1e-6)
        if foreign > self._limit * self._cores + ticks:
            return f"other processes used {foreign:.2f} cores"
        return f"the host took {100 * stolen:.0f}% of the CPU time" if stolen > self._limit / 2 else ""


def await_quiet(limit: float, cancel: threading.Event | None = None) -> None:
    """Wait until nothing else uses more than `limit` of the machine, at most `QUIET_WAIT_SECONDS`."""
    deadline = time.monotonic() + QUIET_WAIT_SECONDS
    pause = cancel or threading.Event()
    while time.monotonic() < deadline:
        watch = Watch(limit)
        if pause.wait(QUIET_WINDOW_SECONDS) or not watch.stop().tainted:
            return


def _read() -> _Reading:
    user = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = user.ru_utime + user.ru_stime + children.ru_utime + children.ru_stime
    busy, stolen = _cpu_seconds(own)
    return _Reading(time.monotonic(), time.time(), busy, stolen, own)


def _cpu_seconds(own: float) -> tuple[float, float]:
    """Busy and stolen seconds of all cores since boot; elsewhere than on Linux, the own seconds: nothing is foreign."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return own, 0.0
    user, nice, system, _, _, irq, softirq, stolen = (float(value) / _TICKS for value in fields[:8])
    return user + nice + system + irq + softirq, stolen
