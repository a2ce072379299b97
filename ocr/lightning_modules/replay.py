"""What-if: stages whose first outputs are replayed, so that they cost nothing from then on.

The whole epoch without a stage says what optimising that stage could bring at most.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar, cast

from ocr.datasets.schemas import ConfigError
from ocr.utils.errors import nearest

INPUT_STAGES = ("loader", "decode", "transform", "targets")
"""Replayed by the data module: whole batches, decoded images, transformed images, target maps."""
MODULE_STAGES = ("copy", "normalise", "forward", "loss", "post", "score", "step")
"""Replayed by the module. `forward` and `loss` are those of validation; `step` is training's forward, loss, backward
and optimizer together."""
REPLAYABLE = INPUT_STAGES + MODULE_STAGES

T = TypeVar("T")


def replayed_stages(names: Iterable[str]) -> frozenset[str]:
    """Return the stages of the root key `replay`.

    Raises:
        ConfigError: a name is unknown, or the value is a single name and no list.
    """
    if isinstance(names, str):
        raise ConfigError(f"replay={names} is one word; it is a list of stages, for instance replay=[{names}]")
    asked = [str(name) for name in names]
    for name in asked:
        if name not in REPLAYABLE:
            raise ConfigError(
                f"replay names {name!r}, which is no stage that can be replayed{nearest(name, REPLAYABLE)}; "
                f"allowed: {', '.join(REPLAYABLE)}"
            )
    return frozenset(asked)


class StageReplay:
    """Stores the outputs of some stages and hands them out again. Threads may share it, with keys of their own.

    Attributes:
        stages: names of `MODULE_STAGES` that are replayed; others always run.
    """

    def __init__(self, stages: Iterable[str] = ()) -> None:
        self.stages = frozenset(stages)
        self._stored: dict[tuple[str, Hashable], object] = {}

    def run(self, stage: str, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what `compute` returns; for a replayed stage, what it returned at the first call with this key."""
        if stage not in self.stages:
            return compute()
        place = (stage, key)
        if place not in self._stored:
            self._stored[place] = compute()
        return cast("T", self._stored[place])

    def has(self, stage: str, key: Hashable) -> bool:
        """Return whether an output of this stage is stored under this key."""
        return (stage, key) in self._stored

    def recall(self, stage: str, key: Hashable) -> Any:
        """Return the stored output.

        Raises:
            KeyError: nothing is stored.
        """
        return self._stored[stage, key]

    def forget(self) -> None:
        """Drop everything stored: what follows is real again."""
        self._stored = {}
