"""The one engine: ratios of designs, training epochs, and arms whose own settings are never set back."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_tools.measure import arms_samples, interference
from agent_tools.measure.arms_experiment import run_arms, run_pilot
from agent_tools.measure.arms_plan import ArmsOutput, ArmsRequest
from agent_tools.measure.ladder import run_ladder
from agent_tools.measure.ladder_summaries import contrasts, stage_shares, summaries
from agent_tools.measure.rungs import ArmsDesign, LadderError, Pairing, arms_design, changed_one_at_a_time
from agent_tools.measure.whatif import limit_design
from agent_tools.records.schema import Arm, Benchmark, RunRecord
from agent_tools.records.store import RecordStore
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.records.build import arm, sample


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return build_repository(tmp_path)


def benchmark_of(record: RunRecord) -> Benchmark:
    assert record.benchmark is not None
    return record.benchmark


def test_a_named_design_stores_the_ratios_that_it_asks_for_and_they_follow_from_the_samples(
    data: Path, tmp_path: Path
) -> None:
    record = run_ladder(tmp_path, "maps", data=data, images=4, rounds=2)
    benchmark = benchmark_of(record)
    assert (benchmark.design, benchmark.phase, record.title) == ("settings", "val", "maps")
    assert [one.name for one in benchmark.contrasts] == [pair.name for pair in arms_design("maps").pairings]
    assert benchmark.contrasts == contrasts(benchmark.samples, benchmark.contrasts)
    assert record.command[:4] == ["agent-tools", "bench", "ladder", "maps"]
    assert RecordStore(tmp_path).load(record.id) == record


def test_training_epochs_are_timed_cold_first_and_give_no_parity(data: Path, tmp_path: Path) -> None:
    (data / "jsons" / "train.json").write_text((data / "jsons" / "val.json").read_text())
    request = ArmsRequest(data=data, split="train", images=4, rounds=1, passes=3, phase="train")
    record = run_arms(tmp_path, limit_design(), request, ArmsOutput("training", ["x"], "profile"))
    benchmark = benchmark_of(record)
    assert (record.kind, benchmark.phase) == ("profile", "train")
    assert all(len(one.warm_seconds) == 2 and one.cold_seconds > one.warm_seconds[0] for one in benchmark.samples)
    assert [row.parity for row in benchmark.summaries] == ["no parity evidence", "replayed"]
    assert all(math.isnan(row.icdar_hmean) for row in benchmark.summaries)
    assert record.dataset is not None
    assert record.dataset.name == "training receipts"
    assert RecordStore(tmp_path).load(record.id).model_dump_json() == record.model_dump_json()


def test_an_override_for_all_arms_does_not_undo_what_an_arm_is_about(data: Path, tmp_path: Path) -> None:
    base = Arm(name="base", title="base", overrides=[], precision="", decoder="")
    fast = Arm(name="fast", title="fast", overrides=["batch_size=32"], precision="", decoder="")
    request = ArmsRequest(data=data, images=4, rounds=1, overrides=("batch_size=4",))
    record = run_arms(
        tmp_path, changed_one_at_a_time("mine", "settings", base, [fast]), request, ArmsOutput("mine", [])
    )
    ran = {
        one.arm: json.loads((tmp_path / "outputs/ladders" / record.id / "runs" / one.run_id / "run.json").read_text())
        for one in benchmark_of(record).samples
    }
    asked = {name: [o for o in run["overrides"] if o.startswith("batch_size=")] for name, run in ran.items()}
    assert asked == {"base": ["batch_size=4"], "fast": ["batch_size=32"]}


def test_a_pilot_leaves_an_epoch_and_no_record(data: Path, tmp_path: Path) -> None:
    base = Arm(name="base", title="base", overrides=[], precision="", decoder="")
    epoch = run_pilot(tmp_path, base, ArmsRequest(data=data, images=4))
    assert epoch.epoch == 2
    assert epoch.stages["forward"] == pytest.approx(epoch.seconds / 2)
    assert RecordStore(tmp_path).list().total == 0
    assert not list(tmp_path.glob("outputs/ladders/*/cache"))


def test_a_validation_without_a_score_is_refused(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "ocr" / "cli.py"
    script.write_text(script.read_text().replace('"cleval_hmean": 0.9', '"other": 0.9'))
    with pytest.raises(LadderError, match="reports no cleval_hmean"):
        run_arms(tmp_path, limit_design(), ArmsRequest(data=data, images=4), ArmsOutput("x", []))


def test_a_ratio_pairs_rounds_and_leaves_out_pairs_of_which_an_arm_is_missing() -> None:
    drift = [1.0, 3.0, 2.0, 5.0, 4.0, 6.0]
    samples = [sample(name, r, base * d) for name, base in (("a", 3.0), ("b", 2.0)) for r, d in enumerate(drift)]
    (found,) = contrasts(samples, [Pairing("gain", "a", "b"), Pairing("other", "a", "missing")])
    assert (found.name, found.pairs, found.interval) == ("gain", 6, "95% signed rank")
    assert (found.ratio, found.low, found.high) == (pytest.approx(1.5),) * 3


def test_a_replayed_arm_is_no_parity_evidence_however_well_it_scores() -> None:
    replayed = arm("b").model_copy(update={"overrides": ["replay=[forward]"]})
    rows = summaries([sample("a", 0, 2.0), sample("b", 0, 1.0, 0.2)], [arm("a"), replayed], 0.005)
    assert [row.parity for row in rows] == ["equal", "replayed"]


def test_shares_are_of_the_wall_clock_and_of_all_cpu_time_with_the_clocks_that_a_stage_has() -> None:
    stages = {"wait": 1.0, "forward": 2.0, "metric": 0.5, "loader.decode": 0.8}
    cpu = {"wait": 1.0, "forward": 3.0}
    samples = [sample("a", 0, 4.0, stages=stages, cpu=cpu), sample("b", 0, 1.0)]
    shares = {share.stage: share for share in stage_shares(samples, "a", ["loader", "decode", "forward", "score"])}
    assert (shares["loader"].seconds, shares["loader"].wall, shares["loader"].cpu) == (1.0, 0.25, 0.25)
    assert (shares["decode"].wall, shares["decode"].cpu) == (0.2, 0.2)
    assert (shares["forward"].wall, shares["forward"].cpu) == (0.5, 0.75)
    assert (shares["score"].wall, shares["score"].cpu) == (0.125, 0.0)


def test_without_cpu_times_a_share_of_them_is_none() -> None:
    (share,) = stage_shares([sample("a", 0, 4.0, stages={"forward": 1.0})], "a", ["forward"])
    assert math.isnan(share.cpu)


def test_a_design_needs_its_arms_to_run_at_least_two_epochs(data: Path, tmp_path: Path) -> None:
    with pytest.raises(LadderError, match="passes is 1"):
        run_arms(
            tmp_path, ArmsDesign("x", "settings", (arm("a"),)), ArmsRequest(data=data, passes=1), ArmsOutput("x", [])
        )


@contextmanager
def other_work() -> Iterator[None]:
    """A process that uses a core meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_sample_beside_other_work_is_taken_again_and_the_first_try_kept_aside(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms_samples, "RETRIES", 1)
    monkeypatch.setattr(interference, "QUIET_WAIT_SECONDS", 0.0)
    design = ArmsDesign("x", "settings", (arm("a"), arm("b")), (Pairing("p", "a", "b"),))
    request = ArmsRequest(data=data, images=4, rounds=6, foreign_limit=1e-6)
    with other_work():
        benchmark = benchmark_of(run_arms(tmp_path, design, request, ArmsOutput("x", [])))
    assert len(benchmark.samples) == 12
    assert all("other processes used" in one.tainted for one in (*benchmark.samples, *benchmark.discarded))
    assert [(one.arm, one.round) for one in benchmark.discarded] == [(one.arm, one.round) for one in benchmark.samples]
    assert benchmark.protocol.descriptive
    assert benchmark.contrasts[0].pairs == 6


def test_a_few_rounds_support_no_verdict_so_nothing_is_taken_again(data: Path, tmp_path: Path) -> None:
    design = ArmsDesign("x", "settings", (arm("a"),))
    request = ArmsRequest(data=data, images=4, rounds=1, foreign_limit=1e-6)
    with other_work():
        benchmark = benchmark_of(run_arms(tmp_path, design, request, ArmsOutput("x", [])))
    assert benchmark.samples[0].tainted
    assert benchmark.samples[0].foreign_cpu > 0
    assert benchmark.discarded == []


@pytest.mark.parametrize("limit", [0.0, -1.0, 1.5])
def test_a_limit_of_foreign_work_that_is_no_share_is_refused(data: Path, tmp_path: Path, limit: float) -> None:
    request = ArmsRequest(data=data, images=4, foreign_limit=limit)
    with pytest.raises(LadderError, match="above 0 and up to 1"):
        run_arms(tmp_path, ArmsDesign("x", "settings", (arm("a"),)), request, ArmsOutput("x", []))


def test_a_tainted_round_is_left_out_of_the_ratio_while_others_are_left() -> None:
    samples = [
        sample(name, number, seconds * (9.0 if (name, number) == ("b", 3) else 1.0))
        for number in range(7)
        for name, seconds in (("a", 2.0), ("b", 1.0))
    ]
    disturbed = [
        one.model_copy(update={"tainted": "x"}) if (one.arm, one.round) == ("b", 3) else one for one in samples
    ]
    (with_all,) = contrasts(samples, [Pairing("p", "a", "b")])
    (without,) = contrasts(disturbed, [Pairing("p", "a", "b")])
    assert (with_all.pairs, without.pairs) == (7, 6)
    assert with_all.low < 1 < without.low == without.high == 2.0
