"""The ladder: fresh processes in a stored random order, nothing measured is lost, nothing unlike is compared."""

from __future__ import annotations

import fcntl
import itertools
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_tools.measure import arms_experiment, arms_samples
from agent_tools.measure.arms_record import partial_samples
from agent_tools.measure.arms_samples import cold_seconds
from agent_tools.measure.data_subset import DataError, subset_annotations
from agent_tools.measure.ladder import run_ladder
from agent_tools.measure.ladder_summaries import summaries
from agent_tools.measure.orders import random_orders
from agent_tools.measure.rungs import LADDERS, LadderError, Rung, ladder_arms
from agent_tools.measure.trainer import TrainerCancelled
from agent_tools.records.fingerprints import file_sha256
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.records.build import epoch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return build_repository(tmp_path)


def test_the_rungs_are_those_of_the_plan_in_their_order() -> None:
    assert [rung.name for rung in LADDERS["main"]] == [
        "naive",
        "turbojpeg",
        "image_cache",
        "own_warp_uint8",
        "metric_only",
        "vectorised_tails",
        "channels_last",
        "bf16",
        "allocator",
        "tensor_cache",
        "aspect_buckets",
    ]
    assert [rung.name for rung in LADDERS["demo"]] == [
        "naive",
        "image_cache",
        "lean_validation",
        "channels_last_bf16",
        "allocator",
        "tensor_cache",
    ]


@pytest.mark.parametrize("name", list(LADDERS))
def test_each_arm_keeps_what_was_switched_on_before_and_sets_no_key_twice(name: str) -> None:
    arms = ladder_arms(name)
    for before, after in itertools.pairwise(arms):
        assert len(after.overrides) > len(before.overrides)
        keys = [override.partition("=")[0] for override in after.overrides]
        assert len(keys) == len(set(keys))
        assert {item.partition("=")[0] for item in before.overrides} <= set(keys)


def test_an_unknown_ladder_names_the_nearest() -> None:
    with pytest.raises(LadderError, match="nearest: main"):
        ladder_arms("mian")


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 12), st.integers())
def test_each_round_runs_every_arm_once_in_an_order_that_the_seed_repeats(arms: int, rounds: int, seed: int) -> None:
    names = [f"a{number}" for number in range(arms)]
    orders = random_orders(names, rounds, seed)
    assert [sorted(order) for order in orders] == [names] * rounds
    assert orders == random_orders(names, rounds, seed)


def test_no_arm_has_a_favoured_position() -> None:
    first = Counter(order[0] for order in random_orders("abcd", 4000, 0))
    assert all(900 < first[name] < 1100 for name in "abcd")


def test_the_subset_is_the_first_names_by_sort(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "subset.json"
    assert subset_annotations(data, "val", 2, target) == ["00.jpg", "01.jpg"]
    assert list(json.loads(target.read_text())["images"]) == ["00.jpg", "01.jpg"]
    assert len(subset_annotations(data, "val", 99, target)) == 6


@pytest.mark.parametrize(
    ("content", "why"), [("{", "own format"), ("[]", "own format"), ('{"images": {}}', "names no images")]
)
def test_annotations_that_cannot_be_cut_are_refused(data: Path, tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(DataError, match=r"splits there: val"):
        subset_annotations(data, "test", 2, tmp_path / "x.json")
    (data / "jsons" / "val.json").write_text(content)
    with pytest.raises(DataError, match=why):
        subset_annotations(data, "val", 2, tmp_path / "x.json")


def test_a_ladder_leaves_a_record_with_every_sample_and_no_cache(data: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "tiny model.ckpt"
    checkpoint.write_bytes(b"weights")
    steps: list[tuple[int, int, str]] = []
    record = run_ladder(
        tmp_path,
        "demo",
        data=data,
        images=4,
        size=(320, 256),
        rounds=2,
        checkpoint=checkpoint,
        seed=7,
        overrides=["batch_size=2"],
        progress=lambda *step: steps.append(step),
        session="night",
    )
    assert RecordStore(tmp_path).load(record.id) == record
    benchmark = record.benchmark
    assert benchmark is not None
    assert benchmark.protocol.order == random_orders([arm.name for arm in benchmark.arms], 2, 7)
    assert benchmark.protocol.descriptive
    assert [[s.arm for s in benchmark.samples if s.round == r] for r in (0, 1)] == benchmark.protocol.order
    assert benchmark.checkpoint_sha256 == file_sha256(checkpoint)
    assert benchmark.summaries == summaries(benchmark.samples, benchmark.arms, 0.005)
    assert [row.parity for row in benchmark.summaries] == ["equal"] * len(benchmark.arms)
    assert benchmark.arms[0].decoder == "turbojpeg 2.1.5"
    assert record.dataset is not None
    assert record.dataset.images == 4
    assert str(tmp_path) not in record.model_dump_json()
    assert "image_size=[320,256]" in record.overrides
    folder = tmp_path / "outputs" / "ladders" / record.id
    assert not (folder / "cache").exists()
    assert partial_samples(tmp_path, record.id) == benchmark.samples
    total = 2 * len(benchmark.arms)
    assert [step[:2] for step in steps] == [(done, total) for done in range(total + 1)]
    assert steps[-1][2].endswith("about 0 s left")


def test_a_failing_arm_keeps_the_samples_taken_before_and_shows_its_log(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs = LADDERS["demo"]
    broken = Rung("broken", "broken", ("standin.fail=yes",), "it fails")
    monkeypatch.setitem(LADDERS, "demo", (*rungs[:2], broken))
    with pytest.raises(LadderError, match=r"Arm broken(.|\n)*samples\.json(.|\n)*the batch is on fire") as caught:
        run_ladder(tmp_path, "demo", data=data, rounds=3, seed=3)
    folder = next((tmp_path / "outputs" / "ladders").iterdir())
    assert folder.name in str(caught.value)
    assert len(partial_samples(tmp_path, folder.name)) > 0
    assert RecordStore(tmp_path).list().total == 0


@pytest.mark.parametrize(
    ("switch", "why"),
    [("standin.hash=other", "saw other data"), ("standin.weights=other", "loaded weights with hash other")],
)
def test_an_arm_that_saw_other_data_or_weights_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str, why: str
) -> None:
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_bytes(b"weights")
    odd = Rung("odd", "odd", (switch,), "unlike the first")
    monkeypatch.setitem(LADDERS, "demo", (LADDERS["demo"][0], odd))
    with pytest.raises(LadderError, match=why):
        run_ladder(tmp_path, "demo", data=data, rounds=2, checkpoint=checkpoint)


def test_a_cancelled_ladder_says_so(data: Path, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(TrainerCancelled):
        run_ladder(tmp_path, "demo", data=data, cancel=cancel)


ARMS = len(LADDERS["demo"])


def partial_record(root: Path) -> RunRecord:
    store = RecordStore(root)
    (record,) = store.list().records
    assert record.benchmark is not None
    return record


def test_when_a_later_round_fails_the_complete_rounds_become_a_record_that_the_error_names(
    data: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_bytes(b"weights")

    def break_in_the_second_round(done: int, total: int, message: str) -> None:
        if done == ARMS + 1:
            (tmp_path / "broken").touch()

    with pytest.raises(LadderError, match=r"failed in round 1(.|\n)*The complete rounds \(1\) are kept") as caught:
        run_ladder(
            tmp_path,
            "demo",
            data=data,
            rounds=6,
            foreign_limit=1.0,
            checkpoint=checkpoint,
            overrides=["standin.fail_with=broken"],
            progress=break_in_the_second_round,
            session="night",
        )
    record = partial_record(tmp_path)
    assert record.id in str(caught.value)
    assert record.benchmark is not None
    assert record.title == "demo ladder, 1 of 6 rounds"
    assert (record.benchmark.protocol.rounds, record.benchmark.protocol.descriptive) == (1, True)
    assert [s.arm for s in record.benchmark.samples] == record.benchmark.protocol.order[0]
    assert record.benchmark.summaries == summaries(record.benchmark.samples, record.benchmark.arms, 0.005)
    assert len(partial_samples(tmp_path, record.id)) == ARMS + 1
    kept = json.loads((tmp_path / "outputs" / "ladders" / record.id / "samples.json").read_text())
    assert kept["protocol"] == record.benchmark.protocol.model_dump()
    assert kept["arms"] == [arm.model_dump() for arm in record.benchmark.arms]
    assert kept["dataset"] == record.model_dump(mode="json")["dataset"]
    assert record.machine is not None
    assert kept["machine"]["key"] == record.machine.key
    assert kept["checkpoint_sha256"] == file_sha256(checkpoint)
    assert kept["parity_margin"] == 0.005
    assert kept["environment"]["decoder"] == "turbojpeg 2.1.5"
    assert "git" in kept


def test_a_ladder_cancelled_after_a_whole_round_records_it_and_leaves_no_cache(data: Path, tmp_path: Path) -> None:
    cancel = threading.Event()
    with pytest.raises(TrainerCancelled, match=r"The complete rounds \(1\) are kept as record"):
        run_ladder(
            tmp_path,
            "demo",
            data=data,
            rounds=3,
            cancel=cancel,
            progress=lambda done, total, message: cancel.set() if done == ARMS else None,
        )
    assert partial_record(tmp_path).environment["decoder"] == "turbojpeg 2.1.5"
    assert not list(tmp_path.glob("outputs/ladders/*/cache"))


def test_a_sample_that_hangs_is_ended_at_its_limit(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms_samples, "SAMPLE_SECONDS", 2.0)
    with pytest.raises(LadderError, match="ended at its limit of 2 s"):
        run_ladder(tmp_path, "demo", data=data, overrides=["standin.hang=hung.txt"])


def test_caches_of_killed_ladders_are_removed_and_those_of_running_ones_are_left(data: Path, tmp_path: Path) -> None:
    killed, running = (tmp_path / "outputs" / "ladders" / name / "cache" for name in ("killed", "running"))
    for cache in (killed, running):
        cache.mkdir(parents=True)
    with (running.parent / arms_experiment.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_ladder(tmp_path, "demo", data=data, rounds=1)
    assert not killed.exists()
    assert running.exists()


def test_unusable_arguments_are_refused_before_anything_runs(data: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"rounds": 0}, "rounds is 0"),
        ({"passes": 1}, "passes is 1"),
        ({"images": 0}, "images is 0"),
        ({"checkpoint": data / "jsons" / "vall.json"}, r"nearest file there is val\.json"),
        ({"data": tmp_path / "nowhere"}, r"There is no jsons/val\.json"),
    ]
    for changes, why in cases:
        with pytest.raises((LadderError, DataError), match=why):
            run_ladder(tmp_path, "demo", **({"data": data} | changes))
    assert not list((tmp_path / "outputs").glob("ladders/*/runs"))


def test_a_cold_epoch_counts_the_filling_of_caches_but_not_the_model() -> None:
    setup = {"imports": 3.0, "model": 5.0, "preload_images": 0.5, "cache_open": 0.25}
    assert cold_seconds(epoch(0, seconds=2.0), setup) == 2.75
