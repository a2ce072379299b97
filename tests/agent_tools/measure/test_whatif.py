"""The limit and what-if: what removing a stage brings, measured on a trainer whose stages are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_tools.measure.arms_plan import ArmsRequest
from agent_tools.measure.rungs import LadderError
from agent_tools.measure.whatif import (
    FRACTION,
    check_stages,
    measure_limit,
    measure_whatif,
    stages_worth_trying,
    whatif_design,
)
from agent_tools.records.store import RecordStore
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.records.build import epoch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return build_repository(tmp_path)


def test_the_gain_of_a_stage_is_what_the_epoch_loses_without_it(data: Path, tmp_path: Path) -> None:
    record = measure_whatif(tmp_path, ArmsRequest(data=data, images=4, rounds=2), session="night")
    benchmark = record.benchmark
    assert benchmark is not None
    assert record.kind == "whatif"
    assert [one.name for one in benchmark.contrasts] == ["forward", "loader", "post"]  # the loss takes too little
    gains = {one.name: one.ratio for one in benchmark.contrasts}
    assert gains == {"forward": pytest.approx(2), "loader": pytest.approx(4 / 3), "post": pytest.approx(8 / 7)}
    shares = {one.stage: (one.wall, one.cpu) for one in benchmark.stage_shares}
    total = 0.25 + 2 * 0.5 + 0.125 + 0.001
    assert shares["forward"] == (pytest.approx(0.5), pytest.approx(1.0 / total))
    assert shares["loader"] == (pytest.approx(0.25), pytest.approx(0.25 / total))
    assert {row.parity for row in benchmark.summaries[1:]} == {"replayed"}
    assert record.command[:5] == ["agent-tools", "profile", "whatif", "--stages", "forward,loader,post"]
    assert RecordStore(tmp_path).load(record.id) == record


def test_the_fraction_of_the_limit_is_the_time_at_no_cost_over_the_time_of_the_epoch(
    data: Path, tmp_path: Path
) -> None:
    record = measure_limit(tmp_path, ArmsRequest(data=data, images=4, rounds=6, foreign_limit=1.0))
    assert record.benchmark is not None
    (fraction,) = record.benchmark.contrasts
    assert (record.kind, fraction.name, fraction.ratio) == ("profile", FRACTION, pytest.approx(0.75))
    assert (fraction.interval, record.benchmark.protocol.descriptive) == ("95% signed rank", False)


def test_stages_that_are_asked_for_are_tried_however_short_they_are(data: Path, tmp_path: Path) -> None:
    record = measure_whatif(tmp_path, ArmsRequest(data=data, images=4, rounds=1), ["loss"])
    assert record.benchmark is not None
    assert [one.name for one in record.benchmark.contrasts] == ["loss"]


def test_only_stages_above_half_a_percent_are_worth_trying_and_the_longest_comes_first() -> None:
    stages = {"wait": 0.004, "post": 0.2, "forward": 0.7, "metric": 0.006, "loader.decode": 0.3}
    assert stages_worth_trying(epoch(1, seconds=1.0, stages=stages), "val") == ("forward", "decode", "post", "score")


def test_a_stage_that_cannot_be_replayed_is_refused_with_those_that_can() -> None:
    with pytest.raises(
        LadderError, match=r"'step', which cannot be replayed in a validation epoch; choose from loader"
    ):
        check_stages(["loader", "step"], "val")
    assert check_stages(["step", "step"], "train") == ("step",)


def test_each_arm_replays_one_stage() -> None:
    base, *others = whatif_design(["loader", "post"]).arms
    assert base.overrides == []
    assert [arm.overrides for arm in others] == [["replay=[loader]"], ["replay=[post]"]]


def test_an_epoch_without_a_stage_worth_trying_says_so(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "ocr" / "cli.py"
    script.write_text(script.read_text().replace("stages=stages)", "stages={})"))
    with pytest.raises(LadderError, match="No stage took more"):
        measure_whatif(tmp_path, ArmsRequest(data=data, images=4, rounds=1))
