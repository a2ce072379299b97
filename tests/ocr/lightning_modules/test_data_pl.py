"""Loader settings cannot contradict each other, and `auto` follows the device."""

import os

import pytest

from ocr.datasets.schemas import ConfigError
from ocr.lightning_modules.data_pl import LoaderConfig


def test_zero_workers_clear_the_settings_that_need_workers() -> None:
    loader = LoaderConfig(num_workers=0, persistent_workers=True, prefetch_factor=2, pin_memory=True)
    assert loader.arguments(on_gpu=False) == {"num_workers": 0, "pin_memory": True}


def test_auto_loads_in_the_main_process_on_a_cpu_and_leaves_it_a_core_beside_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = LoaderConfig(num_workers="auto", prefetch_factor=3)
    assert loader.workers(on_gpu=False) == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert loader.workers(on_gpu=True) == 5
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert loader.workers(on_gpu=True) == 8
    assert loader.arguments(on_gpu=True)["prefetch_factor"] == 3


def test_a_number_is_used_as_it_is_and_a_negative_one_refused() -> None:
    assert LoaderConfig(num_workers=3).workers(on_gpu=False) == 3
    with pytest.raises(ConfigError, match="num_workers=-1; it is auto, 0 or a positive number"):
        LoaderConfig(num_workers=-1)
