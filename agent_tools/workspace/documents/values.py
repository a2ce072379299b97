"""Values in the text of documents: amounts, dates, numbers, addresses of mail, identifiers; found and normalised."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

Kind = Literal["amount", "date", "number", "email", "id", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
Order = Literal["", "day", "month"]

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = rf"(?P<name>{'|'.join(_MONTHS)})[a-z]*"
_NUMBER = r"(?:\d{1,3}(?:[,.'\u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,4})?)(?![\d%]|[.,]\d|\s?%)"
_CURRENCY = r"(?:US\$|S\$|RM|MYR|USD|EUR|GBP|SGD|CHF|[$€£¥₹])"

_PATTERNS = {
    "amount": [rf"(?<![\w.,/:-])\(?-?\s?{_CURRENCY}?\s?-?{_NUMBER}\)?(?:\s?{_CURRENCY}(?!\w))?(?![\w/:-])"],
    "number": [rf"(?<![\w.,/:])-?{_NUMBER}(?![\w/:])"],
    "email": [r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"],
    "id": [r"(?<![\w])[A-Za-z0-9][\w/#.-]*\d[\w/.-]*(?<![.-])|(?<!\w)\d(?!\w)"],
    "date": [
        r"(?<![\d.])(?P<y>\d{4})([-/.])(?P<m>\d{1,2})\2(?P<d>\d{1,2})(?!\d)",
        r"(?<![\d.])(?P<a>\d{1,2})([-/.])(?P<b>\d{1,2})\2(?P<y>\d{4}|\d{2})(?!\d)",
        rf"(?<!\d)(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[\s./-]*{_MONTH}[\s.,/'-]*(?P<y>\d{{4}}|\d{{2}})(?!\d)",
        rf"(?<![a-z]){_MONTH}[\s.]*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[\s,]+(?P<y>\d{{4}})(?!\d)",
    ],
}
_COMPILED = {kind: [re.compile(pattern, re.IGNORECASE) for pattern in found] for kind, found in _PATTERNS.items()}
_DECIMALS = re.compile(r"[.,]\d{2}(?!\d)")


@dataclass(frozen=True)
class Value:
    """A value as it is written, and as it is compared: '' where it cannot be told."""

    text: str
    normal: str


def values(kind: str, text: str, order: Order = "") -> list[Value]:
    """Return the values of a kind in a text, those that look most like one first.

    Args:
        kind: one of `KINDS`; a `text` is all of it.
        text: what stands behind a label, or a whole line.
        order: whether 03/04/2024 begins with the day or the month; '' leaves such a date open.
    """
    if kind == "text":
        words = text.strip().strip(":").strip()
        return [Value(words, " ".join(words.split()))] if any(map(str.isalnum, words)) else []
    found = sorted(_matches(kind, text), key=lambda match: match.start())
    if kind == "amount":
        # "Total 3 45.00" counts three things: what has cents, or a currency, is the money.
        found.sort(key=lambda match: not (_DECIMALS.search(match[0]) or re.search(_CURRENCY, match[0], re.IGNORECASE)))
    read = [Value(match[0].strip(), normalised(kind, match, order)) for match in found]
    return [value for value in read if value.normal or kind == "date"]


def _matches(kind: str, text: str) -> Iterator[re.Match[str]]:
    taken: list[tuple[int, int]] = []
    for pattern in _COMPILED[kind]:
        for match in pattern.finditer(text):
            is_new = all(match.end() <= start or match.start() >= end for start, end in taken)
            if is_new and (kind != "date" or _is_date(match)):
                taken.append(match.span())
                yield match


def normalised(kind: str, match: re.Match[str], order: Order) -> str:
    """Return a plain decimal number, an ISO date (two with ' or ' where the order is open), or the text itself."""
    if kind in ("amount", "number"):
        return plain_number(match[0], kind)
    if kind == "date":
        return " or ".join(sorted({found.isoformat() for found in _dates(match, order)}))
    return match[0].lower() if kind == "email" else match[0]


def plain_number(text: str, kind: str = "amount") -> str:
    """Return a number with a point and without separators: '1.234,50' is '1234.50', '(5)' is '-5'.

    A single separator before three digits separates thousands, but for a point in a `number`.
    """
    digits = re.sub(r"[^\d.,]", "", text).strip(".,")
    negative = "-" in text or (text.strip().startswith("(") and text.strip().endswith(")"))
    point = max(digits.rfind("."), digits.rfind(","))
    mark = digits[point] if point >= 0 else ""
    is_thousands = bool(mark) and len(digits) - point - 1 == 3 and not ({".", ","} <= set(digits))
    if mark and (digits.count(mark) > 1 or (is_thousands and not (kind == "number" and mark == "."))):
        whole, fraction = digits, ""
    else:
        whole, fraction = (digits[:point], digits[point + 1 :]) if mark else (digits, "")
    plain = re.sub(r"[.,]", "", whole).lstrip("0") or "0"
    return f"{'-' if negative else ''}{plain}{f'.{fraction}' if fraction else ''}"


def _is_date(match: re.Match[str]) -> bool:
    return bool(_dates(match, ""))


def _dates(match: re.Match[str], order: Order) -> list[date]:
    parts = match.groupdict()
    year = int(parts["y"]) + (0 if len(parts["y"]) == 4 else 2000)
    if parts.get("name"):
        return _valid(year, _MONTHS.index(parts["name"].lower()[:3]) + 1, int(parts["d"]))
    if parts.get("m"):
        return _valid(year, int(parts["m"]), int(parts["d"]))
    one, other = int(parts["a"]), int(parts["b"])
    day_first, month_first = _valid(year, other, one), _valid(year, one, other)
    if order and day_first and month_first:
        return day_first if order == "day" else month_first
    return [*day_first, *month_first]


def _valid(year: int, month: int, day: int) -> list[date]:
    try:
        return [date(year, month, day)]
    except ValueError:
        return []


def order_of(lines: Iterable[str]) -> Order:
    """Return the order in which the dates of a document can only be meant; '' where none, or not all, tell it."""
    seen: set[Order] = set()
    for line in lines:
        for match in _matches("date", line):
            parts = match.groupdict()
            if parts.get("a") and len(set(_dates(match, ""))) == 1 and parts["a"] != parts["b"]:
                seen.add("day" if int(parts["a"]) > 12 else "month")
    return seen.pop() if len(seen) == 1 else ""
