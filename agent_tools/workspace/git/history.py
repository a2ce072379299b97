"""What happened in a repository since a commit: for whoever compares then with now. Reads through `Repository` only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent_tools.workspace.git.reading import git_status
from agent_tools.workspace.git.runner import GitError, Repository, shown_lines
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

COMMITS_READ = 200
ENTRIES_READ = 500
NEWEST_WITHOUT_BASE = 20
NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class PastCommit:
    """One commit; `date` is the day on which it was committed, `message` all of its text."""

    id: str
    date: str
    message: str

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]


@dataclass(frozen=True)
class TreeSince:
    """The tree now, and what changed since a commit.

    Attributes:
        commit: id of the current one, '' before the first or without a repository.
        committed: when it was committed; the beginning of time where there is none.
        branch: its name, '' without a repository.
        base: id of the commit that is compared with; '' where none was asked for, or this repository does not have it.
        commits: newest first, since the base; without one the newest of all.
        changed: pairs of a state (created, modified, deleted) and a path, uncommitted work included.
        uncommitted: a state letter and a path each, as `git status --short` has them.
        omitted: entries of the two lists that were left out.
    """

    commit: str = ""
    committed: datetime = NEVER
    branch: str = ""
    base: str = ""
    commits: tuple[PastCommit, ...] = ()
    changed: tuple[tuple[str, str], ...] = ()
    uncommitted: tuple[str, ...] = ()
    omitted: int = 0


STATES = {"A": "created", "D": "deleted"}
"""Letters of `git diff --name-status`; every other one is a modification."""


async def tree_since(root: Root, base: str) -> TreeSince:
    """Describe the tree and what changed in it since `base` (a commit id, or '').

    An unpacked archive without a repository has an empty description.

    Raises:
        GitError: git refuses the repository or fails.
    """
    if not (root.path / ".git").exists():
        return TreeSince()
    repository = await Repository.open(root)
    status = await git_status(root, limit=ENTRIES_READ, response_format="detailed")
    states = [*status.conflicted, *status.staged, *status.unstaged]
    known = await _known(repository, base)
    changed = await _changed(repository, known or (repository.empty_tree if not status.commit else status.commit))
    new = [("created", path) for path in status.untracked]
    return TreeSince(
        commit=status.commit,
        committed=await _committed(repository) if status.commit else NEVER,
        branch=status.branch,
        base=known,
        commits=tuple(await _log(repository, known, ()) if status.commit else ()),
        changed=tuple(sorted([*changed, *new], key=lambda entry: entry[1]))[:ENTRIES_READ],
        uncommitted=tuple(dict.fromkeys([*states, *(f"? {path}" for path in status.untracked)])),
        omitted=status.omitted + max(0, len(changed) + len(new) - ENTRIES_READ),
    )


async def commits_touching(root: Root, base: str, paths: Sequence[str]) -> list[PastCommit] | None:
    """Return the commits since `base` that touch one of some paths, newest first; None where the base is unknown.

    Raises:
        RootError: a path outside of the root.
        GitError: git refuses the repository or fails.
    """
    for path in paths:
        root.resolve(path, must_exist=False)
    if not (root.path / ".git").exists():
        return None
    repository = await Repository.open(root)
    known = await _known(repository, base)
    return await _log(repository, known, paths) if known else None


async def _known(repository: Repository, commit: str) -> str:
    """The full id of a commit that the repository has; '' for any other text."""
    try:
        return await repository.commit(commit) if commit else ""
    except GitError:
        return ""


async def _committed(repository: Repository) -> datetime:
    seconds = await repository.run("log", "-1", "--no-show-signature", "--format=%ct", "HEAD")
    return datetime.fromtimestamp(int(seconds), UTC)


async def _log(repository: Repository, base: str, paths: Sequence[str]) -> list[PastCommit]:
    most = COMMITS_READ if base else NEWEST_WITHOUT_BASE
    window = (f"--max-count={most}", f"{base}..HEAD" if base else "HEAD")
    flags = ("--no-show-signature", "--no-ext-diff", "--no-textconv", "--no-color", "-z", "--format=%H%x00%cs%x00%B")
    output, _ = await repository.run_to_cap(b"\0", "log", *flags, *window, "--", *paths)
    # Each field ends with a NUL, so what follows the last one is not a field.
    fields = [shown(part).strip() for part in output.split(b"\0")[:-1]]
    return [PastCommit(*fields[index : index + 3]) for index in range(0, len(fields) - 2, 3)]


async def _changed(repository: Repository, base: str) -> list[tuple[str, str]]:
    flags = ("--name-status", "--no-renames", "-z", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
    output, _ = await repository.run_to_cap(b"\0", "diff", *flags, base)
    parts = shown_lines(output)
    return [
        (STATES.get(letter[:1], "modified"), shown(os.fsencode(path)))
        for letter, path in zip(parts[::2], parts[1::2], strict=False)
    ]
