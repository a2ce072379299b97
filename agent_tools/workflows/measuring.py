"""Benchmarks and profiles as tools."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from agent_tools.measure import ladder as ladders
from agent_tools.measure import profile
from agent_tools.measure.data_subset import DataError
from agent_tools.measure.interference import FOREIGN_LIMIT
from agent_tools.measure.rungs import arms_design, benchmark_names
from agent_tools.measure.trainer import Progress, run_environment
from agent_tools.measure.whatif import check_stages
from agent_tools.results import ToolResult
from agent_tools.workflows.documents import Docs, Measured, Session, check_session, measured
from agent_tools.workflows.jobs import JobStarted, start_command
from agent_tools.workflows.overrides import Overrides, check_overrides
from agent_tools.workflows.records_text import stage_lines
from agent_tools.workspace.root import Root

SYNTHETIC = "outputs/synthetic"
RENDER_SECONDS = 300

Phase = Annotated[Literal["val", "train"], Field(description="epochs to profile")]
Data = Annotated[str, Field(description="folder with images/SPLIT, jsons/SPLIT.json; '' = synthetic receipts")]
LadderName = Annotated[str, Field(description=" | ".join(benchmark_names()))]
ForeignLimit = Annotated[float, Field(gt=0, le=1, description="CPU share others may use beside a sample")]
FOREIGN = FOREIGN_LIMIT
Rounds = Annotated[int, Field(ge=1, le=50, description="under 6 is descriptive")]
Images = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=32, le=4096, description="side of the input, pixels")]
Passes = Annotated[int, Field(ge=2, le=50, description="validation epochs per process")]
Checkpoint = Annotated[str, Field(description="weights that every rung loads")]
Stages = Annotated[str, Field(description="for whatif, with commas; '' = those that take time")]


def start_ladder(
    root: Root,
    ladder: LadderName = "main",
    data: Data = "",
    images: Images = 48,
    size: Size = 640,
    rounds: Rounds = 6,
    checkpoint: Checkpoint = "",
    seed: Annotated[int, Field(description="of the random order")] = 0,
    session: Session = "",
    docs: Docs = True,
    overrides: Overrides = (),
) -> JobStarted:
    """Start a ladder as a job. See `bench_ladder`."""
    arms_design(ladder)
    check_session(root, session)
    options = {
        "data": str(root.resolve_data(data)) if data else "",
        "checkpoint": str(root.resolve_data(checkpoint)) if checkpoint else "",
        "images": images,
        "size": size,
        "rounds": rounds,
        "seed": seed,
        "session": session,
        "docs": docs,
    }
    words = [ladder, *check_overrides(root, overrides)]
    title = f"{ladder}, {rounds} rounds, {images} images"
    return start_command(root, "bench", title, ("bench", "ladder"), options, words)


def bench_ladder(
    root: Root,
    ladder: LadderName = "main",
    data: Data = "",
    split: Annotated[Literal["val", "test", "train"], Field(description="which images")] = "val",
    images: Images = 48,
    size: Size = 640,
    rounds: Rounds = 6,
    passes: Passes = 3,
    checkpoint: Checkpoint = "",
    seed: Annotated[int, Field(description="of the random order")] = 0,
    foreign_limit: ForeignLimit = FOREIGN,
    session: Session = "",
    docs: Docs = True,
    overrides: Overrides = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Measure a ladder or another design in the foreground, record it, and render its documents."""
    record = ladders.run_ladder(
        root.path,
        ladder,
        data=root.resolve_data(data) if data else synthetic_receipts(root),
        split=split,
        images=images,
        size=size,
        rounds=rounds,
        passes=passes,
        checkpoint=root.resolve_data(checkpoint) if checkpoint else None,
        seed=seed,
        foreign_limit=foreign_limit,
        overrides=check_overrides(root, overrides),
        progress=progress,
        cancel=cancel,
        session=session or None,
    )
    return measured(root, record, docs)


def synthetic_receipts(root: Root, where: str = SYNTHETIC, train: int = 200, val: int = 40) -> Path:
    """Return a folder of rendered receipts inside the root, rendered first where it is missing.

    Raises:
        DataError: rendering failed; its last line is quoted.
    """
    folder = root.path / where
    if (folder / "jsons" / "val.json").is_file():
        return folder
    command = [sys.executable, "-m", "ocr.cli", "data", "synthesize", where, f"--train={train}", f"--val={val}"]
    environment = run_environment(root.path)
    done = subprocess.run(
        command, cwd=root.path, env=environment, capture_output=True, text=True, timeout=RENDER_SECONDS, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DataError(f"The synthetic receipts were not rendered: {said[-1] if said else 'no message'}")
    return folder


class StageTimes(ToolResult):
    """Where the seconds of an epoch go; or the job that is finding out."""

    record_id: str
    job: str = Field(description="set when a new run was started")
    stages: list[str] = Field(description="stage, seconds, share, ms per image")

    def summary(self) -> str:
        """Say the table, or how to go on."""
        if self.job:
            return f"started a profile: poll job_status with job={self.job}"
        return "\n".join([f"record {self.record_id}", *self.stages])


def profile_run(
    root: Root,
    overrides: Overrides = (),
    run: Annotated[str, Field(description="profile this run ('latest', an id) instead of a new one")] = "",
    phase: Phase = "val",
    session: Session = "",
    mode: Annotated[
        Literal["stages", "limit", "whatif", "transforms"],
        Field(description="limit: against batches at no cost; whatif: each stage at no cost"),
    ] = "stages",
    stages: Stages = "",
    data: Data = "",
    images: Images = 48,
    size: Size = 640,
    rounds: Rounds = 6,
    checkpoint: Checkpoint = "",
) -> StageTimes:
    """Show the stage times of an epoch (decode, transform, forward, ...): of an existing run at once, else by a job.

    Use it before optimising, to see which stage is worth it. It is no proof of a speed-up: bench_run.
    """
    check_session(root, session)
    if run:
        if mode != "stages":
            raise profile.ProfileError(f"mode is {mode}, which runs the trainer anew; leave run out, or mode.")
        return profile_stages(root, overrides, run, phase, session)
    asked = {
        "phase": phase,
        "session": session,
        "stages": ",".join(check_stages(stages.split(","), phase)) if stages else "",
        "data": str(root.resolve_data(data)) if data else "",
        "images": images,
        "size": size,
        "rounds": rounds,
        "checkpoint": str(root.resolve_data(checkpoint)) if checkpoint else "",
    }
    options = {name: asked[name] for name in OPTIONS_OF_MODE[mode]}
    words = () if mode == "transforms" else check_overrides(root, overrides)
    started = start_command(root, "profile", f"profile {mode}", ("profile", mode), options, words)
    return StageTimes(record_id="", job=started.job, stages=[])


MEASURED_ON = ("data", "images", "size", "rounds", "checkpoint")
OPTIONS_OF_MODE = {
    "stages": ("phase", "session"),
    "limit": ("phase", "session", *MEASURED_ON),
    "whatif": ("phase", "session", "stages", *MEASURED_ON),
    "transforms": ("session", "data", "images"),
}
"""Which parameters of `profile_run` each mode's own command has."""


def profile_stages(
    root: Root,
    overrides: Overrides = (),
    run: Annotated[str, Field(description="an existing run instead of a new one")] = "",
    phase: Phase = "val",
    session: Session = "",
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> StageTimes:
    """Show the stage times of an existing run, or of a new evaluation in the foreground."""
    asked = check_overrides(root, overrides)
    record = profile.profile_run(
        root.path, run or None, asked, phase=phase, progress=progress, cancel=cancel, session=session or None
    )
    return StageTimes(record_id=record.id, job="", stages=stage_lines(record))
