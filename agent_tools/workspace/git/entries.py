"""What git lists: the entries of a status, the paths of a caller, and the filters that a path asks for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent_tools.workspace.git.runner import GitError, Repository, shown_lines
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown, shown_name

NAMES_SHOWN = 5

READING_IN = ("required",)
"""Settings of a filter without which a commit would be wrong; encryption has this one."""
WRITING_OUT = ("required", "smudge", "process")
"""Settings of a filter without which a file that git writes would be wrong."""


@dataclass(frozen=True)
class Entry:
    """One file of `git status --porcelain=v2 -z`.

    Attributes:
        kind: '1' changed, '2' renamed, 'u' conflicted, '?' untracked.
        states: how index and work tree differ from what is below them, a letter each, '.' for not at all.
        path: its exact name; bytes outside of UTF-8 are surrogates.
        origin: the name before, of a rename.
        is_submodule: whether it is another repository.
    """

    kind: str
    states: str
    path: str
    origin: str = ""
    is_submodule: bool = False


def parse_status(lines: Sequence[str]) -> tuple[dict[str, str], list[Entry]]:
    """Return the headers (`branch.oid`, `branch.head`, ...) and the entries of a status."""
    head: dict[str, str] = {}
    entries = []
    rest = iter(lines)
    for line in rest:
        kind, _, body = line.partition(" ")
        if kind == "#":
            name, _, value = body.partition(" ")
            head[name] = value
        elif kind == "?":
            entries.append(Entry(kind, "??", body))
        elif kind in ("1", "2", "u"):
            parts = body.split(" ", {"1": 7, "2": 8, "u": 9}[kind])
            origin = next(rest, "?") if kind == "2" else ""
            entries.append(Entry(kind, parts[0], parts[-1], origin, parts[1].startswith("S")))
    return head, entries


def pathspecs(root: Root, paths: Sequence[str]) -> list[str]:
    """Return paths of a caller as git takes them.

    Raises:
        RootError: one of them is outside of the root.
    """
    specs = []
    for text in paths:
        resolved = root.resolve(text, must_exist=False)
        # As written, not as resolved: a tracked link is itself the thing that changed.
        lexical = Path(os.path.normpath(root.path / text))
        specs.append(root.relative(lexical if lexical.is_relative_to(root.path) else resolved))
    return specs


def is_below(path: str, spec: str) -> bool:
    """Tell whether a pathspec names a path, or a folder that it lies in."""
    return spec in (".", path) or path.startswith(f"{spec}/")


def listed(paths: Sequence[str]) -> str:
    """The first few paths, for a sentence."""
    more = f" and {len(paths) - NAMES_SHOWN} more" if len(paths) > NAMES_SHOWN else ""
    return ", ".join(f"'{shown_name(path)}'" for path in paths[:NAMES_SHOWN]) + more


def joined(paths: Iterable[str]) -> bytes:
    """Paths as git reads them from its input."""
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


async def filters_of(repository: Repository, paths: Sequence[str], *flags: str) -> dict[str, str]:
    """Return the names of the filter that attributes ask for, by path, of those paths that have one.

    Raises:
        GitError: git failed.
    """
    if not paths:
        return {}
    answer = shown_lines(await repository.run("check-attr", *flags, "-z", "--stdin", "filter", stdin=joined(paths)))
    values = zip(answer[::3], answer[2::3], strict=True)
    return {path: value for path, value in values if value not in ("unspecified", "unset", "set")}


def refuse_needed_filters(
    repository: Repository, filters: Mapping[str, str], todo: str, settings: Sequence[str] = READING_IN
) -> None:
    """Refuse paths whose content is only right after a filter ran; filters are programs, and none is run here.

    Args:
        repository: says which filters it has.
        filters: name by path.
        todo: what to do instead.
        settings: those of a filter that make it needed.

    Raises:
        GitError: git-lfs, or a filter that has one of the settings.
    """
    for path, name in filters.items():
        values = [repository.configured.get(f"filter.{name}.{setting}".lower(), "false") for setting in settings]
        if name == "lfs" or any(map(_is_set, values)):
            raise GitError(
                f"'{shown_name(path)}' needs the filter {shown(name)}, and these tools run no program that a "
                f"repository names; {todo}."
            )


def _is_set(value: str) -> bool:
    # A name without a value is true for git.
    return value.lower() not in ("false", "no", "off", "0")
