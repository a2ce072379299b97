"""Failures of pytest in few words: the frames of the project, what was compared, and nothing of libraries between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from agent_tools.workspace.untrusted import shown

_FOREIGN = re.compile(r"^(?:/|\.\.|<|[A-Za-z]:)|(?:^|[/\\])(?:site-packages|lib/python[0-9.]+)[/\\]")
"""Pytest names files of the project relative to it; an environment inside of the project is still not its own."""


@dataclass(frozen=True)
class Room:
    """Characters kept of a failure's parts."""

    message: int
    traceback: int
    output: int


CONCISE = Room(message=400, traceback=1500, output=0)
DETAILED = Room(message=2000, traceback=6000, output=3000)


def explained(entry: dict[str, Any], room: Room) -> dict[str, str]:
    """Return message, traceback and, where there is room for it, captured output of one failed report.

    Args:
        entry: a line of the report log whose outcome is `failed`.
        room: how much of each is kept.
    """
    message, blocks = _parts(entry.get("longrepr"))
    texts = {"message": _cut(shown(message), room.message), "traceback": _fit(blocks, room.traceback)}
    said = "\n".join(f"--- {title} ---\n{text.rstrip()}" for title, text in entry.get("sections") or [])
    return {**texts, "output": _end(shown(said), room.output)} if room.output and said else texts


def _parts(report: Any) -> tuple[str, list[str]]:
    """The message and the blocks of a serialized failure, in whichever of its forms it comes."""
    if not isinstance(report, dict):
        text = str(report or "failed")
        return _last_error(text), [text]
    chain = report.get("chain") or [(report.get("reprtraceback"), report.get("reprcrash"), None)]
    blocks = [block for traceback, _, link in chain for block in [*_blocks(traceback), *([link] if link else [])]]
    crash = report.get("reprcrash") or {}
    message = str(crash.get("message") or (blocks[-1] if blocks else "") or report.get("longrepr") or "failed")
    return message, blocks or [message]


def _last_error(text: str) -> str:
    errors = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return errors[-1] if errors else text.strip()[-CONCISE.message :]


def _blocks(traceback: Any) -> Iterator[str]:
    entries = [entry.get("data") or {} for entry in (traceback or {}).get("reprentries") or []]
    for foreign, frames in groupby(entries, _is_foreign):
        group = list(frames)
        yield from [_collapsed(group)] if foreign else map(_frame, group)


def _is_foreign(frame: dict[str, Any]) -> bool:
    return bool(_FOREIGN.search(str((frame.get("reprfileloc") or {}).get("path") or "")))


def _place(frame: dict[str, Any]) -> str:
    place = frame.get("reprfileloc") or {}
    return f"{place.get('path')}:{place.get('lineno')}: {place.get('message') or ''}".rstrip() if place else ""


def _frame(frame: dict[str, Any]) -> str:
    return "\n".join([*filter(None, [_place(frame)]), *map(str, frame.get("lines") or [])])


def _collapsed(frames: list[dict[str, Any]]) -> str:
    """Frames of libraries in one line, with what the last one raised."""
    path, _, rest = _place(frames[-1]).partition(":")
    last = f"{'/'.join(path.split('/')[-2:])}:{rest}"
    errors = [line for line in map(str, frames[-1].get("lines") or []) if line.startswith("E ")]
    count = f"{len(frames)} frames" if len(frames) > 1 else "1 frame"
    return "\n".join([f"[{count} of libraries, the last {last}]", *errors])


def _fit(blocks: list[str], room: int) -> str:
    """Keep the last block, which says what went wrong, then the first, then as many before the last as fit."""
    texts = [shown(block) for block in blocks]
    last = _cut(texts[-1], room * 2 // 3 if len(texts) > 1 else room)
    kept = [last]
    first = texts[0] if len(texts) > 1 and len(texts[0]) + len(last) < room else ""
    left = room - len(last) - len(first)
    between = texts[1:-1] if first else texts[:-1]
    while between and len(between[-1]) < left:
        left -= len(between[-1])
        kept.insert(0, between.pop())
    gap = [f"[{len(between)} left out]"] if between else []
    return "\n".join([*filter(None, [first]), *gap, *kept])


def _cut(text: str, room: int) -> str:
    """Keep both ends: an assertion begins with what was compared and ends with how it differs."""
    if len(text) <= room:
        return text
    return f"{text[: room // 2]}[{len(text) - room} characters left out]{text[-(room - room // 2) :]}"


def _end(text: str, room: int) -> str:
    return text if len(text) <= room else f"[...]{text[-room:]}"
