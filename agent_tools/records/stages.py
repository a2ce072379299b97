"""How the stage times of an epoch share its wall clock: one reading for profile records and for their documents."""

from __future__ import annotations

from agent_tools.records.schema import EpochFigures, RunRecord

UNTIMED = "untimed"
"""Name of the row for the part of an epoch that no stage clock covered."""


MILLISECONDS, SHARE = ": milliseconds", ": share"
"""Ends of the names of the figures that a profile of transforms keeps for each of its rows."""


def is_part(stage: str) -> bool:
    """Say whether a stage is a part of another one's time, such as `loader.decode`."""
    return "." in stage


def ordered_stages(epoch: EpochFigures) -> tuple[list[str], list[str]]:
    """Return the names of an epoch's stages and of the parts of stages, the longest first."""
    names = sorted(epoch.stages, key=lambda stage: (-epoch.stages[stage], stage))
    return [name for name in names if not is_part(name)], [name for name in names if is_part(name)]


def stage_seconds(epoch: EpochFigures) -> dict[str, float]:
    """Return stage -> seconds: the longest first, then `untimed`, then the parts of a stage (`loader.decode`).

    Parts, named with a dot, are CPU seconds spent inside the loader: they explain the wait for it (or overlap with the
    rest, with workers), so they are not added to the other stages.
    """
    stages, parts = ordered_stages(epoch)
    timed = {name: epoch.stages[name] for name in stages}
    untimed = {UNTIMED: max(0.0, epoch.seconds - sum(timed.values()))}
    return timed | untimed | {name: epoch.stages[name] for name in parts}


def profiled_index(record: RunRecord) -> int | None:
    """Return which epoch of its run a profile record shows, the last one that fits; None where none does."""
    epochs = record.run.epochs if record.run else []
    fitting = [index for index, epoch in enumerate(epochs) if epoch.stages and stage_seconds(epoch) == record.stages]
    return fitting[-1] if fitting else None
