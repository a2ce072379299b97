"""Where jobs run: `[tool.agent-tools]` in the repository's pyproject.toml, or a variable of the environment.

[tool.agent-tools]
jobs = "slurm"               # or "local", the default; AGENT_TOOLS_JOBS wins

[tool.agent-tools.slurm]
partition = "gpu"
timeout_minutes = 240
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent_tools.jobs.folders import JobError, Runner

JOBS_VARIABLE = "AGENT_TOOLS_JOBS"


class SlurmSettings(BaseModel):
    """What an allocation is asked for; 0 and '' leave the choice to the cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str = ""
    # Shorter allocations are ended by submitit's own signal as soon as they start.
    timeout_minutes: int = Field(default=24 * 60, ge=10)
    cpus: int = Field(default=0, ge=0)
    memory_gib: float = Field(default=0, ge=0)
    exclusive: bool = True
    gpus: int = Field(default=0, ge=0)


class JobSettings(BaseModel):
    """The part of `[tool.agent-tools]` that is about jobs."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    jobs: Runner = "local"
    slurm: SlurmSettings = SlurmSettings()


def job_settings(root: Path) -> JobSettings:
    """Read the settings of a repository.

    Raises:
        JobError: the file cannot be read, or a value is unknown; the allowed ones are named.
    """
    table = _table(root / "pyproject.toml")
    source = "[tool.agent-tools] of pyproject.toml"
    if chosen := os.environ.get(JOBS_VARIABLE):
        table, source = {**table, "jobs": chosen}, JOBS_VARIABLE
    try:
        return JobSettings.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        where = source if key == "jobs" else "[tool.agent-tools] of pyproject.toml"
        raise JobError(
            f"{key} = {first['input']!r} in {where}: {first['msg'].lower()}; mend it and try again."
        ) from error


def _table(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("agent-tools", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise JobError(f"pyproject.toml cannot be read for [tool.agent-tools] ({error}); mend it first.") from error
    return table if isinstance(table, dict) else {}
