"""Training, its configuration and its feature check as tools."""

from __future__ import annotations

import threading
from typing import Annotated, Any

import yaml
from pydantic import Field

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.trainer import Progress, read_run, resolve_config, run_trainer
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.importers import public_git, record_from_run
from agent_tools.records.store import RecordStore
from agent_tools.results import Cursor, ToolResult, offset, page
from agent_tools.workflows.documents import Docs, Measured, Session, check_session, measured
from agent_tools.workflows.jobs import JobStarted, start_command
from agent_tools.workflows.overrides import Overrides, check_overrides
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

REPORTED_ONLY = frozenset({"epoch ratio"})
"""A ratio of times is noisy: the trainer reports it and stops no run for it, and neither does the check."""


class ConfigKeyError(WorkbenchError):
    """A key that the configuration does not have."""


def train_run(root: Root, overrides: Overrides = (), session: Session = "", docs: Docs = True) -> JobStarted:
    """Start a training as a job and return its id; the run becomes a record.

    Check the configuration with config_show first. For timing claims use bench_run.
    """
    words = check_overrides(root, overrides)
    check_session(root, session)
    options = {"session": session, "docs": docs}
    return start_command(root, "train", f"training {' '.join(overrides)}".strip(), ("train", "now"), options, words)


def train_now(
    root: Root,
    overrides: Overrides = (),
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Train in the foreground and record the run."""
    before = public_git(root.path)
    asked = check_overrides(root, overrides)
    with measuring("training", progress and (lambda said: progress(0, 0, said)), cancel):
        finished = run_trainer(root.path, "train", asked, progress=progress, cancel=cancel)
    record = record_from_run(finished.run, root.path, git=before)
    RecordStore(root.path).write(record, session or None)
    return measured(root, record, docs)


class ConfigText(ToolResult):
    """The configuration as YAML."""

    yaml: str
    lines: int = Field(description="lines of the whole selection")
    next_cursor: str

    def summary(self) -> str:
        """Say how much there is."""
        more = f"; go on with cursor={self.next_cursor}" if self.next_cursor else ""
        return f"{self.yaml.count(chr(10)) + 1} of {self.lines} lines{more}"


async def config_show(
    root: Root,
    overrides: Overrides = (),
    select: Annotated[str, Field(description="dotted key, such as datasets.val_dataset.config")] = "",
    limit: Annotated[int, Field(ge=1, le=1000, description="lines at most")] = 200,
    cursor: Cursor = "",
) -> ConfigText:
    """Show the training configuration as it resolves with these overrides; nothing runs.

    The first step when a feature seems inactive: it shows whether the setting arrives. select keeps it short.
    """
    data: Any = (await resolve_config(root.path, check_overrides(root, overrides))).data
    seen: list[str] = []
    for key in filter(None, select.split(".")):
        if not isinstance(data, dict) or key not in data:
            known = ", ".join(map(str, data)) if isinstance(data, dict) else "nothing below"
            raise ConfigKeyError(f"There is no '{key}' in {'.'.join(seen) or 'the configuration'}; it has: {known}.")
        data = data[key]
        seen.append(key)
    lines = yaml.safe_dump(data, sort_keys=False, allow_unicode=True).removesuffix("...\n").splitlines()
    kept, following = page(lines, offset(cursor), limit)
    return ConfigText(yaml="\n".join(kept), lines=len(lines), next_cursor=following)


class Features(ToolResult):
    """The feature check of one run."""

    run: str
    passed: bool = Field(description="no requested feature is inactive without a reason")
    features: list[dict[str, str]] = Field(description="criterion, verified_by, expected, seen, status, reason")

    def summary(self) -> str:
        """Say one line per criterion."""
        lines = [
            f"{row['status']}: {row['criterion']} (expected {row['expected']}, seen {row['seen']})"
            for row in self.features
        ]
        return "\n".join([f"run {self.run}: {'passed' if self.passed else 'FAILED'}", *lines])

    def is_failure(self) -> bool:
        """A failed row makes the command fail."""
        return not self.passed


def features_check(root: Root, run: Annotated[str, Field(description="run id; '' = the newest")] = "") -> Features:
    """Compare what a run's configuration asked for with what was active: precision, preload, caches, decoder.

    Use it after a training to see that each feature really worked. Not for speed: bench_run, profile_run.
    """
    found = read_run(root.path, run or None)
    rows = [{name: shown(str(value)) for name, value in row.model_dump().items()} for row in found.features]
    failed = [row for row in found.features if row.status == "fail" and row.feature not in REPORTED_ONLY]
    return Features(run=found.id, passed=not failed, features=rows)
