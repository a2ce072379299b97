"""Time what a call costs beside its work: `python -m benchmarks.mcp_in_memory [--calls N]`.

A client and the server in one process, without a wire: `record_list` in an empty repository has nearly nothing to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from mcp.client import Client

from agent_tools.server import WorkbenchServer
from agent_tools.workspace.root import Root
from benchmarks.harness import BenchmarkError, positive

TOOLS = ("record_list", "job_status")


async def seconds_of_calls(tool: str, calls: int, folder: Path) -> list[float]:
    """Call a tool so often in an empty repository; return the seconds of each call after ten to warm up.

    Raises:
        BenchmarkError: a call was refused.
    """
    found = []
    async with Client(WorkbenchServer(Root.at(folder))) as client:
        for _ in range(calls + 10):
            begun = time.perf_counter()
            answer = await client.call_tool(tool, {})
            found.append(time.perf_counter() - begun)
            if answer.is_error:
                raise BenchmarkError(f"{tool} refused: {answer.content}")
    return found[10:]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line with p50 and p95 of each tool, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=positive, default=300)
    calls = parser.parse_args(arguments).calls
    line: dict[str, object] = {"work": f"{calls} calls of each tool in an empty repository", "calls": calls}
    with tempfile.TemporaryDirectory() as name:
        for tool in TOOLS:
            seconds = anyio.run(seconds_of_calls, tool, calls, Path(name))
            line[tool] = {
                "p50_ms": 1000 * statistics.median(seconds),
                "p95_ms": 1000 * sorted(seconds)[int(0.95 * len(seconds))],
            }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
