"""What is run for each sample, as a request, and what every target gives: one call, one answer.

The targets themselves: `trainer_target` (evaluation or training) and `command_target` (anything that prints a line).
"""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, ValidationError

from agent_tools.measure.arms_plan import PARITY_MARGIN
from agent_tools.measure.arms_samples import SAMPLE_SECONDS
from agent_tools.measure.data_subset import relative_to_root
from agent_tools.records.compared import Side, Target
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import strip_private
from agent_tools.records.frozen import Frozen
from agent_tools.records.schema import DatasetFingerprint

TargetName = Literal["evaluate", "train", "command"]

NO_DATA = "none"
"""Says that a command reads no data."""


class TargetError(WorkbenchError):
    """A target that cannot be run, or whose answer cannot be used."""


class TargetRequest(Frozen):
    """What the caller asked to be run, as plain values that a resumed comparison reads again."""

    name: TargetName = "evaluate"
    data: str = ""
    split: str = "val"
    images: int = 48
    size: int = 640
    passes: int = 3
    checkpoint: str = ""
    overrides: list[str] = Field(default_factory=list)
    command: list[str] = Field(default_factory=list)
    metric: str = ""
    better: Literal["", "lower", "higher"] = ""
    accuracy: list[str] = Field(default_factory=list)
    gate: Literal["margin", "outputs"] = "margin"
    margin: float = PARITY_MARGIN
    limit_seconds: float = SAMPLE_SECONDS


@dataclass(frozen=True)
class Place:
    """Where a side runs: its folder and its interpreter."""

    side: Side
    tree: Path
    python: str


@dataclass(frozen=True)
class Call:
    """One sample to take: a name for its files, in which folder they go, and the seed of its round."""

    place: Place
    folder: Path
    name: str
    seed: int
    cancel: threading.Event | None = None


@dataclass(frozen=True)
class Answer:
    """What one process said of itself."""

    metrics: dict[str, float]
    outputs: str
    dataset: DatasetFingerprint | None
    run_id: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    work: dict[str, str] = field(default_factory=dict)
    """What was worked on, which has to be the same for every sample."""


class TargetRunner(Protocol):
    """A target made ready."""

    target: Target
    paired_seeds: bool

    def resolved(self, place: Place) -> dict[str, Any]:
        """Return the configuration of a side, empty where the target has none; refuses settings that it cannot take."""
        ...

    def run(self, call: Call) -> Answer:
        """Take one sample."""
        ...


def asked_options(request: TargetRequest, root: Path) -> dict[str, Any]:
    """Return what a request asks for beside the defaults, with its paths relative to the root and no private text."""
    asked = request.model_dump(exclude_defaults=True)
    for name in ("data", "checkpoint"):
        if asked.get(name) and asked[name] != NO_DATA:
            asked[name] = relative_to_root(Path(asked[name]), root)
    cleaned: dict[str, Any] = strip_private(asked, root)
    return cleaned


def asked_again(options: dict[str, Any], root: Path) -> TargetRequest:
    """Return the request that `asked_options` wrote down, with paths that exist here.

    Raises:
        TargetError: options of another version, or data that is not where it was.
    """
    try:
        request = TargetRequest.model_validate(options)
    except ValidationError as error:
        raise TargetError(f"The recorded options {options} are of another version; measure with today's.") from error
    found = {}
    for name in ("data", "checkpoint"):
        path = getattr(request, name)
        if path and path != NO_DATA:
            found[name] = str((root / path).resolve())
            if not Path(found[name]).exists():
                raise TargetError(f"{name}: {path} is not there; bring it back, or accept another record.")
    return request.model_copy(update=found)


def split_words(text: str) -> list[str]:
    """Split a command line into words as a shell would, without running one.

    Raises:
        TargetError: a quote that is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise TargetError(f"The command {text!r} cannot be split into words ({error}); close its quotes.") from error
