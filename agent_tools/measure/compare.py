"""Two revisions, two configurations, or one against itself, measured in turn.

What makes the verdict right: fresh processes in balanced random order, everything but the treatment refused by name,
foreign work noticed, the number of rounds declared beforehand, accuracy beside speed. See `verdict` and `simulation`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.comparability import NotComparable
from agent_tools.measure.comparison_plan import (
    CompareError,
    CompareRequest,
    check_protocol,
    declared_data,
    make_plan,
    settle_rounds,
    with_configurations,
    with_words,
)
from agent_tools.measure.comparison_record import comparison_record
from agent_tools.measure.experiment import Experiment, State
from agent_tools.measure.experiment_folder import TREES, Plan, held, load_plan, read_samples, save_plan
from agent_tools.measure.sides import check_kinds, parse_side, places
from agent_tools.measure.target_runners import make_runner
from agent_tools.measure.targets import TargetRunner
from agent_tools.measure.trainer import Progress
from agent_tools.measure.verdict import DECIDED, judge, look_pairs
from agent_tools.records.fingerprints import environment, machine
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordNotFound, RecordStore, new_id


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
    root, say = Path(root).resolve(), progress or _silent
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
            (resume_with or _forget)(["bench", "compare", "--resume", plan.id])
            return _finish(root, Experiment(root, plan, runner, ready, folder, say, cancel), store)


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
    root, say = Path(root).resolve(), progress or _silent
    plan = load_plan(root, experiment_id)
    if plan.kind != "comparison":
        raise CompareError(f"Experiment {plan.id} is a {plan.kind}; go on with it by `agent-tools bench {plan.kind}`.")
    refuse_complete(root, plan)
    refuse_other_machine(plan)
    with measuring(f"compare, going on with {plan.id}", said_by(say), cancel), held(root, plan.id) as folder:
        plan = _counted_resumption(root, plan)
        runner = make_runner(plan.request, folder)
        refuse_other_conditions(plan, runner)
        with places(root, plan.sides, plan.snapshots, folder / TREES, said_by(say)) as ready:
            (resume_with or _forget)(["bench", "compare", "--resume", plan.id])
            experiment = Experiment(root, plan, runner, with_words(plan, ready), folder, say, cancel)
            experiment.state = State(samples=read_samples(folder))
            return _finish(root, experiment, store=True)


def _finish(root: Path, experiment: Experiment, store: bool) -> RunRecord:
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
    if runner.target.gate == "outputs":
        outcome = judge(state.samples, runner.target, protocol, look=protocol.looks)
        if outcome.outputs_equal is False:
            return True
    if protocol.looks == 1:
        return False
    first = judge(state.samples, runner.target, protocol, look=1)
    return first.pairs >= look_pairs(protocol, 1) and first.verdict in DECIDED


def refuse_complete(root: Path, plan: Plan) -> None:
    """Refuse to go on with an experiment that has its record.

    Raises:
        CompareError: it has.
    """
    try:
        RecordStore(root).find(plan.id)
    except RecordNotFound:
        return
    raise CompareError(f"Comparison {plan.id} is complete: `agent-tools record show {plan.id}` shows it.")


def refuse_other_conditions(plan: Plan, runner: TargetRunner) -> None:
    """Refuse to go on with other weights, data or settings than the first samples had.

    Raises:
        NotComparable: naming the field, with both values.
    """
    now = environment()
    found = [
        f"environment.{name}: {plan.environment.get(name, 'unset')!r} against {now.get(name, 'unset')!r}"
        for name in sorted({*plan.environment, *now})
        if plan.environment.get(name) != now.get(name)
    ]
    if plan.checkpoint_sha256 != runner.target.checkpoint_sha256:
        found.append(f"checkpoint: {plan.checkpoint_sha256[:12]} against {runner.target.checkpoint_sha256[:12]}")
    data = declared_data(plan.request)
    if plan.data is not None and data is not None and plan.data.content_hash != data.content_hash:
        found.append(f"dataset.content_hash: {plan.data.content_hash[:12]} against {data.content_hash[:12]}")
    if found:
        raise NotComparable(
            f"{'; '.join(found)}: experiment {plan.id} began otherwise; put it back, or start it again."
        )


def refuse_other_machine(plan: Plan) -> None:
    """Refuse to go on with an experiment that began on another machine.

    Raises:
        NotComparable: naming each field that differs.
    """
    now = machine()
    if now.key != plan.machine.key:
        fields = ("cpu_model", "cores", "memory_gib", "gpu_model", "gpu_count", "os", "libraries")
        differing = [
            f"machine.{name}: {getattr(plan.machine, name)!r} against {getattr(now, name)!r}"
            for name in fields
            if getattr(plan.machine, name) != getattr(now, name)
        ]
        raise NotComparable(f"{'; '.join(differing)}: comparison {plan.id} began on another machine; start it again.")


def _counted_resumption(root: Path, plan: Plan) -> Plan:
    protocol = plan.protocol.model_copy(update={"resumed": plan.protocol.resumed + 1})
    counted = plan.model_copy(update={"protocol": protocol})
    save_plan(root, counted)
    return counted


def said_by(progress: Progress) -> Callable[[str], None]:
    """Return a function that reports a message without figures."""
    return lambda message: progress(0, 0, message)


def _silent(done: int, total: int, message: str) -> None:
    """Report to nobody."""


def _forget(words: list[str]) -> None:
    """Nobody asked how to go on."""
