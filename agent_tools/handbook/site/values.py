"""The values of a record as rows of a table, each with the id by which a number's link finds it.

The id of a value is `/` and its path in the file, `/benchmark/summaries/0/cold_seconds`, names percent-encoded as in
`agent_tools.handbook.figures`. Long lists and dictionaries are folded; the page's script unfolds what a link points at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from agent_tools.handbook.figures import encode

FOLDED_ABOVE = 24
"""Values in a list or dictionary from which on it is folded."""
ALWAYS_FOLDED = frozenset({"config", "environment"})
"""Names of long dictionaries that few readers come for."""


def value_table(data: Mapping[str, Any]) -> str:
    """HTML of all values, without an empty line, so that Markdown takes it as one block."""
    return _table(data, "") + "\n"


def _table(node: Any, path: str) -> str:
    return f'<table class="values"><tbody>\n{"".join(_rows(node, path, 0))}</tbody></table>'


def _rows(node: Any, path: str, depth: int) -> Iterator[str]:
    for name, child in node.items() if isinstance(node, Mapping) else enumerate(node):
        place = f"{path}/{encode(str(name))}"
        if not isinstance(child, list | dict):
            yield _row(place, str(name), depth, "value", _text(child))
        elif _count(child) > FOLDED_ABOVE:
            yield _folded(place, str(name), child)
        else:
            yield _row(place, str(name), depth, "group", _size(child))
            yield from _rows(child, place, depth + 1)


def _row(place: str, name: str, depth: int, kind: str, text: str) -> str:
    head = f'<th scope="row" style="--depth: {depth}">{_escaped(name)}</th>'
    return f'<tr id="{_escaped(place)}" class="{kind}">{head}<td>{_escaped(text)}</td></tr>\n'


def _folded(place: str, name: str, child: Any) -> str:
    is_open = place.count("/") == 1 and isinstance(child, dict) and name not in ALWAYS_FOLDED
    summary = f"<summary>{_escaped(name)} <span>{_size(child)}</span></summary>"
    details = f"<details{' open' if is_open else ''}>{summary}\n{_table(child, place)}</details>"
    return f'<tr id="{_escaped(place)}" class="folded"><td colspan="2">{details}</td></tr>\n'


def _size(node: Any) -> str:
    return f"{len(node)} {'entry' if len(node) == 1 else 'entries'}"


def _count(node: Any) -> int:
    children = node.values() if isinstance(node, Mapping) else node
    return sum(_count(child) if isinstance(child, list | dict) else 1 for child in children)


def _text(value: Any) -> str:
    """A value as the file has it, without the quotes of a text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _escaped(text: str) -> str:
    # a line end would end the block of HTML in the Markdown around it
    return escape(text).replace("\r", "&#13;").replace("\n", "&#10;")
