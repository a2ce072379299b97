"""Two revisions, two configurations, or one against itself, measured in turn.

What makes the verdict right: fresh processes in balanced random order, everything but the treatment refused by name,
foreign work noticed, the number of rounds declared beforehand, accuracy beside speed. See `verdict` and `simulation`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.comparison_plan import (
    CompareError,
    CompareRequest,
    check_protocol,
    make_plan,
    settle_rounds,
    with_configurations,
    with_words,
)
from agent_tools.measure.comparison_record import comparison_record
from agent_tools.measure.experiment import Experiment, State
from agent_tools.measure.experiment_folder import TREES, Plan, held, read_samples, save_plan
from agent_tools.measure.resumption import reopened
from agent_tools.measure.sides import check_kinds, parse_side, places
from agent_tools.measure.target_runners import make_runner
from agent_tools.measure.targets import TargetRunner
from agent_tools.measure.trainer import Progress, said_by, silent
from agent_tools.measure.verdict import settled_outcome
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore, new_id


def compare(
    root: Path,
    request: CompareRequest,
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: Callable[[list[str]], None] | None = None,
    store: bool = True,
) -> RunRecord:
    """Measure two sides and store the record with its verdict.

    Args:
        root: the repository.
        request: sides, target and protocol; the same text on both sides is an A/A control.
        progress: called after each sample with the estimated time left.
        cancel: once set, the running sample is ended and TrainerCancelled is raised; nothing measured is lost.
        resume_with: told, before the first sample, the words of the command that goes on after an interruption.
        store: whether the record is written.

    Raises:
        CompareError: a protocol that can give no verdict.
        NotComparable: the sides differ in more than the treatment, or would run other code; the field is named.
        SampleFailed: a side does not run.
    """
    check_protocol(request)
    root, say = Path(root).resolve(), progress or silent
    sides = [parse_side(request.a), parse_side(request.b)]
    if check_kinds(*sides) == "record":
        raise CompareError("Stored records are put beside each other by compare_records; they cannot be measured.")
    experiment_id = new_id("comparison")
    with (
        measuring(f"compare {request.a} against {request.b}", said_by(say), cancel),
        held(root, experiment_id) as folder,
    ):
        runner = make_runner(request.target, folder)
        plan = make_plan(root, experiment_id, request, sides, runner, folder)
        with places(root, plan.sides, plan.snapshots, folder / TREES, said_by(say)) as found:
            plan, ready = with_configurations(root, plan, runner, found)
            save_plan(root, plan)
            return _finish(Experiment(root, plan, runner, ready, folder, say, cancel), resume_with, store)


def resume(
    root: Path,
    experiment_id: str,
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: Callable[[list[str]], None] | None = None,
) -> RunRecord:
    """Go on with a comparison that was interrupted, and store its record. See `compare`.

    Raises:
        CompareError: it is complete already, or this is another machine than it began on.
        ExperimentError: there is no such comparison.
    """
    root, say = Path(root).resolve(), progress or silent
    with (
        reopened(root, experiment_id, "comparison", say, cancel) as (plan, runner, folder),
        places(root, plan.sides, plan.snapshots, folder / TREES, said_by(say)) as ready,
    ):
        experiment = Experiment(root, plan, runner, with_words(plan, ready), folder, say, cancel)
        experiment.state = State(samples=read_samples(folder))
        return _finish(experiment, resume_with, store=True)


def _finish(experiment: Experiment, resume_with: Callable[[list[str]], None] | None, store: bool) -> RunRecord:
    root = experiment.root
    if resume_with is not None:
        resume_with(["bench", "compare", "--resume", experiment.plan.id])
    experiment.prepare()
    if not experiment.plan.protocol.rounds:
        settle_rounds(root, experiment)
    experiment.measure(lambda state: decided(experiment.plan, experiment.runner, state))
    record = comparison_record(root, experiment)
    if store:
        RecordStore(root).write(record, experiment.plan.session or None)
    return record


def decided(plan: Plan, runner: TargetRunner, state: State) -> bool:
    """Whether no further round is needed: outputs differ, or the first of two looks has decided."""
    protocol = plan.protocol
    complete = [number for number, sides in state.rounds().items() if len(sides) == len(plan.sides)]
    if not complete:
        return False
    outcome = settled_outcome(state.samples, runner.target, protocol)
    return outcome.look < protocol.looks or (runner.target.gate == "outputs" and outcome.outputs_equal is False)
