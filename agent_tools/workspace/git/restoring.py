"""Discarding changes, after they were saved as a patch that brings them back."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import anyio
from pydantic import Field

from agent_tools.results import RepositoryText, page
from agent_tools.workspace.git.entries import (
    WRITING_OUT,
    Entry,
    filters_of,
    is_below,
    listed,
    parse_status,
    pathspecs,
    refuse_needed_filters,
)
from agent_tools.workspace.git.runner import SECONDS, GitError, Repository, complaint, shown_lines
from agent_tools.workspace.kept_outputs import MOST_BYTES, keep
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown_name

LARGEST_PATCH = MOST_BYTES // 4
"""Bytes; a larger one would push too much else out of what is kept."""

STAGED = "MDTA"
UNSTAGED = "MDT"
"""Without A: a file of which git only knows the name is new, and to discard it would be to remove it."""

_EXACTLY = ("--whitespace=nowarn", "--no-ignore-whitespace")

# Named in full: the repository's configuration could otherwise make a patch that `git apply` does not take.
_PATCH_FORM = (
    "--binary",
    "--full-index",
    "--unified=3",
    "--inter-hunk-context=0",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--no-renames",
    "--no-relative",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--ignore-submodules=all",
)


class GitRestored(RepositoryText):
    """What was discarded, and how to bring it back."""

    files: list[str]
    omitted: int
    patch: str = Field(description="file with what was discarded")
    undo: str = Field(description="command that brings it back")

    def summary(self) -> str:
        """Say the count and the way back."""
        return f"discarded the changes of {len(self.files) + self.omitted} files; to bring them back: {self.undo}"


async def git_restore(
    root: Root,
    paths: Annotated[tuple[str, ...], Field(description="files or folders")],
    staged: Annotated[bool, Field(description="unstage: the index goes back to HEAD, files stay")] = False,
) -> GitRestored:
    """Discard changes of files that git knows: the work tree goes back to the index.

    Use it to undo what failed; what is discarded is saved as a patch first. New files are never removed. Not for
    commits.

    Raises:
        GitError: nothing to discard, a conflict, a submodule, a file that needs a filter or changed meanwhile.
    """
    repository = await Repository.open(root)
    specs = pathspecs(root, paths)
    changed = await _changed(repository, specs, staged)
    filters = await filters_of(repository, changed)
    refuse_needed_filters(repository, filters, "restore it with git itself", WRITING_OUT)
    with tempfile.TemporaryDirectory(prefix="agent-tools-") as folder:
        # In the temporary folder, one for each kind, so that the names differ.
        patch = Path(folder) / ("unstaged.patch" if staged else "discarded.patch")
        await _write_patch(repository, patch, staged, specs)
        kept = keep(root, patch.name, patch.read_bytes())
        await _take_back(repository, patch, staged, kept)
    files, _ = page([shown_name(path) for path in changed], 0, 200, 10_000)
    undo = f"git apply {'--cached ' if staged else ''}{kept}"
    return GitRestored(files=files, omitted=len(changed) - len(files), patch=kept, undo=undo)


async def _changed(repository: Repository, specs: Sequence[str], staged: bool) -> list[str]:
    """The files that differ, of those that git knows."""
    if not specs:
        raise GitError("No path is named; name the files or folders whose changes are to be discarded.")
    flags = ("--porcelain=v2", "-z", "--untracked-files=normal", "--no-renames", "--ignore-submodules=dirty")
    _, entries = parse_status(shown_lines(await repository.run("status", *flags, "--", *specs)))
    _refuse_special(entries)
    states = STAGED if staged else UNSTAGED
    changed = [entry for entry in entries if entry.states[0 if staged else 1] in states]
    for spec in specs:
        if not any(is_below(entry.path, spec) for entry in changed):
            raise GitError(_nothing(spec, entries, staged))
    return [entry.path for entry in changed]


def _nothing(spec: str, entries: Sequence[Entry], staged: bool) -> str:
    states = {entry.states for entry in entries if is_below(entry.path, spec)}
    if not staged and any(pair[0] in STAGED for pair in states):
        return f"The changes of '{spec}' are staged; unstage them with staged=true first."
    if "??" in states or ".A" in states:
        return f"'{spec}' is new, and new files are never removed."
    return f"Nothing is {'staged' if staged else 'changed'} in '{spec}', so there is nothing to discard."


def _refuse_special(entries: Sequence[Entry]) -> None:
    conflicted = [entry.path for entry in entries if entry.kind == "u"]
    if conflicted:
        raise GitError(f"Conflicts are left in {listed(conflicted)}; resolve them, or end the merge with git itself.")
    modules = [entry.path for entry in entries if entry.is_submodule]
    if modules:
        raise GitError(f"{listed(modules)} is a submodule; restore it with git itself, and name other paths here.")


async def _write_patch(repository: Repository, patch: Path, staged: bool, specs: Sequence[str]) -> None:
    side = ["--cached", f"--diff-filter={STAGED}"] if staged else [f"--diff-filter={UNSTAGED}"]
    await repository.run("diff", *side, *_PATCH_FORM, f"--output={patch}", "--", *specs)
    size = patch.stat().st_size
    if size > LARGEST_PATCH:
        raise GitError(
            f"The patch would have {size >> 20} MiB, and at most {LARGEST_PATCH >> 20} MiB are kept, so nothing was "
            "discarded; name fewer paths."
        )


async def _take_back(repository: Repository, patch: Path, staged: bool, kept: str) -> None:
    # The saved patch itself is taken back, and not the file restored: what came in between would be lost unsaved.
    side = ["--cached"] if staged else []
    with anyio.CancelScope(shield=True):
        finished = await repository.attempt("apply", "--reverse", *side, *_EXACTLY, str(patch))
    if finished.timed_out:
        raise GitError(
            f"git apply took over {SECONDS:.0f} s and was ended, so a part may be discarded; look with git_status, and "
            f"`git apply {kept}` brings back what is gone."
        )
    if finished.exit_code != 0:
        raise GitError(f"{complaint('apply', finished)[:-1]}; nothing was discarded.")
