"""The tree that was measured, read without running any program that the repository's own configuration names."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent_tools.records.fingerprints import FingerprintError, file_sha256, text_sha256
from agent_tools.records.schema import GitState

GIT_TIMEOUT_SECONDS = 30.0
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""Git's name for the tree without files: what a repository without commits is compared with."""


@dataclass(frozen=True)
class Repository:
    """A repository whose configuration was read and every program that it names switched off."""

    root: Path
    settings: Mapping[str, str]

    @classmethod
    def open(cls, root: Path) -> Repository:
        """Read and disarm the repository around `root`.

        Raises:
            FingerprintError: git is missing, `root` is in no repository, or the work tree lies elsewhere.
        """
        if shutil.which("git") is None:
            raise FingerprintError("git is not installed; install it so that records can name the tree they measured.")
        if _holder(root) is None:
            raise FingerprintError(f"{root.name} is in no git repository; `git init` makes it one.")
        return cls(root, _blanked_settings(root))

    def git(self, *arguments: str, missing_ok: bool = False, variables: Mapping[str, str] | None = None) -> str:
        """Run one git command and return its output.

        Args:
            arguments: the subcommand and its arguments.
            missing_ok: a failure gives '' and no error.
            variables: set in git's environment besides.

        Raises:
            FingerprintError: git failed or took too long; its first line of complaint is quoted.
        """
        return _git(self.root, self.settings, *arguments, missing_ok=missing_ok, variables=variables)


def git_state(root: Path) -> GitState | None:
    """Describe the tree at `root`: commit, branch and a hash of everything uncommitted, untracked files included.

    None where `root` is in no repository (an unpacked archive). No program that the repository's own configuration
    names is run: hooks, fsmonitor, filters, external diff and textconv are off.

    Raises:
        FingerprintError: git is missing, refuses the repository, or its work tree lies elsewhere.
    """
    if shutil.which("git") is not None and _holder(root) is None:
        return None
    repository = Repository.open(root)
    commit = repository.git("rev-parse", "--verify", "-q", "HEAD", missing_ok=True).strip()
    branch = repository.git("symbolic-ref", "-q", "--short", "HEAD", missing_ok=True).strip()
    files = _changed_files(repository)
    return GitState(
        commit=commit,
        branch=branch or "(detached)",
        dirty=bool(files),
        dirty_hash=_dirty_hash(repository, commit or EMPTY_TREE) if files else "",
        changed_files=[line for line, _ in files],
    )


def _holder(root: Path) -> Path | None:
    """The folder at or above `root` that has a `.git`."""
    return next((folder for folder in (root.resolve(), *root.resolve().parents) if (folder / ".git").exists()), None)


def _git_environment(root: Path, settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    fixed = {"core.fsmonitor": "", "core.hooksPath": "/dev/null", "log.showSignature": "false", **settings}
    holder = _holder(root)
    # Named, not discovered: git refuses to discover a checkout that belongs to another user, as in a container.
    places = {"GIT_DIR": str(holder / ".git"), "GIT_WORK_TREE": str(holder)} if holder else {}
    numbered = {}
    for index, (name, value) in enumerate(fixed.items()):
        numbered[f"GIT_CONFIG_KEY_{index}"] = name
        numbered[f"GIT_CONFIG_VALUE_{index}"] = value
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": str(len(fixed)),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "true",
        "GIT_ASKPASS": "true",
        "LC_ALL": "C.UTF-8",
        **places,
        **numbered,
    }


def _git(
    root: Path,
    settings: Mapping[str, str],
    *arguments: str,
    missing_ok: bool = False,
    variables: Mapping[str, str] | None = None,
) -> str:
    command = ["git", "--no-pager", *arguments]
    try:
        answer = subprocess.run(
            command,
            cwd=root,
            env=_git_environment(root, settings) | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FingerprintError(f"git {arguments[0]} took over {GIT_TIMEOUT_SECONDS:.0f} s; try it by hand.") from error
    if answer.returncode != 0 and not missing_ok:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        raise FingerprintError(f"git {arguments[0]} failed: {said[0] if said else 'without a message'}.")
    return answer.stdout.decode(errors="surrogateescape") if answer.returncode == 0 else ""


DANGEROUS_SETTING = re.compile(r"filter\..*|diff\..*\.(command|textconv)|diff\.external|gpg\..*program", re.I | re.S)


def _blanked_settings(root: Path) -> dict[str, str]:
    """Every setting of the repository that names a program, as an override to nothing."""
    listing = _git(root, {}, "config", "--list", "--includes", "-z")
    settings: dict[str, str] = {}
    for entry in listing.split("\0"):
        name, _, value = entry.partition("\n")
        if name.lower() == "core.worktree":
            _check_work_tree(root, value)
        if DANGEROUS_SETTING.fullmatch(name):
            settings[name] = "false" if name.endswith(".required") else ""
    return settings


def _check_work_tree(root: Path, value: str) -> None:
    holder = _holder(root) or root.resolve()
    git_folder = Path(_git(root, {}, "rev-parse", "--absolute-git-dir").rstrip("\n"))
    if not (git_folder / value).resolve().is_relative_to(holder):
        raise FingerprintError("The repository's core.worktree points outside it; unset core.worktree first.")


def _changed_files(repository: Repository) -> list[tuple[str, str]]:
    """(`status` line, path) of each uncommitted file, sorted; paths relative to the top of the tree."""
    arguments = ("status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty", "--no-renames")
    entries = [entry for entry in repository.git(*arguments).split("\0") if entry]
    return sorted((printable(entry), entry[3:]) for entry in entries)


def printable(text: str) -> str:
    """Return text of git with the bytes that are no UTF-8 written as escapes."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _dirty_hash(repository: Repository, base: str) -> str:
    digest = hashlib.sha256()
    arguments = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index", "--binary", "--no-renames")
    diff = repository.git(*arguments, "--ignore-submodules=dirty", base)
    digest.update(diff.encode(errors="surrogateescape"))
    top = Path(repository.git("rev-parse", "--show-toplevel").rstrip("\n"))
    untracked = repository.git("ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--", ":/")
    for name in sorted(entry for entry in untracked.split("\0") if entry):
        digest.update(b"\0" + name.encode(errors="surrogateescape") + b"\0" + _untracked_digest(top / name).encode())
    return digest.hexdigest()


def _untracked_digest(path: Path) -> str:
    if path.is_symlink():
        return text_sha256(os.fsencode(os.readlink(path)))
    return file_sha256(path) if path.is_file() else ""
