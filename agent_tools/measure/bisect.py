"""The first commit that is slower, or less accurate, than a good one: binary search by the verdicts of `compare`.

Every look at a commit is a whole comparison with its own record, so an interrupted search that is started again finds
those records and goes on.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.comparability import NotComparable
from agent_tools.measure.compare import compare
from agent_tools.measure.comparison_plan import CompareRequest, command_line
from agent_tools.measure.environments import RequirementsError
from agent_tools.measure.experiment import SampleFailed
from agent_tools.measure.statistics import MOST_ROUNDS
from agent_tools.measure.targets import asked_options
from agent_tools.measure.trainer import Progress, TrainerError, said_by, silent
from agent_tools.measure.worktrees import files_between, first_parents, resolve_commit, take_snapshot
from agent_tools.records.compared import Bisection, BisectionStep, MetricOutcome, PairedProtocol
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import environment, machine, strip_private
from agent_tools.records.importers import public_git
from agent_tools.records.repository import Repository
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore, new_id

RECORDS_SEARCHED = 500

Fault = Literal["slower", "incorrect"]
Standing = Literal["good", "bad", "unclear", "skipped"]


class BisectError(WorkbenchError):
    """A search that has nothing to find."""


@dataclass
class _Search:
    """One search. `low` is the last commit known to be good (-1: the good one), `high` the first known to be bad."""

    root: Path
    request: CompareRequest
    commits: list[tuple[str, str]]
    say: Progress
    cancel: threading.Event | None
    fault: Fault
    threshold: float
    low: int
    high: int
    steps: list[BisectionStep]
    passed_over: set[int]
    data: str = ""


def bisect(
    root: Path,
    request: CompareRequest,
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: Callable[[list[str]], None] | None = None,
) -> RunRecord:
    """Find the first bad commit between `request.a` (good) and `request.b` (bad) along first parents, and record it.

    A commit that does not run, or whose verdict stays unclear, is passed over; where such commits hide the first bad
    one, all that it could be are named.

    Args:
        root: the repository.
        request: the good and the bad revision, target and protocol of every comparison.
        progress: told about each comparison.
        cancel: ends the search; the comparisons that are complete stay recorded, and starting it again uses them.
        resume_with: told the words that start it again.

    Raises:
        BisectError: the bad commit is neither slower nor less accurate than the good one.
        RevisionError: the two are not on one line of history.
    """
    root, say = Path(root).resolve(), progress or silent
    commits = first_parents(root, request.a, request.b)
    started, command = datetime.now(UTC), strip_private(command_line("bisect", request), root)
    repository = Repository.open(root)
    good, bad = resolve_commit(repository, request.a), resolve_commit(repository, request.b)
    again = replace(request, a=good, b=bad)
    if resume_with is not None:
        resume_with(command_line("bisect", again)[1:])
    with measuring(f"bisect {request.a}..{request.b}", said_by(say), cancel):
        search = _begin(root, request, commits, say, cancel)
        while (middle := _middle(search)) is not None:
            _look(search, middle)
        confirmed = _confirm(search)
    record = _record(search, started, command, confirmed)
    RecordStore(root).write(record, request.session or None)
    return record


def _begin(
    root: Path, request: CompareRequest, commits: list[tuple[str, str]], say: Progress, cancel: threading.Event | None
) -> _Search:
    """Make sure that there is something to find, and which of the two faults it is."""
    last = len(commits) - 1
    search = _Search(root, request, commits, say, cancel, "slower", 1.0, -1, last, [], set())
    record = _measured(search, request.a, commits[last][0])
    comparison = record.comparison
    assert comparison is not None  # noqa: S101 - compare always leaves one
    outcome = comparison.outcome
    if outcome.verdict not in ("slower", "incorrect"):
        raise BisectError(
            f"{request.b} is not worse than {request.a}: the verdict is {outcome.verdict} ({outcome.reason}), in "
            f"record {record.id}. Take more rounds, or two commits further apart."
        )
    search.fault = "incorrect" if outcome.verdict == "incorrect" else "slower"
    # Half of the whole slowdown: a small one that came before must not be taken for the one that is looked for.
    search.threshold = math.sqrt(outcome.metrics[0].ratio)
    search.steps.append(_step(search, last, "bad", record))
    return search


def _middle(search: _Search) -> int | None:
    """The candidate nearest to the middle that was not passed over; None where none is left."""
    open_ = [index for index in range(search.low + 1, search.high) if index not in search.passed_over]
    centre = (search.low + search.high) / 2
    return min(open_, key=lambda index: (abs(index - centre), index)) if open_ else None


def _look(search: _Search, index: int) -> None:
    commit, title = search.commits[index]
    left = max(1, math.ceil(math.log2(max(2, search.high - search.low))))
    search.say(len(search.steps), len(search.steps) + left, f"looking at {commit[:9]} {title}")
    try:
        record, standing = _judged(search, commit)
    except (SampleFailed, RequirementsError, TrainerError) as error:
        if search.cancel is not None and search.cancel.is_set():
            raise
        reason = strip_private(str(error).splitlines()[0][:300], search.root)
        search.steps.append(BisectionStep(commit=commit, title=title, verdict="skipped", reason=reason))
        search.passed_over.add(index)
        return
    search.steps.append(_step(search, index, standing, record))
    if standing == "bad":
        search.high = index
    elif standing == "good":
        search.low = index
    else:
        search.passed_over.add(index)


def _judged(search: _Search, commit: str) -> tuple[RunRecord, Standing]:
    """Compare a commit with the good one; where that says nothing, once more with twice the rounds."""
    record = _measured(search, search.request.a, commit)
    standing = _standing(search, record)
    if standing == "unclear" and search.request.rounds:
        more = min(2 * search.request.rounds, MOST_ROUNDS)
        record = _measured(search, search.request.a, commit, rounds=more)
        standing = _standing(search, record)
    return record, standing


def _standing(search: _Search, record: RunRecord) -> Standing:
    comparison = record.comparison
    assert comparison is not None  # noqa: S101 - compare always leaves one
    outcome, ratio = comparison.outcome, comparison.outcome.metrics[0]
    if search.fault == "incorrect":
        return "bad" if outcome.verdict == "incorrect" else "unclear" if _is_open(outcome.verdict) else "good"
    is_slower = outcome.verdict == "slower" or (outcome.verdict == "incorrect" and ratio.high < 1)
    if is_slower and ratio.ratio <= search.threshold:
        return "bad"
    if outcome.verdict in ("faster", "equivalent") or (not _is_open(outcome.verdict) and _is_above(ratio, search)):
        return "good"
    return "unclear"


def _is_open(verdict: str) -> bool:
    return verdict in ("descriptive", "invalid")


def _is_above(ratio: MetricOutcome, search: _Search) -> bool:
    """Whether the whole interval says that this commit is nearer to the good one than to the bad one."""
    return ratio.low > search.threshold


def _step(search: _Search, index: int, standing: Standing, record: RunRecord) -> BisectionStep:
    commit, title = search.commits[index]
    comparison = record.comparison
    assert comparison is not None  # noqa: S101 - compare always leaves one
    ratio = comparison.outcome.metrics[0]
    return BisectionStep(
        commit=commit,
        title=strip_private(title, search.root),
        verdict=standing,
        reason=f"{comparison.outcome.verdict}: {comparison.outcome.reason}",
        ratio=ratio.ratio,
        low=ratio.low,
        high=ratio.high,
        record=record.id,
    )


def _confirm(search: _Search) -> str:
    """Return the id of the comparison that shows the first bad commit to be worse than the one before it, or ''."""
    if search.high - search.low != 1:
        return ""
    if search.low < 0:
        # The one before it is the good commit, which it was compared with already.
        return next(step.record for step in search.steps if step.commit == search.commits[search.high][0])
    before, culprit = search.commits[search.low][0], search.commits[search.high][0]
    search.say(len(search.steps), len(search.steps) + 1, f"confirming {culprit[:9]} against the commit before it")
    record = _measured(search, before, culprit)
    assert record.comparison is not None  # noqa: S101 - compare always leaves one
    return record.id if record.comparison.outcome.verdict in ("slower", "incorrect") else ""


def _measured(search: _Search, a: str, b: str, rounds: int | None = None) -> RunRecord:
    """The comparison of two commits: the one that an earlier search left, or a new one."""
    request = replace(search.request, a=a, b=b, rounds=search.request.rounds if rounds is None else rounds)
    record = _known(search, request) or compare(search.root, request, progress=search.say, cancel=search.cancel)
    if not _same_data(search, record):
        raise NotComparable(
            f"dataset.content_hash: record {record.id} saw other data than the comparisons before it; remove those of "
            "the old data from the session, or bring the old data back."
        )
    search.data = record.dataset.content_hash if record.dataset else ""
    return record


def _known(search: _Search, request: CompareRequest) -> RunRecord | None:
    trees = [take_snapshot(search.root, revision).tree for revision in (request.a, request.b)]
    options, key = asked_options(request.target, search.root), machine().key
    for record in RecordStore(search.root).list("comparison", RECORDS_SEARCHED).records:
        found = record.comparison
        if (
            found is not None
            and record.machine is not None
            and record.machine.key == key
            and [side.tree for side in found.arms] == trees
            and found.target.options == options
            and found.treatment == "revisions"
            and _asked_alike(found.protocol, request)
            and _same_data(search, record)
            and not _is_open(found.outcome.verdict)
        ):
            return record
    return None


def _asked_alike(protocol: PairedProtocol, request: CompareRequest) -> bool:
    names = ("rounds", "looks", "alpha", "equivalence", "foreign_limit")
    return all(getattr(protocol, name) == getattr(request, name) for name in names)


def _same_data(search: _Search, record: RunRecord) -> bool:
    """Whether a stored comparison saw the data of this search; the first one that is looked at says which that is."""
    return search.data in ("", record.dataset.content_hash if record.dataset else "")


def _record(search: _Search, started: datetime, command: list[str], confirmed: str) -> RunRecord:
    found = search.high - search.low == 1
    suspects = search.commits[search.low + 1 : search.high + 1]
    culprit, title = search.commits[search.high] if found else ("", "")
    before = search.commits[search.low][0] if search.low >= 0 else search.request.a
    files = files_between(search.root, before, culprit) if found else []
    return RunRecord(
        id=new_id("bisection"),
        kind="bisection",
        title=f"first commit that is {'slower' if search.fault == 'slower' else 'less accurate'}",
        started=started,
        ended=datetime.now(UTC),
        command=command,
        git=public_git(search.root),
        machine=machine(),
        environment=environment(),
        bisection=Bisection(
            good=take_snapshot(search.root, search.request.a).base,
            bad=search.commits[-1][0],
            commits=len(search.commits),
            steps=search.steps,
            culprit=culprit,
            culprit_title=strip_private(title, search.root),
            suspects=[commit for commit, _ in suspects],
            files=strip_private(files, search.root),
            confirmed=confirmed,
        ),
    )
