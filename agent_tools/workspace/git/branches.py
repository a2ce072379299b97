"""Branches: listed, created, switched to; never deleted, and never at the cost of a change."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import anyio
from pydantic import Field

from agent_tools.results import Cursor, RepositoryText, offset, page
from agent_tools.workspace.git.entries import WRITING_OUT, filters_of, listed, refuse_needed_filters
from agent_tools.workspace.git.runner import SECONDS, GitError, Repository, complaint, shown_lines
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown


class GitBranches(RepositoryText):
    """The current branch ('' on none), and others: name, commit, date and subject of each."""

    branch: str
    branches: list[str]
    next_cursor: str = ""
    note: str = ""

    def summary(self) -> str:
        """Say what was done, or the branches."""
        more = f"go on with cursor={self.next_cursor}" if self.next_cursor else ""
        lines = [self.note or f"on {self.branch or 'no branch'}", *self.branches, more]
        return "\n".join(line for line in lines if line)


async def git_branch(
    root: Root,
    name: str = "",
    start: Annotated[str, Field(description="create it at this revision")] = "",
    limit: Annotated[int, Field(ge=1, le=200)] = 30,
    cursor: Cursor = "",
) -> GitBranches:
    """List branches, or switch to branch `name`.

    Use it with start=HEAD before new work. Refuses to lose changes.
    """
    repository = await Repository.open(root)
    if name:
        note = await _switch(repository, name, start)
        return GitBranches(branch=shown(name), branches=[], note=note)
    if start:
        raise GitError(f"start='{start}' is where a new branch begins; give its name as well.")
    return await _list(repository, limit, offset(cursor))


async def _list(repository: Repository, limit: int, skip: int) -> GitBranches:
    form = "%(HEAD)%(refname:lstrip=2)%00%(objectname)%00%(committerdate:short)%00%(subject)"
    window = (f"--count={skip + limit + 1}", "--sort=-committerdate", "--sort=-HEAD")
    output, _ = await repository.run_to_cap(b"\n", "for-each-ref", *window, f"--format={form}", "refs/heads")
    rows = [[shown(part) for part in line.split(b"\0", 3)] for line in output.split(b"\n")[:-1]]
    lines = [f"{name[1:]} {commit[:10]} {date} {subject[:100]}" for name, commit, date, subject in rows]
    current = next((name[1:] for name, *_ in rows if name.startswith("*")), "")
    kept, following = page(lines, skip, limit)
    return GitBranches(branch=current, branches=kept, next_cursor=following)


async def _switch(repository: Repository, name: str, start: str) -> str:
    """Switch, and say what was done."""
    target = await _target(repository, name, start)
    await _refuse_filtered(repository, name, target)
    where = ["--no-track", "--create", name, target] if start else ["--no-guess", name]
    await _change(repository, name, where)
    carried = await _carried(repository)
    created = f", created at {target[:10]}" if start else ""
    kept = f"; uncommitted changes came along: {listed(carried)}" if carried else ""
    return f"switched to {shown(name)}{created}{kept}"


async def _target(repository: Repository, name: str, start: str) -> str:
    """The commit of a branch that exists, or of one that is to be created."""
    full = f"refs/heads/{name}"
    if name.startswith("-") or name == "HEAD" or not name.isprintable():
        raise GitError(_malformed(name))
    found = await repository.attempt("show-ref", "--verify", "--hash", "--", full)
    exists = found.exit_code == 0
    if not exists and (await repository.attempt("check-ref-format", full)).exit_code != 0:
        raise GitError(_malformed(name))
    if start and exists:
        raise GitError(f"There is a branch '{shown(name)}' already; leave start out to switch to it.")
    if not start and not exists:
        raise GitError(await _unknown(repository, name))
    return await repository.commit(start) if start else found.output.decode().strip()


def _malformed(name: str) -> str:
    allowed = "letters, digits, '.', '_', '-' and '/', not HEAD, and no '-' at the start"
    return f"'{shown(name)}' is no name of a branch; use {allowed}."


async def _unknown(repository: Repository, name: str) -> str:
    listing = await repository.run("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
    names = os.fsdecode(listing).split("\n")
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    near = f"the nearest are {', '.join(shown(os.fsencode(one)) for one in close)}" if close else "git_branch lists all"
    return f"There is no branch '{shown(name)}': {near}; create it with start=HEAD."


async def _refuse_filtered(repository: Repository, name: str, target: str) -> None:
    """Refuse files that come out right only through a filter, as the attributes of the target say."""
    head = await repository.head()
    if head in ("", target):
        return
    flags = ("--name-only", "-z", "--no-renames", "--diff-filter=d", "--no-ext-diff", "--no-textconv")
    output, cut = await repository.run_to_cap(b"\0", "diff", *flags, head, target)
    if cut:
        raise GitError(f"Too many files differ to look at their filters; switch with git itself: `git switch {name}`.")
    changed = shown_lines(output)
    with tempfile.TemporaryDirectory(prefix="agent-tools-") as folder:
        apart = repository.with_index(Path(folder) / "index")
        await apart.run("read-tree", target)
        filters = await filters_of(apart, changed, "--cached")
    refuse_needed_filters(repository, filters, f"switch with git itself: `git switch {shown(name)}`", WRITING_OUT)


async def _change(repository: Repository, name: str, where: Sequence[str]) -> None:
    """Let git switch, which refuses what would lose a change.

    Raises:
        GitError: it did.
    """
    # Not quiet, git would list the changes that come along, and for that start programs of submodules.
    flags = ("--quiet", "--no-progress", "--no-overwrite-ignore", "--no-recurse-submodules")
    # Killed in the middle, it would leave half of each branch and a lock.
    with anyio.CancelScope(shield=True):
        finished = await repository.attempt("switch", *flags, *where)
    if finished.exit_code == 0:
        return
    if finished.timed_out:
        raise GitError(
            f"git switch took over {SECONDS:.0f} s and was ended in the middle; git_status shows what is changed, and "
            "`rm .git/index.lock` goes before the next try."
        )
    lost = [line.strip() for line in os.fsdecode(finished.errors).splitlines() if line.startswith("\t")]
    if lost:
        raise GitError(
            f"Switching to '{shown(name)}' would overwrite {listed(lost)}, so nothing was changed; commit these with "
            "git_commit or move them away, then switch."
        )
    raise GitError(complaint("switch", finished))


async def _carried(repository: Repository) -> list[str]:
    flags = ("--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
    return shown_lines(await repository.run("diff", *flags, "HEAD"))
