"""Gates and claims: the newest fitting record decides, and no figure passes without its interval and accuracy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agent_tools.measure.ladder_summaries import contrasts, summaries
from agent_tools.measure.rungs import ArmsDesign, arms_design
from agent_tools.measure.tune import tune_design
from agent_tools.measure.whatif import limit_design
from agent_tools.records.claims import CLAIMS, Claim, claim_verdict, claim_verdicts
from agent_tools.records.gates import GATES, FromComparison, FromContrast, FromFact, GateRow, gate_table
from agent_tools.records.schema import Benchmark, Fact, Machine, Protocol, RunRecord
from agent_tools.records.store import new_id
from tests.agent_tools.records.build import START, comparison, measurement, outcome, record, sample, side, target

NOISE = [1.0, 1.01, 0.99, 1.005, 0.995, 1.0]


def designed(design: ArmsDesign, seconds: dict[str, float], *, later: int = 0, **given: Any) -> RunRecord:
    """A record of a design in which each arm takes that long; `hmean` and `rounds` and `phase` may be given."""
    rounds, phase, hmean = given.get("rounds", 6), given.get("phase", "val"), given.get("hmean", {})
    samples = [
        sample(arm.name, number, seconds[arm.name] * NOISE[number], hmean.get(arm.name, 0.8))
        for arm in design.arms
        for number in range(rounds)
    ]
    moment = START + timedelta(minutes=later)
    benchmark = Benchmark(
        name=design.name,
        design=design.design,
        phase=phase,
        arms=list(design.arms),
        protocol=Protocol(rounds=rounds, warmup_epochs=1, order_seed=0, order=[], descriptive=rounds < 6),
        samples=samples,
        summaries=summaries(samples, list(design.arms), 0.005, scored=phase == "val"),
        contrasts=contrasts(samples, design.pairings),
        checkpoint_sha256="",
        parity_margin=0.005,
    )
    kind = "profile" if design.design == "limit" else "benchmark"
    return record(id=new_id(kind, moment), kind=kind, benchmark=benchmark, **given.get("record", {}))


def gates_record(fast: float = 1.0, **given: Any) -> RunRecord:
    seconds = {"naive": 20.0, "fast_square": 2.0, "fast": fast, "replayed": 0.97}
    return designed(arms_design("gates"), seconds, **given)


def compared(module: str, ratio: float = 60.0, low: float = 55.0, **given: Any) -> RunRecord:
    metrics = given.get("metrics", {})
    result = outcome(verdict=given.get("verdict", "faster"))
    first = result.metrics[0].model_copy(update={"ratio": ratio, "low": low, "high": ratio + 5})
    samples = [
        measurement(name, number, 1.0, metrics={"seconds": 1.0} | metrics) for number in range(6) for name in "AB"
    ]
    arms = given.get("arms", ("reference", "fast"))
    return record(
        kind="comparison",
        comparison=comparison(
            target=target(command=["python", "-m", module, "--images=4"], primary="seconds"),
            arms=[side(name, arm, overrides=[f"--arm={arm}"]) for name, arm in zip("AB", arms, strict=True)],
            samples=samples,
            outcome=result.model_copy(update={"metrics": [first]}),
        ),
    )


def fact(module: str, figures: dict[str, float]) -> RunRecord:
    return record(kind="fact", fact=Fact(name=module, command=["python", "-m", module], figures=figures))


def row(records: list[RunRecord], name: str) -> GateRow:
    return next(row for row in gate_table(records) if row.gate.name == name)


def test_without_records_nothing_is_measured_and_nothing_passes() -> None:
    rows = gate_table([])
    assert [entry.gate for entry in rows] == list(GATES)
    assert {entry.status for entry in rows} == {"not measured"}


def test_a_gate_is_passed_with_its_figure_interval_and_record() -> None:
    found = gates_record()
    assert row([found], "square").status == "passed"
    buckets = row([found], "buckets")
    assert (buckets.status, buckets.record, buckets.reaches_aim) == ("passed", found, True)
    assert buckets.figure is not None
    assert buckets.figure.value == pytest.approx(20)
    assert buckets.figure.paths[0] == "benchmark/contrasts/1/ratio"
    assert row([found], "limit").status == "passed"
    assert not row([found], "square").reaches_aim


def test_a_gate_that_is_missed_or_met_by_a_part_of_its_interval_only_fails_and_says_why() -> None:
    missed = row([gates_record(fast=2.5)], "buckets")
    assert (missed.status, missed.reason) == ("failed", "the figure misses the threshold")
    part = row([compared("benchmarks.loader", 52, 48)], "loader")
    assert (part.status, part.reason) == ("failed", "only a part of the interval meets the threshold")
    assert row([compared("benchmarks.loader", 52, 50)], "loader").status == "passed"


def test_the_newest_fitting_record_decides_even_where_it_is_worse() -> None:
    old, new = gates_record(), gates_record(fast=4.0, later=5)
    assert row([new, old], "buckets").record == new
    assert row([old, new], "buckets").status == "failed"


def test_a_fast_arm_that_lost_accuracy_fails_its_gate() -> None:
    found = row([gates_record(hmean={"fast": 0.7})], "buckets")
    assert (found.status, found.reason) == ("failed", "accuracy: worse")
    assert row([gates_record(hmean={"fast": 0.7})], "square").status == "passed"
    blind = row([gates_record(hmean=dict.fromkeys(("naive", "fast", "fast_square", "replayed"), 0.2))], "square")
    assert blind.reason == "accuracy: no parity evidence"


def test_fewer_than_six_rounds_measure_no_gate() -> None:
    found = row([gates_record(rounds=5)], "square")
    assert (found.status, found.reason.partition(":")[0]) == ("not measured", "descriptive")
    assert found.record is not None


def test_the_limits_of_the_two_phases_are_two_gates() -> None:
    train = designed(limit_design(), {"epoch": 1.0, "replayed": 0.93}, phase="train")
    assert row([train], "training").status == "passed"
    assert row([train], "limit").status == "not measured"
    val = designed(limit_design(), {"epoch": 1.0, "replayed": 0.93})
    assert row([val], "limit").status == "failed"
    assert row([val], "training").status == "not measured"


def test_a_comparison_counts_only_with_its_own_arms_and_conditions() -> None:
    assert row([compared("benchmarks.second_process", metrics={"decodes": 0.0})], "second_process").status == "passed"
    decoded = row([compared("benchmarks.second_process", metrics={"decodes": 1.0})], "second_process")
    assert (decoded.status, decoded.reason) == ("failed", "decodes is not zero in every sample")
    assert row([compared("benchmarks.second_process")], "second_process").status == "failed"
    assert row([compared("benchmarks.postprocess", metrics={"minimum_iou": 0.995})], "postprocess").status == "passed"
    assert row([compared("benchmarks.postprocess", metrics={"minimum_iou": 0.9})], "postprocess").status == "failed"
    assert row([compared("benchmarks.loader", arms=("original", "canonical"))], "loader").status == "not measured"
    assert row([compared("benchmarks.loader", verdict="incorrect")], "loader").status == "failed"
    assert row([compared("benchmarks.loader", verdict="invalid")], "loader").status == "not measured"


def test_a_fact_has_to_stay_below_its_threshold() -> None:
    assert row([fact("benchmarks.memory", {"largest_ratio": 1.04})], "memory").status == "passed"
    assert row([fact("benchmarks.memory", {"largest_ratio": 1.06})], "memory").status == "failed"
    peer = fact("benchmarks.doctr", {"median_ratios.doctr_as_shipped.training": 2.5})
    assert row([peer], "doctr_training").status == "passed"
    assert row([fact("benchmarks.memory", {"other": 1.0})], "memory").status == "not measured"
    assert row([fact("benchmarks.other", {"largest_ratio": 1.0})], "memory").status == "not measured"


def test_records_of_a_gpu_machine_say_nothing_of_the_gates_of_a_cpu() -> None:
    gpu = Machine(
        key="k", cpu_model="c", cores=16, memory_gib=1, gpu_model="H100", gpu_count=1, os="Linux", libraries={}
    )
    assert row([gates_record(record={"machine": gpu})], "square").status == "not measured"


def test_every_contrast_that_a_gate_or_claim_names_is_measured_by_its_design() -> None:
    sources = [source for entry in (*GATES, *CLAIMS) for source in entry.sources]
    others = {"limit": limit_design, "tune": tune_design}
    for source in sources:
        if isinstance(source, FromContrast):
            other = others.get(source.experiment)
            design = other() if other else arms_design(source.experiment)
            assert source.contrast in [pair.name for pair in design.pairings], source
        else:
            assert isinstance(source, FromComparison | FromFact)


CLAIMED = Claim("c", "c", 1.5, 2, ())
NONE = Claim("n", "n", 1, 1, ())


@pytest.mark.parametrize(
    ("claim", "low", "high", "verdict"),
    [
        (CLAIMED, 1.6, 1.9, "confirmed"),
        (CLAIMED, 1.3, 1.5, "confirmed"),
        (CLAIMED, 1.1, 1.4, "smaller than claimed"),
        (CLAIMED, 2.1, 2.4, "larger than claimed"),
        (CLAIMED, 0.9, 1.8, "no gain"),
        (NONE, 0.99, 1.01, "confirmed"),
        (NONE, 1.01, 1.05, "confirmed"),
        (NONE, 1.03, 1.05, "larger than claimed"),
    ],
)
def test_a_claim_is_held_against_the_whole_interval(claim: Claim, low: float, high: float, verdict: str) -> None:
    assert claim_verdict(claim, low, high) == verdict


def test_each_place_where_a_claim_is_measured_has_a_row_and_others_say_not_measured() -> None:
    maps = designed(arms_design("maps"), {"built": 3.0, "load_maps": 1.0, "preload_maps": 1.0}, rounds=3)
    rows = {(entry.claim.name, entry.place): entry for entry in claim_verdicts([maps])}
    preloading = rows["map_preloading", "maps: preloading"]
    assert (preloading.verdict, preloading.descriptive, preloading.record) == ("confirmed", True, maps)
    assert rows["map_preloading", "maps: load_maps"].verdict == "larger than claimed"
    assert rows["dali", ""].verdict == "not measured"
    assert {entry.claim.name for entry in rows.values()} == {claim.name for claim in CLAIMS}


def test_what_was_claimed_is_said_in_words() -> None:
    said = {claim.name: claim.said for claim in CLAIMS}
    assert (said["amp"], said["prenormalising"]) == ("1.5 to 2x", "none")
    assert (said["image_cache"], said["canonical_images"]) == ("1.12x", "some")
