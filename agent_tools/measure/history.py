"""Several commits measured in one interleaved run, and the change points between them.

Figures of different sessions cannot be compared on a noisy machine, so the line of commits is measured again as one
experiment: in every round each commit once, in random order.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.comparison_plan import CompareError, CompareRequest, drawn_seed, experiment_plan
from agent_tools.measure.comparison_record import experiment_record, measured_protocol, recorded_target
from agent_tools.measure.experiment import Experiment, SampleFailed, State
from agent_tools.measure.experiment_folder import TREES, Plan, held, read_samples, save_plan
from agent_tools.measure.orders import reversed_pairs
from agent_tools.measure.resumption import reopened
from agent_tools.measure.sides import SideRequest, make_sides, places
from agent_tools.measure.statistics import (
    PAIRS_FOR_A_VERDICT,
    RatioEstimate,
    benjamini_hochberg,
    median,
    paired_ratio,
    sign_interval,
    signed_rank_p,
)
from agent_tools.measure.target_runners import make_runner
from agent_tools.measure.targets import TargetRunner
from agent_tools.measure.trainer import Progress, said_by, silent
from agent_tools.measure.verdict import ALIKE, log_ratio_of
from agent_tools.measure.worktrees import commit_times, first_parents
from agent_tools.records.compared import History, HistoryPoint, Measurement, PairedProtocol, Target
from agent_tools.records.fingerprints import canonical_hash, strip_private
from agent_tools.records.importers import public_git
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore, new_id

MOST_COMMITS = 20
SIGNIFICANT = 0.05


def measure_history(
    root: Path,
    request: CompareRequest,
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: Callable[[list[str]], None] | None = None,
) -> RunRecord:
    """Measure `request.a` and every commit after it up to `request.b`, and store the record.

    Args:
        root: the repository.
        request: the first and the last revision, target and protocol.
        progress: called after each sample.
        cancel: once set, the running sample is ended; nothing measured is lost.
        resume_with: told the words that go on after an interruption.

    Raises:
        CompareError: too many commits, or too few rounds for a verdict on any step.
        RevisionError: the two are not on one line of history.
    """
    root, say = Path(root).resolve(), progress or silent
    commits = [(request.a, ""), *first_parents(root, request.a, request.b)]
    if len(commits) > MOST_COMMITS:
        raise CompareError(
            f"{request.a}..{request.b} has {len(commits)} commits; measure at most {MOST_COMMITS} in one run."
        )
    if request.target.gate == "outputs":
        raise CompareError("gate is outputs, but the commits of a history may compute what they like; leave it out.")
    fewest = rounds_for_steps(len(commits) - 1)
    if request.rounds < fewest:
        raise CompareError(
            f"rounds is {request.rounds}; {len(commits) - 1} steps need at least {fewest}, so that a single change "
            "point can stand out from all of them."
        )
    experiment_id = new_id("history")
    with measuring(f"history {request.a}..{request.b}", said_by(say), cancel), held(root, experiment_id) as folder:
        runner = make_runner(request.target, folder)
        plan = _plan(root, experiment_id, request, [commit for commit, _ in commits], runner, folder)
        save_plan(root, plan)
        return _run(root, plan, runner, folder, say, cancel, resume_with)


def rounds_for_steps(steps: int) -> int:
    """Return the fewest rounds at which one change among so many steps can pass the adjusted 5%.

    The smallest two-sided p of n pairs is 2 / 2^n, and the adjustment multiplies it by the number of steps.
    """
    return max(PAIRS_FOR_A_VERDICT, math.ceil(math.log2(steps / SIGNIFICANT)) + 1)


def resume_history(
    root: Path,
    experiment_id: str,
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: Callable[[list[str]], None] | None = None,
) -> RunRecord:
    """Go on with a history that was interrupted. See `measure_history`.

    Raises:
        ExperimentError: there is no such history.
        CompareError: it is complete already.
        NotComparable: it began on another machine.
    """
    root, say = Path(root).resolve(), progress or silent
    with reopened(root, experiment_id, "history", say, cancel) as (plan, runner, folder):
        return _run(root, plan, runner, folder, say, cancel, resume_with)


def _run(
    root: Path,
    plan: Plan,
    runner: TargetRunner,
    folder: Path,
    say: Progress,
    cancel: threading.Event | None,
    resume_with: Callable[[list[str]], None] | None,
) -> RunRecord:
    if resume_with is not None:
        resume_with(["bench", "history", "--resume", plan.id])
    failed: dict[str, str] = {}
    with places(root, plan.sides, plan.snapshots, folder / TREES, said_by(say)) as ready:
        experiment = Experiment(root, plan, runner, ready, folder, say, cancel, State(samples=read_samples(folder)))
        while True:
            try:
                experiment.prepare()
                break
            except SampleFailed as error:
                failed[error.side] = strip_private(str(error).splitlines()[0][:300], root)
                _leave_out(experiment, error.side)
        experiment.measure(lambda _: False)
    record = _record(root, experiment, failed)
    RecordStore(root).write(record, plan.session or None)
    return record


def _leave_out(experiment: Experiment, side: str) -> None:
    """Go on without a commit that does not run."""
    kept = [place for place in experiment.places if place.side.name != side]
    if len(kept) < 2:
        raise CompareError("Fewer than two of these commits run, so there is no history to measure; see the log.")
    experiment.places = kept
    order = [[name for name in round_ if name != side] for round_ in experiment.plan.order]
    protocol = experiment.plan.protocol.model_copy(update={"order": order})
    experiment.plan = experiment.plan.model_copy(update={"protocol": protocol})


def _plan(
    root: Path, experiment_id: str, request: CompareRequest, commits: Sequence[str], runner: TargetRunner, folder: Path
) -> Plan:
    requests, seed = [SideRequest("revision", commit) for commit in commits], request.seed or drawn_seed()
    sides, snapshots = make_sides(root, requests, [f"c{index}" for index in range(len(commits))], folder / TREES)
    sides = [side.model_copy(update={"name": side.commit[:9]}) for side in sides]
    names = [side.name for side in sides]
    return experiment_plan(
        root,
        experiment_id,
        request,
        runner,
        kind="history",
        name=request.name or f"{request.a}..{request.b}",
        sides=sides,
        snapshots=snapshots,
        words=[[] for _ in sides],
        seed=seed,
        order=reversed_pairs(names, request.rounds, seed),
        treatment="revisions",
        changes=[],
        files=[],
        git=public_git(root),
    )


# --- the record --------------------------------------------------------------------------------------------------


def _record(root: Path, experiment: Experiment, failed: dict[str, str]) -> RunRecord:
    plan, state, target = experiment.plan, experiment.state, recorded_target(root, experiment)
    protocol = measured_protocol(experiment)
    times = commit_times(root, [side.commit for side in plan.sides])
    points = [
        HistoryPoint(
            commit=side.commit,
            title=strip_private(times[side.commit][1], root),
            committed=times[side.commit][0],
            value=0.0,
            low=0.0,
            high=0.0,
            accuracy={},
            failed=failed.get(side.name, ""),
        )
        for side in plan.sides
    ]
    config = strip_private(state.answers[experiment.places[-1].side.name].config, root)
    history = History(
        name=plan.name,
        target=target,
        arms=plan.sides,
        protocol=protocol,
        samples=state.samples,
        points=history_points(points, state.samples, target, protocol),
    )
    return experiment_record(
        root,
        experiment,
        kind="history",
        title=f"{plan.name}, {target.name}",
        config=config,
        config_hash=canonical_hash(config),
        history=history,
    )


def history_points(
    commits: Sequence[HistoryPoint], samples: Sequence[Measurement], target: Target, protocol: PairedProtocol
) -> list[HistoryPoint]:
    """Return the points with their figures, computed from the samples; failed ones stay as they are.

    A step is a change point where its p, adjusted over all steps, is at most 5% and its interval neither holds 1 nor
    lies within the equivalence margin; or where an accuracy moved by more than the margin. Beside it each commit is
    held against the first one, so that many small steps cannot add up unseen.

    Args:
        commits: one point per commit, oldest first; only what names the commit is read.
        samples: every sample of the run; the side's name is the short commit.
        target: names the primary metric and the accuracy metrics.
        protocol: the equivalence margin.
    """
    rounds = _good_rounds(samples, [point.commit[:9] for point in commits if not point.failed])
    found: list[HistoryPoint] = []
    for point in commits:
        own = [round_[point.commit[:9]] for round_ in rounds] if not point.failed else []
        found.append(_with_values(point, own, target) if own else point)
    alive = [index for index, point in enumerate(found) if not point.failed and rounds]
    steps = list(itertools.pairwise(alive))
    logs = [_step_logs(rounds, commits[a].commit[:9], commits[b].commit[:9], target) for a, b in steps]
    adjusted = benjamini_hochberg([signed_rank_p(step) for step in logs])
    for (before, after), p in zip(steps, adjusted, strict=True):
        ratio = _ratio(rounds, commits[before].commit[:9], commits[after].commit[:9], target, protocol)
        found[after] = _with_step(found[before], found[after], ratio, p, target, protocol)
    for index in alive[1:]:
        ratio = _ratio(rounds, commits[alive[0]].commit[:9], commits[index].commit[:9], target, protocol)
        found[index] = _with_gate(found[alive[0]], found[index], ratio, target, protocol)
    return found


Rounds = list[dict[str, Measurement]]


def _good_rounds(samples: Sequence[Measurement], names: Sequence[str]) -> Rounds:
    rounds: dict[int, dict[str, Measurement]] = {}
    for sample in samples:
        if sample.phase == "measured":
            rounds.setdefault(sample.round, {})[sample.arm] = sample
    return [
        sides
        for _, sides in sorted(rounds.items())
        if set(names) <= set(sides) and not any(sides[name].tainted for name in names)
    ]


def _with_values(point: HistoryPoint, own: Sequence[Measurement], target: Target) -> HistoryPoint:
    values = [sample.metrics[target.primary] for sample in own]
    interval = sign_interval(values)
    return point.model_copy(
        update={
            "value": median(values),
            "low": interval.low if interval else min(values),
            "high": interval.high if interval else max(values),
            "accuracy": {name: median([sample.metrics[name] for sample in own]) for name in target.accuracy},
        }
    )


def _step_logs(rounds: Rounds, a: str, b: str, target: Target) -> list[float]:
    return [log_ratio_of(round_[a], round_[b], target) for round_ in rounds]


def _ratio(rounds: Rounds, a: str, b: str, target: Target, protocol: PairedProtocol) -> RatioEstimate:
    before = [round_[a].metrics[target.primary] for round_ in rounds]
    after = [round_[b].metrics[target.primary] for round_ in rounds]
    pair = (before, after) if target.better == "lower" else (after, before)
    return paired_ratio(*pair, confidence=1 - protocol.alpha)


def _with_step(
    before: HistoryPoint, point: HistoryPoint, ratio: RatioEstimate, p: float, target: Target, protocol: PairedProtocol
) -> HistoryPoint:
    change = _change_in_time(ratio, p, protocol) or _change_in_accuracy(before, point, target)
    return point.model_copy(
        update={
            "ratio": ratio.hodges_lehmann,
            "ratio_low": ratio.low,
            "ratio_high": ratio.high,
            "p_adjusted": p,
            "change": change,
        }
    )


def _with_gate(
    first: HistoryPoint, point: HistoryPoint, ratio: RatioEstimate, target: Target, protocol: PairedProtocol
) -> HistoryPoint:
    """Non-inferiority to the first commit: steps too small to be change points must not add up unseen."""
    lost = _change_in_accuracy(first, point, target) == "less accurate"
    is_kept = ratio.low >= 1 - protocol.equivalence and not ratio.descriptive
    is_lost = ratio.high < 1 - protocol.equivalence and not ratio.descriptive
    return point.model_copy(
        update={
            "to_first": ratio.hodges_lehmann,
            "to_first_low": ratio.low,
            "to_first_high": ratio.high,
            "gate": "fail" if lost or is_lost else "pass" if is_kept else "open",
        }
    )


def _change_in_time(ratio: RatioEstimate, p: float, protocol: PairedProtocol) -> str:
    inside = ratio.low > 1 - protocol.equivalence and ratio.high < 1 + protocol.equivalence
    if ratio.descriptive or p > SIGNIFICANT or inside:
        return ""
    return "faster" if ratio.low > 1 else "slower" if ratio.high < 1 else ""


def _change_in_accuracy(before: HistoryPoint, point: HistoryPoint, target: Target) -> str:
    moves = [point.accuracy[name] - before.accuracy[name] for name in target.accuracy if name in before.accuracy]
    # A move of exactly the margin counts as none, whatever the last bit of a difference says.
    margin = target.margin + ALIKE
    if any(move < -margin for move in moves):
        return "less accurate"
    return "more accurate" if any(move > margin for move in moves) else ""
