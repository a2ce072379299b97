"""What the fields of invoices and receipts are called, and where the value of a label stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent_tools.workspace.documents.values import Order, Value, values

Row = Sequence[tuple[str, float, float]]
"""Cells of a line: text, left, right."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "total": (
        *("grand total", "total amount due", "amount due", "total due", "total payable", "amount payable"),
        *("balance due", "net total", "total rounded", "rounded total", "total amount", "total incl", "total"),
    ),
    "subtotal": ("subtotal", "sub total", "sub-total"),
    "tax": ("tax amount", "gst amount", "vat amount", "total gst", "total tax", "gst", "vat", "sales tax", "tax"),
    "date": ("invoice date", "bill date", "date of issue", "issue date", "receipt date", "date"),
    "due_date": ("due date", "payment due", "due on", "pay by", "due"),
    "invoice_number": (
        *("tax invoice no", "invoice number", "invoice no", "invoice id", "invoice #", "inv no", "invoice"),
        *("bill no", "receipt no", "receipt number", "doc no", "document no"),
    ),
    "receipt_number": ("receipt number", "receipt no", "receipt #", "slip no", "trans no", "transaction no"),
    "order_number": ("purchase order", "order number", "order no", "order #", "po number", "po no", "po"),
    "email": ("e-mail", "email", "mail"),
    "phone": ("telephone", "phone", "tel", "mobile"),
    "company": ("company", "seller", "vendor", "supplier", "sold by"),
    "customer": ("customer", "bill to", "billed to", "sold to", "client", "buyer"),
    "cash": ("cash", "tendered", "paid"),
    "change": ("change",),
}

KINDS_BY_WORD: Mapping[str, str] = {
    **dict.fromkeys(
        ("total", "subtotal", "amount", "price", "tax", "gst", "vat", "cash", "change", "balance"), "amount"
    ),
    **dict.fromkeys(("date", "due"), "date"),
    **dict.fromkeys(("number", "no", "id", "reference", "code"), "id"),
    **dict.fromkeys(("count", "quantity", "qty", "pages"), "number"),
    "email": "email",
    "mail": "email",
}

_NOT_TOTAL = re.compile(
    r"\s*(?:(?:qty|quantity|items?|disc\w*|sav\w*|gst|vat|tax|round(?:ing)?\b)|(?:\w+\s*)?\(?\s*excl)", re.IGNORECASE
)
_AFTER = re.compile(r"\s*(?:\([^)]{0,20}\)|[:#=.\-]|\b(?:is|no|in)\b(?=\s*[:.]))*\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """A value beside or under a label.

    Attributes:
        rank: of the label among its synonyms, then of the place: on the line, in the next cell, below.
        page: where it is.
        evidence: the line, or the two lines, that it is from.
    """

    value: Value
    rank: tuple[int, int]
    page: int
    evidence: str


def kind_of(field: str) -> str:
    """Return the kind of value that a field's name speaks of."""
    words = re.split(r"[_\s]+", field.lower())
    return next((KINDS_BY_WORD[word] for word in reversed(words) if word in KINDS_BY_WORD), "text")


def candidates(field: str, kind: str, page: int, rows: Sequence[Row], order: Order) -> Iterator[Candidate]:
    """Yield the values of a kind that stand at a label of the field, on one page."""
    name = field.lower()
    for rank, pattern in enumerate(_labels(name)):
        for number, row in enumerate(rows):
            for at, cell in enumerate(row):
                for match in pattern.finditer(cell[0]):
                    if _is_another(name, cell[0], match):
                        continue
                    yield from _at(kind, page, rows, (number, at, match.end()), rank, order)


def _labels(name: str) -> list[re.Pattern[str]]:
    known = SYNONYMS.get(re.sub(r"[\s-]+", "_", name), ())
    labels = dict.fromkeys([re.sub(r"_", " ", name), *known] if name not in SYNONYMS else known)
    return [re.compile(rf"(?<![A-Za-z0-9]){_flexible(label)}(?![A-Za-z0-9])", re.IGNORECASE) for label in labels]


def _flexible(label: str) -> str:
    return r"[\s._-]*".join(re.escape(word) for word in label.split())


def _is_another(name: str, cell: str, match: re.Match[str]) -> bool:
    """A label that is part of another one: the total of a subtotal, of items, of discounts."""
    if name == "total":
        return bool(
            re.search(r"sub[\s-]*$", cell[: match.start()], re.IGNORECASE) or _NOT_TOTAL.match(cell, match.end())
        )
    return name == "date" and bool(re.search(r"(?:due|expiry|delivery)\s*$", cell[: match.start()], re.IGNORECASE))


def _at(
    kind: str, page: int, rows: Sequence[Row], place: tuple[int, int, int], rank: int, order: Order
) -> Iterator[Candidate]:
    number, at, end = place
    row = rows[number]
    rest = row[at][0][_after(row[at][0], end) :]
    behind = [rest, *(cell[0] for cell in row[at + 1 :])]
    # A name begins where its label ends; a value with a form of its own may have words before it.
    for distance, text in enumerate(behind):
        found = values(kind, text, order)
        if found:
            yield Candidate(found[0], (rank, min(distance, 1)), page, _line(row))
            return
    if rest.strip() and kind != "text":
        return
    for below in rows[number + 1 : number + 2]:
        for cell in below:
            if cell[1] < row[at][2] and row[at][1] < cell[2] and (found := values(kind, cell[0], order)):
                yield Candidate(found[0], (rank, 2), page, f"{_line(row)} / {_line(below)}")
                return


def _after(text: str, end: int) -> int:
    match = _AFTER.match(text, end)
    return match.end() if match else end


def _line(row: Row) -> str:
    return "  ".join(cell[0] for cell in row)
