"""The verdict: each one from samples that deserve it, in the order of decision, and none that can be talked up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.measure.statistics import StatisticsError
from agent_tools.measure.verdict import REASONS, judge, log_ratios, look_alpha, look_pairs, measured_pairs
from agent_tools.records.compared import Measurement, Outcome
from agent_tools.records.store import RecordStore
from tests.agent_tools.records.build import comparison, measurement, paired, paired_protocol, record, target

FASTER = (1.9, 2.0, 2.1, 1.95, 2.05, 2.02)
SLOWER = tuple(1 / ratio for ratio in FASTER)
SAME = (1.001, 0.999, 1.002, 0.998, 1.003, 0.997)
MIXED = (1.3, 0.8, 1.2, 0.7, 1.1, 0.9)
TAINT = "other processes used 1.40 cores"


def judged(samples: Sequence[Measurement], rounds: int = 6, look: int = 1, **changes: Any) -> Outcome:
    """The outcome with the plain protocol; `changes` are the target's."""
    return judge(samples, target(**changes), paired_protocol(rounds), look=look)


def tainted(samples: Sequence[Measurement], *rounds: int, arm: str = "B") -> list[Measurement]:
    return [
        sample.model_copy(update={"tainted": TAINT}) if sample.round in rounds and sample.arm == arm else sample
        for sample in samples
    ]


def hashed(samples: Sequence[Measurement], outputs: str = "same", **own: str) -> list[Measurement]:
    """Every sample with a hash of its outputs; `B3="other"` is that of side B in round 3."""
    return [
        sample.model_copy(update={"outputs": own.get(f"{sample.arm}{sample.round}", outputs)}) for sample in samples
    ]


# --- one verdict after the other -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratios", "verdict", "recommendation"),
    [
        (FASTER, "faster", "keep"),
        (SLOWER, "slower", "revert"),
        (SAME, "equivalent", "revert"),
        (MIXED, "inconclusive", "iterate"),
        (FASTER[:5], "descriptive", "iterate"),
        # All above 1, and all within the margin: no change, however sure.
        ([1.01] * 6, "equivalent", "revert"),
        # Sure to be no slower, but the interval reaches beyond the margin: faster.
        ([1.01, 1.012, 1.03, 1.03, 1.025, 1.015], "faster", "keep"),
    ],
)
def test_each_verdict_has_its_times_and_its_recommendation(
    ratios: Sequence[float], verdict: str, recommendation: str
) -> None:
    outcome = judged(paired(ratios), rounds=len(ratios))
    assert (outcome.verdict, outcome.recommendation) == (verdict, recommendation)
    assert outcome.reason in REASONS.values()
    assert not any(letter.isdigit() for letter in outcome.reason)


def test_a_20_percent_slowdown_reads_0_833() -> None:
    first = judged(paired([1 / 1.2] * 6)).metrics[0]
    assert (first.metric, first.a, first.b) == ("warm_seconds", 2.0, pytest.approx(2.4))
    assert [first.ratio, first.median_ratio, first.low, first.high] == pytest.approx([0.8333] * 4, abs=1e-4)
    assert first.p == pytest.approx(2 / 2**6)


def test_the_figures_beside_the_verdict_describe_the_design() -> None:
    outcome = judged(paired([*FASTER[:5], 40.0, *FASTER]), rounds=12)
    assert (outcome.pairs, outcome.look, outcome.alpha, outcome.outliers) == (12, 1, 0.05, 1)
    assert 0.02 <= outcome.smallest_effect < math.inf
    # A's times are all the same here: no change gives exactly 1.
    assert (outcome.floor_low, outcome.floor_high) == (1.0, 1.0)


def test_a_slower_second_place_and_a_drift_are_told_apart_from_the_sides() -> None:
    samples = []
    for sample in paired([1.0] * 12):
        seconds = 2.0 * (1.1 if sample.position else 1.0) * math.exp(0.02 * sample.round)
        samples.append(sample.model_copy(update={"metrics": {"warm_seconds": seconds}}))
    outcome = judged(samples, rounds=12, accuracy=[])
    assert outcome.order_effect == pytest.approx(0.1)
    assert outcome.order_p < 0.01
    assert outcome.drift == pytest.approx(math.expm1(0.02 * 11))
    assert outcome.drift_p < 0.001
    assert outcome.verdict in ("equivalent", "inconclusive")
    rates = [
        sample.model_copy(update={"metrics": {"per_second": 1 / sample.metrics["warm_seconds"]}}) for sample in samples
    ]
    mirrored = judged(rates, rounds=12, primary="per_second", better="higher", accuracy=[])
    assert (mirrored.order_effect, mirrored.drift) == (pytest.approx(0.1), pytest.approx(math.expm1(0.02 * 11)))


# --- the order of decision -------------------------------------------------------------------------------------------


def test_invalid_comes_before_everything_but_outputs_that_differ_which_no_foreign_work_can_make() -> None:
    samples = tainted(hashed(paired(FASTER, b={"metrics": {"icdar_hmean": 0.1}}), B0="other"), 2)
    assert judged(samples, gate="outputs").verdict == "incorrect"
    assert judged(samples).verdict == "invalid"


def test_other_outputs_come_before_too_few_pairs() -> None:
    outcome = judged(hashed(paired(FASTER[:2]), B1="other"), gate="outputs")
    assert (outcome.verdict, outcome.recommendation, outcome.outputs_equal) == ("incorrect", "revert", False)


def test_too_few_pairs_come_before_lost_accuracy() -> None:
    assert judged(paired(FASTER[:5], b={"metrics": {"icdar_hmean": 0.1}})).verdict == "descriptive"


@pytest.mark.parametrize("ratios", [FASTER, SLOWER, SAME, MIXED])
def test_lost_accuracy_comes_before_every_time(ratios: Sequence[float]) -> None:
    outcome = judged(paired(ratios, b={"metrics": {"icdar_hmean": 0.7}}))
    assert (outcome.verdict, outcome.recommendation) == ("incorrect", "revert")


# --- foreign work ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["A", "B"])
def test_a_tainted_round_is_kept_and_counted_and_not_used(arm: str) -> None:
    samples = tainted(paired([*FASTER[:2], 0.001, *FASTER[2:]]), 2, arm=arm)
    outcome = judged(samples)
    clean = judged(paired(FASTER))
    assert (outcome.verdict, outcome.pairs, outcome.tainted, clean.tainted) == ("faster", 6, 1, 0)
    assert (outcome.metrics[0].low, outcome.metrics[0].high) == (clean.metrics[0].low, clean.metrics[0].high)


def test_fewer_clean_rounds_than_declared_are_invalid() -> None:
    outcome = judged(tainted(paired(FASTER * 2), 0), rounds=12)
    assert (outcome.verdict, outcome.recommendation, outcome.pairs) == ("invalid", "iterate", 11)


def test_where_all_is_tainted_the_figures_are_still_shown() -> None:
    outcome = judged(tainted(paired(FASTER), *range(6)))
    assert (outcome.verdict, outcome.pairs, outcome.tainted) == ("invalid", 0, 6)
    assert outcome.metrics[0].ratio == pytest.approx(2.0, abs=0.05)


def test_fewer_rounds_than_declared_are_descriptive_without_foreign_work() -> None:
    outcome = judged(paired(FASTER), rounds=12)
    assert (outcome.verdict, outcome.reason) == ("descriptive", REASONS["short"])


def test_more_rounds_than_declared_change_nothing() -> None:
    longer = judged(paired([*FASTER, 0.01, 0.01, 0.01, 0.01]))
    assert longer == judged(paired(FASTER))


def test_warm_up_and_pilot_samples_and_half_rounds_are_not_used() -> None:
    odd = [
        measurement("A", 0, 99.0, phase="warmup", tainted=TAINT),
        measurement("B", 0, 99.0, phase="pilot", tainted=TAINT),
        measurement("A", 6, 99.0),
    ]
    assert judged([*odd, *paired(FASTER)]) == judged(paired(FASTER))
    with pytest.raises(StatisticsError, match="nothing to compare"):
        judged(odd)


def test_the_order_of_the_samples_does_not_matter() -> None:
    samples = paired(FASTER)
    assert judged(samples[::-1]) == judged(samples)
    assert [pair.a.round for pair in measured_pairs(samples[::-1])] == list(range(6))


def test_two_samples_of_one_side_in_one_round_are_refused() -> None:
    with pytest.raises(StatisticsError, match="Side B has two samples in round 3"):
        judged([*paired(FASTER), measurement("B", 3, 1.0)])


# --- looks -----------------------------------------------------------------------------------------------------------


def test_two_looks_share_the_error_rate_and_each_needs_seven_pairs() -> None:
    protocol = paired_protocol(14, looks=2)
    assert (look_alpha(protocol), look_pairs(protocol, 1), look_pairs(protocol, 2)) == (0.025, 7, 14)
    early = judge(paired([*FASTER, 2.0]), target(), protocol, look=1)
    assert (early.verdict, early.look, early.pairs, early.alpha) == ("faster", 1, 7, 0.025)
    six = judge(paired(FASTER), target(), paired_protocol(12, looks=2), look=1)
    assert (six.verdict, six.pairs) == ("descriptive", 6)
    assert judge(paired(FASTER), target(), paired_protocol(6), look=1).verdict == "faster"


def test_half_of_alpha_does_not_reject_what_all_of_it_would() -> None:
    # One of seven pairs points the other way: p is 0.031, between 0.025 and 0.05.
    samples = paired([0.99, *FASTER])
    assert judged(samples, rounds=7).verdict == "faster"
    assert judge(samples, target(), paired_protocol(14, looks=2), look=1).verdict == "inconclusive"


def test_the_first_look_sees_the_first_half_alone() -> None:
    samples = paired([*FASTER, 2.0, *SLOWER, 0.5])
    protocol = paired_protocol(14, looks=2)
    assert judge(samples, target(), protocol, look=1).verdict == "faster"
    assert judge(samples, target(), protocol, look=2).verdict == "inconclusive"


# --- accuracy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "parity", "verdict", "recommendation", "reason"),
    [
        ([0.8] * 6, [0.8] * 6, "equal", "faster", "keep", "faster"),
        ([0.8] * 6, [0.797] * 6, "within margin", "faster", "keep", "faster"),
        # The whole margin may be lost, to the last bit of a difference.
        ([0.8] * 6, [0.795] * 6, "within margin", "faster", "keep", "faster"),
        ([0.8] * 6, [0.9] * 6, "within margin", "faster", "keep", "faster"),
        ([0.8] * 6, [0.79] * 6, "worse", "incorrect", "revert", "accuracy"),
        # Level on the whole, but one round in six lost much: the pairs do not show parity.
        ([0.8] * 6, [0.8, 0.801, 0.799, 0.8, 0.8, 0.75], "not shown", "faster", "iterate", "not shown"),
        ([0.49] * 6, [0.49] * 6, "no parity evidence", "faster", "iterate", "no parity evidence"),
        ([0.0] * 6, [0.0] * 6, "no parity evidence", "faster", "iterate", "no parity evidence"),
        # A collapse is one, however low it began.
        ([0.3] * 6, [0.0] * 6, "worse", "incorrect", "revert", "accuracy"),
    ],
)
def test_accuracy_is_kept_where_the_pairs_show_it(
    a: list[float], b: list[float], parity: str, verdict: str, recommendation: str, reason: str
) -> None:
    scores = {"A": a, "B": b}
    samples = [
        sample.model_copy(update={"metrics": sample.metrics | {"icdar_hmean": scores[sample.arm][sample.round]}})
        for sample in paired(FASTER)
    ]
    outcome = judged(samples)
    assert (outcome.accuracy[0].parity, outcome.verdict, outcome.recommendation, outcome.reason) == (
        (parity, verdict, recommendation, REASONS[reason])
    )


def test_the_worst_accuracy_metric_decides() -> None:
    samples = paired(FASTER, b={"metrics": {"cleval_hmean": 0.6}}, cleval_hmean=0.8)
    outcome = judged(samples, accuracy=["icdar_hmean", "cleval_hmean"])
    assert [row.parity for row in outcome.accuracy] == ["equal", "worse"]
    assert outcome.verdict == "incorrect"
    assert outcome.accuracy[1].difference == pytest.approx(-0.2)


def test_a_gain_without_any_accuracy_figure_is_never_kept() -> None:
    outcome = judged(paired(FASTER), accuracy=[])
    assert (outcome.verdict, outcome.recommendation, outcome.reason) == ("faster", "iterate", REASONS["none"])


def test_equal_outputs_are_enough_without_an_accuracy_figure() -> None:
    outcome = judged(hashed(paired(FASTER)), gate="outputs", accuracy=[])
    assert (outcome.verdict, outcome.recommendation, outcome.outputs_equal) == ("faster", "keep", True)


@pytest.mark.parametrize("side", ["A5", "B0"])
def test_one_differing_output_of_either_side_is_incorrect(side: str) -> None:
    outcome = judged(hashed(paired(FASTER), **{side: "other"}), gate="outputs")
    assert (outcome.verdict, outcome.reason, outcome.outputs_equal) == ("incorrect", REASONS["outputs"], False)


def test_a_differing_output_beside_foreign_work_counts_as_well() -> None:
    samples = tainted(hashed(paired([*FASTER, 2.0]), B6="other"), 6)
    assert judged(samples, gate="outputs").verdict == "incorrect"


@pytest.mark.parametrize(("hmean", "recommendation"), [(0.8, "iterate"), (0.7, "revert")])
def test_where_outputs_have_to_be_equal_a_missing_hash_keeps_nothing(hmean: float, recommendation: str) -> None:
    outcome = judged(hashed(paired(FASTER, b={"metrics": {"icdar_hmean": hmean}}), B4=""), gate="outputs")
    assert (outcome.recommendation, outcome.outputs_equal) == (recommendation, None)


def test_equal_output_hashes_do_not_hide_a_lost_accuracy() -> None:
    outcome = judged(hashed(paired(FASTER, b={"metrics": {"icdar_hmean": 0.5}})), gate="outputs")
    assert (outcome.verdict, outcome.outputs_equal) == ("incorrect", True)


@pytest.mark.parametrize("gate", ["margin", "outputs"])
def test_equal_outputs_of_a_model_that_finds_nothing_are_no_evidence_and_keep_nothing(gate: str) -> None:
    blind = {"metrics": {"icdar_hmean": 0.0}}
    outcome = judged(hashed(paired(FASTER, a=blind, b=blind)), gate=gate)
    assert (outcome.verdict, outcome.outputs_equal, outcome.recommendation) == ("faster", True, "iterate")
    assert outcome.reason == REASONS["no parity evidence"]


def test_with_a_seed_per_round_outputs_are_held_against_those_of_the_same_round() -> None:
    samples = [
        sample.model_copy(update={"outputs": f"seed {sample.round}"}) if sample.phase == "measured" else sample
        for sample in paired(FASTER)
    ]
    asked = target(gate="outputs")
    shared, own = (paired_protocol(len(FASTER), paired_seeds=seeds) for seeds in (False, True))
    assert judge(samples, asked, shared, look=1).verdict == "incorrect"
    assert judge(samples, asked, own, look=1).recommendation == "keep"


def test_a_missing_hash_does_not_hide_that_others_differ() -> None:
    outcome = judged(hashed(paired(FASTER), B4="", B5="other"), gate="outputs")
    assert (outcome.verdict, outcome.outputs_equal) == ("incorrect", False)


def test_other_outputs_are_shown_and_decide_nothing_where_the_gate_is_the_margin() -> None:
    outcome = judged(hashed(paired(FASTER), B0="other"))
    assert (outcome.verdict, outcome.recommendation, outcome.outputs_equal) == ("faster", "keep", False)


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["warm_seconds", "icdar_hmean"])
def test_a_figure_that_is_no_number_is_named(name: str, value: float) -> None:
    with pytest.raises(StatisticsError, match=f"side B has no usable '{name}'"):
        judged(paired(FASTER, b={"metrics": {name: value}}))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_time_that_is_not_positive_is_named(value: float) -> None:
    with pytest.raises(StatisticsError, match=f"'warm_seconds' is {value:g} in round 0"):
        judged(paired(FASTER, b={"metrics": {"warm_seconds": value}}))


def test_a_missing_metric_is_named_with_those_that_are_there() -> None:
    with pytest.raises(StatisticsError, match=r"side A has no usable 'seconds' \(None\); .* icdar_hmean, warm_seconds"):
        judged(paired(FASTER), primary="seconds")
    with pytest.raises(StatisticsError, match="no usable 'cleval_hmean'"):
        judged(paired(FASTER), accuracy=["cleval_hmean"])


def test_of_rates_the_higher_one_is_better() -> None:
    samples = paired(FASTER, a={"metrics": {"images": 10.0}}, b={"metrics": {"images": 12.0}})
    outcome = judged(samples, primary="images", better="higher")
    assert (outcome.verdict, outcome.metrics[0].ratio) == ("faster", pytest.approx(1.2))
    assert log_ratios(samples, target(primary="images", better="higher")) == [pytest.approx(math.log(1.2))] * 6
    assert judged(samples, primary="images").verdict == "slower"


def test_the_other_metrics_are_adjusted_for_their_number_and_the_primary_is_not() -> None:
    noise = (1.3, 0.8, 1.2, 0.7, 1.1, 0.9)
    samples = [
        sample.model_copy(
            update={
                "metrics": sample.metrics
                | {
                    "cold_seconds": 3.0 if sample.arm == "A" else 2.0,
                    "images_per_second": 10.0 if sample.arm == "A" else 20.0,
                    "stage.load": noise[sample.round] if sample.arm == "A" else 1.0,
                    "peak": math.nan,
                    "zero": 0.0,
                }
                | ({"only_a": 1.0} if sample.arm == "A" else {})
            }
        )
        for sample in paired(FASTER)
    ]
    rows = {row.metric: row for row in judged(samples).metrics}
    assert list(rows) == ["warm_seconds", "cold_seconds", "images_per_second", "stage.load"]
    assert rows["warm_seconds"].p == rows["warm_seconds"].p_adjusted == pytest.approx(2 / 2**6)
    assert rows["cold_seconds"].p == pytest.approx(2 / 2**6)
    assert rows["cold_seconds"].p_adjusted == pytest.approx(2 / 2**6 * 3 / 2)
    assert rows["stage.load"].p_adjusted == rows["stage.load"].p > 0.5
    assert (rows["cold_seconds"].ratio, rows["images_per_second"].ratio) == (pytest.approx(1.5), pytest.approx(2.0))


# --- controls and records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratios", [FASTER, SLOWER, SAME, MIXED])
def test_a_control_recommends_nothing_whatever_it_shows(ratios: Sequence[float]) -> None:
    outcome = judge(paired(ratios), target(), paired_protocol(6), look=1, is_control=True)
    assert (outcome.recommendation, outcome.reason) == ("iterate", REASONS["control"])
    assert outcome.verdict == judged(paired(ratios)).verdict


def test_a_stored_record_gives_the_same_outcome_again(tmp_path: Path) -> None:
    samples = tainted(paired([1.0371, *FASTER, 1 / 3], cleval_hmean=0.77), 3)
    outcome = judged(samples, rounds=7, accuracy=["icdar_hmean", "cleval_hmean"])
    asked = target(accuracy=["icdar_hmean", "cleval_hmean"])
    stored = comparison(samples=samples, target=asked, protocol=paired_protocol(7), outcome=outcome)
    kept = record(kind="comparison", comparison=stored)
    RecordStore(tmp_path).write(kept)
    read = RecordStore(tmp_path).load(kept.id).comparison
    assert read is not None
    assert judge(read.samples, read.target, read.protocol, look=read.outcome.look) == read.outcome == outcome


OPPOSITE = {"faster": "slower", "slower": "faster", "inconclusive": "inconclusive", "descriptive": "descriptive"}


@given(st.lists(st.floats(-2, 2, allow_nan=False), min_size=2, max_size=10))
def test_swapping_the_sides_inverts_the_ratio_and_the_verdict(logs: list[float]) -> None:
    samples = paired([math.exp(log) for log in logs])
    swapped = [sample.model_copy(update={"arm": "B" if sample.arm == "A" else "A"}) for sample in samples]
    protocol = paired_protocol(len(logs), equivalence=0.0)
    forth, back = (judge(one, target(), protocol, look=1) for one in (samples, swapped))
    one, other = forth.metrics[0], back.metrics[0]
    assert (one.ratio, one.low, one.high) == (
        pytest.approx(1 / other.ratio),
        pytest.approx(1 / other.high),
        pytest.approx(1 / other.low),
    )
    if min(abs(math.log(end)) for end in (one.low, one.high)) > 1e-9:
        assert back.verdict == OPPOSITE[forth.verdict]
    assert forth.smallest_effect == pytest.approx(back.smallest_effect)
