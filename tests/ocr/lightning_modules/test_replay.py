"""A replayed stage computes once per key; names that are no stage are refused."""

import pytest

from ocr.datasets.schemas import ConfigError
from ocr.lightning_modules.replay import REPLAYABLE, StageReplay, replayed_stages


def test_a_replayed_stage_computes_once_per_key_and_any_other_each_time() -> None:
    replay = StageReplay(["forward"])
    outputs = iter(range(100))
    assert [replay.run("forward", key, lambda: next(outputs)) for key in (1, 2, 1, 2)] == [0, 1, 0, 1]
    assert [replay.run("post", 1, lambda: next(outputs)) for _ in range(3)] == [2, 3, 4]
    assert replay.has("forward", 2)
    assert not replay.has("post", 1)


def test_stages_with_the_same_key_keep_their_own_outputs() -> None:
    replay = StageReplay(["forward", "post"])
    assert replay.run("forward", 1, lambda: "maps") == "maps"
    assert replay.run("post", 1, lambda: "boxes") == "boxes"
    assert (replay.recall("forward", 1), replay.recall("post", 1)) == ("maps", "boxes")


def test_what_was_forgotten_is_computed_again() -> None:
    replay = StageReplay(["forward"])
    replay.run("forward", 1, lambda: "old")
    replay.forget()
    assert replay.run("forward", 1, lambda: "new") == "new"


def test_every_stage_that_can_be_replayed_may_be_named() -> None:
    assert replayed_stages(REPLAYABLE) == frozenset(REPLAYABLE)
    assert replayed_stages([]) == frozenset()


def test_an_unknown_stage_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"names 'postt', .*did you mean 'post'.*allowed: loader, decode"):
        replayed_stages(["forward", "postt"])


def test_a_word_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"replay=\[loader\]"):
        replayed_stages("loader")
