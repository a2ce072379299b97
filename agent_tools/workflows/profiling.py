"""The limit of an epoch, what-if, and the times of transforms, as tools."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.arms_plan import ArmsRequest
from agent_tools.measure.command_target import last_json_object
from agent_tools.measure.data_subset import relative_to_root
from agent_tools.measure.guarded import Ends, RunCancelled, run_guarded
from agent_tools.measure.profile import ProfileError
from agent_tools.measure.trainer import Progress, TrainerCancelled, log_tail, run_environment, said_by, silent
from agent_tools.measure.whatif import measure_limit, measure_whatif
from agent_tools.records.fingerprints import environment, machine, strip_private
from agent_tools.records.importers import public_git
from agent_tools.records.schema import DatasetFingerprint, Fact, RunRecord
from agent_tools.records.stages import MILLISECONDS, SHARE
from agent_tools.records.store import RecordStore, new_id
from agent_tools.workflows.documents import Docs, Measured, Session, check_session, measured
from agent_tools.workflows.measuring import (
    FOREIGN,
    Checkpoint,
    Data,
    ForeignLimit,
    Images,
    Passes,
    Phase,
    Rounds,
    Size,
    Stages,
    synthetic_receipts,
)
from agent_tools.workflows.overrides import Overrides, check_overrides
from agent_tools.workflows.shared_parameters import asks
from agent_tools.workspace.root import Root

Split = Annotated[Literal["", "val", "test", "train"], Field(description="which images; '' = those of the phase")]
Seed = Annotated[int, Field(description="of the random order")]

TRANSFORMS_SCRIPT = "scripts/profile_transforms.py"
FACT_SECONDS = 30 * 60.0
"""A command that prints figures is ended after that."""


def arms_request(
    root: Root,
    data: Data = "",
    split: Split = "",
    images: Images = 48,
    size: Size = 640,
    rounds: Rounds = 6,
    passes: Passes = 3,
    checkpoint: Checkpoint = "",
    seed: Seed = 0,
    foreign_limit: ForeignLimit = FOREIGN,
    overrides: Overrides = (),
    *,
    phase: Literal["val", "train"] = "val",
) -> ArmsRequest:
    """Return the request of a tool's parameters, with paths resolved and the synthetic receipts where none are named.

    Raises:
        RootError, OverrideError: a path or an override that may not be used.
    """
    return ArmsRequest(
        data=root.resolve_data(data) if data else synthetic_receipts(root),
        split=split or phase,
        images=images,
        size=(size, size),
        rounds=rounds,
        passes=passes,
        checkpoint=root.resolve_data(checkpoint) if checkpoint else None,
        seed=seed,
        overrides=tuple(check_overrides(root, overrides)),
        phase=phase,
        foreign_limit=foreign_limit,
    )


AskedArms = Callable[..., ArmsRequest]
"""Makes the request when it is needed, for the phase that it is given."""

asks_arms = asks("arms", arms_request)
"""Gives a tool the parameters of `arms_request` in place of its own `arms`, which is called to get the request."""


@asks_arms
def profile_limit(
    root: Root,
    phase: Phase = "val",
    *,
    arms: AskedArms,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Measure an epoch beside the same epoch with real batches that cost nothing: the fraction of the limit."""
    check_session(root, session)
    record = measure_limit(root.path, arms(phase=phase), progress=progress, cancel=cancel, session=session or None)
    return measured(root, record, docs)


@asks_arms
def profile_whatif(
    root: Root,
    stages: Stages = "",
    phase: Phase = "val",
    *,
    arms: AskedArms,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Measure what an epoch would gain if one stage after the other cost nothing: the most that work on it brings."""
    check_session(root, session)
    record = measure_whatif(
        root.path,
        arms(phase=phase),
        [stage for stage in stages.split(",") if stage],
        progress=progress,
        cancel=cancel,
        session=session or None,
    )
    return measured(root, record, docs)


def profile_transforms(
    root: Root,
    data: Data = "",
    images: Annotated[int, Field(ge=1)] = 48,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Time every image transform alone, with and without keypoints; a share here is none of the epoch."""
    check_session(root, session)
    folder = root.resolve_data(data) if data else synthetic_receipts(root)
    where = relative_to_root(folder, root.path)
    words = ["python", TRANSFORMS_SCRIPT, "--json", f"--data={where}", f"--images={images}"]
    begun = datetime.now(UTC)
    line = printed_object(root, words, progress, cancel)
    figures = transform_figures(line)
    seconds = {
        name.removesuffix(MILLISECONDS): value / 1000 for name, value in figures.items() if name.endswith(MILLISECONDS)
    }
    record = _own_record(root, "profile", "times of the transforms", begun, words).model_copy(
        update={
            "dataset": _dataset(line, folder),
            "stages": seconds,
            "fact": Fact(name="transforms", command=strip_private(words, root.path), figures=figures),
        }
    )
    RecordStore(root.path).write(record, session or None)
    return measured(root, record, docs)


def _dataset(line: dict[str, Any], folder: Path) -> DatasetFingerprint | None:
    named = str(line.get("dataset") or "")
    images = int(line.get("images") or 0)
    return DatasetFingerprint(name=folder.name, root="", images=images, content_hash=named) if named else None


def transform_figures(line: dict[str, Any]) -> dict[str, float]:
    """Return the rows of the script's line as figures `PIPELINE NAME[, keypoints]: milliseconds` and `...: share`.

    Raises:
        ProfileError: the line has no rows, or one without a name, milliseconds or share.
    """
    figures: dict[str, float] = {}
    rows = line.get("rows")
    if not isinstance(rows, list) or not rows:
        raise ProfileError(f"{TRANSFORMS_SCRIPT} printed no rows; it printed {', '.join(line) or 'nothing'}.")
    for row in rows:
        try:
            pipeline = f"{row['pipeline']} " if row.get("pipeline") else ""
            name = f"{pipeline}{row['name']}" + (", keypoints" if row["with_keypoints"] else "")
            figures[name + MILLISECONDS], figures[name + SHARE] = float(row["milliseconds"]), float(row["share"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProfileError(
                f"{TRANSFORMS_SCRIPT} printed the row {row!r}; it needs name, with_keypoints, milliseconds and share."
            ) from error
    return figures


def bench_fact(
    root: Root,
    command: Annotated[str, Field(description="prints a JSON line of figures, such as 'python -m benchmarks.memory'")],
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Run a command that prints figures of this machine which are no comparison, and record them."""
    check_session(root, session)
    return measured(root, record_fact(root, command.split(), session, progress, cancel), docs)


def record_fact(
    root: Root, words: list[str], session: str, progress: Progress | None, cancel: threading.Event | None
) -> RunRecord:
    """Run a command and store the numbers of its last JSON line as a fact. See `printed_object`.

    Raises:
        ProfileError: the command failed, or printed no numbers.
        TrainerCancelled: `cancel` was set.
    """
    begun = datetime.now(UTC)
    line = printed_object(root, words, progress, cancel)
    figures = printed_figures(line)
    if not figures:
        skipped = f": {line['skipped']}" if line.get("skipped") else ""
        has = ", ".join(line) or "nothing"
        raise ProfileError(f"'{' '.join(words)}' printed no numbers{skipped}; its line has {has}.")
    public = strip_private(words, root.path)
    fact = Fact(name=fact_name(public), command=public, figures=figures, work=str(line.get("work") or ""))
    record = _own_record(root, "fact", f"fact: {fact.name}", begun, words)
    record = record.model_copy(update={"fact": fact, "dataset": _dataset(line, Path("named by the command"))})
    RecordStore(root.path).write(record, session or None)
    return record


def printed_figures(line: dict[str, Any], before: str = "") -> dict[str, float]:
    """Return the finite numbers of a printed object; those of an object inside of it as `OUTER.INNER`."""
    figures: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            figures |= printed_figures(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            figures[before + name] = float(value)
    return figures


def fact_name(words: list[str]) -> str:
    """Return the module or script that a command runs, else its first word."""
    plain = [word for word in words if not word.startswith("-")]
    return plain[1] if len(plain) > 1 and plain[0].startswith("python") else plain[0]


def _own_record(
    root: Root, kind: Literal["profile", "fact"], title: str, begun: datetime, words: list[str]
) -> RunRecord:
    return RunRecord(
        id=new_id(kind),
        kind=kind,
        title=title,
        started=begun,
        ended=datetime.now(UTC),
        command=strip_private(words, root.path),
        git=public_git(root.path),
        machine=machine(),
        environment=environment(),
    )


def printed_object(
    root: Root, words: list[str], progress: Progress | None, cancel: threading.Event | None
) -> dict[str, Any]:
    """Run a command of the repository with the machine to itself, and return the last JSON object that it printed.

    Raises:
        ProfileError: no such script, the command failed, or it printed none.
        TrainerCancelled: `cancel` was set.
    """
    script = root.path / words[1] if len(words) > 1 and words[1].endswith(".py") else None
    if script is not None and not script.is_file():
        raise ProfileError(f"There is no {words[1]} in this repository, so nothing was measured; check it out.")
    folder = root.path / "outputs" / "facts" / new_id("fact")
    log, output = folder / "log.txt", folder / "output.txt"
    python = [sys.executable] if words[0] in ("python", "python3") else words[:1]
    try:
        with measuring(" ".join(words)[:80], said_by(progress or silent), cancel):
            code = run_guarded(
                [*python, *words[1:]],
                folder=root.path,
                environment=run_environment(root.path),
                log=log,
                output=output,
                ends=Ends(cancel, FACT_SECONDS),
            )
    except RunCancelled as error:
        raise TrainerCancelled(str(error)) from error
    if code != 0:
        raise ProfileError(f"'{' '.join(words)}' ended with status {code}.\n{log_tail(log)}")
    line = last_json_object(output.read_text(encoding="utf-8", errors="replace"))
    if line is None:
        raise ProfileError(f"'{' '.join(words)}' printed no JSON object on a line of its own, so there is no figure.")
    return line
