"""The files of a repository: those that git knows or would add, or, where git does not help, a walk of our own."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from agent_tools.workspace.git.runner import GitError, Repository, shown_lines
from agent_tools.workspace.root import Root

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MOST_FILES = 200_000
IGNORE_FILE = ".gitignore"
NEVER_ENTERED = frozenset({".hg", ".svn", "__pycache__", "node_modules", ".venv", "venv"})
"""Folders that a walk without git stays out of, whatever the .gitignore files say, unless everything is asked for."""
IGNORE_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Listing:
    """Paths below the root, sorted, and '' or what is missing among them and why.

    Names that are not UTF-8 keep their bytes as surrogates. Folders that are links are not entered.
    """

    paths: list[str]
    note: str = ""


async def list_files(root: Root, folder: str = ".", everything: bool = False) -> Listing:
    """List the files that git knows or would add.

    A file that was deleted and not yet committed is among them. Without a repository (or with one that git refuses)
    the folders are walked, and their .gitignore files hold there.

    Another repository inside of this one is no file and is left out.

    Args:
        root: the repository.
        folder: only what lies in it, given relative to the root; '.' is the root.
        everything: also what is ignored.
    """
    if everything:
        return await anyio.to_thread.run_sync(partial(walk, root.path, "" if folder == "." else f"{folder}/", False))
    try:
        repository = await Repository.open(root)
        flags = ("-z", "--cached", "--others", "--exclude-standard")
        output, cut = await repository.run_to_cap(b"\0", "ls-files", *flags, "--", folder)
    except GitError:
        walked = await anyio.to_thread.run_sync(partial(walk, root.path, "", True))
        return Listing([path for path in walked.paths if _is_below(path, folder)], walked.note)
    note = "the list of files is cut, the repository has too many; name a folder" if cut else ""
    return Listing(sorted({path for path in shown_lines(output) if not path.endswith("/")}), note)


def walk(top: Path, folder: str, honour_ignores: bool) -> Listing:
    """List the files below a folder ('' or with a '/' at its end), at most `MOST_FILES`, without those of git."""
    paths: list[str] = []
    for path in _walked(str(top), folder, (), honour_ignores):
        if len(paths) == MOST_FILES:
            return Listing(sorted(paths), f"the list is cut at {MOST_FILES:,} files; name a folder")
        paths.append(path)
    return Listing(sorted(paths))


Ignores = Callable[[str], bool | None]
"""Tells of a path (a folder's ends with '/') whether it is ignored; None where nothing is said of it."""


def _walked(top: str, folder: str, above: tuple[Ignores, ...], honour_ignores: bool) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(os.path.join(top, folder)), key=lambda entry: entry.name)
    except OSError:
        # Gone meanwhile, or not ours to read: what can be listed is.
        return
    rules = (*above, *_rules(entries, folder)) if honour_ignores else ()
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        path = f"{folder}{entry.name}{'/' if is_folder else ''}"
        if entry.name == ".git" or (honour_ignores and is_folder and entry.name in NEVER_ENTERED):
            continue
        if _is_ignored(path, rules):
            continue
        if is_folder:
            yield from _walked(top, path, rules, honour_ignores)
        else:
            yield path


def _is_ignored(path: str, rules: tuple[Ignores, ...]) -> bool:
    """The rule nearest to a path decides."""
    said = (rule(path) for rule in reversed(rules))
    return next((answer for answer in said if answer is not None), False)


def _rules(entries: list[os.DirEntry[str]], folder: str) -> list[Ignores]:
    # Not needed in a repository that git reads, and as slow to import as a small module of ours.
    from pathspec import GitIgnoreSpec  # noqa: PLC0415

    files = [entry for entry in entries if entry.name == IGNORE_FILE and entry.is_file(follow_symlinks=False)]
    texts = (Path(file.path).read_bytes()[:IGNORE_FILE_BYTES].decode("utf-8", errors="replace") for file in files)
    specs = [GitIgnoreSpec.from_lines(text.splitlines()) for text in texts]
    return [partial(_ignored_by, spec, folder) for spec in specs]


def _ignored_by(spec: GitIgnoreSpec, folder: str, path: str) -> bool | None:
    return spec.check_file(path.removeprefix(folder)).include


def is_hidden(path: str) -> bool:
    """Tell whether a part of a path starts with a dot."""
    return path.startswith(".") or "/." in path


def with_facts(root: Root, paths: Iterable[str]) -> list[tuple[str, os.stat_result]]:
    """Keep the listed paths behind which a regular file lies, and say what is known of it.

    Links are followed where they stay inside the root; what lies behind any other is left out.
    """
    inside = functools.cache(lambda place: Path(os.path.realpath(place)).is_relative_to(root.path))
    found = ((path, _facts(f"{root.path}/{path}", inside)) for path in paths)
    return [(path, facts) for path, facts in found if facts is not None]


def _facts(place: str, inside: Callable[[str], bool]) -> os.stat_result | None:
    try:
        found = os.lstat(place)
        if not inside(place.rpartition("/")[0]):
            return None
        if stat.S_ISLNK(found.st_mode):
            found = os.stat(os.path.realpath(place)) if inside(place) else found
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def stamped(top: Path, paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the regular files among `paths` (relative to `top`) that no link leads to."""
    real = {"": True}
    for folder, group in groupby(paths, key=lambda path: path.rpartition("/")[0]):
        for path in group if _is_real_folder(top, folder, real) else ():
            try:
                found = os.lstat(f"{top}/{path}")
            except (OSError, ValueError):
                continue
            if stat.S_ISREG(found.st_mode):
                yield path, found


def _is_real_folder(top: Path, folder: str, real: dict[str, bool]) -> bool:
    known = real.get(folder)
    if known is None:
        known = _is_real_folder(top, folder.rpartition("/")[0], real) and not os.path.islink(f"{top}/{folder}")
        real[folder] = known
    return known


def _is_below(path: str, folder: str) -> bool:
    return folder == "." or path.startswith(f"{folder}/")
