"""Names by pattern: `*`, `?`, `[...]`, `{a,b}`, and `**` for any folders; one part at a time, so that none can hang."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Callable, Sequence

from agent_tools.workspace.files.opening import FileError

MOST_CHARACTERS = 300
MOST_ALTERNATIVES = 64
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")

Part = Callable[[str], object] | None
"""Matches one part of a path; None is `**`."""


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a relative path matches.

    A pattern without wildcards matches every path that holds it, in any case. One without a slash matches the name of
    a file in any folder; one that ends with a slash, all files below.

    Raises:
        FileError: empty, unprintable, too long, absolute, or leading upwards.
    """
    _check(pattern)
    pattern = pattern.removeprefix("./")
    if not has_wildcards(pattern):
        wanted = pattern.lower()
        return lambda path: wanted in path.lower()
    alternatives = [_matcher(one) for one in _expanded(pattern)]
    return alternatives[0] if len(alternatives) == 1 else lambda path: any(match(path) for match in alternatives)


def has_wildcards(pattern: str) -> bool:
    """Tell a pattern from a plain name."""
    return re.search(r"[*?\[{]", pattern) is not None


def names_hidden(pattern: str) -> bool:
    """Tell whether a part of a pattern starts with a dot, so that hidden files are meant."""
    return any(part.startswith(".") for part in re.split(r"[/{,]", pattern.removeprefix("./")))


def _check(pattern: str) -> None:
    if not pattern or not pattern.isprintable() or len(pattern) > MOST_CHARACTERS:
        raise FileError(f"{pattern[:80]!r} is no pattern; give 1 to {MOST_CHARACTERS} printable characters, as '*.py'.")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise FileError(f"'{pattern}' leads out of the folder; give a relative pattern without '..', as 'src/**/*.py'.")


def _expanded(pattern: str) -> list[str]:
    """Write the alternatives in braces out."""
    pieces = _BRACES.split(pattern)
    choices = [piece.split(",") if index % 2 else [piece] for index, piece in enumerate(pieces)]
    written = ["".join(chosen) for chosen in itertools.islice(itertools.product(*choices), MOST_ALTERNATIVES + 1)]
    if len(written) > MOST_ALTERNATIVES:
        raise FileError(f"'{pattern}' stands for more than {MOST_ALTERNATIVES} patterns; use fewer braces.")
    return written


def _matcher(pattern: str) -> Callable[[str], bool]:
    names = pattern.split("/")
    if names[-1] == "":
        names[-1] = "**"
    # fnmatch writes expressions that never go back over what they matched
    parts = [None if name == "**" else re.compile(fnmatch.translate(name)).match for name in names]
    if len(parts) == 1 and (match := parts[0]) is not None:
        return lambda path: match(path.rpartition("/")[2]) is not None
    return lambda path: _matches(parts, path.split("/"))


def _matches(parts: Sequence[Part], names: list[str]) -> bool:
    """Match like a wildcard over letters does, with `**` in the role of `*`: only the last `**` is ever tried again."""
    part, name, after_stars, tried = 0, 0, 0, 0
    while name < len(names):
        match = parts[part] if part < len(parts) else _nothing
        if match is None:
            part, after_stars, tried = part + 1, part + 1, name
        elif match(names[name]):
            part, name = part + 1, name + 1
        elif after_stars:
            tried += 1
            part, name = after_stars, tried
        else:
            return False
    return all(match is None for match in parts[part:])


def _nothing(_name: str) -> bool:
    return False
