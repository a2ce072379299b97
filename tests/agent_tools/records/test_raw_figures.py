"""The long table: every raw number of a record, once, in the order measured."""

from __future__ import annotations

from statistics import median

import pytest

from agent_tools.records.raw_figures import raw_figures
from agent_tools.records.schema import Benchmark, Imported, Protocol, Reported, RunRecord, Series
from tests.agent_tools.records.build import arm, comparison, record, run_file, sample


def figures(of: RunRecord) -> dict[tuple[str, int, str], float]:
    return {(figure.arm, figure.round, figure.metric): figure.value for figure in raw_figures(of)}


def test_a_ladder_keeps_each_warm_epoch_and_the_median_that_the_tables_use():
    protocol = Protocol(rounds=1, warmup_epochs=1, order_seed=0, order=[["a"]], descriptive=True)
    one = sample("a", 0, 2.0, warm_seconds=[2.0, 4.0, 3.0], setup_seconds={"model": 5.0})
    ladder = Benchmark(
        name="x",
        arms=[arm("a")],
        protocol=protocol,
        samples=[one],
        summaries=[],
        checkpoint_sha256="",
        parity_margin=0.005,
    )
    found = figures(record(benchmark=ladder))
    assert [found["a", 0, f"warm_seconds.epoch_{number}"] for number in (1, 2, 3)] == [2.0, 4.0, 3.0]
    assert found["a", 0, "warm_seconds"] == median([2.0, 4.0, 3.0])
    assert (found["a", 0, "setup.model"], found["a", 0, "stage.forward"]) == (5.0, 1.0)
    assert (found["a", 0, "cold_seconds"], found["a", 0, "icdar_hmean"]) == (6.0, 0.8)


def test_a_comparison_keeps_what_does_not_count_and_says_why():
    found = list(raw_figures(record(kind="comparison", comparison=comparison())))
    unused = [figure for figure in found if figure.tainted]
    assert {(figure.phase, figure.tainted) for figure in unused} == {("warmup", "foreign work")}
    assert sum(figure.metric == "warm_seconds" for figure in found) == 13


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (record(kind="profile", stages={"load": 1.5}), {("", 0, "stage.load"): 1.5}),
        (
            record(kind="reported", reported=Reported(metric="epoch", value=62.0, unit="s", source="a page")),
            {("", 0, "epoch"): 62.0},
        ),
        (
            record(
                kind="imported",
                imported=Imported(
                    tool="pytest-benchmark",
                    version="5",
                    source="a.json",
                    source_sha256="",
                    series=[Series(name="sum", seconds=[1.0, 2.0], calls=2)],
                ),
            ),
            {("sum", 0, "seconds"): 1.0, ("sum", 1, "seconds"): 2.0},
        ),
        (record(), {}),
    ],
)
def test_other_kinds_give_what_they_have(made: RunRecord, expected: dict):
    assert figures(made) == expected


def test_the_epochs_of_a_run_say_their_phase():
    found = list(raw_figures(record(kind="evaluate", run=run_file())))
    assert {(figure.round, figure.phase) for figure in found} == {(0, "val"), (1, "val")}
    assert [figure.value for figure in found if figure.metric == "seconds"] == [2.0, 1.0]
