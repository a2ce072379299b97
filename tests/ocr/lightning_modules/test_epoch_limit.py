"""The limit of an epoch and its verdict follow from what the stages took, whatever they took."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr.lightning_modules.epoch_limit import COMPUTE, INPUT, POST, epoch_limit, group_seconds

SECONDS = st.floats(0, 1000)
STAGES = st.fixed_dictionaries(dict.fromkeys((*INPUT, *COMPUTE, *POST, "loader.decode", "post_wait"), SECONDS))
MACHINES = st.fixed_dictionaries(
    {
        "cores": st.integers(1, 64),
        "on_gpu": st.booleans(),
        "workers": st.integers(0, 8),
        "post_workers": st.integers(0, 4),
    }
)
ALONE: dict[str, Any] = {"cores": 2, "on_gpu": False, "workers": 0, "post_workers": 0}


def whole(stages: dict[str, float], untimed: float, overlapped: bool) -> float:
    """Seconds of an epoch whose main thread spent them so."""
    groups = group_seconds(0.0, stages, overlapped)
    return sum(groups.values()) + untimed


@given(STAGES, STAGES, st.floats(0.001, 100), MACHINES)
def test_the_fraction_is_above_zero_and_at_most_one_and_is_limit_over_epoch(
    stages: dict[str, float], cpu: dict[str, float], untimed: float, machine: dict[str, Any]
) -> None:
    seconds = whole(stages, untimed, machine["post_workers"] > 0)
    limit = epoch_limit(seconds, stages, cpu, **machine)
    assert 0 < limit.fraction <= 1
    assert limit.seconds == pytest.approx(limit.fraction * seconds)


@given(STAGES, STAGES, st.floats(0.001, 100), st.floats(0.001, 100), MACHINES)
def test_a_longer_wait_for_the_loader_never_brings_an_epoch_nearer_to_its_limit(
    stages: dict[str, float], cpu: dict[str, float], untimed: float, more: float, machine: dict[str, Any]
) -> None:
    seconds = whole(stages, untimed, machine["post_workers"] > 0)
    longer = {**stages, "wait": stages["wait"] + more}
    before = epoch_limit(seconds, stages, cpu, **machine)
    after = epoch_limit(seconds + more, longer, cpu, **machine)
    assert after.fraction <= before.fraction * (1 + 1e-9)


@given(STAGES, st.floats(0.001, 100), MACHINES)
def test_the_verdict_is_the_group_that_took_most_of_the_main_thread(
    stages: dict[str, float], untimed: float, machine: dict[str, Any]
) -> None:
    overlapped = machine["post_workers"] > 0
    seconds = whole(stages, untimed, overlapped)
    post = stages["post_wait"] if overlapped else stages["post"] + stages["score"]
    groups = {
        "input-bound": stages["wait"] + stages["copy"],
        "compute-bound": sum(stages[stage] for stage in COMPUTE),
        "post-bound": post,
    }
    groups["overhead-bound"] = seconds - sum(groups.values())
    verdict = epoch_limit(seconds, stages, {}, **machine).verdict
    assert groups[verdict] == pytest.approx(max(groups.values()), rel=1e-6, abs=1e-9)


def test_on_a_cpu_alone_the_limit_is_the_epoch_without_wait_copy_and_untimed_parts() -> None:
    stages = {"wait": 2.0, "copy": 0.5, "forward": 5.0, "post": 1.0, "score": 0.5, "loader.decode": 1.9}
    limit = epoch_limit(10.0, stages, {"forward": 9.0, "post": 1.0}, **ALONE)
    assert (limit.seconds, limit.fraction, limit.verdict) == (6.5, 0.65, "compute-bound")


def test_on_a_cpu_with_workers_the_limit_is_the_work_that_is_not_the_loaders_over_the_cores() -> None:
    stages = {"wait": 1.0, "forward": 8.0, "post": 1.0}
    cpu = {"wait": 0.5, "forward": 7.0, "post": 1.0}
    assert epoch_limit(10.0, stages, cpu, **{**ALONE, "workers": 2}).seconds == 4.0


def test_with_threads_that_post_process_only_the_wait_for_them_counts_but_their_work_needs_its_cores() -> None:
    stages = {"forward": 4.0, "post_wait": 1.0, "post": 20.0, "score": 3.0}
    overlapping = {**ALONE, "post_workers": 2}
    assert epoch_limit(10.0, stages, {"forward": 4.0, "post": 2.0}, **overlapping).seconds == 5.0
    assert epoch_limit(10.0, stages, {"forward": 7.0, "post": 9.0}, **overlapping).seconds == 8.0


@pytest.mark.parametrize(
    ("slowest", "seconds"),
    [({"forward": 6.0}, 6.0), ({"copy": 5.0}, 5.0), ({"loader.decode": 80.0}, 10.0), ({"post": 0.0}, 1.0)],
)
def test_on_a_gpu_the_slowest_part_alone_remains(slowest: dict[str, float], seconds: float) -> None:
    stages = {"forward": 0.5, "copy": 0.2, "loader.decode": 2.0, "wait": 9.0} | slowest
    machine: dict[str, Any] = {"cores": 8, "on_gpu": True, "workers": 7, "post_workers": 4}
    assert epoch_limit(20.0, stages, {"post": 6.0, "score": 2.0}, **machine).seconds == seconds


def test_an_epoch_whose_stages_cost_nothing_is_overhead() -> None:
    limit = epoch_limit(3.0, {"forward": 0.0}, {}, **ALONE)
    assert limit.verdict == "overhead-bound"
    assert limit.fraction == pytest.approx(1e-6)
