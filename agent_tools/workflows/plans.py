"""The plan ledger as a tool."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent_tools.handbook.plans import Plan, new_plan
from agent_tools.results import ToolResult
from agent_tools.workspace.root import Root


class PlanMade(ToolResult):
    """A plan that is now in the ledger."""

    path: str

    def summary(self) -> str:
        """Say where it is and what comes next."""
        return f"{self.path}; write what speaks for it below the header, then `agent-tools docs render`"


def plan_new(
    root: Root,
    name: Annotated[str, Field(description="a few words, such as 'faster decode'")],
    hypothesis: Annotated[str, Field(description="what would be better, and why")] = "",
    expected_gain: Annotated[str, Field(description="a guess, quoted as one")] = "",
    effort: Annotated[str, Field(description="small, medium or large, and what it takes")] = "",
    kind: Literal["optimisation", "issue"] = "optimisation",
    priority: Annotated[int, Field(ge=1, le=5, description="1 is next")] = 3,
    files: Annotated[str, Field(description="with commas: files that it touches")] = "",
    config_keys: Annotated[str, Field(description="with commas: configuration keys that it adds or uses")] = "",
    notes: Annotated[str, Field(description="Markdown below the header")] = "",
) -> PlanMade:
    """Write a plan into the ledger: an idea before it is built, or a known issue.

    The state page and the options of handovers come from the ledger.

    Raises:
        PlanError: the ledger has a plan of that name.
    """
    plan = Plan(
        name=name,
        kind=kind,
        status="planned",
        hypothesis=hypothesis,
        expected_gain=expected_gain,
        effort=effort,
        priority=priority,
        files=_listed(files),
        config_keys=_listed(config_keys),
    )
    return PlanMade(path=root.relative(new_plan(root.path, plan, notes)))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
