"""What an experiment of arms will do, settled and checked before its first sample."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from agent_tools.measure.data_subset import data_overrides, relative_to_root, subset_annotations, training_overrides
from agent_tools.measure.interference import FOREIGN_LIMIT
from agent_tools.measure.orders import random_orders
from agent_tools.measure.rungs import ArmsDesign, LadderError
from agent_tools.measure.trainer import (
    hydra_value,
)
from agent_tools.records.fingerprints import file_sha256, machine, strip_private
from agent_tools.records.importers import public_git
from agent_tools.records.schema import (
    Arm,
    GitState,
    Machine,
)
from agent_tools.records.store import new_id

Phase = Literal["val", "train"]
KindOfRecord = Literal["benchmark", "profile", "whatif"]

PARITY_MARGIN = 0.005
"""Loss of hmean that still counts as equal accuracy."""


@dataclass(frozen=True)
class ArmsRequest:
    """What is to be measured, and on what.

    Attributes:
        data: a data folder with `images/SPLIT/` and `jsons/SPLIT.json`.
        split: which split is validated or trained on.
        images: how many of its images, the first by sorted name.
        size: network input, (height, width) in pixels.
        rounds: samples of each arm; fewer than 6 make the record descriptive.
        passes: epochs per process, at least 2: epoch 0 is cold, the later ones are warm.
        checkpoint: weights that every arm loads; without one there is no parity evidence.
        seed: of the random order.
        overrides: given to every arm, after its own; an arm's own value of the same key stays.
        margin: loss of hmean that still counts as equal.
        phase: whether validation or training epochs are timed.
        foreign_limit: share of the machine's CPU that others may use beside a sample, above 0 up to 1. Where a verdict
            could follow (6 rounds), a sample beside which more was used is taken again, at most `RETRIES` times.
    """

    data: Path
    split: str = "val"
    images: int = 48
    size: tuple[int, int] = (640, 640)
    rounds: int = 6
    passes: int = 3
    checkpoint: Path | None = None
    seed: int = 0
    overrides: tuple[str, ...] = ()
    margin: float = PARITY_MARGIN
    phase: Phase = "val"
    foreign_limit: float = FOREIGN_LIMIT

    def flags(self, root: Path) -> list[str]:
        """Return the request as flags and overrides of a command line, with paths relative to the root."""
        height, width = self.size
        flags: dict[str, Any] = {
            "data": relative_to_root(self.data, root),
            "split": self.split,
            "images": self.images,
            "size": height if height == width else f"{height}x{width}",
            "rounds": self.rounds,
            "passes": self.passes,
            "checkpoint": self.checkpoint and relative_to_root(self.checkpoint, root),
            "seed": self.seed,
        }
        given = [part for flag, value in flags.items() if value is not None for part in (f"--{flag}", str(value))]
        return [*given, *self.overrides]


@dataclass(frozen=True)
class ArmsOutput:
    """What becomes of the samples: kind, title and command of the record, and where it is stored.

    `folder` is inside the root and takes the place of the session's.
    """

    title: str
    command: Sequence[str]
    kind: KindOfRecord = "benchmark"
    session: str | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class ArmsPlan:
    """What an experiment will do, settled before its first sample."""

    root: Path
    id: str
    design: ArmsDesign
    orders: list[list[str]]
    request: ArmsRequest
    output: ArmsOutput
    common: list[str]
    checkpoint_sha256: str
    started: datetime
    git: GitState | None
    machine: Machine

    @property
    def folder(self) -> Path:
        """Where the experiment keeps its working files."""
        return self.root / "outputs" / "ladders" / self.id

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms in the order of the design."""
        return self.design.arms

    @property
    def command(self) -> list[str]:
        """The command line to record, without private paths."""
        return strip_private(list(self.output.command), self.root)

    @property
    def total(self) -> int:
        """Number of samples."""
        return len(self.arms) * len(self.orders)


def settle(root: Path, design: ArmsDesign, request: ArmsRequest, output: ArmsOutput) -> ArmsPlan:
    """Check the request, write the annotations of the subset, and settle everything before the first sample."""
    _check_request(request)
    experiment = new_id(output.kind)
    annotation = root / "outputs" / "ladders" / experiment / f"{request.split}.json"
    subset_annotations(request.data, request.split, request.images, annotation)
    return ArmsPlan(
        root=root,
        id=experiment,
        design=design,
        orders=random_orders([arm.name for arm in design.arms], request.rounds, request.seed),
        request=request,
        output=output,
        common=_common_overrides(root, request, annotation),
        checkpoint_sha256=file_sha256(request.checkpoint) if request.checkpoint else "",
        started=datetime.now(UTC),
        git=public_git(root),
        machine=machine(),
    )


def _common_overrides(root: Path, request: ArmsRequest, annotation: Path) -> list[str]:
    height, width = request.size
    weights = [f"checkpoint={hydra_value(relative_to_root(request.checkpoint, root))}"] if request.checkpoint else []
    place = (root, request.data, request.split, annotation)
    if request.phase == "train":
        epochs = training_overrides(*place, request.passes)
    else:
        epochs = [*data_overrides(*place), f"passes={request.passes}"]
    return [*epochs, f"image_size=[{height},{width}]", *weights, *request.overrides]


def _check_request(request: ArmsRequest) -> None:
    if not 0 < request.foreign_limit <= 1:
        raise LadderError(f"foreign_limit is {request.foreign_limit}; take a share above 0 and up to 1.")
    if request.rounds < 1:
        raise LadderError(f"rounds is {request.rounds}; take at least 1, and 6 for intervals.")
    if request.passes < 2:
        raise LadderError(
            f"passes is {request.passes}; take at least 2: epoch 0 is cold, only the later ones are warm."
        )
    weights = request.checkpoint
    if weights is not None and not weights.is_file():
        near = difflib.get_close_matches(weights.name, [item.name for item in weights.parent.glob("*")], n=1)
        hint = f"; the nearest file there is {near[0]}" if near else ""
        raise LadderError(f"The checkpoint {weights} does not exist{hint}.")
