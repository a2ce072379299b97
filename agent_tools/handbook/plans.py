"""The plan ledger: what is to be tried, what was tried and what came of it, one Markdown file per plan.

`docs/ai_handbook/07_planning/plans/NAME.md` starts with a YAML header between two `---` lines and goes on with free
notes. Targets and known issues are plans too. The state page reads the headers; nothing here reads the notes.
A plan is made by `agent-tools plan new` and changed in an editor.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent_tools.handbook.blocks import DocumentError, read_text
from agent_tools.records.store import write_atomically

PLANS_FOLDER = "docs/ai_handbook/07_planning/plans"

TargetFigure = Literal[
    "cold_seconds", "warm_seconds", "images_per_second", "ratio_to_first", "icdar_hmean", "cleval_hmean"
]


class PlanError(DocumentError):
    """A plan whose header cannot be read; names the file, the field and what is allowed."""


class Target(BaseModel):
    """A figure that the last rung of a ladder is meant to reach."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str = Field(description="name of the ladder, such as main")
    figure: TargetFigure
    value: float = Field(description="seconds, images per second, ratio or hmean (0..1)", allow_inf_nan=False)

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller figure is the better one."""
        return self.figure.endswith("_seconds")

    def reached_by(self, value: float) -> bool:
        """Whether a measured value is at least as good as the target."""
        return value <= self.value if self.lower_is_better else value >= self.value


class Plan(BaseModel):
    """A plan's header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    kind: Literal["optimisation", "target", "issue"] = "optimisation"
    status: Literal["planned", "active", "kept", "reverted", "dropped"]
    hypothesis: str = ""
    expected_gain: str = Field(default="", description="a guess, quoted as such and never as a measurement")
    effort: str = ""
    pros: tuple[str, ...] = ()
    cons: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    priority: int = Field(default=3, ge=1, le=5, description="1 is next")
    files: tuple[str, ...] = ()
    config_keys: tuple[str, ...] = ()
    records: tuple[str, ...] = Field(default=(), description="ids of the records that the verdict rests on")
    verdict: str = ""
    target: Target | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in {"kept", "reverted", "dropped"}


def read_header(path: Path) -> dict[str, Any]:
    """A plan file's header as plain data.

    Raises:
        PlanError: no header, or one that is not YAML with named fields.
    """
    lines = read_text(path).split("\n")
    if lines[0].rstrip() != "---" or "---" not in [line.rstrip() for line in lines[1:]]:
        raise PlanError(f"{path.name} has no header: its first line must be `---`, and `---` must end the header.")
    end = [line.rstrip() for line in lines].index("---", 1)
    try:
        header = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError as error:
        raise PlanError(f"{path.name}: the header is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(header, dict):
        raise PlanError(f"{path.name}: the header is {header!r}; it must hold `field: value` lines.")
    return header


def read_plan(path: Path) -> Plan:
    """Read one plan.

    Raises:
        PlanError: no header, or a field that is missing, unknown or of a wrong value.
    """
    try:
        return Plan.model_validate(read_header(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise PlanError(
            f"{path.name}: field '{field}': {first['msg']}. The fields are {', '.join(Plan.model_fields)}."
        ) from error


def new_plan(root: Path, plan: Plan, notes: str) -> Path:
    """Write a plan into a file of its own in the ledger and return the file.

    Args:
        root: the repository.
        plan: its header; the file is named after its name.
        notes: free Markdown below the header.

    Raises:
        PlanError: the ledger has a plan of that name, or the name has no letter to name a file after.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", plan.name.lower()).strip("-")[:60].strip("-")
    if not stem:
        raise PlanError(
            f"the plan's name {plan.name!r} has no letter or digit; give it a name such as 'faster decode'."
        )
    path = root / PLANS_FOLDER / f"{stem}.md"
    if path.exists():
        raise PlanError(
            f"{PLANS_FOLDER}/{path.name} is there already (status {read_plan(path).status}); edit it, or choose "
            "another name."
        )
    write_atomically(path, plan_text(plan, notes))
    return path


def plan_text(plan: Plan, notes: str) -> str:
    """A plan as its file holds it: what is set of the header, and the notes."""
    header = plan.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None)
    return f"---\n{text}---\n{notes.strip()}\n"
