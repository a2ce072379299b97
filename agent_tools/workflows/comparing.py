"""Comparisons and what rests on them as tools: compare, check, history, bisect, and the judge's own error rates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from agent_tools.handbook import render
from agent_tools.handbook.drafts import write_drafts
from agent_tools.measure import accepted
from agent_tools.measure.bisect import bisect
from agent_tools.measure.compare import compare
from agent_tools.measure.compare import resume as resume_comparison
from agent_tools.measure.comparison_plan import ALPHA, EQUIVALENCE, ROUNDS, CompareError, CompareRequest
from agent_tools.measure.controls import RealControls, measure_controls
from agent_tools.measure.history import measure_history, resume_history
from agent_tools.measure.record_pairs import compare_records
from agent_tools.measure.sides import parse_side
from agent_tools.measure.simulation import SCENARIOS, simulate
from agent_tools.measure.trainer import Progress
from agent_tools.measure.worktrees import WORKTREE
from agent_tools.records.compared import Simulation
from agent_tools.records.fingerprints import environment, machine
from agent_tools.records.importers import public_git
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore, new_id
from agent_tools.results import CommandOnly, Positional
from agent_tools.workflows.documents import Docs, Measured, Session, check_session, described, measured
from agent_tools.workflows.jobs import JobStarted
from agent_tools.workflows.measuring import (
    FOREIGN,
    SYNTHETIC,
    Checkpoint,
    Data,
    ForeignLimit,
    Images,
    LadderName,
    Size,
    start_ladder,
    synthetic_receipts,
)
from agent_tools.workflows.overrides import Overrides
from agent_tools.workflows.targets import (
    Accuracy,
    AskedTarget,
    Command,
    as_job,
    asks_target,
    check_sides,
)
from agent_tools.workflows.tuning import bench_tune
from agent_tools.workspace.root import Root

ResumeWith = Callable[[list[str]], None]

SideA = Annotated[str, Field(description="revision, worktree, 'KEY=VALUE ...', defaults, or record id"), Positional]
SideB = Annotated[str, Field(description="of the same kind; the verdict is on it; equal to a: noise"), Positional]
Rounds = Annotated[int, Field(ge=0, le=100, description="6 at least for a verdict; 0: a pilot chooses")]
DeclaredRounds = Annotated[int, Field(ge=6, le=100)]
Equivalence = Annotated[float, Field(gt=0, lt=1, description="margin of no change"), CommandOnly]
Resume = Annotated[str, Field(description="id of an interrupted one, nothing else")]
Seed = Annotated[int, Field(description="of the random order"), CommandOnly]

LADDER_ROUNDS = 6


@asks_target
def compare_now(
    root: Root,
    a: SideA = "",
    b: SideB = WORKTREE,
    *,
    target: AskedTarget,
    rounds: Rounds = ROUNDS,
    looks: Annotated[int, Field(ge=1, le=2, description="2: may stop half way"), CommandOnly] = 1,
    effect: Annotated[float, Field(ge=0, le=10, description="for rounds=0: the change to find, such as 0.05")] = 0.0,
    alpha: Annotated[float, Field(gt=0, lt=0.5), CommandOnly] = ALPHA,
    equivalence: Equivalence = EQUIVALENCE,
    foreign_limit: ForeignLimit = FOREIGN,
    aa: Annotated[bool, Field(description="A with itself: the machine's noise"), CommandOnly] = False,
    treatment: Annotated[str, Field(description="for two records: keys that may differ")] = "",
    seed: Seed = 0,
    resume: Resume = "",
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: ResumeWith | None = None,
) -> Measured:
    """Compare two revisions or configurations, interleaved in fresh processes, with a verdict on B and its accuracy.

    Use it for every claim that a change is faster. Anything that differs beside the treatment is refused by name. Not
    for many optimisations in turn: bench_run. Two record ids are put beside each other without a verdict.
    """
    check_session(root, session)
    if resume:
        record = resume_comparison(root.path, resume, progress=progress, cancel=cancel, resume_with=resume_with)
        return measured(root, record, docs)
    if not a:
        raise CompareError("a is missing; name the first side, such as HEAD~1, main or preset=naive.")
    sides = (a, a if aa else b)
    if all(parse_side(side).kind == "record" for side in sides):
        declared = [key for key in treatment.split(",") if key]
        record = compare_records(root.path, *sides, declared, session, equivalence=equivalence, alpha=alpha)
        return measured(root, record, docs)
    asked = target()
    check_sides(root, sides, is_command=asked.name == "command")
    request = CompareRequest(
        a=sides[0],
        b=sides[1],
        target=asked,
        rounds=rounds,
        looks=looks,
        alpha=alpha,
        equivalence=equivalence,
        effect=effect,
        foreign_limit=foreign_limit,
        seed=seed,
        session=session,
    )
    record = compare(root.path, request, progress=progress, cancel=cancel, resume_with=resume_with)
    return measured(root, record, docs)


bench_compare = as_job(compare_now, ("bench", "compare"), ("a", "b", "overrides"))


class CheckResult(Measured):
    """A revision held against the accepted performance."""

    passed: bool

    def is_failure(self) -> bool:
        """Slower, less accurate, or no verdict makes the command fail."""
        return not self.passed


def bench_check(
    root: Root,
    revision: Annotated[str, Field(description="what is checked")] = "HEAD",
    accept: Annotated[str, Field(description="id of a comparison or history that becomes the accepted one")] = "",
    tolerance: Annotated[float, Field(gt=0, lt=1, description="slowdown that is let through")] = 0.05,
    rounds: DeclaredRounds = ROUNDS,
    seed: Seed = 0,
    foreign_limit: ForeignLimit = FOREIGN,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: ResumeWith | None = None,
) -> CheckResult:
    """Measure the accepted commit and a revision in turn on this machine; pass where it is shown to be no worse.

    Shown: the interval of the ratio excludes a slowdown beyond the tolerance, and accuracy is kept.
    """
    if accept:
        found = accepted.accept(root.path, accept)
        return CheckResult(
            record_id=found.record,
            headline=f"accepted {found.commit[:9]} ({found.primary})",
            table=[],
            documents=[accepted.ACCEPTED],
            note="",
            passed=True,
        )
    check_session(root, session)
    if accepted.load_accepted(root.path).options.get("data") == SYNTHETIC:
        synthetic_receipts(root)
    request = accepted.check_request(root.path, revision, rounds, seed, foreign_limit, session)
    record = compare(root.path, request, progress=progress, cancel=cancel, resume_with=resume_with)
    assert record.comparison is not None  # noqa: S101 - compare always leaves one
    passed, why = accepted.is_no_worse(record.comparison, tolerance)
    shown = measured(root, record, docs)
    note = "\n".join(filter(None, [shown.note, why]))
    return CheckResult(**shown.model_dump(exclude={"note"}), note=note, passed=passed)


@asks_target
def bench_bisect(
    root: Root,
    good: Annotated[str, Field(description="a commit that is fast and right"), Positional],
    bad: Annotated[str, Field(description="a later one that is not"), Positional] = "HEAD",
    *,
    target: AskedTarget,
    rounds: DeclaredRounds = ROUNDS,
    equivalence: Equivalence = EQUIVALENCE,
    foreign_limit: ForeignLimit = FOREIGN,
    seed: Seed = 0,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: ResumeWith | None = None,
) -> Measured:
    """Find the first commit that is slower or less accurate: a binary search, each look a comparison with its record.

    Started again after an interruption, it uses the comparisons that are there.
    """
    check_session(root, session)
    request = CompareRequest(
        a=good,
        b=bad,
        target=target(),
        rounds=rounds,
        equivalence=equivalence,
        foreign_limit=foreign_limit,
        seed=seed,
        session=session,
    )
    record = bisect(root.path, request, progress=progress, cancel=cancel, resume_with=_with_docs(resume_with, docs))
    shown = measured(root, record, docs)
    if not docs or record.bisection is None:
        return shown
    looked = [step.record for step in record.bisection.steps] + [record.bisection.confirmed]
    return shown.model_copy(update={"documents": [*shown.documents, *_findings(root, looked)]})


def _with_docs(resume_with: ResumeWith | None, docs: bool) -> ResumeWith | None:
    return resume_with if resume_with is None or docs else lambda words: resume_with([*words, "--no-docs"])


def _findings(root: Root, records: list[str]) -> list[str]:
    """Render the findings of the comparisons that a search made on its way; return their paths."""
    store, written = RecordStore(root.path), []
    for record in dict.fromkeys(filter(None, records)):
        folder = store.find_folder(record)
        drafts = render.draft_documents(
            root.path, records_folder=folder / "records", output_folder=folder, record_ids=[record]
        )
        written += [root.relative(path) for path in write_drafts(drafts)]
    return written


@asks_target
def bench_history(
    root: Root,
    first: Annotated[str, Field(description="the oldest commit"), Positional] = "",
    last: Annotated[str, Field(description="the newest commit"), Positional] = "HEAD",
    *,
    target: AskedTarget,
    rounds: DeclaredRounds = ROUNDS,
    equivalence: Equivalence = EQUIVALENCE,
    foreign_limit: ForeignLimit = FOREIGN,
    seed: Seed = 0,
    resume: Resume = "",
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: ResumeWith | None = None,
) -> Measured:
    """Measure a line of commits in one interleaved run and mark where time or accuracy changed: table and plot."""
    check_session(root, session)
    if resume:
        record = resume_history(root.path, resume, progress=progress, cancel=cancel, resume_with=resume_with)
        return measured(root, record, docs)
    if not first:
        raise CompareError("first is missing; name the oldest commit, such as HEAD~5.")
    request = CompareRequest(
        a=first,
        b=last,
        target=target(),
        rounds=rounds,
        equivalence=equivalence,
        foreign_limit=foreign_limit,
        seed=seed,
        session=session,
    )
    record = measure_history(root.path, request, progress=progress, cancel=cancel, resume_with=resume_with)
    return measured(root, record, docs)


def bench_run(
    root: Root,
    ladder: LadderName = "main",
    data: Data = "",
    images: Images = 48,
    size: Size = 640,
    rounds: Annotated[int, Field(ge=0, le=100, description="0: 6 for a ladder, 12 for the others")] = 0,
    checkpoint: Checkpoint = "",
    seed: Seed = 0,
    session: Session = "",
    docs: Docs = True,
    overrides: Overrides = (),
    *,
    mode: Annotated[
        Literal["ladder", "tune", "history", "bisect", "check"],
        Field(
            description="tune: settings of this machine; history: first..last measured; bisect: what made last slower; "
            "check: last against accepted"
        ),
    ] = "ladder",
    first: Annotated[str, Field(description="revision")] = "",
    last: Annotated[str, Field(description="revision")] = "HEAD",
    command: Command = "",
    accuracy: Accuracy = "",
) -> JobStarted:
    """Start a benchmark as a job: a ladder of optimisations switched on in turn, or a mode over revisions.

    Each sample is a fresh process, with hmean beside its time. Use it for the ladder, a regression or a release. Not
    for one change (bench_compare) or the stages of one run (profile_run).
    """
    if mode == "ladder":
        return start_ladder(
            root, ladder, data, images, size, rounds or LADDER_ROUNDS, checkpoint, seed, session, docs, overrides
        )
    measured_on = {"data": data, "images": images, "size": size, "checkpoint": checkpoint, "overrides": overrides}
    kept = {"seed": seed, "session": session, "docs": docs}
    if mode == "tune":
        return _start_tune(root=root, rounds=rounds or LADDER_ROUNDS, **measured_on, **kept)
    common = {"rounds": rounds or ROUNDS, **kept}
    if mode == "check":
        if command or data or checkpoint or overrides:
            raise CompareError("mode is check: what is measured was accepted; leave command, data and overrides out.")
        return _start_check(root=root, revision=last, **common)
    options = common | measured_on | {"command": command, "accuracy": accuracy}
    if not first:
        raise CompareError(f"first is missing; {mode} needs the revision that it begins with, such as HEAD~8.")
    if mode == "history":
        return _start_history(root=root, first=first, last=last, **options)
    return _start_bisect(root=root, good=first, bad=last, **options)


_start_tune = as_job(bench_tune, ("bench", "tune"), ("overrides",))
_start_check = as_job(bench_check, ("bench", "check"), ("revision",))
_start_history = as_job(bench_history, ("bench", "history"), ("first", "last", "overrides"))
_start_bisect = as_job(bench_bisect, ("bench", "bisect"), ("good", "bad", "overrides"))


@asks_target
def bench_judge(
    root: Root,
    *,
    target: AskedTarget,
    experiments: Annotated[int, Field(ge=20, le=100_000, description="per kind of noise")] = 4000,
    rounds: Annotated[int, Field(ge=6, le=100, description="of each simulated comparison")] = ROUNDS,
    controls: Annotated[int, Field(ge=0, le=100, description="real comparisons of HEAD with itself")] = 0,
    foreign_limit: ForeignLimit = FOREIGN,
    seed: Annotated[int, Field(description="of the noise and of the orders")] = 0,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Judge the judge: how often it is wrong, and how often it finds a planted slowdown, in eight kinds of noise.

    With controls, also on this machine: HEAD is compared with itself again and again.
    """
    check_session(root, session)
    started, rows = datetime.now(UTC), []
    for index, scenario in enumerate(SCENARIOS):
        if progress is not None:
            progress(index, len(SCENARIOS), scenario.description)
        rows.append(simulate(scenario, rounds, experiments, seed))
    real = RealControls()
    if controls:
        asked = CompareRequest("HEAD", "HEAD", target(), rounds=rounds, foreign_limit=foreign_limit, seed=seed)
        real = measure_controls(root.path, asked, controls, progress=progress, cancel=cancel)
    options = [f"--experiments={experiments}", f"--rounds={rounds}", f"--seed={seed}", f"--controls={controls}"]
    record = RunRecord(
        id=new_id("simulation"),
        kind="simulation",
        title="the judge on simulated noise",
        started=started,
        ended=datetime.now(UTC),
        command=["agent-tools", "bench", "judge", *options, *(real.words if controls else [])],
        git=public_git(root.path),
        machine=machine(),
        environment=environment(),
        dataset=real.dataset,
        simulation=Simulation(
            seed=seed,
            alpha=ALPHA,
            rows=rows,
            target=real.target,
            rounds=rounds if controls else 0,
            controls=real.controls,
            settled=sum(control.verdict in ("equivalent", "inconclusive") for control in real.controls),
        ),
    )
    RecordStore(root.path).write(record, session or None)
    # The page belongs to the handbook, which is made of committed records.
    return described(root, record, (lambda: render.render_all(root.path)) if docs and session else list)
