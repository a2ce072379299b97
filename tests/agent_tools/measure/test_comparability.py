"""What must not differ between two sides: each difference is refused by the name of its field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.measure.comparability import (
    NotComparable,
    config_changes,
    flattened,
    refuse_other_data,
    refuse_unlike_records,
)
from agent_tools.records.fingerprints import folder_sha256
from agent_tools.records.schema import DatasetFingerprint, RunRecord
from tests.agent_tools.handbook import factory

CONFIG = {"batch_size": 16, "trainer": {"precision": "32-true", "max_epochs": 1}, "run_id": "first"}
A = factory.ladder(config=CONFIG, environment={"OMP_NUM_THREADS": "2", "torch": "2.13.0", "tree": "aa"})
KEYS = st.text("abc", min_size=1, max_size=2)
TREES = st.recursive(
    st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def other(**changes: Any) -> RunRecord:
    return A.model_copy(update={"id": "20261122T200622Z-benchmark-0000bb"} | changes)


def config(**changes: Any) -> dict[str, Any]:
    return {"config": CONFIG | changes}


def machine(**changes: Any) -> dict[str, Any]:
    return {"machine": factory.machine().model_copy(update=changes)}


def environment(**changes: str) -> dict[str, Any]:
    return {"environment": A.environment | changes}


def test_records_that_differ_in_nothing_pass() -> None:
    refuse_unlike_records(A, other(), [])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (machine(cpu_model="AMD EPYC 9B14"), r"machine\.cpu_model: 'Intel.*' against 'AMD EPYC 9B14'"),
        (machine(cores=4), r"machine\.cores: 2 against 4"),
        (machine(gpu_model="H100"), r"machine\.gpu_model"),
        (machine(libraries={"torch": "2.12.0"}), r"machine\.libraries\.torch: '2\.13\.0' against '2\.12\.0'"),
        (environment(OMP_NUM_THREADS="1"), r"environment\.OMP_NUM_THREADS: '2' against '1'"),
        (environment(LD_PRELOAD="libjemalloc.so"), r"environment\.LD_PRELOAD: 'absent' against 'libjemalloc\.so'"),
        (config(batch_size=32), r"config\.batch_size: 16 against 32"),
        (config(batch_size="16"), r"config\.batch_size: 16 against '16'"),
        (config(trainer={"precision": "bf16-mixed", "max_epochs": 1}), r"config\.trainer\.precision"),
        (config(mode="absent"), r"config\.mode"),
        (config(extra=None), r"config\.extra: 'absent' against None"),
    ],
)
def test_a_difference_is_refused_by_its_name_and_both_values(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(NotComparable, match=named):
        refuse_unlike_records(A, other(**changes), [])
    with pytest.raises(NotComparable, match="differ in more than the treatment"):
        refuse_unlike_records(other(**changes), A, [])


@pytest.mark.parametrize(
    "changes",
    [
        config(run_id="second", output_dir="elsewhere"),
        environment(tree="bb"),
        {"git": factory.git(())},
        machine(observations={"load_1m": 1.9}),
    ],
)
def test_where_a_run_wrote_and_which_code_ran_is_no_difference(changes: dict[str, Any]) -> None:
    refuse_unlike_records(A, other(**changes), [])


def test_one_byte_of_the_data_is_other_data(tmp_path: Any) -> None:
    prints = []
    for byte in ("x", "y"):
        (tmp_path / "image.jpg").write_text(f"pixels {byte}")
        prints.append(DatasetFingerprint(name="d", root="d", images=1, content_hash=folder_sha256(tmp_path)[1]))
    refuse_other_data(prints[0], prints[0], "side B")
    with pytest.raises(NotComparable, match=r"dataset\.content_hash: .* in side B; even one byte"):
        refuse_other_data(prints[0], prints[1], "side B")
    with pytest.raises(NotComparable, match=r"dataset\.content_hash"):
        refuse_unlike_records(A, other(dataset=prints[1]), [])


@pytest.mark.parametrize("field", ["dataset", "machine"])
def test_a_record_that_does_not_say_what_it_saw_is_named(field: str) -> None:
    silent = other(**{field: None})
    for pair in [(A, silent), (silent, A), (silent, silent)]:
        with pytest.raises(NotComparable, match=rf"{field}: record {silent.id} names no"):
            refuse_unlike_records(*pair, [])


@pytest.mark.parametrize("make", [factory.reported, factory.imported])
def test_a_figure_that_was_not_measured_here_is_never_a_side(make: Callable[[], RunRecord]) -> None:
    with pytest.raises(NotComparable, match="never one side of a comparison"):
        refuse_unlike_records(A, make(), [])
    with pytest.raises(NotComparable, match="never one side of a comparison"):
        refuse_unlike_records(make(), A, [])


@pytest.mark.parametrize("treatment", [["trainer"], ["trainer.precision"], ["other", "trainer.precision"]])
def test_a_declared_treatment_may_differ_with_all_below_it(treatment: list[str]) -> None:
    b = other(**config(trainer={"precision": "bf16-mixed", "max_epochs": 1}))
    refuse_unlike_records(A, b, treatment)


@pytest.mark.parametrize("treatment", [["train"], ["trainer.max_epochs"], ["precision"], [""]])
def test_a_name_that_merely_resembles_the_treatment_declares_nothing(treatment: list[str]) -> None:
    b = other(**config(trainer={"precision": "bf16-mixed", "max_epochs": 1}))
    with pytest.raises(NotComparable, match=r"config\.trainer\.precision"):
        refuse_unlike_records(A, b, treatment)


def test_other_weights_are_refused() -> None:
    assert A.benchmark is not None
    b = other(benchmark=A.benchmark.model_copy(update={"checkpoint_sha256": "00" * 32}))
    with pytest.raises(NotComparable, match="checkpoint_sha256"):
        refuse_unlike_records(A, b, ["checkpoint"])


def test_another_command_is_refused_though_its_metric_has_the_same_name() -> None:
    a, b = factory.comparison(), factory.comparison("20261121T220000Z-comparison-c0ffef")
    refuse_unlike_records(a, b, [])
    assert b.comparison is not None
    target = b.comparison.target.model_copy(update={"command": ["python", "other.py"]})
    b = b.model_copy(update={"comparison": b.comparison.model_copy(update={"target": target})})
    with pytest.raises(NotComparable, match=r"command: .*other\.py"):
        refuse_unlike_records(a, b, [])


def test_many_differences_are_counted_after_the_first_five() -> None:
    b = other(config={f"key{number}": number for number in range(9)} | CONFIG)
    with pytest.raises(NotComparable, match=r"config\.key4.*; and 4 more\."):
        refuse_unlike_records(A, b, [])


def test_changes_of_a_configuration_are_listed_without_places() -> None:
    new = {"batch_size": 32, "trainer": {"precision": "32-true"}, "run_id": "second"}
    assert config_changes(CONFIG, new) == ["batch_size: 16 -> 32", "trainer.max_epochs: 1 -> 'absent'"]
    assert config_changes(CONFIG, CONFIG) == []


@given(st.dictionaries(KEYS, TREES, max_size=4), st.dictionaries(KEYS, TREES, max_size=4))
def test_flat_configurations_are_the_same_exactly_where_the_nested_ones_are(a: Any, b: Any) -> None:
    assert (flattened(a) == flattened(b)) == (a == b)
    assert bool(config_changes(a, b)) == (a != b)
