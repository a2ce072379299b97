"""The one place that knows every target."""

from __future__ import annotations

from pathlib import Path

from agent_tools.measure.command_target import CommandRunner
from agent_tools.measure.targets import TargetRequest, TargetRunner
from agent_tools.measure.trainer_target import TrainerRunner


def make_runner(request: TargetRequest, folder: Path) -> TargetRunner:
    """Return the runner of a target; `folder` takes what all its samples share.

    Raises:
        TargetError: values that the target cannot be run with.
    """
    return CommandRunner(request) if request.name == "command" else TrainerRunner(request, folder)
