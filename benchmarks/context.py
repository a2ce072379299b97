"""Time `collect_context.sh` where there is much to read: `python -m benchmarks.context [--records N] [--files N]`.

A clone of this repository gets records and files until it has that many, in a commit; then the script runs in fresh
processes with the system's Python. `seconds` is the median, `tokens` what the script's own count makes of its output.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import BenchmarkError, positive

ROOT = Path(__file__).resolve().parent.parent
BYTES_PER_TOKEN = 3
FILES_PER_FOLDER = 100
IDENTITY = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.com")


def git(folder: Path, *words: str) -> str:
    """Run git in a folder and return what it printed.

    Raises:
        BenchmarkError: it failed; git's complaint is quoted.
    """
    done = subprocess.run(["git", *IDENTITY, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def grown_clone(folder: Path, records: int, files: int) -> None:
    """Clone this repository into `folder` and let it grow to so many records and tracked files.

    Raises:
        BenchmarkError: this is no repository, or it has no ladder whose record could be copied.
    """
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    ladders = sorted(folder.glob("logs/*/records/*-benchmark-*.json"))
    if not ladders:
        raise BenchmarkError("logs/ holds no benchmark record to copy; measure a ladder first.")
    text = ladders[0].read_text(encoding="utf-8")
    session = folder / "logs/2026-01-01_copies/records"
    session.mkdir(parents=True)
    for number in range(max(0, records - len(list(folder.glob("logs/*/records/*.json"))))):
        name = f"20260101T000000Z-benchmark-{number:06x}"
        (session / f"{name}.json").write_text(text.replace(ladders[0].stem, name), encoding="utf-8")
    git(folder, "add", "--all")
    for number in range(max(0, files - len(git(folder, "ls-files").splitlines()))):
        place = folder / f"data_{number // FILES_PER_FOLDER}"
        place.mkdir(exist_ok=True)
        (place / f"{number}.txt").write_text(f"{number}\n", encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "feat: much to read")


def collect(folder: Path) -> tuple[float, int]:
    """Run the script in a fresh process; return its seconds and the bytes that it printed."""
    environment = {"PATH": os.defpath, "HOME": "/nonexistent"}
    start = time.perf_counter()
    done = subprocess.run(
        [str(folder / "scripts/collect_context.sh")], cwd=folder, env=environment, capture_output=True, check=True
    )
    return time.perf_counter() - start, len(done.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line with the median seconds, every sample, and the tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=positive, default=200)
    parser.add_argument("--files", type=positive, default=10_000, help="tracked files in all")
    parser.add_argument("--runs", type=positive, default=7, help="timed runs, after one to warm up")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "clone"
        grown_clone(clone, given.records, given.files)
        collect(clone)
        samples = [collect(clone) for _ in range(given.runs)]
    seconds = [one for one, _ in samples]
    line = {
        "seconds": statistics.median(seconds),
        "slowest_seconds": max(seconds),
        "samples": seconds,
        "tokens": max(size for _, size in samples) / BYTES_PER_TOKEN,
        "records": given.records,
        "files": given.files,
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
