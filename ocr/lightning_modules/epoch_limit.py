"""How fast an epoch could have been, and what held it back: arithmetic on the sums of the stage clock.

The limit T* is the time of the same epoch if its batches came for free:

- **CPU, loading in the main thread**: T* = the seconds of computing and of post-processing. What is left out is the
  wait for the loader, the copy and whatever no stage covers. Where threads post-process, the main thread's wait for
  them stands for post-processing, and T* is at least the CPU seconds of all that work / cores: threads may have
  worked through a wait that would be gone.
- **CPU, loader workers**: the stages share the cores, so overlap gains nothing and only removed work counts. T* = CPU
  seconds of all stages of this process but the input's / cores. Their wall clock would not do: the workers stretch it.
- **GPU**: everything can overlap everything else, so that the slowest part alone remains. T* = max(computing, copy,
  CPU seconds of preparing samples / cores, CPU seconds of post-processing / cores).

T* is never above the epoch's own time (clocks of wall and CPU differ by a little) and never below a millionth of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ocr.lightning_modules.run_file import EpochLimit, Verdict

INPUT = ("wait", "copy")
COMPUTE = ("normalise", "forward", "to_host", "loss", "backward", "optimizer")
POST = ("post", "score")
POST_WAIT = "post_wait"
"""What the main thread waits for the threads that post-process."""
PREPARE_PREFIX = "loader."
"""Begins the names of the stages that prepare a sample, in whatever process that happens."""

SMALLEST_FRACTION = 1e-6


def epoch_limit(
    seconds: float,
    stages: Mapping[str, float],
    cpu: Mapping[str, float],
    *,
    cores: int,
    on_gpu: bool,
    workers: int,
    post_workers: int,
    clock_seconds: float = 0.0,
) -> EpochLimit:
    """Return the limit of an epoch, the share of it that was reached, and the verdict.

    Args:
        seconds: wall clock of the epoch, above 0.
        stages: stage -> seconds; wall clock of the main thread, but for `loader.*`, which are CPU seconds of preparing
            samples, and `post` and `score` of overlapped post-processing, which are sums over its threads.
        cpu: stage -> CPU seconds of this process.
        cores: CPU cores that this process may use.
        on_gpu: the network runs on a GPU.
        workers: loader processes.
        post_workers: threads that post-process while the next forward runs.
        clock_seconds: what measuring cost; passed through.
    """
    shares = group_seconds(seconds, stages, overlapped=post_workers > 0)
    work = _sum(cpu, (*COMPUTE, *POST)) / cores
    if on_gpu:
        prepare = sum(value for stage, value in stages.items() if stage.startswith(PREPARE_PREFIX))
        limit = max(_sum(stages, COMPUTE), stages.get("copy", 0.0), prepare / cores, _sum(cpu, POST) / cores)
    elif workers:
        limit = work
    else:
        limit = max(shares["compute-bound"] + shares["post-bound"], work)
    limit = min(max(limit, SMALLEST_FRACTION * seconds), seconds)
    return EpochLimit(
        seconds=limit,
        fraction=limit / seconds,
        verdict=max(shares, key=lambda verdict: shares[verdict]),
        clock_seconds=clock_seconds,
    )


def group_seconds(seconds: float, stages: Mapping[str, float], overlapped: bool) -> dict[Verdict, float]:
    """Return how the main thread spent an epoch: verdict -> seconds of its group; the largest group is the verdict.

    Args:
        seconds: wall clock of the epoch.
        stages: stage -> seconds, as for `epoch_limit`.
        overlapped: post-processing ran in threads: what counts of it is the wait for them.
    """
    timed: dict[Verdict, float] = {
        "input-bound": _sum(stages, INPUT),
        "compute-bound": _sum(stages, COMPUTE),
        "post-bound": _sum(stages, (POST_WAIT,) if overlapped else POST),
    }
    return {**timed, "overhead-bound": max(0.0, seconds - sum(timed.values()))}


def _sum(seconds: Mapping[str, float], stages: Iterable[str]) -> float:
    return sum(seconds.get(stage, 0.0) for stage in stages)
