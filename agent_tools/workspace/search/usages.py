"""Every use of a name: the index says which files hold the word, the files themselves say what it is there."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated

import anyio.from_thread
import anyio.to_thread
from pydantic import Field

from agent_tools.records.errors import WorkbenchError
from agent_tools.results import Cursor, RepositoryText, ResponseFormat, offset, page
from agent_tools.workspace.files.opening import FileError, read_whole
from agent_tools.workspace.root import Root
from agent_tools.workspace.search import database as store
from agent_tools.workspace.search.code_units import is_test
from agent_tools.workspace.search.index import MOST_BYTES, Report, answered
from agent_tools.workspace.search.python_uses import Use, UseKind, python_uses
from agent_tools.workspace.search.ranking import folder_below
from agent_tools.workspace.search.words import LONGEST_WORD, split_identifier, unified
from agent_tools.workspace.untrusted import shown

MOST_FILES = 1000
LINE_CHARACTERS = 200
USES_PER_FILE = 60
"""Lines named per file when the answer is concise."""

ORDER: dict[UseKind, int] = {
    "definition": 0, "import": 1, "call": 1, "reference": 1, "setting": 2, "mention": 3, "test": 4,
}  # fmt: skip
SETTING_SUFFIXES = frozenset({".yaml", ".yml", ".toml", ".cfg", ".ini"})

_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class UsageError(WorkbenchError):
    """Something that cannot be a name in code."""


class CodeUsages(RepositoryText):
    """Where a name is defined and used."""

    uses: list[str] = Field(description="path:line kind in FUNCTION | the line; concise: one row per file")
    counts: str = Field(description="how many of each kind")
    next_cursor: str
    note: str

    def summary(self) -> str:
        """Say the counts and the uses."""
        more = [f"go on with cursor={self.next_cursor}"] if self.next_cursor else []
        return "\n".join([*([self.counts] if self.counts else []), *self.uses, *more, *filter(None, [self.note])])


@dataclass(frozen=True)
class _Placed:
    """A use with the file and the line that it stands in."""

    path: str
    use: Use
    text: str

    @property
    def kind(self) -> UseKind:
        """What it is; whatever a test does with the name is a test of it."""
        return "test" if is_test(self.path) and self.use.kind != "definition" else self.use.kind

    def row(self) -> str:
        """One line."""
        inside = f" in {self.use.inside}" if self.use.inside else ""
        return _one_line(f"{self.path}:{self.use.line} {self.kind}{inside} | {self.text.strip()}")


async def code_usages(
    root: Root,
    name: Annotated[str, Field(description="plain, or qualified by its class")],
    report: Report | None = None,
    path: str = "",
    limit: Annotated[int, Field(ge=1, le=500)] = 60,
    cursor: Cursor = "",
    response_format: ResponseFormat = "detailed",
) -> CodeUsages:
    """List where a function, class, method, constant or module is defined, imported, called, configured and tested.

    Use it before changing something, or for examples of its use; the definition comes first, tests last. Names are
    followed, not types: of a method, uses of others of the same name may be among them.

    Raises:
        UsageError: this is no name.
        IndexFailure: the index cannot be written or read.
        RootError: `path` lies outside of the root.
    """
    if not _NAME.fullmatch(name) or len(name) > LONGEST_WORD:
        raise UsageError(
            f"{shown(name)[:100]!r} is not a name; give one such as 'function', 'Class' or 'Class.method'."
        )
    folder = folder_below(root, path)
    return await answered(root, report, partial(_answer, root, name, folder, offset(cursor), limit, response_format))


def _answer(root: Root, name: str, folder: str, start: int, limit: int, response_format: str, note: str) -> CodeUsages:
    with store.opened(store.index_path(root)) as database:
        paths = [path for path in _files_with(database, name) if not folder or f"{path}/".startswith(f"{folder}/")]
        near = _nearest(database, name)
    found = [placed for path in paths[:MOST_FILES] for placed in _uses_in(root, path, name)]
    found.sort(key=lambda placed: (ORDER[placed.kind], placed.path, placed.use.line))
    rows = [placed.row() for placed in found] if response_format == "detailed" else _by_file(found)
    kept, following = page(rows, start, limit)
    cut = f"only the first {MOST_FILES} of {len(paths)} files were read" if len(paths) > MOST_FILES else ""
    return CodeUsages(
        uses=kept, counts=_counts(found), next_cursor=following,
        note="; ".join(filter(None, [note, cut, _advice(name, found, near)])),
    )  # fmt: skip


def _advice(name: str, found: Sequence[_Placed], near: Sequence[str]) -> str:
    if any(placed.use.kind == "definition" for placed in found):
        return ""
    nearest = f"; the nearest are {', '.join(map(shown, near))}" if near else ""
    return f"nothing here defines {name}{nearest}; code_search finds code by what it does"


def _counts(found: Sequence[_Placed]) -> str:
    kinds = [placed.kind for placed in found]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in ORDER if kind in kinds)


def _files_with(database: sqlite3.Connection, name: str) -> list[str]:
    word = f'"{unified(name.rpartition(".")[2])}"'
    paths = set[str]()
    for field in store.FIELDS:
        rows = database.execute(
            f"select distinct f.path from {field}_words w join units u on u.id = w.rowid "  # noqa: S608 - our own names
            f"join files f on f.id = u.file where {field}_words match ?",
            (word,),
        )
        paths.update(path for (path,) in rows)
    return sorted(paths, key=lambda path: (is_test(path), path))


def _uses_in(root: Root, path: str, name: str) -> Iterator[_Placed]:
    anyio.from_thread.check_cancelled()
    try:
        text = read_whole(root.path, path, MOST_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
    except (FileNotFoundError, FileError):
        return
    lines = text.split("\n")
    suffix, owner = PurePosixPath(path).suffix, name.rpartition(".")[0].rpartition(".")[2]
    if owner and owner not in text:
        # Nothing here can be told to be of that class: `.get` of every dictionary is no use of it.
        return
    uses = python_uses(text, name) if suffix == ".py" else None
    if uses is None:
        uses = list(_text_uses(lines, name, "setting" if suffix in SETTING_SUFFIXES else "mention"))
    if suffix == ".py" and PurePosixPath(path).stem == name.rpartition(".")[2]:
        uses = [Use(1, "definition", ""), *uses]
    yield from (_Placed(path, use, lines[use.line - 1] if use.line <= len(lines) else "") for use in uses)


def _text_uses(lines: Sequence[str], name: str, kind: UseKind) -> Iterator[Use]:
    plain = name.rpartition(".")[2] if kind == "setting" else name
    word = re.compile(rf"(?<!\w){re.escape(plain)}(?!\w)")
    yield from (Use(number, kind, "") for number, line in enumerate(lines, 1) if word.search(line))


def _by_file(found: Sequence[_Placed]) -> list[str]:
    rows, by_path = list[str](), dict[str, list[_Placed]]()
    for placed in found:
        by_path.setdefault(placed.path, []).append(placed)
    for path, group in by_path.items():
        places = [f"{one.use.line} {one.kind}{f' in {one.use.inside}' if one.use.inside else ''}" for one in group]
        more = f", {len(places) - USES_PER_FILE} more" if len(places) > USES_PER_FILE else ""
        rows.append(shown(f"{path}: {', '.join(places[:USES_PER_FILE])}{more}"))
    return rows


def _nearest(database: sqlite3.Connection, name: str) -> list[str]:
    """Names that are defined and look alike, compared by their parts: a class may be near a module."""
    known: dict[str, str] = {}
    rows = database.execute("select u.kind, u.name, f.path from units u join files f on f.id = u.file where not u.test")
    for kind, qualified, path in rows:
        plain = PurePosixPath(path).stem if kind == "module" else qualified
        if kind in ("module", "class", "function", "constant"):
            known.setdefault("_".join(split_identifier(plain.rpartition(".")[2])), plain)
    asked = "_".join(split_identifier(name.rpartition(".")[2]))
    return [known[key] for key in difflib.get_close_matches(asked, known, n=4, cutoff=0.6)]


def _one_line(text: str) -> str:
    return " ".join(shown(text).split())[:LINE_CHARACTERS]
