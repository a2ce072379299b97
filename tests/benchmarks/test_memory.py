"""The sum of memory over processes that share a cache, from the kernel's own figures."""

import json
import mmap
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import memory
from benchmarks.harness import BenchmarkError

MIB = 2**20


TOUCH_PAGES = f"""
import mmap, os
from benchmarks.memory import pss_bytes
with mmap.mmap(-1, {64 * MIB}) as pages:
    before = pss_bytes(os.getpid())
    for position in range(0, len(pages), 4096):
        pages[position] = 1
    print(pss_bytes(os.getpid()) - before)
"""


def test_pages_of_a_process_count_when_touched() -> None:
    """In a process of its own: this one may share pages with workers of other tests, which end when they like."""
    more = int(subprocess.run([sys.executable, "-c", TOUCH_PAGES], check=True, capture_output=True, text=True).stdout)
    assert 60 * MIB < more < 80 * MIB


def test_pages_shared_by_two_processes_count_half_in_each() -> None:
    with mmap.mmap(-1, 64 * MIB) as pages:
        pages.write(b"\1" * len(pages))
        alone = memory.pss_bytes(os.getpid())
        touched, done = (multiprocessing.get_context("fork").Event() for _ in range(2))

        def touch() -> None:
            sum(pages[position] for position in range(0, len(pages), 4096))
            touched.set()
            done.wait(60)

        other = multiprocessing.get_context("fork").Process(target=touch)
        other.start()
        touched.wait(60)
        shared = memory.pss_bytes(os.getpid())
        done.set()
        other.join()
    assert alone - shared > 28 * MIB


def test_a_process_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="measure on Linux"):
        memory.pss_bytes(2**22 + 1)


def test_no_workers_are_measured_once_and_two_ranks_last() -> None:
    names = [layout.name for layout in memory.layouts([0, 2], ["fork", "spawn"], 2)]
    assert names == [
        "1 rank, no workers",
        "1 rank, 2 workers by fork",
        "1 rank, 2 workers by spawn",
        "2 ranks, no workers",
    ]


@pytest.mark.slow
def test_a_worker_adds_no_second_copy_of_the_cache(
    synthetic_receipts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--images=5", "--size=1280", "--workers=2", "--methods=fork", "--ranks=1"]
    memory.main([f"--data={synthetic_receipts}", *sizes])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["cache_bytes"] > 24 * MIB
    assert len(line["layouts"]) == 1
    assert 0.5 < line["largest_ratio"] < 1.5, "three processes, one copy"
