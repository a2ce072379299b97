"""The judge judged: its verdicts on noise that is known, so that its error rates are known.

Each experiment draws the durations of a whole comparison, in the order in which its samples would run, and gives them
to the same `judge` and the same orders that real comparisons use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from agent_tools.measure.orders import balanced_orders
from agent_tools.measure.verdict import settled_outcome
from agent_tools.records.compared import Measurement, Outcome, PairedProtocol, SimulationRow, Target

ALPHA = 0.05
EQUIVALENCE = 0.02
MOMENT = datetime(2026, 11, 21, tzinfo=UTC)
Noise = Callable[[np.random.Generator, int], np.ndarray]
"""Draws the logarithms of the noise of n consecutive samples."""


@dataclass(frozen=True)
class Scenario:
    """One kind of machine. `place` is how much slower the second place of a round is (0.05: 5%)."""

    name: str
    description: str
    noise: Noise
    place: float = 0.0


def _quiet(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.normal(0, 0.02, count)


def _drifting(generator: np.random.Generator, count: int) -> np.ndarray:
    return np.linspace(0, 0.3, count) + _quiet(generator, count)


def _spiking(generator: np.random.Generator, count: int) -> np.ndarray:
    spikes = generator.random(count) < 0.12
    return _quiet(generator, count) + spikes * generator.exponential(0.4, count)


def _autocorrelated(generator: np.random.Generator, count: int) -> np.ndarray:
    steps = generator.normal(0, 0.03, count)
    level = np.zeros(count)
    for index in range(1, count):
        level[index] = 0.8 * level[index - 1] + steps[index]
    return level


def _heavy_tailed(generator: np.random.Generator, count: int) -> np.ndarray:
    return 0.02 * generator.standard_t(2, count)


def _two_speeds(generator: np.random.Generator, count: int) -> np.ndarray:
    flips = generator.random(count) < 0.15
    state = (np.cumsum(flips) + generator.integers(2)) % 2
    return 0.25 * state + _quiet(generator, count)


def _everything(generator: np.random.Generator, count: int) -> np.ndarray:
    parts = (_drifting, _spiking, _autocorrelated, _two_speeds)
    return np.sum([part(generator, count) for part in parts], axis=0)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("quiet", "independent normal noise of 2%", _quiet),
    Scenario("drift", "the machine slows down by 35% over the run", _drifting),
    Scenario("order bias", "the second place of each round is 5% slower", _quiet, place=0.05),
    Scenario("spikes", "one sample in eight is slower by 40% on average", _spiking),
    Scenario("autocorrelation", "noise that lasts for several samples (first order, 0.8)", _autocorrelated),
    Scenario("heavy tails", "Student's t with 2 degrees of freedom: no finite variance", _heavy_tailed),
    Scenario("two speeds", "the machine flips between two speeds 28% apart", _two_speeds),
    Scenario("all at once", "drift, order bias, spikes, autocorrelation and two speeds together", _everything, 0.05),
)

TARGET = Target(name="simulated", command=[], primary="seconds", accuracy=[], gate="outputs", margin=0.0)


def simulate(scenario: Scenario, rounds: int, experiments: int, seed: int, looks: int = 1) -> SimulationRow:
    """Return the error rates of the judge in one kind of noise.

    Per experiment: identical sides (faster or slower is a false positive), then, on fresh noise, a slowdown of twice
    the smallest effect that the first one stated (anything but slower is a miss).

    Args:
        scenario: the noise.
        rounds: of each comparison.
        experiments: how many.
        seed: of everything random.
        looks: 2 also judges half way, as a comparison with two looks does.
    """
    generator = np.random.default_rng((seed, *scenario.name.encode()))
    wrong = found = 0
    stated = []
    for _ in range(experiments):
        null = _experiment(generator, scenario, rounds, looks, 0.0)
        wrong += null.verdict in ("faster", "slower")
        stated.append(null.smallest_effect)
        slowdown = math.log1p(2 * null.smallest_effect)
        found += _experiment(generator, scenario, rounds, looks, slowdown).verdict == "slower"
    low, high = binomial_interval(wrong, experiments)
    power_low, power_high = binomial_interval(found, experiments)
    return SimulationRow(
        scenario=scenario.name,
        description=scenario.description,
        rounds=rounds,
        experiments=experiments,
        false_positives=wrong,
        false_positive_rate=wrong / experiments,
        false_positive_low=low,
        false_positive_high=high,
        detected=found,
        power=found / experiments,
        power_low=power_low,
        power_high=power_high,
        stated_effect=float(np.median(stated)),
    )


def _experiment(
    generator: np.random.Generator, scenario: Scenario, rounds: int, looks: int, slowdown: float
) -> Outcome:
    orders = balanced_orders(("A", "B"), rounds, int(generator.integers(2**31)))
    logs = scenario.noise(generator, 2 * rounds)
    logs[1::2] += math.log1p(scenario.place)
    samples, protocol = _samples(orders, logs, slowdown), _protocol(orders, looks)
    return settled_outcome(samples, TARGET, protocol)


def _samples(orders: Sequence[Sequence[str]], logs: np.ndarray, slowdown: float) -> list[Measurement]:
    return [
        Measurement.model_construct(
            arm=arm,
            round=number,
            position=position,
            phase="measured",
            started=MOMENT,
            metrics={"seconds": math.exp(logs[2 * number + position] + (slowdown if arm == "B" else 0.0))},
            process_seconds=0.0,
            load=0.0,
            foreign_cpu=0.0,
            stolen=0.0,
            outputs="same",
            tainted="",
        )
        for number, order in enumerate(orders)
        for position, arm in enumerate(order)
    ]


def _protocol(orders: list[list[str]], looks: int) -> PairedProtocol:
    return PairedProtocol(
        rounds=len(orders),
        looks=looks,
        alpha=ALPHA,
        equivalence=EQUIVALENCE,
        order_seed=0,
        order=orders,
        warmup_samples=0,
        foreign_limit=1.0,
    )


def binomial_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion (Clopper & Pearson 1934), by bisection on the binomial tail."""
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _root(lambda share: 1 - _binomial_cdf(hits - 1, trials, share) < tail)
    high = 1.0 if hits == trials else _root(lambda share: _binomial_cdf(hits, trials, share) > tail)
    return low, high


def _root(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def _binomial_cdf(hits: int, trials: int, share: float) -> float:
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(share) + (trials - k) * math.log1p(-share)
        for k in range(hits + 1)
    ]  # fmt: skip
    return min(1.0, sum(map(math.exp, logs)))
