"""Compare with the reference git server: `python -m benchmarks.mcp_servers --setup DIR | --python PATH [--rounds 8]`.

Our server and `mcp-server-git` on the same two repositories: a clone of this one, and a generated one of `--files`
files, each with a few changed files. The reference lives in an environment of its own: `--setup` makes one with pip,
`--python` names its interpreter. Every round runs each server once in a fresh process, in a random order that the line
stores: the start until the first answered `tools/list`, then `--calls` calls each of status, diff against HEAD and ten
commits of the log. Our status is also held against plain `git status`, call by call.

A ratio is ours over theirs, the median over the rounds; below 1 is better for us. Tokens are characters / 4, of the
text that a result shows and of the whole result.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.context import ROOT, git
from benchmarks.harness import positive
from benchmarks.peer_environment import PeerMissingError, find_python
from benchmarks.stdio_client import StdioServer

REFERENCE = "mcp-server-git==2026.10.19"
CHARACTERS_PER_TOKEN = 4
FILES_PER_FOLDER = 100
COMMITS = 20
CHANGED = 5

Figures = dict[str, float]


@dataclass(frozen=True)
class Arm:
    """A server: how it is started on a repository, and what it calls the same three questions."""

    name: str
    python: Path

    def command(self, repository: Path) -> list[str]:
        """Return the words that start it on a repository."""
        if self.name == "ours":
            return [str(self.python), "-m", "agent_tools.cli", "--root", str(repository), "serve"]
        return [str(self.python), "-m", "mcp_server_git", "--repository", str(repository)]

    def questions(self, repository: Path) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return tool and arguments by question."""
        where = {} if self.name == "ours" else {"repo_path": str(repository)}
        target, count = ("revision", "limit") if self.name == "ours" else ("target", "max_count")
        return {
            "status": ("git_status", where),
            "diff": ("git_diff", {**where, target: "HEAD"}),
            "log": ("git_log", {**where, count: 10}),
        }

    def start(self, repository: Path) -> StdioServer:
        """Start a fresh process.

        Raises:
            BenchmarkError: it cannot be started, or does not answer.
        """
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} if self.name == "ours" else dict(os.environ)
        return StdioServer(self.command(repository), ROOT, environment)


def reference_python(setup: Path | None, python: Path | None) -> Path:
    """Return the reference server's interpreter.

    Raises:
        PeerMissingError: none is given or can be made, or it has no such server.
    """
    found = find_python(setup, python, "mcp-server-git", [[REFERENCE]])
    if subprocess.run([str(found), "-c", "import mcp_server_git"], capture_output=True, check=False).returncode:
        raise PeerMissingError(f"{found} is no interpreter with mcp-server-git; --setup DIR makes one")
    return found


def make_clone(folder: Path) -> Path:
    """Clone this repository and change a few of its files.

    Raises:
        BenchmarkError: this is no repository.
    """
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    return changed(folder)


def make_large(folder: Path, files: int) -> Path:
    """Generate a repository of so many tracked files in `COMMITS` commits, and change a few of them."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number in range(files):
        path = folder / f"part_{number % COMMITS}" / f"folder_{number // FILES_PER_FOLDER}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"line {line} of file {number}\n" for line in range(20)), encoding="utf-8")
    for part in range(min(COMMITS, files)):
        git(folder, "add", f"part_{part}")
        git(folder, "commit", "--quiet", "--message", f"feat: part {part}\n\n- files that end in it")
    return changed(folder)


def changed(folder: Path) -> Path:
    """Change the first lines of a few tracked files, leave a new one, and bring git's index up to date."""
    texts = [name for name in git(folder, "ls-files").splitlines() if name.endswith((".py", ".txt"))]
    for name in texts[:: max(1, len(texts) // CHANGED)][:CHANGED]:
        path = folder / name
        path.write_text(f"changed\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    (folder / "new.txt").write_text("new\n", encoding="utf-8")
    # Files as young as the index are compared by content in every status, by both servers.
    time.sleep(1.1)
    git(folder, "status")
    return folder


def round_of(arm: Arm, repository: Path, calls: int) -> dict[str, Figures]:
    """Start a server, ask its three questions in turn, `calls` times each, and return the figures.

    Raises:
        BenchmarkError: it does not answer, or refuses.
    """
    questions = arm.questions(repository)
    seconds: dict[str, list[float]] = {name: [] for name in questions}
    found: dict[str, Figures] = {}
    with arm.start(repository) as server:
        found["start"] = {"seconds": server.start_seconds, "tokens": tokens(server.tools)}
        for _ in range(calls):
            for name, (tool, arguments) in questions.items():
                took, result = server.call(tool, arguments)
                seconds[name].append(took)
                found[name] = {"text_tokens": text_tokens(result), "tokens": tokens(result)}
    for name, values in seconds.items():
        found[name] |= {"p50_ms": 1000 * statistics.median(values), "p95_ms": 1000 * percentile(values, 0.95)}
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def tokens(result: Mapping[str, Any]) -> float:
    """Return the tokens of a whole result as compact JSON."""
    return len(json.dumps(result, ensure_ascii=False, separators=(",", ":"))) / CHARACTERS_PER_TOKEN


def text_tokens(result: Mapping[str, Any]) -> float:
    """Return the tokens of the texts in a result."""
    return sum(len(part.get("text", "")) for part in result["content"]) / CHARACTERS_PER_TOKEN


def interleaved(
    arms: Sequence[Arm], repository: Path, rounds: int, calls: int, order: random.Random
) -> tuple[dict[str, list[dict[str, Figures]]], list[list[str]]]:
    """Run every server once a round, each in a fresh process; return the figures by server, and who ran when."""
    rows: dict[str, list[dict[str, Figures]]] = {arm.name: [] for arm in arms}
    orders = []
    for arm in arms:
        arm.start(repository).close()  # compiles what Python has not compiled yet, and fills the page cache
    for _ in range(rounds):
        turn = order.sample(list(arms), len(arms))
        orders.append([arm.name for arm in turn])
        for arm in turn:
            rows[arm.name].append(round_of(arm, repository, calls))
    return rows, orders


def medians(rows: Sequence[Mapping[str, Figures]]) -> dict[str, Figures]:
    """Return the median over the rounds of every figure."""
    return {
        name: {figure: statistics.median(row[name][figure] for row in rows) for figure in rows[0][name]}
        for name in rows[0]
    }


def ratios(rows: Mapping[str, Sequence[Mapping[str, Figures]]]) -> dict[str, dict[str, Any]]:
    """Return ours over theirs of every figure: the median over the rounds, and all of them."""
    found: dict[str, dict[str, Any]] = {}
    for name, figures in rows["ours"][0].items():
        by_round = {
            figure: [mine[name][figure] / its[name][figure] for mine, its in zip(*rows.values(), strict=True)]
            for figure in figures
        }
        found[name] = {figure: statistics.median(values) for figure, values in by_round.items()}
        found[name]["rounds"] = by_round
    return found


def beside_plain_git(ours: Arm, repository: Path, calls: int, order: random.Random) -> Figures:
    """Time our status and plain `git status` by turns, in random order, and return both medians and their ratio."""
    seconds: dict[str, list[float]] = {"ours": [], "git": []}
    with ours.start(repository) as server:
        for turn in range(calls + 1):
            for who in order.sample(["ours", "git"], 2):
                took = server.call("git_status", {})[0] if who == "ours" else plain_status(repository)
                seconds[who] += [took] if turn else []
    mine, plain = (statistics.median(values) for values in seconds.values())
    return {"ours_ms": 1000 * mine, "git_ms": 1000 * plain, "ratio": mine / plain}


def plain_status(repository: Path) -> float:
    """Run `git status` as a script would; return its seconds."""
    begun = time.perf_counter()
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch"]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return time.perf_counter() - begun


def measure(arms: Sequence[Arm], repository: Path, given: argparse.Namespace, order: random.Random) -> dict[str, Any]:
    """Return the figures of all servers on one repository."""
    rows, orders = interleaved(arms, repository, given.rounds, given.calls, order)
    return {
        "files": len(git(repository, "ls-files").splitlines()),
        **{name: medians(found) for name, found in rows.items()},
        "ratio": ratios(rows),
        "order": orders,
        "plain_git_status": beside_plain_git(arms[0], repository, given.calls, order),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both servers and print the line, or the line that says why the reference was skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", type=Path, help="folder in which to make an environment with mcp-server-git")
    parser.add_argument("--python", type=Path, help="interpreter of an environment with mcp-server-git")
    parser.add_argument("--rounds", type=positive, default=8, help="fresh processes of each server")
    parser.add_argument("--calls", type=positive, default=30, help="calls of each kind in each process")
    parser.add_argument("--files", type=positive, default=10_000, help="files of the generated repository")
    parser.add_argument("--seed", type=int, default=0, help="of the random order")
    given = parser.parse_args(arguments)
    line: dict[str, Any] = {"work": "start, status, diff and log over stdio", "reference": REFERENCE, **_asked(given)}
    try:
        arms = [Arm("ours", Path(sys.executable)), Arm("theirs", reference_python(given.setup, given.python))]
    except PeerMissingError as error:
        sys.stdout.write(json.dumps({**line, "skipped": str(error)}) + "\n")
        return
    order = random.Random(given.seed)  # noqa: S311  # an order, no secret
    with tempfile.TemporaryDirectory() as name:
        clone, large = make_clone(Path(name) / "clone"), make_large(Path(name) / "large", given.files)
        line["clone"], line["large"] = (measure(arms, repository, given, order) for repository in (clone, large))
    sys.stdout.write(json.dumps(line) + "\n")


def _asked(given: argparse.Namespace) -> dict[str, int]:
    return {"rounds": given.rounds, "calls": given.calls, "seed": given.seed}


if __name__ == "__main__":
    main()
