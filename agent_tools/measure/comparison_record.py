"""The record of a comparison that has all its samples."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent_tools.measure.experiment import Experiment
from agent_tools.measure.experiment_folder import Plan
from agent_tools.measure.targets import asked_options
from agent_tools.measure.verdict import settled_outcome
from agent_tools.records.compared import Comparison, PairedProtocol, Target
from agent_tools.records.fingerprints import strip_private
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore

CONTROLS_SEARCHED = 200


def comparison_record(root: Path, experiment: Experiment) -> RunRecord:
    """Make the record of an experiment that has all its samples."""
    plan, state, target = experiment.plan, experiment.state, experiment.runner.target
    protocol = measured_protocol(experiment)
    outcome = settled_outcome(state.samples, target, protocol, is_control=plan.treatment == "none")
    control = newest_control(root, plan, experiment)
    b = plan.sides[1]
    comparison = Comparison(
        name=plan.name,
        treatment=plan.treatment,
        changes=plan.changes,
        files=plan.files,
        target=recorded_target(root, experiment),
        arms=plan.sides,
        protocol=protocol,
        samples=state.samples,
        outcome=outcome.model_copy(update=control),
    )
    return experiment_record(
        root,
        experiment,
        kind="comparison",
        title=f"{plan.sides[0].title} against {b.title}, {target.name}",
        environment=plan.environment | _answered(experiment),
        config=b.config,
        config_hash=b.config_hash,
        comparison=comparison,
    )


def experiment_record(root: Path, experiment: Experiment, **own: Any) -> RunRecord:
    """Return the record of an experiment: what every kind has from its plan, and what is its own; nothing private."""
    plan = experiment.plan
    shared = {
        "id": plan.id,
        "started": plan.started,
        "ended": datetime.now(UTC),
        "command": plan.command,
        "git": plan.git,
        "machine": plan.machine,
        "environment": plan.environment,
        "overrides": plan.request.overrides,
        "dataset": experiment.state.dataset,
    }
    record = RunRecord(**(shared | own))
    return RunRecord.model_validate(strip_private(record.model_dump(mode="json"), root))


def measured_protocol(experiment: Experiment) -> PairedProtocol:
    """Return the protocol with the order that really ran and the rounds that did not count."""
    rounds, good = experiment.state.rounds(), experiment.good_rounds()
    changed = {"order": experiment.order(), "replacement_rounds": len(rounds) - len(good)}
    return experiment.plan.protocol.model_copy(update=changed)


def recorded_target(root: Path, experiment: Experiment) -> Target:
    """Return the target as a record keeps it: without private text, and with the options that run it again."""
    target = experiment.runner.target
    command = strip_private(target.command, root)
    return target.model_copy(update={"command": command, "options": asked_options(experiment.plan.request, root)})


def _answered(experiment: Experiment) -> dict[str, str]:
    """What the processes said of their settings, once where the sides agree, else as `A.name` and `B.name`."""
    a, b = (experiment.state.answers[side.name].environment for side in experiment.plan.sides)
    found = {}
    for name in sorted({*a, *b}):
        if a.get(name) == b.get(name):
            found[name] = a[name]
        else:
            found |= {f"A.{name}": a.get(name, "absent"), f"B.{name}": b.get(name, "absent")}
    return found


def newest_control(root: Path, plan: Plan, experiment: Experiment) -> dict[str, object]:
    """Return the fields of an outcome that name the newest A/A control of the same target on the same machine."""
    if plan.treatment == "none" or experiment.state.dataset is None:
        return {}
    target, data = experiment.runner.target, experiment.state.dataset.content_hash
    options = asked_options(plan.request, root)
    for record in RecordStore(root).list("comparison", CONTROLS_SEARCHED).records:
        found = record.comparison
        if found is None or found.treatment != "none" or record.machine is None:
            continue
        same_work = found.target.primary == target.primary and found.target.options == options
        same_work = same_work and record.dataset is not None and record.dataset.content_hash == data
        if same_work and record.machine.key == plan.machine.key and found.outcome.metrics:
            first = found.outcome.metrics[0]
            return {"control": record.id, "control_low": first.low, "control_high": first.high}
    return {}
