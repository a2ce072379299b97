"""Making one commit of named paths, without touching what else is staged.

The commit is built with an index of its own in a temporary folder. The repository changes at the end and in two steps,
each whole or not at all: the index takes over the committed paths, then the branch moves. Whatever fails or is killed
before leaves only objects that git collects; between the two, the paths are staged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from agent_tools.workspace.git.entries import (
    Entry,
    filters_of,
    is_below,
    joined,
    listed,
    parse_status,
    pathspecs,
    refuse_needed_filters,
)
from agent_tools.workspace.git.index import Index, read_index, replace_index, write_index
from agent_tools.workspace.git.runner import GitError, Repository, shown_lines
from agent_tools.workspace.untrusted import shown, shown_name

ATTEMPTS = 5
"""How often the index may change between reading and replacing it, which takes milliseconds."""

_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


@dataclass(frozen=True)
class Proposal:
    """A commit that was built and not made.

    Attributes:
        repository: with the index that the tree was built in.
        index: the file of the repository's own index.
        branch: short name.
        parent: id of the commit before, '' for the first.
        tree: id.
        files: a letter (A, M, D, T) and the exact path of all that it changes.
        committed: exact paths that are in the index as in the tree afterwards: these, and those that are as before.
        filters: filter that would have run under plain git, by path.
    """

    repository: Repository
    index: Path
    branch: str
    parent: str
    tree: str
    files: tuple[tuple[str, str], ...]
    committed: frozenset[str]
    filters: Mapping[str, str]


async def propose(repository: Repository, paths: Sequence[str], folder: Path) -> Proposal:
    """Build the commit that takes over some paths as they are in the work tree, and nothing else.

    Args:
        repository: where.
        paths: files or folders; of a folder, what is changed or new and not ignored.
        folder: an empty one, for the index of the commit.

    Raises:
        RootError: a path outside of the root.
        GitError: a path that is unknown, ignored or a repository of its own; nothing changed; no branch; conflicts or a
            merge in progress; a file that needs a filter.
    """
    specs = pathspecs(repository.root, paths)
    if not specs:
        raise GitError("No path is named; name the files or folders to commit ('.' for all), as git_status lists them.")
    own = (await repository.places()).own
    await _refuse_unfinished(repository, own)
    flags = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")
    head, entries = parse_status(shown_lines(await repository.run("status", *flags, "--", *specs)))
    if head["branch.head"] == "(detached)":
        raise GitError("HEAD is on no branch, so the commit could be lost; make one with git_branch, then commit.")
    await _refuse_unknown(repository, specs, entries)
    changed = list(dict.fromkeys(entry.path for entry in entries))
    filters = await filters_of(repository, changed)
    refuse_needed_filters(repository, filters, "commit it with git itself")
    parent = head["branch.oid"].replace("(initial)", "")
    apart = repository.with_index(folder / "index")
    await apart.run("read-tree", *([parent] if parent else ["--empty"]))
    await apart.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=joined(changed))
    tree = (await apart.run("write-tree")).decode().strip()
    files = await _differences(apart, parent, tree)
    if not files:
        raise GitError(f"Nothing is changed in {listed(specs)}, so there is nothing to commit; see git_status.")
    committed = frozenset(changed) | {path for _, path in files}
    return Proposal(apart, own / "index", head["branch.head"], parent, tree, files, committed, filters)


async def _refuse_unfinished(repository: Repository, own: Path) -> None:
    for name, what in _UNFINISHED.items():
        if (own / name).exists():
            raise GitError(f"A {what} is in progress; finish it, or end it with `git {what} --abort`, then commit.")
    conflicted = shown_lines(await repository.run("ls-files", "--unmerged", "-z"))
    if conflicted:
        names = list(dict.fromkeys(line.partition("\t")[2] for line in conflicted))
        raise GitError(f"Conflicts are left in {listed(names)}; resolve them and `git add` them, then commit.")


async def _refuse_unknown(repository: Repository, specs: Sequence[str], entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.path.endswith("/"):
            raise GitError(
                f"'{shown_name(entry.path)}' is a repository of its own; name other paths, or make it a submodule with "
                "`git submodule add`."
            )
    for spec in specs:
        if not any(is_below(entry.path, spec) for entry in entries):
            await _refuse_untracked(repository, spec)


async def _refuse_untracked(repository: Repository, spec: str) -> None:
    """Refuse a path without changes, unless git knows it."""
    known, _ = await repository.run_to_cap(b"\0", "ls-files", "-z", "--", spec)
    if known or spec == ".":
        return
    # It takes no pathspecs, and refuses to be told that they are literal.
    unspecific = repository.with_variables({"GIT_LITERAL_PATHSPECS": "0"})
    rule = await unspecific.attempt("check-ignore", "--verbose", "--", spec)
    if rule.exit_code == 0:
        source = shown(rule.output).partition("\t")[0]
        raise GitError(f"'{spec}' is ignored ({source}); name other paths, or add it with `git add --force`.")
    repository.root.resolve(spec)
    raise GitError(f"'{spec}' holds no file that git could commit; git_status lists what can be.")


async def _differences(repository: Repository, parent: str, tree: str) -> tuple[tuple[str, str], ...]:
    flags = ("-r", "-z", "--no-renames", "--name-status", "--no-ext-diff", "--no-textconv")
    parts = shown_lines(await repository.run("diff-tree", *flags, parent or repository.empty_tree, tree))
    return tuple(zip(parts[::2], parts[1::2], strict=True))


async def check_out(proposal: Proposal, folder: Path) -> None:
    """Write all files of a proposed commit below a folder.

    Raises:
        GitError: git failed.
    """
    await proposal.repository.run("checkout-index", "--all", "--force", f"--prefix={folder}{os.sep}")


async def make_commit(proposal: Proposal, message: str, author: Mapping[str, str], folder: Path) -> str:
    """Make the proposed commit and return its id.

    Args:
        proposal: what to commit.
        message: all of it.
        author: the variables that say who commits.
        folder: for the files that this takes.

    Raises:
        GitError: the branch or the index changed meanwhile, or is locked; then nothing is changed.
    """
    named = proposal.repository.with_variables(author)
    before = ["-p", proposal.parent] if proposal.parent else []
    made = await named.run("commit-tree", "--no-gpg-sign", *before, "-F", "-", proposal.tree, stdin=message.encode())
    commit = made.decode().strip()
    for _ in range(ATTEMPTS):
        old = read_index(proposal.index)
        new = await _next_index(proposal, old, folder / "next")
        # From here to the end nothing may stop in the middle; both steps together take milliseconds.
        with anyio.CancelScope(shield=True):
            if not await replace_index(proposal.index, old, new):
                continue
            try:
                await _move_branch(named, proposal, commit, message.partition("\n")[0])
            except GitError:
                await replace_index(proposal.index, new, old)
                raise
            return commit
    raise GitError("The index changed all the time, so nothing was committed; wait for the other git, then call again.")


async def _next_index(proposal: Proposal, old: Index | None, copy: Path) -> Index:
    """The repository's index as it has to be after the commit."""
    write_index(copy, old)
    apart = proposal.repository.with_index(copy)
    lines = shown_lines(await apart.run("diff-index", "--cached", "--raw", "-z", "--no-renames", proposal.tree))
    pairs = zip(lines[::2], lines[1::2], strict=True)
    wanted = [_index_line(difference, path) for difference, path in pairs if path in proposal.committed]
    await apart.run("update-index", "-z", "--index-info", stdin=b"".join(wanted))
    # Only for speed: else every later status would read these files again.
    await apart.attempt("update-index", "-q", "--refresh")
    new = read_index(copy)
    if new is None:
        raise GitError("git update-index wrote no index, so nothing was committed.")
    return new


def _index_line(difference: str, path: str) -> bytes:
    """The tree's side of a raw difference, as an entry for the index; mode 0 removes it."""
    mode, _, blob, *_ = difference.removeprefix(":").split(" ")
    return f"{mode} {blob}\t".encode() + os.fsencode(path) + b"\0"


async def _move_branch(named: Repository, proposal: Proposal, commit: str, subject: str) -> None:
    nothing = "0" * len(commit)
    moved = ("update-ref", "-m", f"commit: {subject}", f"refs/heads/{proposal.branch}", commit)
    finished = await named.attempt(*moved, proposal.parent or nothing)
    if finished.exit_code != 0:
        said = shown(finished.errors).strip().splitlines()
        raise GitError(
            f"The branch {shown(proposal.branch)} moved meanwhile or is locked, so nothing was committed "
            f"({said[0] if said else 'no answer'}); look at git_log, then call again."
        )
