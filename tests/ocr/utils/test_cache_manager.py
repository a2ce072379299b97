"""A cache tier never gives a wrong payload, never loses a written one, and names what it cannot use."""

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr.utils import cache_manager
from ocr.utils.cache_manager import CacheError, CacheTier, clear_cache, inspect_tier, read_header, tier_files

KEY = "ab" * 32


def payload(slot: int, length: int) -> np.ndarray:
    return np.random.default_rng(slot).integers(0, 256, length, dtype=np.uint8)


def filled(folder: Path, lengths: list[int], slots: list[int] | None = None) -> CacheTier:
    tier = CacheTier(folder, "tensors", KEY, lengths)
    for slot in range(len(lengths)) if slots is None else slots:
        tier.put(slot, [payload(slot, lengths[slot])], np.arange(9.0))
    return tier


@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=8), data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_slot_comes_back_as_it_was_put_in_any_order(
    lengths: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    order = data.draw(st.permutations(range(len(lengths))))
    tier = filled(tmp_path_factory.mktemp("cache"), lengths, order)
    for slot, length in enumerate(lengths):
        item = tier.get(slot)
        assert item is not None
        np.testing.assert_array_equal(item.payload, payload(slot, length))
        np.testing.assert_array_equal(item.numbers[:9], np.arange(9.0))


def test_an_unfilled_slot_is_a_miss_and_a_partial_tier_is_usable_by_the_next_process(tmp_path: Path) -> None:
    first = filled(tmp_path, [50, 60, 70], [1])
    assert first.get(0) is None
    assert not first.sealed
    second = CacheTier(tmp_path, "tensors", KEY, [50, 60, 70])
    assert second.get(1) is not None
    assert second.full_slots == 1


def test_a_complete_tier_is_sealed_and_read_only(tmp_path: Path) -> None:
    tier = filled(tmp_path, [50, 60])
    assert tier.sealed
    assert tier.path.suffix == ".cache"
    assert tier.path.stat().st_mode & 0o222 == 0
    item = tier.get(0)
    assert item is not None
    with pytest.raises(ValueError, match="read-only"):
        item.payload[0] = 1


def test_a_pickled_tier_maps_the_same_file(tmp_path: Path) -> None:
    tier = filled(tmp_path, [40, 40], [0])
    copy: CacheTier = pickle.loads(pickle.dumps(tier))
    copy.put(1, [payload(1, 40)])
    item = tier.get(1)
    assert item is not None
    np.testing.assert_array_equal(item.payload, payload(1, 40))


def _fill_then_die(folder: Path) -> None:
    tier = CacheTier(folder, "tensors", KEY, [100_000] * 4)
    tier.put(0, [payload(0, 100_000)])
    # In the middle of slot 1: payload half written, state not yet set.
    start = int(tier._table["offset"][1])
    tier._bytes[start : start + 50_000] = payload(1, 100_000)[:50_000]
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_builder_killed_in_mid_slot_leaves_the_finished_slots_and_no_half_one(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_fill_then_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    tier = CacheTier(tmp_path, "tensors", KEY, [100_000] * 4)
    assert tier.full_slots == 1
    assert tier.get(1) is None
    item = tier.get(0)
    assert item is not None
    np.testing.assert_array_equal(item.payload, payload(0, 100_000))


def _fill_all(folder: Path) -> None:
    filled(folder, [5_000] * 40)


def test_two_builders_at_once_give_one_intact_tier(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill_all, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    (file,) = tier_files(tmp_path)
    health = inspect_tier(file, "verify")
    assert (health.full, health.damaged, health.sealed) == (40, [], True)


def test_a_changed_byte_is_noticed_named_and_filled_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(tmp_path, [500, 500]).path
    path.chmod(0o644)
    start = read_header(path)["file_length"] - 200
    with path.open("r+b") as stream:
        stream.seek(start)
        byte = stream.read(1)
        stream.seek(start)
        stream.write(bytes([byte[0] ^ 1]))
    assert inspect_tier(path, "verify").damaged == [1]
    tier = CacheTier(tmp_path, "tensors", KEY, [500, 500])
    with caplog.at_level(logging.WARNING):
        assert tier.get(1) is None
    assert "Slot 1 of cache file" in caplog.text
    tier.put(1, [payload(1, 500)])
    item = CacheTier(tmp_path, "tensors", KEY, [500, 500]).get(1)
    assert item is not None
    np.testing.assert_array_equal(item.payload, payload(1, 500))


@pytest.mark.parametrize("keep", [0, 10, 60, 1000])
def test_a_truncated_file_is_named_and_built_again(tmp_path: Path, keep: int, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(tmp_path, [5000, 5000]).path
    path.chmod(0o644)
    os.truncate(path, keep)
    assert inspect_tier(path, "status").problem
    with caplog.at_level(logging.WARNING):
        tier = CacheTier(tmp_path, "tensors", KEY, [5000, 5000])
    assert path.name in caplog.text
    assert tier.full_slots == 0


def test_a_foreign_file_under_the_same_name_is_not_trusted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(tmp_path, [10], []).path
    path.unlink()
    path.with_suffix(".cache").write_bytes(b"not a cache file" * 100)
    with caplog.at_level(logging.WARNING):
        tier = CacheTier(tmp_path, "tensors", KEY, [10])
    assert "not a cache file of this project" in caplog.text
    assert tier.get(0) is None


def test_another_key_never_sees_this_keys_slots(tmp_path: Path) -> None:
    filled(tmp_path, [10, 10])
    assert CacheTier(tmp_path, "tensors", "cd" * 32, [10, 10]).get(0) is None


def test_too_little_disk_space_is_an_error_before_anything_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CacheError, match=r"No space left on device; free some space, or set cache_dir"):
        CacheTier(tmp_path, "images", KEY, [10])
    assert tier_files(tmp_path) == []
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_that_cannot_be_made_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="set cache_dir to a folder that can be written"):
        CacheTier(tmp_path / "file" / "cache", "images", KEY, [10])


def test_clear_removes_tier_files_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path, [10])
    (tmp_path / "notes-abc.cache").write_text("mine")
    assert clear_cache(tmp_path)[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "notes-abc.cache"]


def test_another_version_of_the_layout_never_sees_this_ones_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, [10, 10])
    monkeypatch.setattr(cache_manager, "CACHE_SCHEMA", cache_manager.CACHE_SCHEMA + 1)
    assert CacheTier(tmp_path, "tensors", KEY, [10, 10]).get(0) is None


def test_a_damaged_matrix_is_noticed_like_a_damaged_pixel(tmp_path: Path) -> None:
    tier = filled(tmp_path, [100, 100], [0])
    tier._table[0:1]["numbers"][0, 0] += 1
    assert inspect_tier(tier.path, "verify").damaged == [0]
    assert CacheTier(tmp_path, "tensors", KEY, [100, 100]).get(0) is None


def test_clearing_under_a_running_builder_never_seals_the_next_ones_half_empty_file(tmp_path: Path) -> None:
    old = filled(tmp_path, [10, 10], [0])
    clear_cache(tmp_path)
    new = filled(tmp_path, [10, 10], [0])
    old.put(1, [payload(1, 10)])
    assert not new.sealed
    new.put(1, [payload(1, 10)])
    assert new.sealed
    assert inspect_tier(new.path, "verify").full == 2


def test_a_sealed_file_with_holes_is_filled_again(tmp_path: Path) -> None:
    partial = filled(tmp_path, [10, 10], [0]).path
    os.replace(partial, partial.with_suffix(".cache"))
    assert "sealed with 1 of 2 slots" in str(inspect_tier(partial.with_suffix(".cache"), "status").problem)
    tier = CacheTier(tmp_path, "tensors", KEY, [10, 10])
    tier.put(1, [payload(1, 10)])
    assert tier.sealed
    assert tier.get(0) is not None


def test_two_processes_that_meet_the_same_damaged_slot_both_go_on(tmp_path: Path) -> None:
    path = filled(tmp_path, [500, 500]).path
    first, second = (CacheTier(tmp_path, "tensors", KEY, [500, 500]) for _ in range(2))
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(read_header(path)["file_length"] - 200)
        stream.write(b"damaged")
    for tier in (first, second):
        assert tier.get(1) is None
    second.put(1, [payload(1, 500)])
    item = first.get(1)
    assert item is not None
    np.testing.assert_array_equal(item.payload, payload(1, 500))


def test_a_temporary_file_that_a_kill_left_behind_is_cleared(tmp_path: Path) -> None:
    left = filled(tmp_path, [10]).path.with_suffix(".tmp")
    left.write_bytes(b"half")
    assert clear_cache(tmp_path)[0] == 2
    assert not left.exists()


def test_a_tier_over_the_budget_is_refused_with_the_figures_and_nothing_is_removed(tmp_path: Path) -> None:
    kept = CacheTier(tmp_path, "images", "a", [1000] * 3, budget_bytes=10_000)
    with pytest.raises(CacheError, match=r"cache over budget: the tensors tier needs .* cache_budget_gib"):
        CacheTier(tmp_path, "tensors", "b", [9000], budget_bytes=10_000)
    assert tier_files(tmp_path) == [kept.path]


def test_tiers_that_nobody_uses_make_room_the_oldest_first(tmp_path: Path) -> None:
    paths = {key: CacheTier(tmp_path, "tensors", key, [4000]).path for key in ("old", "middle", "new")}
    for age, path in zip((300, 200, 100), paths.values(), strict=True):
        os.utime(path, (time.time() - age, time.time() - age))
    # Three files of 4 kB and their headers: a fourth fits when one of them goes.
    newest = CacheTier(tmp_path, "tensors", "newest", [4000], budget_bytes=4 * 4600 - 1000)
    assert set(tier_files(tmp_path)) == {paths["middle"], paths["new"], newest.path}


def test_a_tier_in_use_by_another_process_is_never_removed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ocr.utils.cache_manager import CacheTier;"
        f"tier = CacheTier(Path({str(tmp_path)!r}), 'images', 'theirs', [4000]); print('open', flush=True);"
        "sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(CacheError, match="cache over budget"):
            CacheTier(tmp_path, "tensors", "ours", [4000], budget_bytes=8_000)
        other.communicate("done\n")
    ours = CacheTier(tmp_path, "tensors", "ours", [4000], budget_bytes=8_000)
    assert tier_files(tmp_path) == [ours.path]


def test_a_tier_that_exists_is_opened_whatever_the_budget_is_now(tmp_path: Path) -> None:
    CacheTier(tmp_path, "tensors", "a", [4000]).put(0, [np.zeros(4000, np.uint8)])
    assert CacheTier(tmp_path, "tensors", "a", [4000], budget_bytes=1).full_slots == 1
