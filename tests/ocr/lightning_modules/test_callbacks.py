"""What is logged of an epoch has one form, and always says how long the loader was waited for."""

import re
from typing import Any

import pytest

from ocr.lightning_modules.callbacks import describe_clock, describe_epoch
from ocr.lightning_modules.run_file import EpochFigures, EpochLimit


def figures(stages: dict[str, float], **changes: Any) -> EpochFigures:
    limit = EpochLimit(seconds=20.544, fraction=0.96, verdict="compute-bound", clock_seconds=0.01)
    fields: dict[str, Any] = {"epoch": 3, "phase": "val", "seconds": 21.4, "images": 107, "stages": stages}
    fields |= {"cache": {}, "metrics": {"icdar_hmean": 0.8, "loss": 1.5, "other": 1.0}, "counts": {}, "limit": limit}
    return EpochFigures(**(fields | changes))


def test_the_line_of_an_epoch_says_seconds_limit_verdict_and_stages() -> None:
    line = describe_epoch(
        figures({"wait": 0.214, "forward": 17.334, "post": 1.926, "score": 0.3, "loader.decode": 20.0})
    )
    assert line == (
        "val epoch 3: 21.4 s, 96% of the limit, compute-bound (forward 81%, post 9%, wait 1%), "
        "5.0 images/s; icdar_hmean 0.8000, loss 1.5000"
    )


@pytest.mark.parametrize(
    ("stages", "shown"),
    [
        ({"forward": 4, "backward": 8, "optimizer": 1, "wait": 0.0}, ["backward", "forward", "wait"]),
        ({"wait": 9, "forward": 4, "post": 3, "score": 1}, ["wait", "forward", "post"]),
        ({"forward": 4}, ["forward", "wait"]),
        ({"forward": 4, "post_wait": 1, "post": 30, "score": 20, "wait": 2}, ["forward", "wait", "post_wait"]),
    ],
)
def test_the_three_largest_stages_of_the_main_thread_are_shown_and_the_wait_always(
    stages: dict[str, float], shown: list[str]
) -> None:
    inside = re.search(r"\((.*)\)", describe_epoch(figures(stages)))
    assert inside is not None
    assert [part.split()[0] for part in inside.group(1).split(", ")] == shown


def test_the_clock_says_which_share_of_all_epochs_it_took() -> None:
    limit = EpochLimit(seconds=1.0, fraction=0.5, verdict="compute-bound", clock_seconds=0.0004)
    epochs = [figures({}, seconds=seconds, limit=limit) for seconds in (1.0, 3.0)]
    assert describe_clock(epochs) == "stage clock: 0.02% of the epochs"
    assert describe_clock([]) == "stage clock: 0.00% of the epochs"
