"""How fast an epoch could be: against its replay limit, and stage by stage as if that stage cost nothing.

A stage is replayed: its outputs are computed once, in the cold epoch, and used again in the warm ones. The whole epoch
is then timed, so what is seen is what removing the stage would bring, overlap included, and not its share of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from agent_tools.measure.arms_experiment import run_arms, run_pilot
from agent_tools.measure.arms_plan import ArmsOutput, ArmsRequest, Phase
from agent_tools.measure.ladder_summaries import stage_wall
from agent_tools.measure.rungs import REPLAYED, ArmsDesign, LadderError, Pairing, changed_one_at_a_time
from agent_tools.measure.trainer import Progress
from agent_tools.records.schema import Arm, EpochFigures, RunRecord

REPLAYABLE: dict[Phase, tuple[str, ...]] = {
    "val": ("loader", "decode", "transform", "targets", "copy", "normalise", "forward", "loss", "post", "score"),
    "train": ("loader", "decode", "transform", "targets", "copy", "normalise", "step"),
}
"""Stages that the trainer can replay in each phase."""

FEWEST_SHARE = 0.005
"""Stages below this share of the epoch are not tried unless they are asked for by name."""

FRACTION = "fraction"
"""Name of the contrast of a limit: time at the limit over time of the epoch, 1 at the limit."""


def limit_design() -> ArmsDesign:
    """Return the design of a limit: the epoch as it is, and the same with its batches replayed."""
    epoch = Arm(name="epoch", title="the epoch", overrides=[], precision="", decoder="")
    replayed = Arm(name="replayed", title="batches replayed", overrides=[REPLAYED], precision="", decoder="")
    return ArmsDesign("limit", "limit", (epoch, replayed), (Pairing(FRACTION, "replayed", "epoch"),))


def measure_limit(
    root: Path,
    request: ArmsRequest,
    command: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    session: str | None = None,
) -> RunRecord:
    """Measure an epoch beside the same epoch with batches that cost nothing, and store a profile record.

    Raises:
        LadderError, DataError, TrainerCancelled: see `run_arms`.
    """
    said = list(command) or ["agent-tools", "profile", "limit", "--phase", request.phase, *request.flags(root)]
    output = ArmsOutput(f"{_named(request.phase)} epoch against its limit", said, "profile", session)
    return run_arms(root, limit_design(), request, output, progress, cancel)


def _named(phase: Phase) -> str:
    return "validation" if phase == "val" else "training"


def check_stages(stages: Sequence[str], phase: Phase) -> tuple[str, ...]:
    """Return the stages if the trainer can replay them in that phase.

    Raises:
        LadderError: an unknown stage, or one of the other phase.
    """
    unknown = [stage for stage in stages if stage not in REPLAYABLE[phase]]
    if unknown:
        raise LadderError(
            f"stages names '{unknown[0]}', which cannot be replayed in a {_named(phase)} epoch; "
            f"choose from {', '.join(REPLAYABLE[phase])}."
        )
    return tuple(dict.fromkeys(stages))


def stages_worth_trying(epoch: EpochFigures, phase: Phase) -> tuple[str, ...]:
    """Return the stages that took more than 0.5% of an epoch's wall clock, the longest first."""
    seconds = {stage: stage_wall(epoch.stages, stage) for stage in REPLAYABLE[phase]}
    worth = [stage for stage in seconds if seconds[stage] > FEWEST_SHARE * epoch.seconds]
    return tuple(sorted(worth, key=lambda stage: -seconds[stage]))


def whatif_design(stages: Sequence[str]) -> ArmsDesign:
    """Return the design that replays one stage at a time; above 1, the epoch is faster without it."""
    base = Arm(name="baseline", title="the epoch", overrides=[], precision="", decoder="")
    replayed = [
        Arm(name=stage, title=f"{stage} replayed", overrides=[f"replay=[{stage}]"], precision="", decoder="")
        for stage in stages
    ]
    return changed_one_at_a_time("whatif", "whatif", base, replayed)


def measure_whatif(
    root: Path,
    request: ArmsRequest,
    stages: Sequence[str] = (),
    command: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    session: str | None = None,
) -> RunRecord:
    """Measure what an epoch would gain if one stage after the other cost nothing, and store a what-if record.

    Args:
        root: the repository.
        request: on what, and how often.
        stages: which stages; without any, a first sample says which ones take more than 0.5% of the epoch.
        command: the command line to record; by default the equivalent `agent-tools profile whatif`.
        progress: see `run_arms`.
        cancel: see `run_arms`.
        session: the session that the record is stored under.

    Raises:
        LadderError: a stage that cannot be replayed, no stage worth trying, or see `run_arms`.
        DataError, TrainerCancelled: see `run_arms`.
    """
    chosen = check_stages(stages, request.phase)
    if not chosen:
        base = whatif_design(()).arms[0]
        if progress is not None:
            progress(0, 0, "a first sample, to see which stages are worth trying")
        chosen = stages_worth_trying(run_pilot(root, base, request, cancel), request.phase)
    if not chosen:
        raise LadderError(f"No stage took more than {FEWEST_SHARE:.1%} of the epoch; name some with --stages.")
    said = list(command) or ["agent-tools", "profile", "whatif", "--stages", ",".join(chosen)]
    said = said if command else [*said, "--phase", request.phase, *request.flags(root)]
    title = f"what if a stage of a {_named(request.phase)} epoch cost nothing"
    output = ArmsOutput(title, said, "whatif", session)
    return run_arms(root, whatif_design(chosen), request, output, progress, cancel)
