"""What a comparison will do, settled before its first sample: the request checked, sides, treatment and orders."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from agent_tools.measure.comparability import NotComparable, config_changes
from agent_tools.measure.experiment import Experiment
from agent_tools.measure.experiment_folder import TREES, VERBS, Plan, save_plan
from agent_tools.measure.interference import FOREIGN_LIMIT
from agent_tools.measure.orders import balanced_orders
from agent_tools.measure.sides import SideRequest, make_sides
from agent_tools.measure.statistics import MOST_ROUNDS, PAIRS_FOR_A_VERDICT, rounds_for, spread_bound
from agent_tools.measure.targets import NO_DATA, Place, TargetRequest, TargetRunner
from agent_tools.measure.verdict import PAIRS_FOR_TWO_LOOKS, log_ratios, look_alpha
from agent_tools.measure.worktrees import Snapshot, commits_between, files_between
from agent_tools.records.compared import PairedProtocol, Side
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import canonical_hash, environment, folder_sha256, machine, strip_private
from agent_tools.records.importers import public_git
from agent_tools.records.schema import DatasetFingerprint, GitState

ROUNDS = 12
"""Default rounds: the level of the exact test is 4.2% there, and one tainted or heavy pair decides nothing."""

PILOT_ROUNDS = 6
ALPHA = 0.05
EQUIVALENCE = 0.02


class CompareError(WorkbenchError):
    """A comparison that cannot be started or gone on with."""


@dataclass(frozen=True)
class CompareRequest:
    """What the caller asked for. `rounds` 0: a pilot chooses them so that a change of `effect` is found."""

    a: str
    b: str
    target: TargetRequest = field(default_factory=TargetRequest)
    rounds: int = ROUNDS
    looks: int = 1
    alpha: float = ALPHA
    equivalence: float = EQUIVALENCE
    effect: float = 0.0
    foreign_limit: float = FOREIGN_LIMIT
    seed: int = 0
    """Of the random order and of paired seeds; 0: one is drawn and kept in the record."""
    name: str = ""
    session: str = ""


# --- the protocol ----------------------------------------------------------------------------------------------------


def check_protocol(request: CompareRequest) -> None:
    """Refuse a protocol that can give no verdict.

    Raises:
        CompareError: naming the field, its value and what is allowed.
    """
    fewest = fewest_rounds(request.looks)
    if request.looks not in (1, 2):
        raise CompareError(f"looks is {request.looks}; take 1, or 2 with half of the error rate at each.")
    if request.rounds < 0 or request.rounds > MOST_ROUNDS:
        raise CompareError(f"rounds is {request.rounds}; take {fewest} to {MOST_ROUNDS}, or 0 to let a pilot choose.")
    if request.looks == 2 and 0 < request.rounds < fewest:
        raise CompareError(f"rounds is {request.rounds}; two looks need at least {fewest}, {PAIRS_FOR_TWO_LOOKS} each.")
    if not 0 < request.alpha < 0.5 or not 0 < request.equivalence < 1:
        raise CompareError(
            f"alpha is {request.alpha} and equivalence {request.equivalence}; take alpha above 0 and under 0.5 (usual: "
            f"{ALPHA}), and an equivalence margin above 0 and under 1 (usual: {EQUIVALENCE})."
        )
    pairs = look_pairs_of(request)
    if pairs and 2 / 2**pairs > request.alpha / request.looks:
        raise CompareError(
            f"alpha is {request.alpha} with {pairs} pairs at a look, but the smallest p of so few is "
            f"{2 / 2**pairs:.3g}; take more rounds or a larger alpha."
        )
    if not 0 < request.foreign_limit <= 1:
        raise CompareError(f"foreign_limit is {request.foreign_limit}; take a share above 0 and up to 1.")
    if not request.rounds and request.effect <= request.equivalence:
        raise CompareError(
            f"rounds is 0, so a pilot chooses them for the effect to be found, but effect is {request.effect}; give "
            f"--effect above the equivalence margin of {request.equivalence}, such as 0.05 for 5%."
        )


def look_pairs_of(request: CompareRequest) -> int:
    """Return the pairs of the first look, or 0 where too few rounds for a verdict, or none yet, were declared."""
    return request.rounds // request.looks if request.rounds >= fewest_rounds(request.looks) else 0


def drawn_seed() -> int:
    """Return a random seed that is not 0, to be kept in the plan."""
    return secrets.randbelow(2**31 - 1) + 1


def fewest_rounds(looks: int) -> int:
    """Return the smallest number of rounds that can support a verdict."""
    return PAIRS_FOR_A_VERDICT if looks == 1 else 2 * PAIRS_FOR_TWO_LOOKS


def _orders(names: Sequence[str], rounds: int, looks: int, seed: int) -> list[list[str]]:
    """Balanced within each look, so that a decision at the first one is as fair as at the second."""
    half = rounds // 2 if looks == 2 else 0
    return [*balanced_orders(names, half, seed), *balanced_orders(names, rounds - half, seed + 1)]


def settle_rounds(root: Path, experiment: Experiment) -> None:
    """Declare the rounds from a pilot's spread. Its ratio is not looked at, so the choice cannot favour a verdict."""
    plan = experiment.plan
    pilot_orders = _orders(["A", "B"], PILOT_ROUNDS, 1, plan.seed + 2)
    experiment.plan = plan.model_copy(update={"protocol": plan.protocol.model_copy(update={"order": pilot_orders})})
    samples = experiment.pilot(PILOT_ROUNDS)
    logs = log_ratios([sample.model_copy(update={"phase": "measured"}) for sample in samples], experiment.runner.target)
    protocol = plan.protocol
    fewest = fewest_rounds(protocol.looks)
    rounds = rounds_for(spread_bound(logs), protocol.planned_effect, look_alpha(protocol), protocol.equivalence, fewest)
    settled = protocol.model_copy(
        update={
            "rounds": rounds,
            "pilot_rounds": PILOT_ROUNDS,
            "order": _orders(["A", "B"], rounds, protocol.looks, plan.seed),
        }
    )
    experiment.plan = plan.model_copy(update={"protocol": settled, "replacements": _replacements(rounds)})
    save_plan(root, experiment.plan)
    done = len(experiment.state.samples)
    said = f"the pilot asks for {rounds} rounds"
    if rounds == MOST_ROUNDS:
        said += f", the most there are: a change of {protocol.planned_effect:g} may stay unseen"
    experiment.progress(done, experiment.total(), said)


def _replacements(rounds: int) -> int:
    return max(3, rounds // 2)


# --- the plan --------------------------------------------------------------------------------------------------------


def make_plan(
    root: Path,
    experiment_id: str,
    request: CompareRequest,
    requests: Sequence[SideRequest],
    runner: TargetRunner,
    folder: Path,
) -> Plan:
    """Settle everything about a comparison but its configurations, which need the sides checked out.

    Raises:
        RevisionError: no such revision.
    """
    sides, snapshots = make_sides(root, requests, ["A", "B"], folder / TREES)
    seed = request.seed or drawn_seed()
    control = requests[0] == requests[1] or (requests[0].kind == "revision" and sides[0].tree == sides[1].tree)
    revisions = requests[0].kind == "revision" and not control
    treatment = "none" if control else "revisions" if revisions else "configurations"
    return experiment_plan(
        root,
        experiment_id,
        request,
        runner,
        kind="comparison",
        name=request.name or f"{sides[0].title} against {sides[1].title}",
        sides=sides,
        snapshots=snapshots,
        words=[one.words for one in requests],
        seed=seed,
        order=_orders(["A", "B"], request.rounds, request.looks, seed),
        treatment=treatment,
        changes=_revision_changes(root, snapshots, sides) if revisions else [],
        files=strip_private(files_between(root, snapshots[0].commit, snapshots[1].commit), root) if revisions else [],
        git=_measured_tree(root, sides[1], requests[1]),
    )


def experiment_plan(
    root: Path,
    experiment_id: str,
    request: CompareRequest,
    runner: TargetRunner,
    *,
    kind: Literal["comparison", "history"],
    order: list[list[str]],
    seed: int,
    **own: Any,
) -> Plan:
    """Return the plan of an experiment: what every kind has from its request, and what is its own."""
    return Plan(
        id=experiment_id,
        kind=kind,
        command=strip_private(command_line(VERBS[kind], request), root),
        started=datetime.now(UTC),
        request=request.target,
        protocol=PairedProtocol(
            rounds=request.rounds,
            looks=request.looks,
            alpha=request.alpha,
            equivalence=request.equivalence,
            order_seed=seed,
            order=order,
            warmup_samples=1,
            planned_effect=request.effect,
            foreign_limit=request.foreign_limit,
            paired_seeds=runner.paired_seeds,
        ),
        seed=seed,
        replacements=_replacements(request.rounds),
        data=declared_data(request.target),
        machine=machine(),
        environment=environment(),
        session=request.session,
        checkpoint_sha256=runner.target.checkpoint_sha256,
        **own,
    )


def _revision_changes(root: Path, snapshots: Sequence[Snapshot], sides: Sequence[Side]) -> list[str]:
    a, b = snapshots
    gained = [f"commit {line}" for line in commits_between(root, a.base, b.base)]
    lost = [f"without commit {line}" for line in commits_between(root, b.base, a.base)]
    dirty = [f"uncommitted changes in {side.name}" for side in sides if side.dirty]
    pins = [f"requirements: {sides[0].environment} -> {sides[1].environment}"]
    return [*gained, *lost, *dirty, *(pins if sides[0].environment != sides[1].environment else [])]


def _measured_tree(root: Path, side: Side, request: SideRequest) -> GitState | None:
    state = public_git(root)
    if state is None or request.kind == "configuration" or side.dirty:
        return state
    return GitState(commit=side.commit, branch=state.branch, dirty=False, dirty_hash="")


def declared_data(target: TargetRequest) -> DatasetFingerprint | None:
    """Return the data that a command was said to read: a file or folder, hashed here, or none at all."""
    if target.name != "command" or not target.data:
        return None
    if target.data == NO_DATA:
        return DatasetFingerprint(name="no data", root="", images=0, content_hash=canonical_hash("no data"))
    path = Path(target.data)
    files, digest = folder_sha256(path)
    return DatasetFingerprint(name=path.name, root=path.name, images=files, content_hash=digest)


def with_configurations(
    root: Path, plan: Plan, runner: TargetRunner, ready: Sequence[Place]
) -> tuple[Plan, list[Place]]:
    """Resolve what each side is configured to do; for configurations, that difference is the treatment."""
    ready = with_words(plan, ready)
    configs = [strip_private(runner.resolved(place), root) for place in ready]
    sides = [
        side.model_copy(update={"config": config, "config_hash": canonical_hash(config)})
        for side, config in zip(plan.sides, configs, strict=True)
    ]
    changes = [f"config {change}" for change in config_changes(*configs)]
    if plan.treatment == "none" and changes:
        raise NotComparable(f"{changes[0]}: an A/A control has no treatment, but the sides are configured differently.")
    if plan.treatment == "configurations" and not changes:
        changes = _word_changes(plan)
    return plan.model_copy(update={"sides": sides, "changes": [*plan.changes, *changes]}), ready


def _word_changes(plan: Plan) -> list[str]:
    """For a command, whose configuration cannot be read: the words themselves."""
    a, b = (set(words) for words in plan.words)
    changes = [f"only in A: {word}" for word in sorted(a - b)] + [f"only in B: {word}" for word in sorted(b - a)]
    if not changes:
        raise NotComparable(
            f"treatment: {plan.sides[0].title} and {plan.sides[1].title} resolve to the same configuration, so nothing "
            "differs; give another override, or the same text on both sides for an A/A control."
        )
    return changes


def with_words(plan: Plan, ready: Sequence[Place]) -> list[Place]:
    """The places with their sides' words as they were given: the stored ones have no absolute paths."""
    return [
        Place(place.side.model_copy(update={"overrides": words}), place.tree, place.python)
        for place, words in zip(ready, plan.words, strict=True)
    ]


def command_line(verb: str, request: CompareRequest) -> list[str]:
    """Return the words of the command that asks for this again: `agent-tools bench VERB A B ...`."""
    target, default = request.target, TargetRequest()
    given = {
        name.replace("_", "-"): ",".join(value) if isinstance(value, list) else value
        for name, value in target.model_dump(exclude={"overrides", "command", "name"}).items()
        if value != getattr(default, name)
    }
    own = {
        name.replace("_", "-"): getattr(request, name)
        for name in ("rounds", "looks", "alpha", "equivalence", "effect", "foreign_limit", "seed")
        if name == "rounds" or getattr(request, name) != getattr(CompareRequest, name)
    }
    own |= {"session": request.session} if request.session else {}
    flags = {"target": target.name} | given | own
    command = ["--command", shlex.join(target.command)] if target.command else []
    parts = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    return ["agent-tools", "bench", verb, request.a, request.b, *parts, *command, *target.overrides]
