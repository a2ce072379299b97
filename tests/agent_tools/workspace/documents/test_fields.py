"""Named values: found where a person would find them, quoted, normalised, and never invented."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.documents.fields import DocumentFields, _found, document_extract
from agent_tools.workspace.documents.labels import kind_of
from agent_tools.workspace.documents.pages import DocumentError, ReadingJob, read
from agent_tools.workspace.documents.values import KINDS, order_of, plain_number, values
from agent_tools.workspace.root import Root
from tests.agent_tools.workspace.documents.pdf_files import page, pdf

RECEIPT = """SHOP OF THINGS SDN BHD
TAX INVOICE NO : CS-0012280    DATE: 21/08/2017 10:15
2 x Widget          20.00
Subtotal            36.24
Total Qty 3
Total (RM)          38.40
Rounding             0.01
Grand Total  RM 38.41
Cash                50.00
Change              11.59
Mail us: help@shop.example
"""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.at(tmp_path)


def extract(root: Root, text: str | bytes, *fields: str, name: str = "a.txt", **given: Any) -> DocumentFields:
    (root.path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return anyio.run(partial(document_extract, root, name, **({"fields": fields} if fields else {}), **given))


def normal(found: DocumentFields) -> dict[str, str]:
    return {row["field"]: row["normal"] for row in found.fields}


def test_a_receipt_gives_its_values_with_the_lines_that_show_them(root):
    names = ("total", "subtotal", "date", "invoice_number", "cash", "change", "email")
    found = extract(root, RECEIPT, *names)
    assert normal(found) == {
        "total": "38.41",
        "subtotal": "36.24",
        "date": "2017-08-21",
        "invoice_number": "CS-0012280",
        "cash": "50.00",
        "change": "11.59",
        "email": "help@shop.example",
    }
    total = found.fields[0]
    assert (total["how"], total["value"], total["page"]) == ("labelled", "RM 38.41", "1")
    assert total["line"] == "Grand Total  RM 38.41"
    assert "38.40 (page 1)" in total["others"]
    assert found.untrusted


def test_what_is_not_there_is_said_to_be_not_found_and_fails_the_command(root):
    found = extract(root, "Nothing of the kind. Price list: 12.00, 13.00", "total", "date", "due_date", "company")
    assert {row["how"] for row in found.fields} == {"not found"}
    assert {row["value"] + row["normal"] + row["line"] for row in found.fields} == {""}
    assert found.is_failure()


def test_one_date_without_a_label_is_taken_by_its_pattern_and_of_two_neither(root):
    (row,) = extract(root, "printed 2024-03-05 and 05 Mar 2024", "date").fields
    assert (row["how"], row["normal"]) == ("by pattern", "2024-03-05")
    (row,) = extract(root, "from 2024-03-05 to 2024-04-05", "date").fields
    assert (row["how"], row["normal"]) == ("not found", "")
    assert row["others"] == "no label, 2 of this kind: 2024-03-05 (page 1); 2024-04-05 (page 1)"


def test_an_amount_is_never_taken_without_its_label(root):
    assert extract(root, "Widget 12.00", "total").fields[0]["how"] == "not found"


def test_a_date_that_can_be_read_in_two_ways_stays_open_unless_something_tells(root):
    assert normal(extract(root, "Date: 03/04/2024"))["date"] == "2024-03-04 or 2024-04-03"
    assert normal(extract(root, "Date: 03/04/2024\nDue 25/04/2024"))["date"] == "2024-04-03"
    assert normal(extract(root, "Date: 03/04/2024\nDue 04/25/2024"))["date"] == "2024-03-04"
    assert normal(extract(root, "Date: 03/04/2024", date_order="month"))["date"] == "2024-03-04"
    assert order_of(["25/12/2024", "12/25/2024"]) == ""


def test_values_are_found_beside_in_the_next_cell_and_under_their_label(root):
    rows = [
        [(50, "Invoice No."), (200, "Date"), (350, "Amount due")],
        [(50, "INV-7"), (200, "3 May 2024"), (350, "EUR 1.234,50")],
    ]
    texts = [(x, 700 - 14 * at, 10, words) for at, row in enumerate(rows) for x, words in row]
    found = extract(root, pdf(page(texts)), "invoice_number", "date", "total", name="a.pdf")
    assert normal(found) == {"invoice_number": "INV-7", "date": "2024-05-03", "total": "1234.50"}
    assert found.fields[2]["line"] == "Invoice No.  Date  Amount due / INV-7  3 May 2024  EUR 1.234,50"
    texts = [(50, 700, 10, "Total"), (400, 700, 10, "12.00"), (50, 650, 10, "Customer: Jane Doe")]
    found = extract(root, pdf(page([(50, 700, 10, "x")]), page(texts)), "total", "customer", name="b.pdf")
    assert normal(found) == {"total": "12.00", "customer": "Jane Doe"}
    assert found.fields[0]["page"] == "2"


def test_a_field_of_another_name_is_found_by_that_name_and_kind(root):
    text = "Voucher code: AB-77\nSeats = 4\nWeight 1.250 kg\nContact person : Ann Lee"
    found = extract(root, text, "voucher_code", "seats:number", "weight:number", "contact person")
    assert normal(found) == {"voucher_code": "AB-77", "seats": "4", "weight": "1.250", "contact person": "Ann Lee"}


@pytest.mark.parametrize("label", ["Subtotal", "Sub Total", "Sub-total", "Total Items", "Total qty", "Total discount"])
def test_the_total_of_something_else_is_not_the_total(root, label):
    assert extract(root, f"{label} 5.00", "total").fields[0]["how"] == "not found"


def test_a_receipt_from_a_label_file_is_read_by_its_boxes(root):
    def word(x: int, y: int, text: str) -> dict[str, Any]:
        return {"points": [[x, y], [x + 90, y], [x + 90, y + 20], [x, y + 20]], "transcription": text}

    words = {
        "1": word(10, 50, "TOTAL"),
        "2": word(400, 54, "RM12.50"),
        "3": word(10, 10, "SHOP"),
        "4": word(10, 90, "CASH 20"),
    }
    labels = json.dumps({"images": {"a.jpg": {"words": {}}, "b.jpg": {"words": words}}})
    found = extract(root, labels, "total", "cash", name="labels.json", pages="b.jpg")
    assert normal(found) == {"total": "12.50", "cash": "20"}


@pytest.mark.parametrize("field", ["", ":amount", "total:money", "a\nb", "x" * 90, "<b>"])
def test_a_field_that_cannot_be_read_names_the_kinds(root, field):
    with pytest.raises(DocumentError, match="amount, date, number, email, id, text"):
        extract(root, "Total 1", field)


def test_secrets_and_what_is_invisible_are_not_quoted_as_they_are(root):
    found = extract(root, "Total 5.00 ghp_abcdefghijklmnopqrstuvwxyz0123\u202e", "total")
    assert found.fields[0]["line"] == "Total 5.00 <secret masked><U+202E>"


def test_pages_beyond_the_limit_are_not_passed_over_in_silence(root):
    found = extract(root, "\f".join(["x", "y", "Total 5.00"]), "total", limit=2)
    assert found.fields[0]["how"] == "not found"
    assert found.notes == ["1 pages were not read; raise limit or name pages"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1,234.50", "1234.50"),
        ("1.234,50", "1234.50"),
        ("1'234.50", "1234.50"),
        ("1,234", "1234"),
        ("1,234,567", "1234567"),
        ("12,5", "12.5"),
        ("RM 0.05", "0.05"),
        ("-3.10", "-3.10"),
        ("(3.10)", "-3.10"),
        ("007", "7"),
    ],
)
def test_amounts_are_normalised_however_they_are_written(text, plain):
    assert plain_number(text) == plain
    assert values("amount", text)[0].normal == plain


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-03-25", "2024-03-25"),
        ("25.03.2024", "2024-03-25"),
        ("25/3/24", "2024-03-25"),
        ("03/25/2024", "2024-03-25"),
        ("25 MAR 2024 18:19", "2024-03-25"),
        ("25th of no", None),
        ("March 25, 2024", "2024-03-25"),
        ("25-MAR-18", "2018-03-25"),
        ("99/99/2024", None),
        ("2024-02-30", None),
        ("1.2.3.2024", None),
        ("05/05/2024", "2024-05-05"),
    ],
)
def test_dates_are_normalised_and_what_is_none_is_left_alone(text, iso):
    assert [value.normal for value in values("date", text)] == ([iso] if iso else [])


@pytest.mark.parametrize("text", ["6%", "6 %", "10:15", "12/08/2017", "A12", "12kg", "1.2.3", "012-3456789"])
def test_what_is_no_amount_is_not_taken_for_one(text):
    assert values("amount", text) == []


def test_the_money_of_a_line_comes_before_what_it_counts():
    assert [value.normal for value in values("amount", "3 pieces, 45.00")] == ["45.00", "3"]


@pytest.mark.parametrize(
    ("field", "kind"),
    [("total", "amount"), ("due_date", "date"), ("invoice_number", "id"), ("e mail", "email"), ("company", "text")],
)
def test_the_kind_follows_from_the_name(field, kind):
    assert kind_of(field) == kind


@given(st.text(max_size=200), st.sampled_from(KINDS))
def test_every_value_found_stands_in_the_text(text, kind):
    for value in values(kind, text):
        assert value.text in text


def test_nearly_every_real_receipt_shows_its_total_and_its_date(shared_receipts):
    labels = shared_receipts / "jsons" / "val.json"
    document = anyio.run(read, labels, "val.json", ReadingJob(path=str(labels)))
    assert len(document.pages) == 104
    totals = [_found("total", "amount", [page], "day")["how"] for page in document.pages]
    dates = [_found("date", "date", [page], "day")["how"] for page in document.pages]
    assert totals.count("labelled") >= 95
    assert dates.count("not found") <= 8


def test_more_fields_than_are_looked_for_are_refused_and_not_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("Total: 1.00\n")
    with pytest.raises(DocumentError, match="31 fields are asked for; name 30 at most"):
        anyio.run(partial(document_extract, Root.at(tmp_path), "a.txt", fields=tuple(f"f{n}" for n in range(31))))
