"""Finding code by what it does or is called: the index brought up to date, asked, and its answer shown."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import anyio.to_thread
from pydantic import Field

from agent_tools.results import Cursor, RepositoryText, ResponseFormat, offset, page
from agent_tools.workspace.files.opening import FileError, read_whole
from agent_tools.workspace.root import Root
from agent_tools.workspace.search import database as store
from agent_tools.workspace.search.index import MOST_BYTES, Refreshed, Report, answered, refresh
from agent_tools.workspace.search.ranking import Wanted, folder_below, nearest_words, ranked
from agent_tools.workspace.search.words import identifiers, question_terms
from agent_tools.workspace.untrusted import shown

MOST_HITS = 200
SNIPPET_LINES = 12
SNIPPET_CHARACTERS = 900
LINE_CHARACTERS = 300

_ASKS_FOR_USES = re.compile(r"\b(usages?|uses?|used|callers?|calls?|called|examples?)\b", re.IGNORECASE)


class SearchHits(RepositoryText):
    """What was found, best first."""

    hits: list[str] = Field(description="path:line name - what it says")
    next_cursor: str = ""
    note: str = ""

    def summary(self) -> str:
        """Say the hits."""
        more = [f"go on with cursor={self.next_cursor}"] if self.next_cursor else []
        return "\n".join([*self.hits, *more, *([self.note] if self.note else [])])


class IndexState(RepositoryText):
    """The index after it was brought up to date."""

    files: int
    changed: int
    removed: int
    units: int
    seconds: float
    bytes: int
    skipped: list[str] = Field(description="files found by less than their content, and why")
    omitted: int
    note: str

    def summary(self) -> str:
        """Say the counts."""
        lines = [f"{self.units} units of {self.files} files; {self.changed} read, {self.removed} gone"]
        more = [f"{self.omitted} more; raise limit"] if self.omitted else []
        return "\n".join([*lines, *self.skipped, *more, *([self.note] if self.note else [])])


@dataclass(frozen=True)
class _Found:
    """A unit as it is shown."""

    path: str
    kind: str
    name: str
    line: int
    end_line: int
    signature: str
    headline: str

    def title(self) -> str:
        """One line: where it is, its name, what it says."""
        name = self.name or (self.signature if self.kind == "module" else "")
        says = f" - {self.headline}" if self.headline else ""
        return _one_line(f"{self.path}:{self.line} {name}".rstrip() + says)

    def detail(self, root: Root) -> str:
        """The line with the declaration and the first lines of the text as it stands now."""
        declared = [self.signature] if self.kind in ("function", "class") else []
        return "\n".join([self.title(), *map(_one_line, declared), *self._lines(root)])

    def _lines(self, root: Root) -> list[str]:
        try:
            text = read_whole(root.path, self.path, MOST_BYTES).decode("utf-8", "replace")
        except (FileNotFoundError, FileError):
            return ["(gone meanwhile)"]
        if "\0" in text:
            return []
        last = min(self.end_line, self.line + SNIPPET_LINES - 1)
        lines = text.replace("\r\n", "\n").split("\n")[self.line - 1 : last]
        return shown("\n".join(line[:LINE_CHARACTERS] for line in lines))[:SNIPPET_CHARACTERS].split("\n")


async def code_search(
    root: Root,
    query: str,
    report: Report | None = None,
    kind: Wanted = "any",
    path: str = "",
    limit: Annotated[int, Field(ge=1, le=100)] = 10,
    cursor: Cursor = "",
    response_format: ResponseFormat = "concise",
) -> SearchHits:
    """Find code, docs and settings by meaning or name, best first.

    Use it to learn where something is done. For file names: file_find.

    Raises:
        IndexFailure: the index cannot be written or read.
        RootError: `path` lies outside of the root.
    """
    folder = folder_below(root, path)
    answer = partial(_answer, root, query, kind, folder, offset(cursor), limit, response_format)
    return await answered(root, report, answer)


def _answer(
    root: Root, query: str, kind: Wanted, folder: str, start: int, limit: int, response_format: str, note: str
) -> SearchHits:
    with store.opened(store.index_path(root)) as database:
        hits = [hit.unit for hit in ranked(database, query, kind, folder, MOST_HITS)]
        found = _described(database, hits[start : start + limit])
        advice = _advice(database, query, bool(hits), kind != "any" or bool(folder))
    texts = [one.detail(root) if response_format == "detailed" else one.title() for one in found]
    kept, _ = page(texts, 0, limit)
    following = start + len(kept)
    return SearchHits(
        hits=kept,
        next_cursor=str(following) if kept and following < len(hits) else "",
        note="; ".join(filter(None, [note, advice])),
    )


def _described(database: sqlite3.Connection, units: Sequence[int]) -> list[_Found]:
    query = (
        "select f.path, u.kind, u.name, u.line, u.end_line, u.signature, u.headline "
        "from units u join files f on f.id = u.file where u.id = ?"
    )
    # Another process may have taken a unit out since it was rated.
    rows = (database.execute(query, (unit,)).fetchone() for unit in units)
    return [_Found(*row) for row in rows if row is not None]


def _advice(database: sqlite3.Connection, query: str, has_hits: bool, is_narrowed: bool) -> str:
    names = identifiers(query)
    if has_hits:
        return (
            f"code_usages lists every use of {shown(names[0])[:80]}" if names and _ASKS_FOR_USES.search(query) else ""
        )
    if not question_terms(query):
        return "the query has no word in it; ask in words or by a name"
    near = [shown(word) for word in nearest_words(database, query, 6)]
    words = f"the nearest words in the index are {', '.join(near)}" if near else "no word of it is in the index"
    narrowed = ", or leave kind and path out" if is_narrowed else ""
    return f"nothing was found: {words}; try other words{narrowed}, or file_find for names of files"


def _one_line(text: str) -> str:
    return " ".join(shown(text).split())[:LINE_CHARACTERS]


async def index_refresh(
    root: Root,
    report: Report | None = None,
    rebuild: Annotated[bool, Field(description="begin with an empty index")] = False,
    limit: Annotated[int, Field(ge=1, le=200, description="skipped files listed at most")] = 50,
) -> IndexState:
    """Bring the index of code_search up to date and say what it holds and what it had to skip.

    Every search does this by itself. Use it after a large checkout, or with rebuild when answers look wrong.

    Raises:
        IndexFailure: the index cannot be written or is being built by another process.
    """
    state = await refresh(root, report, rebuild)
    return await anyio.to_thread.run_sync(_index_state, root, state, limit)


def _index_state(root: Root, state: Refreshed, limit: int) -> IndexState:
    path = store.index_path(root)
    with store.opened(path) as database:
        rows = database.execute("select path, problem from files where problem != '' order by path").fetchall()
    skipped = [_one_line(f"{file}: {problem}") for file, problem in rows]
    kept, _ = page(skipped, 0, limit)
    return IndexState(
        files=state.files,
        changed=state.changed,
        removed=state.removed,
        units=state.units,
        seconds=round(state.seconds, 3),
        bytes=path.stat().st_size,
        skipped=kept,
        omitted=len(skipped) - len(kept),
        note=state.note,
    )
