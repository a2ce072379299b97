"""Environments of other projects that a benchmark compares with: made with pip where asked for, never our own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import BenchmarkError


class PeerMissingError(BenchmarkError):
    """No environment with the other project; the text says why."""


def make_environment(folder: Path, installs: Sequence[Sequence[str]]) -> Path:
    """Make an environment in `folder` unless it is there, install what is missing, and return its interpreter.

    Args:
        folder: of the environment.
        installs: the packages of each call of pip, in order.

    Raises:
        PeerMissingError: it could not be made, or pip could not install something.
    """
    python = folder / "bin" / "python"
    if not python.is_file():
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
        if made.returncode:
            raise PeerMissingError(f"no environment could be made in {folder}: {(made.stdout or made.stderr).strip()}")
    for packages in installs:
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
            raise PeerMissingError(f"pip could not install {' '.join(packages)}: {last[0]}")
    return python


def find_python(setup: Path | None, python: Path | None, name: str, installs: Sequence[Sequence[str]]) -> Path:
    """Return the interpreter of an environment with the project `name`, from `--setup` or `--python`.

    Raises:
        PeerMissingError: neither is given, or there is no such interpreter.
    """
    found = make_environment(setup.absolute(), installs) if setup else python
    if found is None:
        raise PeerMissingError(f"give --python PATH of an environment with {name}, or --setup DIR to make one")
    if not found.is_file():
        raise PeerMissingError(f"{found} is no interpreter; give --python PATH, or --setup DIR to make one")
    return found
