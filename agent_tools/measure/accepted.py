"""The performance that was accepted: a commit and how to measure it, so that HEAD can be held against it anywhere.

`logs/accepted.json` names a record, its commit and its target. The figures of that record stay where they were
measured: a check measures the accepted commit again, in turn with HEAD, on the machine it runs on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent_tools.measure.comparison_plan import CompareRequest
from agent_tools.measure.targets import asked_again
from agent_tools.measure.verdict import ALIKE
from agent_tools.measure.worktrees import resolve_commit
from agent_tools.records.compared import Comparison, History
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.frozen import Frozen
from agent_tools.records.repository import Repository
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore, write_atomically

ACCEPTED = "logs/accepted.json"
VERSION = 1


class AcceptError(WorkbenchError):
    """A record that cannot be accepted, or an accepted one that cannot be used."""


class Accepted(Frozen):
    """What is in `logs/accepted.json`. `options` are those of the target; paths are relative to the repository."""

    schema_version: int = VERSION
    record: str
    commit: str
    primary: str
    options: dict[str, Any]
    equivalence: float


def accept(root: Path, record_id: str) -> Accepted:
    """Make the side B of a comparison, or the newest commit of a history, the accepted performance.

    Raises:
        AcceptError: a record of another kind, without a verdict, with lost accuracy, or of uncommitted changes.
    """
    record = RecordStore(root).load(record_id)
    found = _accepted(record)
    resolve_commit(Repository.open(root), found.commit)
    write_atomically(root / ACCEPTED, found.model_dump_json(indent=1) + "\n")
    return found


def _accepted(record: RunRecord) -> Accepted:
    if record.comparison is not None:
        outcome, side = record.comparison.outcome, record.comparison.arms[-1]
        if outcome.verdict in ("incorrect", "invalid", "descriptive"):
            raise AcceptError(
                f"Record {record.id} is {outcome.verdict} ({outcome.reason}); accept one with a verdict and accuracy."
            )
        target, protocol = record.comparison.target, record.comparison.protocol
    elif record.history is not None:
        _refuse_newest(record.id, record.history)
        side, target, protocol = record.history.arms[-1], record.history.target, record.history.protocol
    else:
        raise AcceptError(f"Record {record.id} is of kind {record.kind}; accept a comparison or a history.")
    if side.dirty or not side.commit:
        raise AcceptError(f"Record {record.id} measured uncommitted changes; commit them, compare again, accept that.")
    return Accepted(
        record=record.id,
        commit=side.commit,
        primary=target.primary,
        options=_with_overrides(target.options, side.overrides),
        equivalence=protocol.equivalence,
    )


def _refuse_newest(record_id: str, history: History) -> None:
    newest = history.points[-1]
    if newest.failed:
        raise AcceptError(f"The newest commit of record {record_id} failed ({newest.failed}); accept one that runs.")
    first = next(point for point in history.points if not point.failed)
    least = {name: value - history.target.margin - ALIKE for name, value in first.accuracy.items()}
    if newest.change == "less accurate" or any(newest.accuracy[name] < value for name, value in least.items()):
        raise AcceptError(f"The newest commit of record {record_id} lost accuracy; accept one that has kept it.")


def _with_overrides(options: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The options that measure a side again: what it was set to itself becomes common to both sides of a check."""
    key = "command" if options.get("name") == "command" else "overrides"
    return options | {key: [*options.get(key, []), *overrides]} if overrides else options


def load_accepted(root: Path) -> Accepted:
    """Read what was accepted.

    Raises:
        AcceptError: nothing was accepted yet, or the file cannot be read.
    """
    try:
        found = Accepted.model_validate_json((root / ACCEPTED).read_bytes())
    except FileNotFoundError:
        raise AcceptError(
            f"Nothing was accepted yet ({ACCEPTED} is missing); `agent-tools bench check --accept RECORD` does it."
        ) from None
    except ValidationError as error:
        raise AcceptError(f"{ACCEPTED} cannot be read; accept a record again.") from error
    if found.schema_version != VERSION:
        raise AcceptError(
            f"{ACCEPTED} has schema_version {found.schema_version}, not {VERSION}; accept a record again."
        )
    return found


def is_no_worse(comparison: Comparison, tolerance: float) -> tuple[bool, str]:
    """Say whether a comparison shows side B to be no worse than A, and if not, why.

    Args:
        comparison: of the accepted commit with another revision.
        tolerance: relative slowdown that is let through, above 0.
    """
    outcome, ratio = comparison.outcome, comparison.outcome.metrics[0]
    if outcome.verdict in ("incorrect", "invalid", "descriptive"):
        return False, f"not passed: {outcome.reason}"
    # Equal outputs settle what an interval leaves open, and not that a model which finds nothing does so still.
    settled = ("equal", "within margin", *(["not shown"] if outcome.outputs_equal else []))
    unkept = [row.metric for row in outcome.accuracy if row.parity not in settled]
    if unkept:
        return False, f"not passed: {unkept[0]} is not shown to be kept; take more rounds or better weights"
    if ratio.low < 1 - tolerance:
        worse = (
            "it is slower"
            if ratio.high < 1
            else "it is not shown to be as fast; take more rounds, or a quieter machine"
        )
        return False, f"not passed: {worse}"
    return True, ""


def check_request(
    root: Path, revision: str, rounds: int, seed: int, foreign_limit: float, session: str
) -> CompareRequest:
    """Return the comparison of the accepted commit with a revision.

    Raises:
        AcceptError: nothing was accepted yet.
        TargetError: the accepted target's data is not there.
    """
    found = load_accepted(root)
    return CompareRequest(
        a=found.commit,
        b=revision,
        target=asked_again(found.options, root),
        rounds=rounds,
        equivalence=found.equivalence,
        seed=seed,
        foreign_limit=foreign_limit,
        name=f"{revision} against the accepted {found.commit[:9]}",
        session=session,
    )
