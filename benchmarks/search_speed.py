"""Time the code search: `python -m benchmarks.search_speed [--files 10000] [--rounds 5]`.

`first_seconds` builds the index of this repository from nothing. Then a clone of it gets text files until it has so
many, is indexed, and nothing changes any more: `check_seconds` finds that out, `query_seconds` answers a question, the
check included; both are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio

from agent_tools.workspace.root import Root
from agent_tools.workspace.search import database as store
from agent_tools.workspace.search.index import refresh
from agent_tools.workspace.search.searching import code_search
from benchmarks.context import ROOT, grown_clone
from benchmarks.harness import positive
from benchmarks.search_quality import read_questions


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


async def first_build(rounds: int) -> dict[str, float]:
    """Build the index of this repository from nothing."""
    root = Root.at(ROOT)
    seconds = [await timed(lambda: refresh(root, rebuild=True)) for _ in range(rounds)]
    state = await refresh(root)
    size = store.index_path(root).stat().st_size
    return {"first_seconds": statistics.median(seconds), "files": state.files, "units": state.units, "bytes": size}


async def unchanged(folder: Path, rounds: int) -> dict[str, float]:
    """Ask every shipped question of a tree that does not change."""
    root = Root.at(folder)
    state = await refresh(root)
    questions = [question.query for question in read_questions()] * rounds
    checks = [await timed(lambda: refresh(root)) for _ in questions]
    queries = [await timed(lambda query=question: code_search(root, query)) for question in questions]  # type: ignore[misc]
    return {
        "clone_files": state.files,
        "check_seconds": statistics.median(checks),
        "query_seconds": statistics.median(queries),
        "slowest_query_seconds": max(queries),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=positive, default=10_000, help="tracked files of the clone")
    parser.add_argument(
        "--rounds", type=positive, default=5, help="first builds, and times that every question is asked"
    )
    given = parser.parse_args(arguments)
    line = anyio.run(first_build, given.rounds)
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "clone"
        grown_clone(clone, 0, given.files)
        line |= anyio.run(unchanged, clone, given.rounds)
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
