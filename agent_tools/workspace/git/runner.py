"""Running git without running anything that the repository names.

A repository can make git start programs (fsmonitor, hooks, filters, textconv, external diff, merge drivers, gpg, lazy
fetches, the same again inside submodules) and can point its work tree elsewhere. One runner closes each of these doors,
for reading and for writing; the tests plant a program behind every one.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from agent_tools.jobs.processes import Finished, run_bounded
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

OLDEST_GIT = (2, 32)
"""The first that reads `GIT_CONFIG_GLOBAL`; an older one would read the user's own configuration."""

EMPTY_TREES = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
SECONDS = 20.0
SETTLED_NANOSECONDS = 2_000_000_000
"""A file that was last written longer ago has other times when it is written again."""
OUTPUT_CAP = 4 << 20

FIXED_SETTINGS = {
    "core.fsmonitor": "",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.sshCommand": "",
    "core.alternateRefsCommand": "",
    "log.showSignature": "false",
    "diff.external": "",
    "diff.ignoreSubmodules": "dirty",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
    "color.ui": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "core.quotePath": "false",
    "i18n.commitEncoding": "UTF-8",
    "commit.gpgSign": "false",
    "protocol.allow": "never",
}

_PROGRAM_SETTING = re.compile(
    r"filter\..*|diff\..*\.(?:command|textconv)|diff\.external|gpg\.(?:.*\.)?(?:program|defaultkeycommand)"
    r"|credential\.(?:.*\.)?helper|remote\..*\.(?:vcs|uploadpack|receivepack|promisor|partialclonefilter)"
    r"|merge\..*\.driver|core\.(?:gitproxy|askpass|editor)|pager\..*",
    re.IGNORECASE | re.DOTALL,
)

ENVIRONMENT = {
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "GIT_SEQUENCE_EDITOR": "true",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GIT_SSH_COMMAND": "false",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}

_REVISION = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_./@{}^~+-]*")


class GitError(WorkbenchError):
    """A repository that is refused, a revision that does not exist, or a git that failed."""


@dataclass(frozen=True)
class Places:
    """Folders of a repository, absolute and without symbolic links.

    Attributes:
        own: of this working tree: its HEAD, its index, the state of a merge.
        common: of all working trees: branches, hooks.
    """

    own: Path
    common: Path


@dataclass(frozen=True)
class Repository:
    """A repository whose configuration was read and disarmed.

    Attributes:
        root: where it is.
        settings: what takes the place of the repository's own settings, by name.
        configured: what the repository itself says, by lower-case name; never given to git.
        variables: for git, beside those of the runner.
    """

    root: Root
    settings: dict[str, str]
    configured: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    async def open(cls, root: Root) -> Repository:
        """Read the repository's own configuration and blank by name every setting that names a program.

        Raises:
            GitError: no repository at the root, one that leads out of it, or a git that is missing or too old.
        """
        if not (root.path / ".git").exists():
            raise GitError(f"{root.path.name} is not a git repository (it has no .git); `git init` makes it one.")
        _check_version()
        # Without any settings of the runner, which would be listed as well; reading a configuration runs nothing.
        bare = cls(root, {})
        await bare._check_folders()
        listing = await bare._listed_settings()
        settings, configured = dict(FIXED_SETTINGS), dict[str, str]()
        for entry in listing:
            name, _, value = entry.partition("\n")
            configured[name.lower()] = value
            if name.lower() == "core.worktree":
                _check_work_tree(root, value)
            if _PROGRAM_SETTING.fullmatch(name):
                settings[name] = "false" if name.endswith((".required", ".promisor")) else ""
        return cls(root, settings, configured)

    @property
    def empty_tree(self) -> str:
        """The id of a tree without files, by the hash that the repository uses."""
        return EMPTY_TREES[self.configured.get("extensions.objectformat", "sha1").lower()]

    def with_variables(self, variables: Mapping[str, str]) -> Repository:
        """The same repository with more variables for git, such as who commits."""
        return replace(self, variables={**self.variables, **variables})

    def with_index(self, index: Path) -> Repository:
        """The same repository with another index: one whole file, so that no part of it lands in the repository."""
        whole = replace(self, settings={**self.settings, "core.splitIndex": "false"})
        return whole.with_variables({"GIT_INDEX_FILE": str(index)})

    async def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run one git command on some input and return its output.

        Raises:
            GitError: it failed, took over its time, or said more than `OUTPUT_CAP`; git's first complaint is quoted.
        """
        output, cut = await self.run_to_cap(b"", *arguments, stdin=stdin)
        if cut:
            raise GitError(f"git {arguments[0]} said more than {OUTPUT_CAP >> 20} MiB; name paths.")
        return output

    async def run_to_cap(self, separator: bytes, *arguments: str, stdin: bytes = b"") -> tuple[bytes, bool]:
        """Run one git command and return its output up to `OUTPUT_CAP` and whether it was cut.

        The entry that the cut went through is dropped; entries end with `separator`.

        Raises:
            GitError: it failed or took over its time; git's first line of complaint is quoted.
        """
        finished = await self.attempt(*arguments, stdin=stdin)
        if finished.timed_out:
            raise GitError(f"git {arguments[0]} took over {SECONDS:.0f} s; name fewer paths.")
        if finished.truncated:
            return (finished.output[: finished.output.rfind(separator) + 1] if separator else b""), True
        if finished.exit_code != 0:
            raise GitError(complaint(arguments[0], finished))
        return finished.output, False

    async def attempt(self, *arguments: str, stdin: bytes = b"") -> Finished:
        """Run one git command and return however it ended."""
        with _readable(stdin) as given:
            return await run_bounded(
                ["git", "--no-pager", "--no-optional-locks", *arguments],
                folder=self.root.path,
                environment=self._environment(),
                seconds=SECONDS,
                output_cap=OUTPUT_CAP,
                stdin=given,
            )

    async def commit(self, revision: str) -> str:
        """Return the full id of the commit that `revision` names.

        Raises:
            GitError: written like an option or a path, or unknown; the nearest branches and tags are named.
        """
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise GitError(f"{revision!r} is not a revision; name a commit, branch or tag, or two as 'A..B'.")
        found = await self.attempt("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if found.exit_code != 0:
            names = (await self.run("for-each-ref", "--format=%(refname:short)")).decode(errors="replace").split()
            close = difflib.get_close_matches(revision, names, n=3, cutoff=0.4) or names[:3]
            hint = f"the nearest are {', '.join(map(shown, close))}" if close else "there is no commit yet"
            raise GitError(f"There is no revision '{revision}': {hint}.")
        return found.output.decode().strip()

    async def head(self) -> str:
        """Return the id of the current commit, or '' before the first one."""
        return (await self.attempt("rev-parse", "--verify", "--quiet", "HEAD")).output.decode().strip()

    async def places(self) -> Places:
        """Return where this working tree and the repository have their files."""
        answer = await self.run("rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
        own, common = (Path(os.path.realpath(line)) for line in os.fsdecode(answer).splitlines())
        return Places(own, common)

    def _environment(self) -> dict[str, str]:
        # By variables, not with -c: there a '=' inside a driver's name would split the setting in the wrong place.
        numbered = {"GIT_CONFIG_COUNT": str(len(self.settings))}
        for index, (name, value) in enumerate(self.settings.items()):
            numbered[f"GIT_CONFIG_KEY_{index}"] = name
            numbered[f"GIT_CONFIG_VALUE_{index}"] = value
        # Named, not discovered: git can neither climb to a parent repository nor take a planted bare one.
        places = {"GIT_DIR": str(self.root.path / ".git"), "GIT_WORK_TREE": str(self.root.path)}
        return {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT, **places, **numbered, **self.variables}

    async def _listed_settings(self) -> list[str]:
        """The repository's own settings, `name` and value with a line end between; asked again only where files moved.

        A process costs as much as the rest of a short call.
        """
        stamp, now = _config_stamp(self.root.path / ".git"), time.time_ns()
        known = _LISTINGS.get(self.root.path)
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1]
        listing = shown_lines(await self.run("config", "--list", "--includes", "-z"))
        _LISTINGS.pop(self.root.path, None)
        # What other files say can change unseen; and a file that was written just now may be written again within one
        # tick of the clock.
        is_alone = not any(entry.lower().startswith(("include.", "includeif.")) for entry in listing)
        if stamp is not None and is_alone and all(moved < now - SETTLED_NANOSECONDS for moved in _moments(stamp)):
            _LISTINGS[self.root.path] = (stamp, listing)
        return listing

    async def _check_folders(self) -> None:
        git_folder = self.root.path / ".git"
        if git_folder.is_dir() and not git_folder.is_symlink() and not (git_folder / "commondir").exists():
            return
        places = await self.places()
        own, common = places.own, places.common
        if own.is_relative_to(self.root.path) and common.is_relative_to(self.root.path):
            return
        if not _is_linked_worktree(self.root.path, own, common):
            raise GitError("The repository's .git leads outside of the root, and no worktree there points back to it.")


Stamp = tuple[tuple[int, int, int, int] | None, ...]
"""Change time, modification time, size and inode of each configuration file; None for one that is not there."""

_LISTINGS: dict[Path, tuple[Stamp, list[str]]] = {}


def _config_stamp(git_folder: Path) -> Stamp | None:
    """The state of a repository's configuration files; None where they lie elsewhere, as those of a worktree do."""
    if git_folder.is_symlink() or not git_folder.is_dir() or (git_folder / "commondir").exists():
        return None
    return tuple(_file_stamp(git_folder / name) for name in ("config", "config.worktree"))


def _file_stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino


def _moments(stamp: Stamp) -> Iterator[int]:
    return (moment for file in stamp if file is not None for moment in file[:2])


@contextmanager
def _readable(data: bytes) -> Iterator[int | IO[bytes]]:
    if not data:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


def complaint(command: str, finished: Finished) -> str:
    """The sentence about a git command that failed."""
    said = shown(finished.errors).strip().splitlines()
    lock = re.search(r"'([^']*\.lock)'.*File exists", said[0]) if said else None
    if lock:
        return locked(lock[1])
    return f"git {command} failed: {said[0] if said else f'exit code {finished.exit_code}'}."


def locked(lock: str) -> str:
    """The sentence about a lock file that somebody else holds."""
    return (
        f"Another git holds {Path(lock).name} and nothing was changed; try again, and if no git is running, remove "
        f"{shown(lock)}, which one that was killed has left."
    )


@functools.cache
def _check_version() -> None:
    try:
        said = subprocess.run(["git", "version"], capture_output=True, text=True, timeout=SECONDS, check=False).stdout
    except OSError as error:
        raise GitError("git cannot be started; install git 2.32 or newer.") from error
    if tuple(map(int, re.findall(r"[0-9]+", said)[:2])) < OLDEST_GIT:
        raise GitError(f"{said.strip()} is too old to be used safely; install 2.32 or newer.")


def _is_linked_worktree(root: Path, own: Path, common: Path) -> bool:
    """`git worktree add` leaves a pointer in both directions; a planted `.git` file has only its own."""
    try:
        back = Path(os.path.realpath((own / "gitdir").read_text(encoding="utf-8").rstrip("\n")))
    except (OSError, UnicodeDecodeError):
        return False
    return own.parent == common / "worktrees" and back == root / ".git"


def _check_work_tree(root: Root, value: str) -> None:
    target = Path(os.path.realpath(root.path / ".git" / value))
    if not target.is_relative_to(root.path):
        raise GitError(
            "The repository's core.worktree leads outside of it; `git config --unset core.worktree` mends it."
        )


def shown_lines(output: bytes) -> list[str]:
    """Split NUL-separated output; names keep their exact bytes as surrogates so that they can be passed back."""
    return [os.fsdecode(part) for part in output.split(b"\0") if part]
