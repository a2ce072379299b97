"""What synthetic receipts say: sums that add up."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr.datasets import receipt_text


def cents(text: str) -> int:
    number = text.replace(",", "").rpartition(" ")[2].lstrip("$")
    return round(float(number) * 100)


@given(st.integers(0, 10_000), st.integers(1, 10_000_000))
def test_tax_rounding_and_change_add_up(seed: int, sum_of_items: int) -> None:
    before, (label, total), after = receipt_text.totals(random.Random(seed), sum_of_items)
    assert label == "TOTAL"
    if len(before) == 3:
        assert sum(cents(amount) for _, amount in before) == cents(total)
    assert abs(cents(total)) % 5 == 0
    paid = cents(after[0][1])
    change = cents(after[1][1]) if len(after) == 2 else 0
    assert paid - change == cents(total)
    assert 0 <= change < 1000


@given(st.integers(0, 10_000))
def test_the_parts_of_a_receipt_are_never_empty(seed: int) -> None:
    rng = random.Random(seed)
    item = receipt_text.item(rng)
    assert item.amount == item.count * item.price > 0
    assert 2 <= len(receipt_text.address(rng)) <= 6
    assert 2 <= len(receipt_text.details(rng)) <= 4
    for text in (receipt_text.shop_name(rng), receipt_text.title(rng), item.name, *receipt_text.footers(rng)):
        assert text.strip() == text != ""


@pytest.mark.parametrize(("amount", "text"), [(0, "0.00"), (5, "0.05"), (-2, "-0.02"), (123456, "1,234.56")])
def test_money_has_two_decimals(amount: int, text: str) -> None:
    assert receipt_text.money(amount) == text
