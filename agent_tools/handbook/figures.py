"""How a number in a generated block is bound to the data it came from, and how that is verified.

A line's numbers are followed by one link per source, readable for people and checkable for the machine:

    | naive | 12.31 | 2.95 | [3fa9c1](records/ID.json#/benchmark/summaries/0:cold_seconds,warm_seconds) |

The fragment is `#/BASE:FIGURE,FIGURE,...`: the figures in the order in which their numbers stand before the link. A
FIGURE is a path below the base (`*` stands for every entry), or a calculation `NAME!ARGUMENT!ARGUMENT`, whose arguments
are such paths or `@K`, the K-th number of the same line. Names are percent-encoded. A number that no link accounts
for is an orphan; numbers in `code`, links, headings and ISO dates are names, not claims.
Standard library only.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from agent_tools.records.errors import WorkbenchError

UNIT_SCALE = {"": 1.0, "x": 1.0, "%": 100.0, "s": 1.0, "ms": 1000.0, "GiB": 1.0, "MiB": 2.0**-20}
"""What a stored value is multiplied by to be shown in a unit (shares are stored as fractions, sizes in bytes)."""

REPORTED_MARK = "reported, not measured here"

CALCULATIONS: dict[str, Callable[..., float]] = {
    "count": len,
    "sum": sum,
    "min": min,
    "max": max,
    "median": statistics.median,
    "ratio": lambda above, below: above / below,
    "minus": lambda left, right: left - right,
    "share": lambda part, parts: part / sum(parts),
    "rest": lambda whole, *parts: max(0.0, whole - sum(parts)),
}

CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_LINK = re.compile(r"!?\[(?:[^\[\]\\]|\\.)*\]\((?P<target>[^()\s]*)\)")
_COMMENT = re.compile(r"<!--.*?-->")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2})?)?\b")
_LIST_ITEM = re.compile(r"^\s*\d+\.\s")
_NUMBER = re.compile(
    r"(?<![\w.\-+])(?P<number>[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?)"
    r"(?P<unit>x|%| (?:s|ms|GiB|MiB)\b)?(?!-?\w|\.\d)"
)


NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
"""How a record writes a number that is none."""


class FigureError(WorkbenchError):
    """A figure whose source does not exist or does not hold a number."""


@dataclass(frozen=True)
class Shown:
    """One number as it stands in a line."""

    text: str
    unit: str

    def __str__(self) -> str:
        return f"{self.text}{'' if self.unit in {'', 'x', '%'} else ' '}{self.unit}"

    def agrees(self, value: float) -> bool:
        """Whether `value`, shown in this unit with this many decimals, gives exactly this text."""
        plain = self.text.replace(",", "")
        if "e" in plain.lower():
            return math.isclose(float(plain), value, rel_tol=1e-6)
        decimals = len(plain.partition(".")[2])
        sign = "+" if plain.startswith("+") else ""
        return f"{value * UNIT_SCALE[self.unit]:{sign}.{decimals}f}" == plain


@dataclass(frozen=True)
class SourceLink:
    """A link that accounts for numbers: the file (as written, relative to the document) and the figures it names."""

    file: str
    figures: tuple[str, ...]


def has_number(text: str) -> bool:
    """Whether plain text holds something that the check would take for a measured number."""
    return _NUMBER.search(text) is not None


def split_numbers(text: str) -> list[str]:
    """Plain text in turn without and with a number that the check would take for a measured one, its unit included."""
    parts, end = [], 0
    for match in _NUMBER.finditer(text):
        parts += [text[end : match.start()], match[0]]
        end = match.end()
    return [*parts, text[end:]]


def read_line(line: str) -> Iterator[Shown | SourceLink]:
    """The numbers and source links of one Markdown line, in order. Headings have none."""
    if line.lstrip().startswith("#"):
        return
    line = _LIST_ITEM.sub("", line)
    # code goes first: a link or a number inside it is quoted, not said
    line = _DATE.sub("", _COMMENT.sub("", CODE_SPAN.sub("`", line)))
    end = 0
    for link in _LINK.finditer(line):
        yield from _numbers(line[end : link.start()])
        file, _, fragment = link["target"].partition("#")
        if fragment.startswith("/") and ":" in fragment:
            yield SourceLink(unquote(file), _absolute(fragment))
        elif file.endswith(".json"):
            yield SourceLink(unquote(file), ())
        end = link.end()
    yield from _numbers(line[end:])


def _numbers(text: str) -> Iterator[Shown]:
    for match in _NUMBER.finditer(text):
        yield Shown(match["number"], (match["unit"] or "").strip())


def _absolute(fragment: str) -> tuple[str, ...]:
    base, _, figures = fragment[1:].partition(":")
    return tuple(
        _map_arguments(figure, lambda path: f"{base}/{path}" if base else path) for figure in figures.split(",")
    )


def _map_arguments(figure: str, change: Callable[[str], str]) -> str:
    name, *arguments = figure.split("!")
    if not arguments:
        return change(name)
    return "!".join([name, *(argument if argument.startswith("@") else change(argument) for argument in arguments)])


def evaluate(figure: str, data: Any, line: Sequence[float] = ()) -> float:
    """The value of a figure.

    Args:
        figure: a path below `data`, or `NAME!ARGUMENT!...`.
        data: the source's content, as JSON gives it.
        line: values of the numbers that stand before it in its line, for `@K`.

    Raises:
        FigureError: a path that leads nowhere, an unknown calculation, or something that is not a finite number.
    """
    name, *arguments = figure.split("!")
    if not arguments:
        value = _look_up(data, figure)
    elif name not in CALCULATIONS:
        raise FigureError(f"'{name}' is not a calculation; use one of {', '.join(sorted(CALCULATIONS))}.")
    else:
        values = [_argument(argument, data, line) for argument in arguments]
        try:
            value = CALCULATIONS[name](*values)
        except (TypeError, ZeroDivisionError, ValueError, statistics.StatisticsError) as error:
            raise FigureError(f"'{figure}' cannot be calculated: {error}.") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FigureError(f"'{figure}' is {value!r}, not a finite number.")
    return float(value)


def _argument(argument: str, data: Any, line: Sequence[float]) -> Any:
    if not argument.startswith("@"):
        return _look_up(data, argument)
    index = argument[1:]
    if not index.isdecimal() or int(index) >= len(line):
        raise FigureError(f"'{argument}' names no earlier number of its line, which has {len(line)}.")
    return line[int(index)]


def _look_up(data: Any, path: str) -> Any:
    found = [data]
    for step in path.split("/"):
        if step == "*":
            found = [entry for node in found for entry in _entries(node, path)]
        else:
            found = [_child(node, unquote(step), path) for node in found]
    return found if "*" in path.split("/") else found[0]


def _entries(node: Any, path: str) -> Sequence[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    if isinstance(node, list):
        return node
    raise FigureError(f"'{path}' asks for the entries of something that has none.")


def _child(node: Any, step: str, path: str) -> Any:
    if isinstance(node, Mapping) and step in node:
        return node[step]
    if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
        return node[int(step)]
    raise FigureError(f"'{path}' leads nowhere: '{step}' is not there.")


class Source:
    """Writes numbers of one file into a line and then the link that accounts for them."""

    def __init__(self, data: Mapping[str, Any], href: str, label: str) -> None:
        self.data = data
        self.href = quote(href, safe="/.-_")
        self.label = label
        self._pending: list[str] = []

    def value(self, figure: str) -> float:
        """The figure's value, not written anywhere."""
        return evaluate(figure, self.data)

    def finite(self, path: str) -> bool:
        """Whether the record holds a number there; not, where it says that there is none (an endless interval).

        Raises:
            FigureError: the path leads nowhere.
        """
        return _look_up(self.data, path) not in NOT_FINITE

    def number(
        self, figure: str, unit: str = "", decimals: int | None = None, sign: bool = False, line: Sequence[float] = ()
    ) -> str:
        """Show a figure and remember it for the line's `link`.

        Args:
            figure: path or calculation, names percent-encoded (`encode`).
            unit: one of `UNIT_SCALE`; `x` and `%` stand without a space.
            decimals: digits after the point; by default enough for three significant digits, none for whole numbers.
            sign: show `+` as well as `-`.
            line: values of the numbers that already stand in this line, for `@K`.
        """
        value = evaluate(figure, self.data, line)
        self._pending.append(figure)
        scaled = value * UNIT_SCALE[unit]
        places = _decimals(scaled) if decimals is None else decimals
        space = " " if unit not in {"", "x", "%"} else ""
        return f"{scaled:{'+' if sign else ''}.{places}f}{space}{unit}"

    def link(self) -> str:
        """The link for the numbers since the last one; a plain link to the file when there are none."""
        figures, self._pending = self._pending, []
        if not figures:
            return f"[{self.label}]({self.href})"
        base = _common_base(figures)
        cut = len(base) + 1 if base else 0
        names = ",".join(_map_arguments(figure, lambda path: path[cut:]) for figure in figures)
        return f"[{self.label}]({self.href}#/{base}:{names})"

    def refuse_pending(self) -> None:
        """Raise if numbers were written and never linked: a template's mistake.

        Raises:
            FigureError: numbers wait for a `link()`.
        """
        if self._pending:
            raise FigureError(f"the template shows {', '.join(self._pending)} without a link() in the same line.")


def encode(name: str) -> str:
    """A key as one step of a figure's path: everything that the notation uses is percent-encoded."""
    return quote(name, safe="")


def _decimals(value: float) -> int:
    if value == int(value) and abs(value) < 1e9:
        return 0
    return 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1


def _common_base(figures: Sequence[str]) -> str:
    """The longest path that all paths in the figures start with, leaving each at least one step."""
    paths: list[str] = []
    for figure in figures:
        _map_arguments(figure, lambda path: paths.append(path) or path)  # type: ignore[func-returns-value]
    if not paths:
        return ""
    steps = [path.split("/")[:-1] for path in paths]
    base: list[str] = []
    for level in zip(*steps, strict=False):
        if len(set(level)) > 1 or level[0] == "*":
            break
        base.append(level[0])
    return "/".join(base)
