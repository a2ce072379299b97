"""Orders: random, repeatable, and no side favoured."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.measure.orders import balanced_orders, random_orders, reversed_pairs

SEEDS = st.integers(0, 2**31)


@given(st.integers(0, 40), SEEDS)
def test_each_side_goes_first_equally_often_but_for_one_odd_round(rounds: int, seed: int) -> None:
    orders = balanced_orders(("A", "B"), rounds, seed)
    firsts = Counter(order[0] for order in orders)
    assert len(orders) == rounds
    assert abs(firsts["A"] - firsts["B"]) == rounds % 2
    assert all(sorted(order) == ["A", "B"] for order in orders)


@given(st.integers(1, 40), SEEDS)
def test_the_same_seed_gives_the_same_orders(rounds: int, seed: int) -> None:
    assert balanced_orders(("A", "B"), rounds, seed) == balanced_orders(("A", "B"), rounds, seed)
    assert random_orders(("a", "b", "c"), rounds, seed) == random_orders(("a", "b", "c"), rounds, seed)


def test_another_seed_gives_other_orders() -> None:
    assert len({str(balanced_orders(("A", "B"), 12, seed)) for seed in range(50)}) > 45
    assert len({str(random_orders(("a", "b", "c"), 12, seed)) for seed in range(50)}) == 50


@pytest.mark.parametrize("rounds", [1, 7])
def test_an_odd_number_of_rounds_favours_neither_side_over_the_seeds(rounds: int) -> None:
    leads = Counter(
        Counter(order[0] for order in balanced_orders(("A", "B"), rounds, seed)).most_common(1)[0][0]
        for seed in range(1000)
    )
    assert abs(leads["A"] - 500) < 80


@pytest.mark.parametrize("place", range(12))
def test_no_round_is_always_begun_by_one_side(place: int) -> None:
    firsts = Counter(balanced_orders(("A", "B"), 12, seed)[place][0] for seed in range(1000))
    assert abs(firsts["A"] - 500) < 80


def test_a_balanced_order_is_no_alternation() -> None:
    alternating = 0
    for seed in range(500):
        firsts = [order[0] for order in balanced_orders(("A", "B"), 8, seed)]
        alternating += firsts in (["A", "B"] * 4, ["B", "A"] * 4)
    # 2 of the 70 balanced orders alternate.
    assert alternating < 40


@given(st.integers(1, 30), SEEDS)
def test_every_round_of_a_random_order_holds_each_arm_once(rounds: int, seed: int) -> None:
    orders = random_orders(("a", "b", "c", "d"), rounds, seed)
    assert len(orders) == rounds
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in orders)


def test_every_arm_of_a_random_order_has_every_place_equally_often() -> None:
    places = Counter(
        (arm, place) for order in random_orders(("a", "b", "c"), 3000, 5) for place, arm in enumerate(order)
    )
    assert len(places) == 9
    assert all(abs(count - 1000) < 130 for count in places.values())


@given(st.integers(2, 7), st.integers(1, 10).map(lambda half: 2 * half), st.integers(0, 2**31))
def test_in_reversed_pairs_no_arm_comes_before_another_more_often(arms: int, rounds: int, seed: int) -> None:
    names = [f"c{number}" for number in range(arms)]
    orders = reversed_pairs(names, rounds, seed)
    assert [sorted(order) for order in orders] == [names] * rounds
    for a, b in itertools.combinations(names, 2):
        assert sum(order.index(a) < order.index(b) for order in orders) == rounds // 2
    assert orders == reversed_pairs(names, rounds, seed)
