"""What an experiment of arms has measured: kept on disk after every sample, and made into a record at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from agent_tools.measure.arms_plan import ArmsPlan
from agent_tools.measure.ladder_summaries import contrasts, stage_shares, summaries
from agent_tools.measure.rungs import LadderError
from agent_tools.measure.statistics import PAIRS_FOR_A_VERDICT
from agent_tools.records.fingerprints import canonical_hash, environment, strip_private
from agent_tools.records.importers import public_git
from agent_tools.records.schema import (
    Arm,
    Benchmark,
    DatasetFingerprint,
    Protocol,
    RunFile,
    RunRecord,
    Sample,
    StageShare,
)
from agent_tools.records.store import write_atomically


@dataclass
class ArmsTaken:
    """Everything measured so far; written to disk after each sample."""

    samples: list[Sample] = field(default_factory=list)
    discarded: list[Sample] = field(default_factory=list)
    runs: dict[str, RunFile] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    dataset: DatasetFingerprint | None = None


def complete_rounds(plan: ArmsPlan, state: ArmsTaken) -> int:
    """How many rounds have a sample of every arm."""
    return len(state.samples) // len(plan.arms)


def save_partial(plan: ArmsPlan, state: ArmsTaken) -> None:
    """Keep everything that a record of the samples so far would need."""
    measured = [_measured_arm(arm, state.runs[arm.name]) if arm.name in state.runs else arm for arm in plan.arms]
    partial = {
        "id": plan.id,
        "ladder": plan.design.name,
        "design": plan.design.design,
        "phase": plan.request.phase,
        "command": plan.command,
        "started": plan.started.isoformat(),
        "overrides": strip_private(plan.common, plan.root),
        "git": plan.git and plan.git.model_dump(mode="json"),
        "machine": plan.machine.model_dump(mode="json"),
        "environment": _environment(plan, state),
        "dataset": _dataset(plan, state),
        "arms": [arm.model_dump() for arm in measured],
        "planned_order": plan.orders,
        "protocol": _protocol(plan, state.samples, complete_rounds(plan, state), tree_changed=False).model_dump(),
        "checkpoint_sha256": plan.checkpoint_sha256,
        "parity_margin": plan.request.margin,
        "samples": [sample.model_dump(mode="json") for sample in state.samples],
        "discarded": [sample.model_dump(mode="json") for sample in state.discarded],
    }
    write_atomically(plan.folder / "samples.json", json.dumps(partial, indent=1))


def partial_samples(root: Path, experiment: str) -> list[Sample]:
    """Read the samples that an experiment took, finished or not.

    Raises:
        LadderError: there is no such experiment under `outputs/ladders/`.
    """
    file = root / "outputs" / "ladders" / Path(experiment).name / "samples.json"
    if not file.is_file():
        raise LadderError(f"There is no ladder '{experiment}' under outputs/ladders/; its samples.json is missing.")
    return TypeAdapter(list[Sample]).validate_python(json.loads(file.read_text(encoding="utf-8"))["samples"])


def record_of(plan: ArmsPlan, state: ArmsTaken, rounds: int) -> RunRecord:
    """Make the record of the first `rounds` rounds."""
    config = strip_private(state.runs[plan.arms[-1].name].config, plan.root)
    changed = _tree_changes(plan)
    title = plan.output.title
    return RunRecord(
        id=plan.id,
        kind=plan.output.kind,
        title=title + (f", {rounds} of {len(plan.orders)} rounds" if rounds < len(plan.orders) else ""),
        started=plan.started,
        ended=datetime.now(UTC),
        command=plan.command,
        git=plan.git,
        machine=plan.machine,
        environment=_environment(plan, state) | changed,
        config=config,
        config_hash=canonical_hash(config),
        overrides=strip_private(plan.common, plan.root),
        dataset=DatasetFingerprint.model_validate(_dataset(plan, state)),
        benchmark=_benchmark(plan, state, rounds, tree_changed=bool(changed)),
    )


def _benchmark(plan: ArmsPlan, state: ArmsTaken, rounds: int, *, tree_changed: bool) -> Benchmark:
    samples = state.samples[: rounds * len(plan.arms)]
    arms = [_measured_arm(arm, state.runs[arm.name]) for arm in plan.arms]
    phase = plan.request.phase
    return Benchmark(
        name=plan.design.name,
        design=plan.design.design,
        phase=phase,
        arms=arms,
        protocol=_protocol(plan, samples, rounds, tree_changed=tree_changed),
        samples=samples,
        discarded=[sample for sample in state.discarded if sample.round < rounds],
        summaries=summaries(samples, arms, plan.request.margin, scored=phase == "val"),
        contrasts=contrasts(samples, plan.design.pairings),
        stage_shares=_shares(plan, samples),
        checkpoint_sha256=plan.checkpoint_sha256,
        parity_margin=plan.request.margin,
    )


def _shares(plan: ArmsPlan, samples: Sequence[Sample]) -> list[StageShare]:
    if plan.design.design != "whatif":
        return []
    return stage_shares(samples, plan.arms[0].name, [pairing.name for pairing in plan.design.pairings])


def _dataset(plan: ArmsPlan, state: ArmsTaken) -> Any:
    return state.dataset and strip_private(state.dataset.model_dump(mode="json"), plan.root)


def _environment(plan: ArmsPlan, state: ArmsTaken) -> dict[str, str]:
    """This process's settings, and those of the last arm that has run."""
    ran = [state.runs[arm.name].environment for arm in plan.arms if arm.name in state.runs]
    return environment() | strip_private(ran[-1] if ran else {}, plan.root)


def _measured_arm(arm: Arm, run: RunFile) -> Arm:
    seen = {"precision": run.precision.get("used", ""), "decoder": run.environment.get("decoder", "")}
    return arm.model_copy(update=seen)


def _tree_changes(plan: ArmsPlan) -> dict[str, str]:
    after = public_git(plan.root)
    if plan.git is None or after is None or (after.commit, after.dirty_hash) == (plan.git.commit, plan.git.dirty_hash):
        return {}
    # Later samples ran other code than the commit says: the figures stay, and can support no verdict.
    return {"tree": f"changed while measuring: now at {after.commit[:12]}, {', '.join(after.changed_files) or 'clean'}"}


def _protocol(plan: ArmsPlan, samples: Sequence[Sample], rounds: int, *, tree_changed: bool) -> Protocol:
    tainted = {sample.round for sample in samples if sample.tainted}
    return Protocol(
        rounds=rounds,
        warmup_epochs=1,
        order_seed=plan.request.seed,
        order=plan.orders[:rounds],
        descriptive=tree_changed or rounds - len(tainted) < PAIRS_FOR_A_VERDICT,
    )
