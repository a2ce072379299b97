"""Any state of the repository as a folder of its own: a commit, or the tree as it is with everything uncommitted.

What is measured must not move while it is measured, so even the tree as it is becomes a commit object (on no branch)
that is checked out elsewhere. No hook, filter or other program that the repository names is run.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import FingerprintError
from agent_tools.records.frozen import Frozen
from agent_tools.records.repository import Repository, printable

WORKTREE = "worktree"
"""The word for the tree as it is, uncommitted changes included."""

_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "workbench"), ("EMAIL", "workbench@localhost"), ("DATE", "2026-01-01T00:00:00Z"))
}
"""Fixed, so that the same tree gives the same commit object whenever and by whomever it is measured."""

_REVISION = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_./@{}^~+-]*")


class RevisionError(WorkbenchError):
    """A revision that does not exist or cannot be checked out."""


class Snapshot(Frozen):
    """One state of the repository. `commit` can be checked out; `base` is the commit that a person knows it by."""

    title: str
    commit: str
    base: str
    tree: str
    dirty: bool


def take_snapshot(root: Path, revision: str) -> Snapshot:
    """Return the snapshot of a revision; `worktree`, `.` or '' stand for the tree as it is.

    Raises:
        RevisionError: no such revision; the nearest branches and tags are named.
        FingerprintError: no repository, or one that is refused.
    """
    repository = Repository.open(root)
    if revision in ("", ".", WORKTREE):
        return _of_worktree(repository)
    commit = resolve_commit(repository, revision)
    title = commit[:9] if revision == commit else revision
    return Snapshot(title=title, commit=commit, base=commit, tree=_tree_of(repository, commit), dirty=False)


def resolve_commit(repository: Repository, revision: str) -> str:
    """Return the full hash of a revision's commit.

    Raises:
        RevisionError: no such revision, or a text that is none; the nearest branches and tags are named.
    """
    if _REVISION.fullmatch(revision):
        commit = repository.git("rev-parse", "--verify", "-q", f"{revision}^{{commit}}", missing_ok=True).strip()
        if commit:
            return commit
    names = repository.git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags").splitlines()
    near = difflib.get_close_matches(revision, names, n=3, cutoff=0.4)
    hint = f"the nearest are {', '.join(near)}" if near else f"branches and tags: {', '.join(names[:5]) or 'none'}"
    raise RevisionError(
        f"'{revision}' is no revision here; {hint}. A configuration is written KEY=VALUE, the tree as it is {WORKTREE}."
    )


def _of_worktree(repository: Repository) -> Snapshot:
    head = repository.git("rev-parse", "--verify", "-q", "HEAD", missing_ok=True).strip()
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if head:
            repository.git("read-tree", head, variables=index)
        repository.git("add", "--all", "--", ":/", variables=index)
        tree = repository.git("write-tree", variables=index).strip()
    if head and tree == _tree_of(repository, head):
        return Snapshot(title=WORKTREE, commit=head, base=head, tree=tree, dirty=False)
    parents = ["-p", head] if head else []
    commit = repository.git("commit-tree", tree, *parents, "-m", "snapshot", variables=_IDENTITY).strip()
    return Snapshot(title=WORKTREE, commit=commit, base=head, tree=tree, dirty=True)


def _tree_of(repository: Repository, commit: str) -> str:
    return repository.git("rev-parse", f"{commit}^{{tree}}").strip()


@contextlib.contextmanager
def checked_out(root: Path, snapshot: Snapshot, folder: Path) -> Iterator[Path]:
    """Check a snapshot out into `folder` for as long as the context lasts, and remove it afterwards.

    Raises:
        RevisionError: the folder cannot be written.
    """
    repository = Repository.open(root)
    _remove(repository, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        repository.git("worktree", "add", "--detach", "--force", str(folder), snapshot.commit)
    except FingerprintError as error:
        _remove(repository, folder)
        raise RevisionError(f"{snapshot.title} could not be checked out: {error}") from error
    try:
        yield folder
    finally:
        _remove(repository, folder)


def _remove(repository: Repository, folder: Path) -> None:
    # By name, never `prune`: that would also forget a worktree of the user's whose disk is not mounted now.
    repository.git("worktree", "remove", "--force", "--force", str(folder), missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def forget_worktrees(root: Path, below: Path) -> None:
    """Remove every worktree below a folder, also those whose own folders are gone."""
    repository = Repository.open(root)
    for line in repository.git("worktree", "list", "--porcelain", "-z").split("\0"):
        path = Path(line.removeprefix("worktree "))
        if line.startswith("worktree ") and path.is_relative_to(below):
            _remove(repository, path)


def commits_between(root: Path, older: str, newer: str, most: int = 200) -> list[str]:
    """Return `HASH SUBJECT` of the commits that `newer` has and `older` has not, newest first, at most `most`."""
    log = Repository.open(root).git("log", "--no-show-signature", f"-{most}", "--format=%h %s", f"{older}..{newer}")
    return printable(log).split("\n")[:-1]


def commit_times(root: Path, commits: Sequence[str]) -> dict[str, tuple[datetime, str]]:
    """Return commit -> (when it was committed, its subject)."""
    log = Repository.open(root).git("log", "--no-show-signature", "--no-walk", "--format=%H %cI %s", *commits)
    found = {}
    for line in printable(log).split("\n")[:-1]:
        commit, moment, subject = (*line.split(" ", 2), "")[:3]
        found[commit] = (datetime.fromisoformat(moment), subject)
    return found


def files_between(root: Path, older: str, newer: str) -> list[str]:
    """Return `STATUS PATH` of every file that differs between two commits."""
    listing = Repository.open(root).git("diff", "--no-ext-diff", "--no-renames", "--name-status", "-z", older, newer)
    parts = printable(listing).split("\0")
    return [f"{status} {name}" for status, name in zip(parts[::2], parts[1::2], strict=False) if name]


def first_parents(root: Path, good: str, bad: str) -> list[tuple[str, str]]:
    """Return (hash, subject) of the commits after `good` up to `bad` along first parents, oldest first.

    Raises:
        RevisionError: `good` is not an ancestor of `bad`.
    """
    repository = Repository.open(root)
    start, end = resolve_commit(repository, good), resolve_commit(repository, bad)
    base = repository.git("merge-base", start, end, missing_ok=True).strip()
    if base != start or start == end:
        raise RevisionError(f"{good} is not an ancestor of {bad}; give two commits of one line of history.")
    log = repository.git(
        "log", "--no-show-signature", "--reverse", "--first-parent", "--format=%H %s", f"{start}..{end}"
    )
    return [(line[:40], line[41:]) for line in printable(log).split("\n")[:-1]]
