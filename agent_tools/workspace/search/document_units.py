"""The sections of files that are not Python: headings of Markdown, top keys of YAML and TOML, targets of make.

Read line by line and never refused: a file that breaks its format still has lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal

SectionKind = Literal["heading", "config", "target", "file"]

_HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t#]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_YAML_KEY = re.compile(r"[\"']?([A-Za-z_][\w./-]*)[\"']?[ \t]*:(?=[ \t]|$)")
_TOML_TABLE = re.compile(r"\[\[?([^\[\]]+)\]\]?[ \t]*(?:#.*)?$")
_TOML_KEY = re.compile(r"([A-Za-z_][\w.-]*)[ \t]*=")
_TARGET = re.compile(r"([A-Za-z0-9][\w./-]*)(?: [\w./ -]+)?[ \t]*:(?!=)")
_COMMENT = re.compile(r"\s*(?:#+!?|//+|--|\{#|<!--|\"\"\"|;)\s*(.*?)\s*(?:#\}|-->)?$")
_BESIDE = re.compile(r"\s#\s*(.+)$")


@dataclass(frozen=True)
class Section:
    """A stretch of a file: its first and last line, what a comment says of it, and its text."""

    kind: SectionKind
    name: str
    line: int
    end_line: int
    says: str
    body: str
    owner: str = ""


def sections_of(path: str, text: str) -> list[Section]:
    """Return the sections of a text file; the last resort is the whole file as one."""
    lines = text.split("\n")
    name = PurePosixPath(path).name.lower()
    find, kind = _FORMATS.get(PurePosixPath(name).suffix, (None, "file"))
    if name.startswith("makefile") or name.endswith(".mk"):
        find, kind = _targets, "target"
    starts = list(find(lines)) if find else []
    whole = Section("file", "", 1, len(lines), _head(lines), "\n".join(lines[: starts[0][0]] if starts else lines))
    return [whole, *_cut(kind, starts, lines, _head(lines))]


def _cut(kind: SectionKind, starts: Sequence[tuple[int, str]], lines: Sequence[str], head: str) -> Iterator[Section]:
    for (place, name), (end, _) in pairwise([*starts, (len(lines), "")]):
        body = "\n".join(lines[place:end])
        says = _first_text(lines[place + 1 : end]) if kind == "heading" else _comments(lines, place)
        yield Section(kind, name, place + 1, max(end, place + 1), says, body, owner=head)


def _headings(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    fence = ""
    for place, line in enumerate(lines):
        marks = _FENCE.match(line)
        if marks and (not fence or marks[1].startswith(fence)):
            fence = "" if fence else marks[1]
        elif not fence and (heading := _HEADING.match(line)):
            yield place, heading[2]


def _yaml_keys(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    return _matches(_YAML_KEY, lines)


def _targets(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    return _matches(_TARGET, lines)


def _toml_keys(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    table = ""
    for place, line in enumerate(lines):
        if found := _TOML_TABLE.match(line):
            table = found[1].strip()
            yield place, table
        elif key := _TOML_KEY.match(line):
            yield place, f"{table}.{key[1]}" if table else key[1]


def _matches(pattern: re.Pattern[str], lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    for place, line in enumerate(lines):
        if found := pattern.match(line):
            yield place, found[1]


_Finder = Callable[[Sequence[str]], Iterator[tuple[int, str]]]
_FORMATS: dict[str, tuple[_Finder | None, SectionKind]] = {
    ".md": (_headings, "heading"),
    ".markdown": (_headings, "heading"),
    ".yaml": (_yaml_keys, "config"),
    ".yml": (_yaml_keys, "config"),
    ".toml": (_toml_keys, "config"),
    ".cfg": (_toml_keys, "config"),
    ".ini": (_toml_keys, "config"),
    ".mk": (_targets, "target"),
}


def _head(lines: Sequence[str]) -> str:
    """What the comment at the top of a file says, or its first heading."""
    for line in lines[:15]:
        said = _COMMENT.match(line)
        if said and said[1] and not line.startswith("#!") and not said[1].startswith(("@package", "-*-", "syntax=")):
            return said[1]
    return ""


def _comments(lines: Sequence[str], place: int) -> str:
    """The comment beside a key and the lines of comment right above it."""
    above = place
    while above and lines[above - 1].lstrip().startswith("#"):
        above -= 1
    said = [line.strip().lstrip("# ") for line in lines[above:place]]
    beside = _BESIDE.search(lines[place])
    return " ".join([*([beside[1]] if beside else []), *said])


def _first_text(lines: Sequence[str]) -> str:
    """The first line of prose of a section."""
    return next((line.strip() for line in lines if line.strip() and line.strip()[0] not in "<|`#!-~"), "")
