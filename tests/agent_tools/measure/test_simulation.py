"""The judge's trial, in its short form: error rates in known noise, and a trial that a broken judge does not pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from agent_tools.measure import simulation, verdict
from agent_tools.measure.comparison_plan import ROUNDS
from agent_tools.measure.simulation import ALPHA, SCENARIOS, Scenario, binomial_interval, simulate
from agent_tools.measure.statistics import RatioEstimate
from agent_tools.records.compared import SimulationRow

POWER = 0.95
SIGNIFICANT = 0.01
"""Of each of the trial's statements: seeds are fixed, so a judge that passes passes every time."""

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def failings(row: SimulationRow) -> list[str]:
    """What counts as proof, by the exact binomial test, that the judge does not keep its word in one kind of noise."""
    found = []
    if binomtest(row.false_positives, row.experiments, ALPHA, alternative="greater").pvalue < SIGNIFICANT:
        found.append(f"{row.false_positives} false positives in {row.experiments}")
    if binomtest(row.detected, row.experiments, POWER, alternative="less").pvalue < SIGNIFICANT:
        found.append(f"{row.detected} of {row.experiments} planted changes found")
    return found


def trial(name: str, experiments: int = 250) -> SimulationRow:
    return simulate(BY_NAME[name], ROUNDS, experiments, seed=20261121)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_judge_keeps_its_error_rate_and_finds_planted_changes_in_every_kind_of_noise(name: str) -> None:
    row = trial(name)
    assert failings(row) == []
    assert 0.02 <= row.stated_effect < 1.0


# --- a judge that is broken ------------------------------------------------------------------------------------------


def test_a_judge_that_ignores_the_error_rate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "look_alpha", lambda protocol: 4 * protocol.alpha)
    assert "false positives" in failings(trial("quiet"))[0]


def test_a_judge_that_takes_any_ratio_for_a_change_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_the_estimate(ratio: RatioEstimate, equivalence: float) -> tuple[str, str]:
        return ("faster", "faster") if ratio.hodges_lehmann > 1 else ("slower", "slower")

    monkeypatch.setattr(verdict, "_by_time", by_the_estimate)
    assert "false positives" in failings(trial("heavy tails", 60))[0]


def fixed_order(sides: Sequence[str], rounds: int, seed: int) -> list[list[str]]:
    return [list(sides)] * rounds


def test_a_fixed_order_is_caught_where_the_second_place_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "balanced_orders", fixed_order)
    assert "false positives" in failings(trial("order bias", 60))[0]


def test_a_judge_that_promises_too_small_an_effect_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = verdict.smallest_effect
    monkeypatch.setattr(verdict, "smallest_effect", lambda *design: real(*design) / 3)
    assert "planted changes" in failings(trial("autocorrelation", 60))[-1]


def test_a_judge_that_never_decides_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_by_time", lambda *_: ("inconclusive", "inconclusive"))
    assert failings(trial("quiet", 30)) == ["0 of 30 planted changes found"]


# --- the simulation itself -------------------------------------------------------------------------------------------


def test_a_simulation_can_be_repeated_and_another_seed_is_another_one() -> None:
    quiet = BY_NAME["quiet"]
    assert simulate(quiet, 6, 20, 1) == simulate(quiet, 6, 20, 1)
    assert simulate(quiet, 6, 20, 1).stated_effect != simulate(quiet, 6, 20, 2).stated_effect


def test_a_row_counts_what_it_says() -> None:
    row = simulate(BY_NAME["two speeds"], 6, 40, 3)
    assert (row.rounds, row.experiments, row.description) == (6, 40, BY_NAME["two speeds"].description)
    assert row.false_positive_rate == row.false_positives / 40
    assert row.power == row.detected / 40
    assert row.false_positive_low <= row.false_positive_rate <= row.false_positive_high
    assert row.power_low <= row.power <= row.power_high


def test_noise_is_drawn_in_the_order_in_which_the_samples_run() -> None:
    seen: list[int] = []

    def counting(generator: np.random.Generator, count: int) -> np.ndarray:
        seen.append(count)
        return np.zeros(count)

    row = simulate(Scenario("silence", "no noise at all", counting), 6, 5, 0)
    assert seen == [12] * 10
    assert (row.false_positives, row.detected) == (0, 5)


def test_the_noises_are_what_their_descriptions_say() -> None:
    generator = np.random.default_rng(8)
    draws = {name: np.exp(scenario.noise(generator, 4000)) for name, scenario in BY_NAME.items()}
    assert np.std(np.log(draws["quiet"])) == pytest.approx(0.02, rel=0.1)
    assert np.median(draws["drift"][-100:]) / np.median(draws["drift"][:100]) == pytest.approx(1.35, abs=0.02)
    assert np.mean(draws["spikes"] > 1.1) == pytest.approx(0.12 * np.exp(-np.log(1.1) / 0.4), abs=0.02)
    logs = np.log(draws["autocorrelation"])
    assert np.corrcoef(logs[:-1], logs[1:])[0, 1] == pytest.approx(0.8, abs=0.05)
    fast, slow = np.percentile(draws["two speeds"], [25, 75])
    assert slow / fast == pytest.approx(1.28, abs=0.04)


@given(st.integers(0, 400), st.integers(1, 400), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_binomial_interval_equals_scipys_exact_one(hits: int, trials: int, confidence: float) -> None:
    hits = min(hits, trials)
    exact = binomtest(hits, trials).proportion_ci(confidence, method="exact")
    assert binomial_interval(hits, trials, confidence) == pytest.approx((exact.low, exact.high), abs=1e-9)


# --- two looks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["quiet", "heavy tails", "all at once"])
def test_two_looks_at_half_of_the_error_rate_keep_to_it_together(name: str) -> None:
    assert failings(simulate(BY_NAME[name], 24, 250, seed=20261125, looks=2)) == []
