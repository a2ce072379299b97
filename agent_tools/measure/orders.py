"""In which order samples are taken: random, repeatable from a seed, and no side favoured.

A fixed order turns whatever changes over time into a difference between the sides (Abedi & Brecht, ICPE 2017).
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def random_orders(arms: Sequence[str], rounds: int, seed: int) -> list[list[str]]:
    """Return the order of the arms in each round: independent permutations, the same for the same seed."""
    generator = random.Random(seed)  # noqa: S311 - an order that can be repeated, not a secret
    return [generator.sample(list(arms), len(arms)) for _ in range(rounds)]


def reversed_pairs(arms: Sequence[str], rounds: int, seed: int) -> list[list[str]]:
    """Return random orders in which every two arms precede each other equally often, but for one round where odd.

    Each random permutation comes once more the other way round; the rounds are then shuffled.
    """
    generator = random.Random(seed)  # noqa: S311 - an order that can be repeated, not a secret
    half = [generator.sample(list(arms), len(arms)) for _ in range((rounds + 1) // 2)]
    orders = [*half, *(order[::-1] for order in half)][:rounds]
    generator.shuffle(orders)
    return orders


def balanced_orders(sides: Sequence[str], rounds: int, seed: int) -> list[list[str]]:
    """Return random orders of two sides in which each goes first equally often, but for one round where rounds are odd.

    With an odd number a coin says who leads once more, so that over seeds neither side is favoured.
    """
    generator = random.Random(seed)  # noqa: S311 - an order that can be repeated, not a secret
    first, second = sides
    leads = generator.sample([first, second], 2)
    firsts = [leads[number % 2] for number in range(rounds)]
    generator.shuffle(firsts)
    return [[lead, second if lead == first else first] for lead in firsts]
