"""The designs that are no ladders: what their arms are to each other, and which ratios are asked for."""

from __future__ import annotations

import pytest

from agent_tools.measure.rungs import (
    DESIGNS,
    LADDERS,
    LadderError,
    arms_design,
    benchmark_names,
    ladder_arms,
    merged_overrides,
    replays,
)
from agent_tools.records.schema import Arm


def keys(arm: Arm) -> set[str]:
    return {override.partition("=")[0] for override in arm.overrides}


def test_leaving_one_out_lacks_exactly_what_its_rung_switches_on() -> None:
    design = arms_design("leave_one_out")
    everything, *without = design.arms
    assert everything.overrides == ladder_arms("main")[-1].overrides
    assert [arm.name for arm in without] == [rung.name for rung in LADDERS["main"][1:]]
    for arm, rung in zip(without, LADDERS["main"][1:], strict=True):
        missing = set(everything.overrides) - set(arm.overrides)
        assert missing == set(rung.overrides)
        assert set(arm.overrides) <= set(everything.overrides)
    assert all((pair.above, pair.below) == (pair.name, "all") for pair in design.pairings)


@pytest.mark.parametrize("name", ["caches", "pipeline_history"])
def test_each_setting_keeps_all_of_the_base_and_is_divided_into_its_time(name: str) -> None:
    design = arms_design(name)
    base, *changed = design.arms
    assert all(set(base.overrides) <= set(arm.overrides) and keys(arm) > keys(base) for arm in changed)
    assert [(pair.above, pair.below) for pair in design.pairings] == [(base.name, arm.name) for arm in changed]


def test_the_gates_compare_naive_and_the_limit_with_the_same_fast_arm() -> None:
    design = arms_design("gates")
    by_name = {arm.name: arm for arm in design.arms}
    assert by_name["fast_square"].overrides == ladder_arms("main")[-2].overrides
    assert by_name["replayed"].overrides == [*by_name["fast"].overrides, "replay=[loader]"]
    assert ("limit", "replayed", "fast") in [(pair.name, pair.above, pair.below) for pair in design.pairings]
    assert [arm.name for arm in design.arms if replays(arm)] == ["replayed"]


@pytest.mark.parametrize("name", list(DESIGNS))
def test_every_ratio_is_of_arms_that_the_design_has_and_names_are_unique(name: str) -> None:
    design = arms_design(name)
    names = [arm.name for arm in design.arms]
    assert len(names) == len(set(names))
    assert len({pair.name for pair in design.pairings}) == len(design.pairings) > 0
    assert {arm for pair in design.pairings for arm in (pair.above, pair.below)} == set(names)


def test_a_ladder_is_a_design_too_and_an_unknown_name_tells_the_nearest() -> None:
    assert arms_design("demo").design == "ladder"
    assert arms_design("demo").pairings == ()
    assert set(benchmark_names()) == {*LADDERS, *DESIGNS}
    with pytest.raises(LadderError, match="nearest: leave_one_out"):
        arms_design("leave_one_ot")


def test_of_a_key_that_is_set_twice_the_last_value_stays() -> None:
    assert merged_overrides(["a=1", "b=2", "+a=3"]) == ["+a=3", "b=2"]


def test_an_empty_replay_is_none() -> None:
    plain = Arm(name="a", title="a", overrides=["replay=[]"], precision="", decoder="")
    assert not replays(plain)
