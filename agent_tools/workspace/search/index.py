"""Keeping the index in step with the files: looked at before every question, and read only where they changed."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

import anyio.from_thread
import anyio.to_thread

from agent_tools.workspace.files.listing import Listing, list_files, stamped
from agent_tools.workspace.files.opening import FileError, read_whole
from agent_tools.workspace.root import Root
from agent_tools.workspace.search import database as store
from agent_tools.workspace.search.code_units import DATA_SUFFIXES, FileUnits, is_test, named_only, units_of

Report = Callable[[float, float | None, str], Coroutine[Any, Any, None]]

MOST_BYTES = 1 << 20
"""A larger file is data or generated: found by its name alone."""

BATCH = 200
"""Files per transaction: what a killed process loses."""

T = TypeVar("T")

_LINE_END = re.compile(r"\r\n|\r")
"""Python counts a carriage return alone as a line end, too."""

BINARY_LOOK = 8192
"""Bytes in which a file that is no text shows a zero."""

YOUNG_NS = 2_000_000_000
"""A file changed this recently may change again without its times telling; it is hashed once more next time."""

PATIENCE_SECONDS = 60.0
"""How long a first question waits for another process that builds the index."""

SHORT_PATIENCE_SECONDS = 0.5
"""How long any question waits for one: a check that finds nothing new is over by then."""


@dataclass(frozen=True)
class Refreshed:
    """What bringing the index up to date came to; `note` says what is out of the ordinary, '' if nothing."""

    files: int
    changed: int
    removed: int
    units: int
    seconds: float
    note: str


async def refresh(root: Root, report: Report | None = None, rebuild: bool = False) -> Refreshed:
    """Bring the index of a repository up to date: unchanged files are not read.

    Args:
        root: the repository.
        report: told how many files were read.
        rebuild: begin with an empty index.

    Raises:
        IndexFailure: the index cannot be written or is being built by another process.
        GitError: the repository is refused.
    """
    start = time.perf_counter()
    listing = await list_files(root)
    return await anyio.to_thread.run_sync(_refresh, root, listing, rebuild, report, start)


async def answered(root: Root, report: Report | None, answer: Callable[[str], T]) -> T:
    """Ask the refreshed index on a thread; a question that runs into damage is asked again of a new index.

    Args:
        root: the repository.
        report: see `refresh`.
        answer: takes what is to be said of the index, '' if nothing.

    Raises:
        IndexFailure: see `refresh`.
        GitError: the repository is refused.
    """
    state = await refresh(root, report)
    try:
        return await anyio.to_thread.run_sync(answer, state.note)
    except store.IndexDamaged:
        await refresh(root, report, rebuild=True)
        return await anyio.to_thread.run_sync(answer, "the index was built anew: it was damaged")


def _refresh(root: Root, listing: Listing, rebuild: bool, report: Report | None, start: float) -> Refreshed:
    path = store.index_path(root)
    begun = time.monotonic()

    def patience() -> bool:
        anyio.from_thread.check_cancelled()
        waited = time.monotonic() - begun
        return waited < SHORT_PATIENCE_SECONDS or (waited < PATIENCE_SECONDS and not store.is_complete(path, root))

    with store.building(path, patience) as alone:
        if not alone and not store.is_complete(path, root):
            raise store.IndexFailure("Another process is building the index for the first time; ask again in a minute.")
        notes = [listing.note] if listing.note else []
        if not alone:
            return _counted(root, 0, 0, start, [*notes, "another process is updating the index: answers may be older"])
        why = "that was asked for" if rebuild else store.why_unusable(path, root)
        if why:
            store.make_anew(path, root)
            notes += [] if why == "there was none" else [f"the index was built anew: {why}"]
        try:
            changed, removed = _update(root, listing, report)
        except store.IndexDamaged:
            store.make_anew(path, root)
            changed, removed = _update(root, listing, report)
            notes.append("the index was built anew: it was damaged")
        return _counted(root, changed, removed, start, notes)


def _counted(root: Root, changed: int, removed: int, start: float, notes: Sequence[str]) -> Refreshed:
    with store.opened(store.index_path(root)) as database:
        files = database.execute("select count(*) from files").fetchone()[0]
        units = database.execute("select count(*) from units").fetchone()[0]
    return Refreshed(files, changed, removed, units, time.perf_counter() - start, "; ".join(notes))


def _update(root: Root, listing: Listing, report: Report | None) -> tuple[int, int]:
    """Read what changed; return how many files were read anew and how many went."""
    with store.opened(store.index_path(root)) as database:
        known = store.stamps(database)
        found = {path: _stamp(seen) for path, seen in stamped(root.path, filter(_is_storable, listing.paths))}
        gone = [path for path in known if path not in found]
        moved = [path for path, stamp in found.items() if known.get(path) != stamp]
        changed = 0
        for place in range(0, len(moved), BATCH):
            with store.transaction(database):
                for path in moved[place : place + BATCH]:
                    anyio.from_thread.check_cancelled()
                    changed += _take(database, root, path, found[path])
            if report is not None and len(moved) > BATCH:
                done = min(place + BATCH, len(moved))
                anyio.from_thread.run(report, done, len(moved), f"read {done} of {len(moved)} files")
        if gone or moved:
            with store.transaction(database):
                for path in gone:
                    store.remove_file(database, path)
                database.execute("update origin set complete = 1")
        return changed, len(gone)


def _take(database: sqlite3.Connection, root: Root, path: str, stamp: store.Stamp) -> bool:
    """Put one file into the index; tell whether its content was new."""
    old = store.digest_of(database, path)
    try:
        data, problem = _read(root, path, stamp[0])
    except FileNotFoundError:
        store.remove_file(database, path)
        return old is not None
    digest = hashlib.blake2b(problem.encode() + b"\0" + data, digest_size=16).digest()
    is_young = abs(time.time_ns() - max(stamp[1:3])) < YOUNG_NS
    kept = (stamp[0], -1, *stamp[2:]) if is_young else stamp
    if old == digest:
        store.restamp(database, path, kept)
        return False
    store.remove_file(database, path)
    store.add_file(database, path, kept, digest, _content(path, data, problem), is_test(path))
    return True


def _stamp(seen: os.stat_result) -> store.Stamp:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino


def _read(root: Root, path: str, size: int) -> tuple[bytes, str]:
    """The bytes that say what a file holds, none where its name has to do; and why, where that is a pity."""
    if PurePosixPath(path).suffix.lower() in DATA_SUFFIXES:
        return b"", ""
    if size > MOST_BYTES:
        return b"", f"{size / 1e6:.1f} MB is over {MOST_BYTES / 1e6:.1f} MB: found by its name alone"
    try:
        data = read_whole(root.path, path, MOST_BYTES)
    except FileError as error:
        return b"", f"{error} It is found by its name alone."
    return (b"", "") if b"\0" in data[:BINARY_LOOK] else (data, "")


def _content(path: str, data: bytes, problem: str) -> FileUnits:
    return units_of(path, _LINE_END.sub("\n", data.decode("utf-8", "replace"))) if data else named_only(problem)


def _is_storable(path: str) -> bool:
    """Whether the name is text: the database takes no other."""
    return path.isascii() or path.encode("utf-8", "ignore").decode() == path
