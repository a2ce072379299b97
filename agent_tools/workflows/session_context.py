"""The project's own `scripts/collect_context.sh`, run for whoever starts a session."""

from __future__ import annotations

import os
from dataclasses import dataclass

from agent_tools.jobs.processes import run_bounded
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

SCRIPT = "scripts/collect_context.sh"
SMALLEST_BUDGET = 600
"""Tokens; the script refuses less."""
SECONDS = 60.0
OUTPUT_CAP = 1 << 20


@dataclass(frozen=True)
class Context:
    """What the script printed, or why it printed nothing."""

    text: str
    problem: str


async def collect_context(root: Root, tokens: int) -> Context:
    """Run the script of the repository under a budget of tokens."""
    if not (root.path / SCRIPT).is_file():
        return Context("", f"there is no {SCRIPT}")
    finished = await run_bounded(
        ["sh", SCRIPT, "--budget", str(max(tokens, SMALLEST_BUDGET))],
        folder=root.path,
        environment=dict(os.environ),
        seconds=SECONDS,
        output_cap=OUTPUT_CAP,
    )
    if finished.timed_out:
        return Context("", f"{SCRIPT} did not end in {SECONDS:.0f} s")
    if finished.exit_code != 0:
        said = shown(finished.errors).strip().splitlines()
        return Context("", f"{SCRIPT} failed: {said[-1][:200] if said else f'exit code {finished.exit_code}'}")
    return Context(shown(finished.output).strip(), "")
