"""Which interpreter runs a side: this program's own where both pin the same packages, else one built for it.

Environments are keyed by the hash of what they pin, and kept: a second comparison with the same requirements builds
nothing.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import canonical_hash

BUILD_SECONDS = 60 * 60.0
COMPLETE = ".complete"
_LIST = """
import json, re
from importlib.metadata import distributions
named = [(one.metadata["Name"], one.version) for one in distributions()]
print(json.dumps({re.sub(r"[-_.]+", "-", name).lower(): version for name, version in named if name}))
"""
CONSTRAINTS, REQUIREMENTS, PROJECT = "constraints.txt", "requirements.txt", "pyproject.toml"


class RequirementsError(WorkbenchError):
    """Requirements that cannot be read or installed."""


def requirements_hash(tree: Path) -> str:
    """Return a short hash of everything that a tree pins: constraints, requirements and the project's dependencies.

    Raises:
        RequirementsError: pyproject.toml cannot be read.
    """
    pinned: dict[str, Any] = {"dependencies": sorted(_dependencies(tree))}
    for name in (CONSTRAINTS, REQUIREMENTS):
        file = tree / name
        if file.is_file():
            pinned[name] = sorted(_pins(file))
    return canonical_hash(pinned)[:12]


def interpreter_for(tree: Path, root: Path, say: Callable[[str], None]) -> str:
    """Return the interpreter whose packages a tree asks for; it is built first where there is none yet.

    Args:
        tree: a checked-out side.
        root: the repository, whose own environment is this program's.
        say: told before a build, which can take minutes.

    Raises:
        RequirementsError: the packages cannot be installed; pip's last line is quoted.
    """
    wanted = requirements_hash(tree)
    if wanted == requirements_hash(root):
        return sys.executable
    folder = root / "outputs" / "environments" / wanted
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{wanted}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / COMPLETE).is_file():
            say(f"building the environment {wanted} that this side pins; it is kept for next time")
            _build(tree, folder)
    return str(folder / "bin" / "python")


def installed_packages(python: str) -> dict[str, str]:
    """Return normalised name -> version of everything that an interpreter has installed.

    Raises:
        RequirementsError: it does not start.
    """
    done = subprocess.run(
        [python, "-I", "-c", _LIST], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise RequirementsError(f"The interpreter of a side does not start: {done.stderr[-200:]}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def refuse_other_packages(tree: Path, python: str, title: str) -> None:
    """Refuse an interpreter that has other versions than a tree pins: the old ones would be measured under a new name.

    Raises:
        RequirementsError: naming the first package, what is pinned and what is installed.
    """
    file = tree / CONSTRAINTS
    if not file.is_file():
        return
    installed = installed_packages(python)
    for line in _pins(file):
        name, _, version = line.partition("==")
        here = installed.get(_normalised(name), "")
        # A local version, as in 2.13.0+cpu, is a build of the pinned one.
        if version and here and here.partition("+")[0] != version.strip().partition("+")[0]:
            raise RequirementsError(
                f"{title} pins {name.strip()}=={version.strip()}, but {here} is installed; run `make setup` (or pip "
                "install) first, so that what is pinned is what runs."
            )


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _pins(file: Path) -> list[str]:
    """The lines of a file of requirements without comments, those of the files that it includes among them."""
    lines = []
    for raw in file.read_text(encoding="utf-8").splitlines():
        line = raw.partition("#")[0].strip()
        included = re.fullmatch(r"(?:-r|-c|--requirement|--constraint)[ =]*(\S+)", line)
        if included and (file.parent / included[1]).is_file() and (file.parent / included[1]) != file:
            lines += _pins(file.parent / included[1])
        elif line:
            lines.append(line)
    return lines


def _dependencies(tree: Path) -> list[str]:
    file = tree / PROJECT
    if not file.is_file():
        return []
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequirementsError(f"{PROJECT} of this side cannot be read ({error}); repair it or skip it.") from error
    return list(project.get("dependencies", []))


def _build(tree: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=True)
    wanted = _dependencies(tree)
    if (tree / REQUIREMENTS).is_file():
        wanted += ["--requirement", REQUIREMENTS]
    if (tree / CONSTRAINTS).is_file():
        wanted = ["--constraint", CONSTRAINTS, *wanted]
    if wanted:
        _install(folder, tree, wanted)
    (folder / COMPLETE).touch()


def _install(folder: Path, tree: Path, wanted: list[str]) -> None:
    command = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        *wanted,
    ]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RequirementsError(
            f"pip took over {BUILD_SECONDS / 60:.0f} minutes for the packages of a side."
        ) from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        raise RequirementsError(
            f"The packages that a side pins cannot be installed: {said[0] if said else 'pip said nothing'}"
        )
