"""Everything that the gates need, measured in order, and the table that follows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from agent_tools.measure.arms_plan import ArmsRequest
from agent_tools.measure.compare import compare
from agent_tools.measure.comparison_plan import CompareRequest
from agent_tools.measure.data_subset import relative_to_root
from agent_tools.measure.ladder import run_ladder
from agent_tools.measure.rungs import LadderError
from agent_tools.measure.targets import TargetRequest
from agent_tools.measure.trainer import Progress, TrainerCancelled, silent
from agent_tools.measure.whatif import measure_limit, measure_whatif
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.gates import GateRow, gate_table, runs_module
from agent_tools.records.importers import public_git
from agent_tools.records.schema import GitState, RunRecord
from agent_tools.records.store import RecordStore
from agent_tools.results import ToolResult
from agent_tools.workflows.documents import Docs, Session, check_session, measured
from agent_tools.workflows.measuring import FOREIGN, Checkpoint, Data, ForeignLimit, Images, Rounds, Size
from agent_tools.workflows.overrides import Overrides
from agent_tools.workflows.profiling import arms_request, record_fact
from agent_tools.workspace.root import Root


@dataclass(frozen=True)
class _Asked:
    """What the caller of `bench_gates` asked for, resolved."""

    root: Root
    request: ArmsRequest
    training: ArmsRequest
    session: str
    progress: Progress
    cancel: threading.Event | None


@dataclass(frozen=True)
class Step:
    """One measurement: what makes it, and whether a record is one of it."""

    name: str
    run: Callable[[_Asked], RunRecord]
    fits: Callable[[RunRecord], bool]


def _named(name: str) -> Step:
    """A ladder or another design of `rungs.py`."""

    def run(asked: _Asked) -> RunRecord:
        request = asked.request
        return run_ladder(
            asked.root.path,
            name,
            data=request.data,
            split=request.split,
            images=request.images,
            size=request.size,
            rounds=request.rounds,
            passes=request.passes,
            checkpoint=request.checkpoint,
            seed=request.seed,
            overrides=request.overrides,
            progress=asked.progress,
            cancel=asked.cancel,
            session=asked.session or None,
        )

    return Step(name, run, lambda record: record.benchmark is not None and record.benchmark.name == name)


def _limit(name: str, phase: str) -> Step:
    def run(asked: _Asked) -> RunRecord:
        request = asked.training if phase == "train" else asked.request
        session = asked.session or None
        return measure_limit(asked.root.path, request, progress=asked.progress, cancel=asked.cancel, session=session)

    def fits(record: RunRecord) -> bool:
        benchmark = record.benchmark
        return benchmark is not None and (benchmark.design, benchmark.phase) == ("limit", phase)

    return Step(name, run, fits)


def _whatif(asked: _Asked) -> RunRecord:
    return measure_whatif(
        asked.root.path, asked.request, progress=asked.progress, cancel=asked.cancel, session=asked.session or None
    )


def _component(name: str, sized: bool, on_images: bool = True) -> Step:
    """A comparison of the reference and the fast arm of `benchmarks.NAME`."""
    module = f"benchmarks.{name}"

    def run(asked: _Asked) -> RunRecord:
        request = asked.request
        words = ["python", "-m", module]
        # In full: a comparison runs in checkouts of their own, from where a relative path leads elsewhere.
        words += [f"--data={request.data.resolve()}", f"--images={request.images}"] if on_images else []
        words += [f"--size={request.size[0]}"] if sized else []
        target = TargetRequest(name="command", command=words, data="" if on_images else "none")
        return compare(
            asked.root.path,
            CompareRequest(
                a="--arm=reference",
                b="--arm=fast",
                target=target,
                rounds=request.rounds,
                foreign_limit=request.foreign_limit,
                seed=request.seed,
                session=asked.session,
            ),
            progress=asked.progress,
            cancel=asked.cancel,
        )

    def fits(record: RunRecord) -> bool:
        return record.comparison is not None and runs_module(record.comparison.target.command, module)

    return Step(name, run, fits)


def _memory(asked: _Asked) -> RunRecord:
    request = asked.request
    words = ["python", "-m", "benchmarks.memory", f"--data={relative_to_root(request.data, asked.root.path)}"]
    words += [f"--images={request.images}", f"--size={request.size[0]}"]
    return record_fact(asked.root, words, asked.session, asked.progress, asked.cancel)


def _parity(asked: _Asked) -> RunRecord:
    request = asked.request
    if request.checkpoint is None:
        raise LadderError("parity needs weights that find something; give --checkpoint PATH.")
    words = ["python", "-m", "benchmarks.parity", f"--data={relative_to_root(request.data, asked.root.path)}"]
    words += [f"--images={request.images}", f"--size={request.size[0]}"]
    words += [f"--checkpoint={relative_to_root(request.checkpoint, asked.root.path)}"]
    words += [f"--{override}" for override in request.overrides if override.startswith("model=")]
    return record_fact(asked.root, words, asked.session, asked.progress, asked.cancel)


STEPS: tuple[Step, ...] = (
    _named("gates"),
    _named("main"),
    _named("leave_one_out"),
    _named("caches"),
    _named("maps"),
    _named("pipeline_history"),
    _limit("limit", "val"),
    _limit("limit_train", "train"),
    Step("whatif", _whatif, lambda record: record.kind == "whatif"),
    _component("loader", sized=True),
    _component("targets", sized=True),
    _component("cleval", sized=False),
    _component("postprocess", sized=True),
    _component("forward", sized=True, on_images=False),
    _component("second_process", sized=True),
    Step(
        "memory", _memory, lambda record: record.fact is not None and runs_module(record.command, "benchmarks.memory")
    ),
    Step(
        "parity", _parity, lambda record: record.fact is not None and runs_module(record.command, "benchmarks.parity")
    ),
)
"""The measurements in the order in which they run; `bench gates --only` chooses among their names."""


class Gates(ToolResult):
    """How the gates stand after this call."""

    table: list[str]
    measured: list[str]
    skipped: list[str]
    failed: list[str]
    documents: list[str]

    def summary(self) -> str:
        """Say the table, and what could not be measured."""
        return "\n".join([*self.table, *self.skipped, *self.failed])

    def is_failure(self) -> bool:
        """A measurement that failed makes the command fail; a gate that is not met is a result."""
        return bool(self.failed)


def bench_gates(
    root: Root,
    overrides: Overrides = (),
    only: Annotated[str, Field(description="with commas: " + ", ".join(step.name for step in STEPS))] = "",
    data: Data = "",
    images: Images = 48,
    size: Size = 640,
    rounds: Rounds = 6,
    checkpoint: Checkpoint = "",
    foreign_limit: ForeignLimit = FOREIGN,
    seed: Annotated[int, Field(description="of the orders")] = 0,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Gates:
    """Measure everything that the gates need on this machine, in order, and print how each gate stands.

    What the session holds already of this very tree is not measured again; one measurement that fails stops no other.
    """
    check_session(root, session)
    steps = chosen_steps([name for name in only.split(",") if name])
    place = (images, size, rounds, 3, checkpoint, seed, foreign_limit, overrides)
    asked = _Asked(
        root,
        arms_request(root, data, "val", *place),
        arms_request(root, data, "train", *place, phase="train"),
        session,
        progress or silent,
        cancel,
    )
    done: dict[str, str] = {}
    skipped, failed, documents = [], [], list[str]()
    for step in steps:
        before = already_measured(step, _session_records(root, session), public_git(root.path), rounds)
        if before is not None:
            skipped.append(f"{step.name}: measured before at this commit, record {before.id}")
            continue
        try:
            record = step.run(asked)
        except TrainerCancelled:
            raise
        except WorkbenchError as error:
            failed.append(f"{step.name}: not measured: {error}")
            continue
        done[step.name] = record.id
        documents += measured(root, record, docs).documents
    return Gates(
        table=gate_lines(gate_table(RecordStore(root.path).list_all().records)),
        measured=[f"{name}: {record}" for name, record in done.items()],
        skipped=skipped,
        failed=failed,
        documents=list(dict.fromkeys(documents)),
    )


def chosen_steps(names: Sequence[str]) -> list[Step]:
    """Return the steps of these names in the order in which they run; all of them without names.

    Raises:
        LadderError: an unknown name.
    """
    known = [step.name for step in STEPS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LadderError(f"only names '{unknown[0]}'; choose from {', '.join(known)}.")
    return [step for step in STEPS if not names or step.name in names]


def _session_records(root: Root, session: str) -> list[RunRecord]:
    """Records that a session holds; without one nothing counts as measured before."""
    if not session:
        return []
    store = RecordStore(root.path)
    folder = store.session_folder(session, datetime.now(UTC))
    return [record for record in store.list_all().records if store.find_folder(record.id) == folder]


def already_measured(step: Step, records: Sequence[RunRecord], git: GitState | None, rounds: int) -> RunRecord | None:
    """Return a record of a step that was made of the very same tree with at least as many rounds; None without one."""
    for record in records:
        same = git is not None and record.git is not None and _tree(record.git) == _tree(git)
        if same and step.fits(record) and _rounds(record, rounds) >= rounds:
            return record
    return None


def _tree(git: GitState) -> tuple[str, str]:
    return git.commit, git.dirty_hash


def _rounds(record: RunRecord, default: int) -> int:
    measured_in_rounds = record.benchmark or record.comparison
    return measured_in_rounds.protocol.rounds if measured_in_rounds else default


def gate_lines(rows: Sequence[GateRow]) -> list[str]:
    """Return the table of gates as lines, the first one naming the columns."""
    return ["gate | figure [low, high] | asked | standing | record", *map(_gate_line, rows)]


def _gate_line(row: GateRow) -> str:
    found = f"{row.figure.value:.3f} [{row.figure.low:.3f}, {row.figure.high:.3f}]" if row.figure else "-"
    aim = ", aim reached" if row.reaches_aim else ""
    standing = f"{row.status}{aim}" + (f" ({row.reason})" if row.reason else "")
    return f"{row.gate.title} | {found} | {row.gate.asked} | {standing} | {row.record.id if row.record else '-'}"
