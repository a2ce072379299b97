"""Budgets of tokens: whatever is cut is counted, and the command that shows the rest is named."""

from __future__ import annotations

from collections.abc import Sequence

BYTES_PER_TOKEN = 3
"""A cautious estimate, the one of `scripts/collect_context.py`: English has about four, ids and paths fewer."""
LONGEST_ENTRY = 320
"""Characters of one text in a list; the whole of it stays in the file that it came from."""


def size(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text.encode("utf-8", "replace"))


def within(lines: Sequence[str], tokens: int, command: str) -> list[str]:
    """As many of the first lines as fit, then a line that counts the others and names the command that shows them.

    Args:
        lines: without their line ends.
        tokens: room for all that is returned, line ends included.
        command: shows what is left out; it holds no backtick.
    """
    room = tokens * BYTES_PER_TOKEN
    if sum(size(line) + 1 for line in lines) <= room:
        return list(lines)
    room -= size(_cut(len(lines), command)) + 2
    kept: list[str] = []
    for line in lines:
        room -= size(line) + 1
        if room < 0:
            break
        kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    # the empty line ends a table or a list: what follows is no row or entry of it
    return [*kept, "", _cut(len(lines) - len(kept), command)]


def _cut(count: int, command: str) -> str:
    # in code marks the number is no claim of the document that it may stand in
    return f"... `{count}` more lines: `{command}`"


def shortened(text: str, limit: int = LONGEST_ENTRY) -> str:
    """The text on at most `limit` characters, with dots where something is left out."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
