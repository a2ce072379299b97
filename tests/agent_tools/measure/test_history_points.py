"""Change points between commits: planted ones found, none in noise, and a commit that fails is stepped over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.measure.history import history_points
from agent_tools.records.compared import HistoryPoint, Measurement
from tests.agent_tools.records.build import START, measurement, paired_protocol, target

ROUNDS = 10


def commits(count: int, failed: Sequence[int] = ()) -> list[HistoryPoint]:
    return [
        HistoryPoint(
            commit=f"{place:x}" * 40,
            title=f"commit {place}",
            committed=START + timedelta(days=place),
            value=0.0,
            low=0.0,
            high=0.0,
            accuracy={},
            failed="the command failed" if place in failed else "",
        )
        for place in range(count)
    ]


def samples(
    seconds: Sequence[float], hmeans: Sequence[float] = (), *, rounds: int = ROUNDS, seed: int = 4
) -> list[Measurement]:
    """A sample per commit and round with 1% of noise, and a drift that all commits of a round share."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (rounds, len(seconds)))
    return [
        measurement(
            f"{place:x}" * 9,
            number,
            float(value * np.exp(noise[number, place] + 0.1 * number)),
            metrics={
                "warm_seconds": float(value * np.exp(noise[number, place] + 0.1 * number)),
                "icdar_hmean": hmeans[place] if hmeans else 0.8,
            },
        )
        for number in range(rounds)
        for place, value in enumerate(seconds)
    ]


def points(found: Sequence[HistoryPoint], taken: Sequence[Measurement], rounds: int = ROUNDS) -> list[HistoryPoint]:
    return history_points(found, taken, target(), paired_protocol(rounds))


def test_planted_changes_are_found_where_they_are_and_nowhere_else() -> None:
    found = points(commits(6), samples([4.0, 4.0, 3.0, 3.0, 3.0, 3.6]))
    assert [point.change for point in found] == ["", "", "faster", "", "", "slower"]
    assert found[2].ratio == pytest.approx(4 / 3, rel=0.02)
    assert found[5].ratio == pytest.approx(3 / 3.6, rel=0.02)
    assert found[2].ratio_low < found[2].ratio < found[2].ratio_high
    assert found[0].ratio == found[0].p_adjusted == 1.0
    assert found[2].value == pytest.approx(3.0 * np.exp(0.45), rel=0.1)
    assert found[2].low < found[2].value < found[2].high
    assert found[2].accuracy == {"icdar_hmean": 0.8}


@pytest.mark.parametrize("rounds", [6, 10])
def test_noise_has_no_change_points(rounds: int) -> None:
    wrong = sum(
        any(point.change for point in points(commits(8), samples([4.0] * 8, rounds=rounds, seed=seed), rounds))
        for seed in range(40)
    )
    # At most 1 in 20 by the adjustment; the margin leaves fewer.
    assert wrong <= 4


def test_the_steps_are_adjusted_for_their_number() -> None:
    """Six rounds reach p = 0.031 at best: enough for one step, not for one among four."""
    assert points(commits(2), samples([4.0, 2.0], rounds=6), 6)[1].change == "faster"
    found = points(commits(5), samples([4.0, 4.0, 4.0, 4.0, 2.0], rounds=6), 6)
    assert found[4].p_adjusted > 0.05
    assert found[4].change == ""


def test_a_step_within_the_equivalence_margin_is_no_change_however_sure() -> None:
    quiet = [
        measurement("0" * 9, number, 4.0) if place == 0 else measurement("1" * 9, number, 4.04)
        for number in range(ROUNDS)
        for place in range(2)
    ]
    found = points(commits(2), quiet)[1]
    assert found.p_adjusted < 0.01
    assert found.change == ""


@pytest.mark.parametrize(
    ("hmeans", "changes"),
    [
        ((0.8, 0.79, 0.79), ["", "less accurate", ""]),
        ((0.8, 0.8, 0.81), ["", "", "more accurate"]),
        ((0.8, 0.795, 0.8), ["", "", ""]),
    ],
)
def test_accuracy_that_moves_by_more_than_the_margin_is_marked(hmeans: tuple[float, ...], changes: list[str]) -> None:
    assert [point.change for point in points(commits(3), samples([4.0] * 3, hmeans))] == changes


def test_small_steps_that_add_up_fail_the_gate_without_a_change_point() -> None:
    found = points(commits(5), samples([4.0, 4.05, 4.1, 4.15, 4.2]))
    assert [point.change for point in found] == [""] * 5
    assert found[4].to_first == pytest.approx(4.0 / 4.2, rel=0.01)
    assert found[4].gate == "fail"
    accuracy = points(commits(3), samples([4.0] * 3, [0.8, 0.796, 0.792], rounds=20), 20)
    assert [point.change for point in accuracy] == [""] * 3
    assert [point.gate for point in accuracy] == ["", "pass", "fail"]


def test_the_gate_is_open_where_the_rounds_do_not_show_that_nothing_was_lost() -> None:
    assert [point.gate for point in points(commits(2), samples([4.0, 4.0], rounds=3), 3)] == ["", "open"]
    assert [point.gate for point in points(commits(2), samples([4.0, 4.06]))] == ["", "open"]


def test_a_failed_commit_is_stepped_over_and_its_neighbours_are_compared() -> None:
    taken = [sample for sample in samples([4.0, 4.0, 99.0, 3.0]) if sample.arm != "2" * 9]
    found = points(commits(4, failed=[2]), taken)
    assert found[2] == commits(4, failed=[2])[2]
    assert found[3].ratio == pytest.approx(4 / 3, rel=0.02)
    assert [point.change for point in found] == ["", "", "", "faster"]


def test_a_failed_first_commit_leaves_the_second_without_a_step() -> None:
    taken = [sample for sample in samples([99.0, 4.0, 3.0]) if sample.arm != "0" * 9]
    found = points(commits(3, failed=[0]), taken)
    assert [point.change for point in found] == ["", "", "faster"]
    assert (found[1].ratio, found[1].p_adjusted) == (1.0, 1.0)


def test_rounds_that_are_tainted_cut_or_not_measured_are_left_out_whole() -> None:
    taken = samples([4.0, 3.0])
    odd = [
        measurement("0" * 9, 90, 400.0, tainted="other work"),
        measurement("1" * 9, 90, 1.0),
        measurement("1" * 9, 91, 1.0),
        measurement("0" * 9, 0, 900.0, phase="warmup"),
    ]
    assert points(commits(2), [*odd, *taken]) == points(commits(2), taken)


def test_of_rates_the_higher_one_is_faster() -> None:
    rates = target(primary="per_second", better="higher", accuracy=[])
    taken = [
        sample.model_copy(update={"metrics": {"per_second": 1 / sample.metrics["warm_seconds"]}})
        for sample in samples([4.0, 3.0])
    ]
    found = history_points(commits(2), taken, rates, paired_protocol(ROUNDS))
    assert (found[1].change, found[1].ratio) == ("faster", pytest.approx(4 / 3, rel=0.02))


def test_without_one_good_round_nothing_is_said() -> None:
    assert points(commits(2), []) == commits(2)


def test_few_rounds_show_their_range_and_no_change() -> None:
    found = points(commits(2), samples([4.0, 2.0], rounds=3), 3)[1]
    assert found.ratio_low < 2.0 < found.ratio_high
    assert found.change == ""


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=5), st.integers(0, 99))
def test_the_history_backwards_inverts_every_step(seconds: list[float], seed: int) -> None:
    taken = samples(seconds, seed=seed)
    forth, back = points(commits(len(seconds)), taken), points(commits(len(seconds))[::-1], taken)
    for one, other in zip(forth[1:], back[:0:-1], strict=True):
        assert one.ratio == pytest.approx(1 / other.ratio)
        assert one.p_adjusted == pytest.approx(other.p_adjusted)
    assert [point.value for point in forth] == [point.value for point in back[::-1]]
