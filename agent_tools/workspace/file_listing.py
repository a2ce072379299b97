"""Which files belong to a repository: those that git knows or would add, or, without git, those not ignored."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from agent_tools.workspace.git import OUTPUT_CAP, Repository, shown_lines
from agent_tools.workspace.root import Root

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

NEVER_LISTED = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", "venv"})
"""Folders that a walk without git stays out of, whatever `.gitignore` says."""

WALK_LIMIT = 200_000


@dataclass(frozen=True)
class FileListing:
    """Paths relative to the root, sorted, each once; `note` says what is missing, '' if nothing."""

    paths: list[str]
    note: str


async def listed_files(root: Root) -> FileListing:
    """List the files of a repository; names keep their exact bytes as surrogates.

    Raises:
        GitError: there is a repository, but it is refused.
    """
    if not (root.path / ".git").exists():
        return await anyio.to_thread.run_sync(_walked, root.path)
    repository = await Repository.open(root)
    flags = ("--cached", "--others", "--exclude-standard", "-z")
    output, cut = await repository.run_to_cap(b"\0", "ls-files", *flags)
    # Another repository inside of this one is listed as a folder.
    paths = sorted({path for path in shown_lines(output) if not path.endswith("/")})
    return FileListing(paths, f"the list of files is cut at {OUTPUT_CAP >> 20} MiB" if cut else "")


def _walked(top: Path) -> FileListing:
    paths: list[str] = []
    for path in _walk(top):
        if len(paths) == WALK_LIMIT:
            return FileListing(sorted(paths), f"more than {WALK_LIMIT} files; the rest is left out")
        paths.append(path)
    return FileListing(sorted(paths), "")


def _walk(top: Path) -> Iterator[str]:
    # Heavy enough to wait for the first folder without git.
    from pathspec import GitIgnoreSpec  # noqa: PLC0415

    rules: list[tuple[str, GitIgnoreSpec]] = []
    for folder, folders, files in os.walk(top):
        below = os.path.relpath(folder, top)
        prefix = "" if below == "." else f"{below}/"
        rules = [(place, spec) for place, spec in rules if prefix.startswith(place)]
        if ".gitignore" in files:
            rules.append((prefix, GitIgnoreSpec.from_lines(_lines(Path(folder, ".gitignore")))))
        kept = partial(_is_kept, rules, prefix)
        folders[:] = sorted(name for name in folders if name not in NEVER_LISTED and kept(f"{name}/"))
        yield from (prefix + name for name in files if kept(name))


def _is_kept(rules: Sequence[tuple[str, GitIgnoreSpec]], prefix: str, name: str) -> bool:
    path = prefix + name
    return not any(spec.match_file(path[len(place) :]) for place, spec in rules)


def _lines(file: Path) -> list[str]:
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            return []
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
