"""Aspect buckets hold every image at its scale, with the fewest pixels; their batches cover an epoch exactly."""

import multiprocessing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ocr.datasets.buckets import BucketBatchSampler, assign_canvases, choose_buckets, tight_canvas
from ocr.datasets.transforms import letterbox_size

SIDES = st.integers(1, 20).map(lambda units: 32 * units)
CANVASES = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=30)


@given(st.integers(1, 5000), st.integers(1, 5000), SIDES, SIDES)
def test_a_tight_canvas_holds_the_fitted_image_and_no_needless_row_of_blocks(
    height: int, width: int, rows: int, columns: int
) -> None:
    fitted, canvas = letterbox_size(height, width, (rows, columns)), tight_canvas(height, width, (rows, columns))
    for side, within, limit in zip(canvas, fitted, (rows, columns), strict=True):
        assert side % 32 == 0
        assert within <= side <= limit
        assert side - within < 32


@given(CANVASES, st.integers(1, 5))
def test_each_image_lies_in_a_bucket_that_holds_it(canvases: list[tuple[int, int]], count: int) -> None:
    assigned = assign_canvases(canvases, count)
    assert len(set(assigned)) <= count
    for (height, width), bucket in zip(canvases, assigned, strict=True):
        assert bucket[0] >= height
        assert bucket[1] >= width


@given(st.lists(SIDES, min_size=1, max_size=6), st.integers(1, 3))
def test_for_portraits_no_choice_of_buckets_has_fewer_pixels(widths: list[int], count: int) -> None:
    canvases = [(640, width) for width in widths]
    distinct = sorted(set(widths))
    best = min(
        sum(640 * min(width for width in chosen if width >= own) for own in widths)
        for chosen in product(distinct, repeat=count)
        if max(chosen) >= distinct[-1]
    )
    assert sum(height * width for height, width in assign_canvases(canvases, count)) == best


def test_more_buckets_than_shapes_give_each_shape_its_own() -> None:
    assert sorted(choose_buckets([(640, 320), (640, 224), (640, 320)], 4)) == [(640, 224), (640, 320)]


@given(CANVASES, st.integers(1, 7), st.booleans())
def test_an_epoch_visits_every_image_once_in_batches_of_one_shape(
    shapes: list[tuple[int, int]], batch_size: int, shuffle: bool
) -> None:
    sampler = BucketBatchSampler(shapes, batch_size, shuffle)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(shapes)))
    assert len(batches) == len(sampler)
    for batch in batches:
        assert 0 < len(batch) <= batch_size
        assert len({shapes[index] for index in batch}) == 1


def test_one_shape_without_shuffling_is_the_plain_order() -> None:
    assert list(BucketBatchSampler([(64, 64)] * 5, 2, shuffle=False)) == [[0, 1], [2, 3], [4]]


def test_the_first_batches_of_a_short_run_are_of_several_shapes() -> None:
    shapes = [(64, 32), (64, 64), (64, 32), (64, 64)] * 10
    first = list(BucketBatchSampler(shapes, 2, shuffle=False))[:2]
    assert {shapes[batch[0]] for batch in first} == {(64, 32), (64, 64)}


def test_shuffled_epochs_differ_and_seed_and_epoch_repeat_them() -> None:
    def sampler() -> BucketBatchSampler:
        torch.manual_seed(3)
        return BucketBatchSampler([(64, 32)] * 40 + [(64, 64)] * 40, 4, shuffle=True)

    one = sampler()
    first, second = list(one), list(one)
    resumed = sampler()
    resumed.set_epoch(1)
    assert list(sampler()) == first
    assert list(resumed) == second
    assert first != second


def of_ranks(shapes: list[tuple[int, int]], shuffle: bool, folder: Path, ranks: int) -> list[list[list[int]]]:
    def join(rank: int, answers: Any) -> None:
        store = torch.distributed.FileStore(str(folder / "store"), ranks)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
        torch.manual_seed(3)
        sampler = BucketBatchSampler(shapes, 3, shuffle)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        answers.put((rank, batches))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=join, args=(rank, answers)) for rank in range(ranks)]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    return [found[rank] for rank in range(ranks)]


def test_ranks_share_a_validation_epoch_without_a_repeated_image(tmp_path: Path) -> None:
    shapes = [(64, 32)] * 7 + [(64, 64)] * 6
    parts = of_ranks(shapes, False, tmp_path, 2)
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(13))


def test_ranks_take_equally_many_training_steps_and_miss_no_image(tmp_path: Path) -> None:
    shapes = [(64, 32)] * 7 + [(64, 64)] * 6
    parts = of_ranks(shapes, True, tmp_path, 2)
    assert len({len(part) for part in parts}) == 1
    assert {index for part in parts for batch in part for index in batch} == set(range(13))


@pytest.mark.parametrize("shuffle", [False, True])
def test_no_image_gives_no_batch(shuffle: bool) -> None:
    assert list(BucketBatchSampler([], 4, shuffle)) == []
