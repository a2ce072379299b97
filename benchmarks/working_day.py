"""An assistant's working day over stdio, scripted: `python -m benchmarks.working_day [--rounds N]`.

A clone of this repository gets a server of its own, and a client does what a day consists of: it opens a session, finds
code, reads it, changes a file, runs the tests that the change affects, compares with the commit before, renders the
findings, writes notes, commits, and hands over. Every answer has to be a good one. `tokens` is what all answers weigh:
characters over four of each result's text and data, as a client gets them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from agent_tools.jobs.folders import ACTIVE
from benchmarks.context import ROOT, git
from benchmarks.harness import BenchmarkError, positive

CHARACTERS_PER_TOKEN = 4
CHANGED = "ocr/metrics/icdar.py"
"""What the day changes; the comparison's command runs it."""
TESTS = "tests/ocr/metrics/test_icdar.py"
COMPARED = "python -m benchmarks.matching --images 20"
JOB_SECONDS = 600.0


@dataclass
class Day:
    """A client, and what its calls cost so far."""

    client: Client
    folder: Path
    tokens: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    calls: int = 0

    async def ask(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool.

        Raises:
            BenchmarkError: it answered with an error.
        """
        begun = time.perf_counter()
        result = await self.client.call_tool(tool, arguments)
        said = "".join(getattr(part, "text", "") for part in result.content)
        data = result.structured_content or {}
        size = len(said) + len(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
        self.tokens[tool] = self.tokens.get(tool, 0) + size // CHARACTERS_PER_TOKEN
        self.seconds[tool] = self.seconds.get(tool, 0.0) + time.perf_counter() - begun
        self.calls += 1
        if result.is_error:
            raise BenchmarkError(f"{tool} refused {arguments}: {said}")
        return data


def expect(holds: bool, what: str, seen: Any) -> None:
    """Stop the day where an answer is not a good one.

    Raises:
        BenchmarkError: it is not.
    """
    if not holds:
        raise BenchmarkError(f"{what}; the answer was {seen}")


async def finished(day: Day, job: str) -> dict[str, Any]:
    """Poll a job until it ended, and return what it says then.

    Raises:
        BenchmarkError: it failed, or took too long.
    """
    deadline = time.monotonic() + JOB_SECONDS
    while (status := await day.ask("job_status", job=job, wait=50, limit=5))["status"] in ACTIVE:
        expect(time.monotonic() < deadline, f"{job} takes over {JOB_SECONDS:.0f} s", status)
    expect(status["status"] == "finished", f"{job} did not finish", status)
    return status


async def whole_day(day: Day, rounds: int) -> None:
    """Do the day's work; every step needs the one before.

    Raises:
        BenchmarkError: a step went wrong.
    """
    await day.ask("session_start", name="working-day", goal="matching that reads better")
    await find_and_read(day)
    await change_and_test(day)
    verdict = await compare(day, rounds)
    await write_down(day, verdict)


async def find_and_read(day: Day) -> None:
    """Find where detections are matched, and read that file."""
    found = await day.ask("code_search", query="where detections are matched to the truth by IoU")
    expect(any(CHANGED in str(hit) for hit in found["hits"]), f"the search does not find {CHANGED}", found)
    listed = await day.ask("file_find", pattern="ocr/metrics/*.py")
    expect(CHANGED in " ".join(listed["files"]), f"{CHANGED} is not listed", listed)
    read = await day.ask("file_read", path=CHANGED, limit=60)
    expect(read["text"].startswith('"""'), "the file does not start with its docstring", read["text"][:80])


async def change_and_test(day: Day) -> None:
    """Change a function, and run the tests that the change can break and no others."""
    every = await day.ask("test_run", paths=[TESTS], affected=True)
    expect(every["failed"] + every["errors"] == 0 and every["passed"] > 0, "the tests fail before the change", every)
    none = await day.ask("test_run", paths=[TESTS], affected=True)
    expect(none["passed"] == 0, "tests ran although nothing changed", none)
    path = day.folder / CHANGED
    path.write_text(path.read_text(encoding="utf-8") + CHANGE, encoding="utf-8")
    status = await day.ask("git_status")
    expect(status["unstaged"] == [f"M {CHANGED}"], "the change is not seen", status)
    await day.ask("git_diff")
    affected = await day.ask("test_run", paths=[TESTS], affected=True)
    expect(affected["failed"] + affected["errors"] == 0, "the tests fail", affected)


CHANGE = '''

def missed(counts: IcdarCounts) -> int:
    """Number of truths that no detection matches, as a report shows it."""
    return counts.n_gt - counts.tp
'''


async def compare(day: Day, rounds: int) -> str:
    """Compare the change with the commit before; return the id of the record."""
    asked = {"a": "HEAD~1", "b": "worktree", "target": "command", "command": COMPARED, "data": "none"}
    begun = await day.ask("bench_compare", rounds=rounds, session="working-day", **asked)
    await finished(day, begun["job"])
    listed = await day.ask("record_list", kind="comparison", limit=1)
    record = str(listed["records"][0]["id"])
    await day.ask("record_show", record=record)
    return record


async def write_down(day: Day, record: str) -> None:
    """Findings, notes, a commit, and the handover with a commit of its own."""
    await day.ask("docs_render")
    await day.ask("session_note", kind="done", text="missed truths can be counted", file=CHANGED, contains="def missed")
    await day.ask("session_note", kind="next", text="use it in a report")
    checked = await day.ask("docs_check")
    expect(checked["ok"], "the documents disagree with their records", checked)
    why = ["reports need the number of missed truths", "the comparison shows what it costs"]
    said = {"type": "feat", "summary": "missed truths can be counted", "why": why}
    await day.ask("git_commit", paths=[CHANGED, "logs", "docs"], records=[record], **said)
    handed = await day.ask("session_handover")
    said = {"type": "docs", "summary": "the handover of the working day", "why": ["the next session starts from it"]}
    await day.ask("git_commit", paths=["logs", "docs"], **said)
    status = await day.ask("git_status")
    expect(not status["staged"] + status["unstaged"] + status["untracked"], "something is left uncommitted", status)
    expect("@" in handed["prompt"], "the handover has no prompt with documents", handed)


async def run_day(folder: Path, rounds: int) -> dict[str, Any]:
    """Clone this repository into `folder`, spend a day there, and return its figures.

    Raises:
        BenchmarkError: a step went wrong.
    """
    git(folder.parent, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    for name, value in (("user.name", "benchmark"), ("user.email", "benchmark@example.com")):
        git(folder, "config", name, value)
    # Both sides of the comparison then ask for the same packages, whatever the last real commit changed.
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "chore: a day begins")
    # A lock of its own: whoever records this day has the machine's, and its comparison would wait for that.
    environment = {**os.environ, "PYTHONPATH": str(folder), "AGENT_TOOLS_MACHINE_LOCK": str(folder.parent / "lock")}
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "agent_tools.cli", "--root", str(folder), "serve"],
        env=environment,
        cwd=folder,
    )
    begun = time.perf_counter()
    async with Client(server) as client:
        day = Day(client, folder)
        listed = (await client.list_tools()).model_dump(by_alias=True, mode="json", exclude_none=True)
        await whole_day(day, rounds)
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "calls": day.calls,
        "tokens": sum(day.tokens.values()),
        "list_tokens": len(json.dumps(listed["tools"], separators=(",", ":"))) // CHARACTERS_PER_TOKEN,
        "tokens_of": day.tokens,
        "seconds_of": {tool: round(seconds, 2) for tool, seconds in day.seconds.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line with the tokens of all answers, in all and by tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=6, help="of the comparison")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="working-day-") as folder:
        try:
            figures = anyio.run(run_day, Path(folder) / "clone", given.rounds)
        except BaseExceptionGroup as group:
            # The client's own tasks wrap whatever ends them.
            raise first_of(group) from None
    sys.stdout.write(json.dumps(figures) + "\n")


def first_of(group: BaseExceptionGroup) -> BaseException:
    """The first error inside of a group."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    main()
