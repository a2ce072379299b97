"""The one Jinja environment of the documents: what a template may print, and how it is made safe for Markdown."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agent_tools.handbook import budgets
from agent_tools.handbook.figures import CODE_SPAN, FigureError, Source, has_number, split_numbers

_SPECIAL = re.compile(r"([\\`|\[\]*])")


@functools.cache
def environment() -> Environment:
    """The environment: strict about undefined names, deterministic, and unable to print a number without its source."""
    env = Environment(
        loader=PackageLoader("templates", ""),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.globals.update(
        code=code, date=date, href=href, heading=heading, quoted=quoted, sentence=sentence, shell=shlex.join
    )
    env.filters["within"] = within
    return env


def within(text: Markup, tokens: int, command: str) -> Markup:
    """What a template's `{% filter within(TOKENS, COMMAND) %}` keeps of the lines between; see `budgets.within`."""
    lines = str(text).strip("\n").split("\n")
    return Markup("\n".join(budgets.within(lines, tokens, command)) + "\n")  # noqa: S704 - rendered, so escaped already


def printable(value: Any) -> Markup:
    """What `{{ value }}` prints. Plain text is escaped; a number has to come from a `Source`.

    Raises:
        FigureError: a bare number, which no record would account for.
    """
    if isinstance(value, Markup):
        return value
    if isinstance(value, int | float):
        raise FigureError(f"a template prints the bare number {value!r}; show it through a source's number().")
    return text(str(value))


def text(value: str) -> Markup:
    """Text from a record or a plan on one line; in code marks where it holds a number, since it is then a quotation."""
    return code(value) if has_number(_one_line(value)) else heading(value)


def heading(value: str) -> Markup:
    """Text from a record or a plan on one line, Markdown and HTML escaped, numbers left as they are."""
    return _escaped(_one_line(value))


def _escaped(value: str) -> Markup:
    return Markup(_SPECIAL.sub(r"\\\1", value).replace("<", "&lt;"))  # noqa: S704 - escaped right here


def sentence(value: str) -> Markup:
    """Text from a record with a capital first letter and a full stop at its end."""
    line = _one_line(value).rstrip(".")
    return text(line[:1].upper() + line[1:]) + "."


def quoted(value: str) -> Markup:
    """What the code says of itself, on one line: its code marks stay, and each of its numbers stands in such marks.

    A number of the code is no measurement: in code marks it is a quotation.
    """
    line, end, parts = _one_line(value), 0, list[Markup]()
    for span in CODE_SPAN.finditer(line):
        parts += [*_numbers_as_code(line[end : span.start()]), code(span[2])]
        end = span.end()
    parts = [part for part in [*parts, *_numbers_as_code(line[end:])] if part]
    # two code spans that touch would be read as one
    gaps = [
        " " if before.endswith("`") and after.startswith("`") else "" for before, after in itertools.pairwise(parts)
    ]
    return Markup("").join(itertools.chain.from_iterable(zip(parts, [*gaps, ""], strict=False)))


def _numbers_as_code(value: str) -> list[Markup]:
    # a lone backtick is written as an entity: escaped, it would still pair with the marks around a number
    parts = split_numbers(value)
    return [
        code(part) if place % 2 else Markup(str(_escaped(part)).replace("\\`", "&grave;"))  # noqa: S704 - escaped
        for place, part in enumerate(parts)
    ]


def code(value: str) -> Markup:
    """A code span that shows the text exactly, in a table cell too."""
    line = _one_line(value)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    # a marker is recognised in code too, so its first character must not survive even there
    shown = line.replace("|", "\\|").replace("<!--", "< !--")
    return Markup(f"{fence}{pad}{shown or ' '}{pad}{fence}")  # noqa: S704 - a code span shows its content as text


def href(path: str) -> Markup:
    """A relative path as the target of a link."""
    return Markup(quote(path, safe="/.-_"))  # noqa: S704 - percent-encoded


def date(value: datetime) -> Markup:
    """`2026-11-21 20:06 UTC`."""
    return Markup(f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC")  # noqa: S704 - digits only


def _one_line(value: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in value).split())


class SafeSource:
    """A `Source` as templates use it: the same numbers and links, marked as ready to print."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def number(self, figure: str, unit: str = "", decimals: int | None = None, **options: Any) -> Markup:
        """See `Source.number`."""
        return Markup(self._source.number(figure, unit, decimals, **options))  # noqa: S704 - digits and a unit

    def value(self, figure: str) -> float:
        """See `Source.value`."""
        return self._source.value(figure)

    def finite(self, path: str) -> bool:
        """See `Source.finite`."""
        return self._source.finite(path)

    def refuse_pending(self) -> None:
        """See `Source.refuse_pending`."""
        self._source.refuse_pending()

    def link(self) -> Markup:
        """See `Source.link`."""
        return Markup(self._source.link())  # noqa: S704 - percent-encoded path, label from an id or a plan's file name
