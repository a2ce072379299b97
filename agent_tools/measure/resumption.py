"""Going on with an interrupted experiment: an unfinished one, on its own machine, under the conditions it began in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from agent_tools.jobs.machine_lock import measuring
from agent_tools.measure.comparability import NotComparable, field_differences, machine_fields
from agent_tools.measure.comparison_plan import CompareError, declared_data
from agent_tools.measure.experiment_folder import VERBS, Plan, held, load_plan, save_plan
from agent_tools.measure.target_runners import make_runner
from agent_tools.measure.targets import TargetRunner
from agent_tools.measure.trainer import Progress, said_by
from agent_tools.records.fingerprints import environment, machine
from agent_tools.records.store import RecordNotFound, RecordStore


@contextmanager
def reopened(
    root: Path,
    experiment_id: str,
    kind: Literal["comparison", "history"],
    say: Progress,
    cancel: threading.Event | None,
) -> Iterator[tuple[Plan, TargetRunner, Path]]:
    """Have the machine and the folder of an interrupted experiment to oneself; yield its plan, target and folder.

    Raises:
        ExperimentError: there is no such experiment, or another process goes on with it.
        CompareError: it is of another kind, or complete already.
        NotComparable: it began on another machine, or with other weights, data or settings; the field is named.
    """
    plan = load_plan(root, experiment_id)
    if plan.kind != kind:
        command = f"agent-tools bench {VERBS[plan.kind]}"
        raise CompareError(f"Experiment {plan.id} is a {plan.kind}; go on with it by `{command}`.")
    _refuse_complete(root, plan)
    _refuse_other_machine(plan)
    with measuring(f"{VERBS[kind]}, going on with {plan.id}", said_by(say), cancel), held(root, plan.id) as folder:
        plan = _counted_resumption(root, plan)
        runner = make_runner(plan.request, folder)
        _refuse_other_conditions(plan, runner)
        yield plan, runner, folder


def _refuse_complete(root: Path, plan: Plan) -> None:
    """Refuse to go on with an experiment that has its record.

    Raises:
        CompareError: it has.
    """
    try:
        RecordStore(root).find(plan.id)
    except RecordNotFound:
        return
    raise CompareError(f"{plan.kind.capitalize()} {plan.id} is complete: `agent-tools record show {plan.id}` shows it.")


def _refuse_other_conditions(plan: Plan, runner: TargetRunner) -> None:
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


def _refuse_other_machine(plan: Plan) -> None:
    """Refuse to go on with an experiment that began on another machine.

    Raises:
        NotComparable: naming each field that differs.
    """
    now = machine()
    if now.key != plan.machine.key:
        differing = field_differences("machine", machine_fields(plan.machine), machine_fields(now))
        raise NotComparable(f"{'; '.join(differing)}: experiment {plan.id} began on another machine; start it again.")


def _counted_resumption(root: Path, plan: Plan) -> Plan:
    protocol = plan.protocol.model_copy(update={"resumed": plan.protocol.resumed + 1})
    counted = plan.model_copy(update={"protocol": protocol})
    save_plan(root, counted)
    return counted
