"""A small git repository with a benchmark that says how long it took, so that a test decides what is measured.

`pkg/__init__.py` holds SECONDS, RECALL and OUTPUTS; `bench.py` prints them in one JSON line with a little noise. The
processes, worktrees and commits are real; only the seconds are made up.
"""

from __future__ import annotations

from pathlib import Path

from agent_tools.measure.comparison_plan import CompareRequest
from agent_tools.measure.targets import TargetRequest
from tests.agent_tools.conftest import run_git

BENCH = """
import json, os, sys, time, zlib
import pkg

words = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:] if "=" in word)
count = zlib.crc32(f"{os.getpid()} {time.time_ns()}".encode())
noise = 1 + 0.004 * (count % 1000 / 1000 - 0.5)
if os.path.exists(os.environ.get("BENCH_HANG", "/nonexistent")):
    time.sleep(600)
if os.path.exists(os.environ.get("BENCH_FAIL", "/nonexistent")):
    sys.exit("the benchmark is on fire")
print("a line that is no metric")
print(json.dumps({
    "seconds": pkg.SECONDS * float(words.get("factor", 1)) * noise,
    "other_seconds": 1.0 * noise,
    "recall": pkg.RECALL,
    "outputs": pkg.OUTPUTS,
    "dataset": os.environ.get("BENCH_DATASET", "data-1"),
    "work": words.get("work", "4 images"),
    "items_per_second": 8 / pkg.SECONDS,
}))
"""


def build_project(root: Path) -> Path:
    """Write the repository with one commit and return it."""
    (root / "pkg").mkdir(parents=True)
    (root / "bench.py").write_text(BENCH)
    (root / ".gitignore").write_text("outputs/\n__pycache__/\n")
    write_package(root)
    run_git(root, "init", "-q", "-b", "main")
    commit(root, "first")
    return root


def write_package(
    root: Path, seconds: float = 1.0, recall: float = 0.9, outputs: str = "same", extra: str = ""
) -> None:
    """Say what the benchmark of this tree shall report."""
    text = f"SECONDS, RECALL, OUTPUTS = {seconds}, {recall}, {outputs!r}\n{extra}\n"
    (root / "pkg" / "__init__.py").write_text(text)


def commit(root: Path, message: str) -> str:
    """Commit everything and return the hash."""
    run_git(root, "add", "--all")
    run_git(root, "commit", "-q", "--allow-empty", "-m", message)
    return run_git(root, "rev-parse", "HEAD").strip()


def asked(a: str, b: str, rounds: int = 6, **changes: object) -> CompareRequest:
    """A comparison of the benchmark; keys of the target and of the comparison may be changed."""
    target_keys = set(TargetRequest.model_fields)
    target = {"name": "command", "command": ["python", "bench.py"], "accuracy": ["recall"]}
    target |= {key: value for key, value in changes.items() if key in target_keys}
    own = {key: value for key, value in changes.items() if key not in target_keys}
    # Other tests run beside this one, so foreign work must not count here.
    return CompareRequest(a, b, TargetRequest.model_validate(target), rounds=rounds, foreign_limit=1.0, **own)  # type: ignore[arg-type]
