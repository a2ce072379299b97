"""Numbers and their sources: what counts as a number, and what verifies it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook.figures import (
    FigureError,
    Shown,
    Source,
    SourceLink,
    encode,
    evaluate,
    has_number,
    read_line,
)

DATA = {"a": {"seconds": 2.9512, "share": 0.305}, "rows": [{"v": 1.5}, {"v": 4.0}], "odd/key, (x)": 7, "text": "12"}


def shown(line: str) -> list[str]:
    return [str(part) for part in read_line(line) if isinstance(part, Shown)]


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("took 2.95 s and 6.15x", ["2.95 s", "6.15x"]),
        ("| naive | 12.31 | 1,024 |", ["12.31", "1,024"]),
        ("30.5% of 3 ms, -0.06x, +1.2e-05", ["30.5%", "3 ms", "-0.06x", "+1.2e-05"]),
        ("bf16, uint8, ResNet-18, 3fa9c1, 16-mixed and v1 are names", []),
        ("# heading 5", []),
        ("1. first item", []),
        ("`12 px` and ``a ` 13`` are quoted", []),
        ("on 2026-11-21 20:06 UTC and 2026-11-21T20:06:22", []),
        ("![8 rungs](plot-8.svg) [text 9](page.md)", []),
        ("**4.94x** (4.84 to 5.09)", ["4.94x", "4.84", "5.09"]),
    ],
)
def test_a_number_is_a_number_and_a_name_is_a_name(line, numbers):
    assert shown(line) == numbers


def test_a_source_writes_numbers_and_one_link_that_accounts_for_them_in_order():
    source = Source(DATA, "records/x.json", "x")
    line = f"{source.number('a/seconds', 's')} {source.number('a/share', '%', 1)} {source.link()}"
    assert line == "2.95 s 30.5% [x](records/x.json#/a:seconds,share)"
    assert list(read_line(line))[-1] == SourceLink("records/x.json", ("a/seconds", "a/share"))


def test_calculations_and_odd_names_come_back_from_the_link():
    source = Source(DATA, "records/x.json", "x")
    figures = ["max!rows/*/v", "count!rows", encode("odd/key, (x)"), "ratio!a/seconds!a/share", "minus!@0!a/share"]
    for figure in figures:
        source.number(figure, line=[5.0])
    (link,) = read_line(source.link())
    assert isinstance(link, SourceLink)
    assert link.figures == tuple(figures)
    assert [round(evaluate(figure, DATA, [5.0]), 3) for figure in figures] == [4.0, 2.0, 7.0, 9.676, 4.695]


@given(st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from(["", "x", "%", "s", "ms", "GiB"]), st.integers(0, 4))
def test_every_number_that_a_source_writes_agrees_with_its_value_and_with_no_other(value, unit, decimals):
    source = Source({"v": value}, "r.json", "r")
    (one,) = [part for part in read_line(f"x {source.number('v', unit, decimals)} y") if isinstance(part, Shown)]
    assert one.agrees(value)
    assert not one.agrees(value + 10 ** (1 - decimals))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(0, 9), min_size=1))
def test_any_key_of_a_record_can_be_named(data):
    source = Source({"stages": data}, "r.json", "r")
    for key, value in data.items():
        source.number(f"stages/{encode(key)}")
        (link,) = read_line(source.link())
        assert isinstance(link, SourceLink)
        assert evaluate(link.figures[0], {"stages": data}) == value


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("a/gone", "'gone' is not there"),
        ("rows/7/v", "'7' is not there"),
        ("text", "not a finite number"),
        ("mean!rows/*/v", "not a calculation; use one of count"),
        ("ratio!a/seconds!nothing", "leads nowhere"),
        ("minus!@3!a/seconds", "names no earlier number"),
        ("max!text/*", "has none"),
        ("ratio!a/seconds", "cannot be calculated"),
    ],
)
def test_a_figure_without_a_source_is_an_error_that_says_which(figure, message):
    with pytest.raises(FigureError, match=message):
        evaluate(figure, DATA)


def test_numbers_without_a_link_are_a_mistake_of_the_template():
    source = Source(DATA, "r.json", "r")
    source.number("a/seconds")
    with pytest.raises(FigureError, match="a/seconds without a link"):
        source.refuse_pending()


def test_text_with_a_number_is_told_from_text_without():
    assert has_number("48 receipts")
    assert not has_number("bf16 on ResNet-18")
