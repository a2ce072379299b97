"""What a findings document says about one record: the judgements that its template prints, as plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.figures import encode
from agent_tools.handbook.paired import Recommendation, comparison_values, history_values, recommend_paired
from agent_tools.records.pictures import picture_name
from agent_tools.records.schema import Benchmark, Contrast, EpochFigures, RunFile, RunRecord, Summary
from agent_tools.records.stages import MILLISECONDS, SHARE, UNTIMED, ordered_stages, profiled_index

FINDINGS_PAGES = {
    "benchmark": "ladder",
    "train": "run",
    "evaluate": "run",
    "profile": "run",
    "whatif": "arms",
    "comparison": "comparison",
    "bisection": "bisection",
    "history": "history",
    "imported": "imported",
    "override": "override",
}
"""Kinds of record that get a findings document -> `findings_NAME.md.j2`, the part of its template that is their own.

`reported` figures stand on the page of the history, and the newest `simulation` on the page about the judge.
"""
SECTIONS = {kind: kind for kind in FINDINGS_PAGES if kind not in {"train", "evaluate", "profile"}} | {
    "whatif": "benchmark"
}
"""Kinds whose figures stand in a section -> its name; a run or a profile is shown without one, too."""

_WHOLE_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")

COMPARING_KINDS = frozenset({"benchmark", "whatif", "comparison", "bisection", "history"})

VERDICT_ROUNDS = 6
"""Fewer rounds can never give a verdict: the smallest possible p is 0.25 at 3 and 0.031 at 6."""
PARITY_FLOOR = 0.5
"""Equal hmean below this says nothing about accuracy."""
EQUIVALENCE_MARGIN = 0.02
"""A ratio whose whole interval lies within 1 +- this is no change."""
NO_PARITY = "no parity evidence"
EPOCH_ROWS = 12

DESIGN_ADVICE = {
    "leave-one-out": "each row says what one optimisation gives where all others are on; drop what gives nothing",
    "settings": "each row says what one change of the settings gives; compare it alone before the defaults change",
    "tune": "what won together is written into the preset of this machine; the defaults stay as they are",
    "limit": "the fraction says how much a perfect loader could still bring; what-if says what other stages could",
    "whatif": "a gain is what removing the stage would bring at most; optimise the largest, not the largest share",
}
"""What to do with a design that is no ladder: it shows effects, and is no change that could be kept."""


@dataclass(frozen=True)
class ModifiedFiles:
    """The files that a findings document names, what they are, and what to say where there are none.

    `commit` follows the words for none; empty where they need no more.
    """

    which: str
    names: tuple[str, ...]
    none: str
    commit: str = ""


@dataclass(frozen=True)
class Rung:
    """One arm of a ladder. `at` is the path of its summary in the record, with a slash at the end."""

    at: str
    name: str
    title: str
    changes: tuple[str, ...]
    precision: str
    decoder: str
    parity: str
    warm_seconds: float
    ratio_to_previous: float


@dataclass(frozen=True)
class ArmRow:
    """One arm of a design that is no ladder. `at` is the path of its summary in the record, with a slash at the end."""

    at: str
    title: str
    changes: tuple[str, ...]
    precision: str
    parity: str
    scored: bool


@dataclass(frozen=True)
class ContrastRow:
    """One ratio that a design asks for. `at` is its path with a slash; `share` that of its stage, '' without one."""

    at: str
    title: str
    outcome: str
    share: str
    has_cpu: bool


@dataclass(frozen=True)
class StageTable:
    """The stage times of one epoch: stages, then `untimed`, then the parts of stages, as `profile_run` lists them.

    `rows` are names with their figures, `seconds` is the path of the epoch's wall clock, empty where the record does
    not hold it: then there are no shares. `cpu` is the path of its CPU seconds by stage, for the names in `with_cpu`;
    `limit` that of its limit, both empty where they were not measured.
    """

    rows: tuple[tuple[str, str], ...]
    seconds: str
    largest: tuple[str, str] | None
    cpu: str = ""
    with_cpu: frozenset[str] = frozenset()
    limit: str = ""


def slug(record: RunRecord) -> str:
    """File name stem of a record's documents: readable, and the same whatever else lies in the folder."""
    named = record.benchmark or record.comparison or record.history
    name = named.name if named else record.title
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return f"{words or record.kind}-{short_id(record.id)}"


def short_id(record_id: str) -> str:
    """The last part of an id, `3fa9c1`."""
    return record_id.rsplit("-", 1)[-1]


def readable(title: str) -> str:
    """A title as people write it: whole commit ids cut, arms of a benchmark without the option's name."""
    return _WHOLE_COMMIT.sub(lambda found: found[0][:9], title).replace("--arm=", "")


def document_name(record: RunRecord) -> str:
    """The name that the document's title gives the record."""
    if record.title:
        return readable(record.title)
    if record.benchmark:
        return f"ladder {record.benchmark.name}"
    named = record.comparison or record.history
    return f"{record.kind} {named.name}" if named else record.kind


def is_descriptive(benchmark: Benchmark) -> bool:
    """Whether a ladder has too few rounds for a verdict, whatever it says of itself."""
    return benchmark.protocol.descriptive or benchmark.protocol.rounds < VERDICT_ROUNDS


def rungs(record: RunRecord) -> list[Rung]:
    """The arms of a ladder in the order in which they were switched on.

    Raises:
        DocumentError: the record has no summaries, or one for an arm that it does not define.
    """
    benchmark = record.benchmark
    if benchmark is None or not benchmark.summaries:
        raise DocumentError(f"Record {record.id} has no summaries to show; measure the ladder again.")
    arms = {arm.name: arm for arm in benchmark.arms}
    result: list[Rung] = []
    before: Sequence[str] = ()
    for index, summary in enumerate(benchmark.summaries):
        if summary.arm not in arms:
            raise DocumentError(f"Record {record.id} sums up arm '{summary.arm}', which it does not define.")
        arm = arms[summary.arm]
        result.append(
            Rung(
                at=f"benchmark/summaries/{index}/",
                name=arm.name,
                title=arm.title or arm.name,
                changes=override_changes(before, arm.overrides),
                precision=arm.precision,
                decoder=arm.decoder,
                parity=parity(summary),
                warm_seconds=summary.warm_seconds,
                ratio_to_previous=summary.ratio_to_previous,
            )
        )
        before = arm.overrides
    return result


def parity(summary: Summary) -> str:
    """The accuracy label of an arm; below the floor, equality is no evidence, but a collapse still is `worse`."""
    return NO_PARITY if summary.icdar_hmean < PARITY_FLOOR and summary.parity != "worse" else summary.parity


def override_changes(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """What differs between two lists of overrides: `key: old -> new`, `key=value` where new, `key: dropped`."""
    old = dict(entry.partition("=")[::2] for entry in before)
    new = dict(entry.partition("=")[::2] for entry in after)
    changed = [f"{key}: {old[key]} -> {value}" for key, value in new.items() if key in old and old[key] != value]
    added = [f"{key}={value}" if value else key for key, value in new.items() if key not in old]
    return (*added, *changed, *(f"{key}: dropped" for key in old if key not in new))


def recommend(record: RunRecord) -> Recommendation:
    """Keep, revert or iterate, in the order of decision of the measurement rules: accuracy first, then time."""
    paired = recommend_paired(record)
    if paired is not None:
        return paired
    benchmark = record.benchmark
    if benchmark is None or len(benchmark.summaries) < 2:
        return Recommendation("iterate", "a single run shows a state and not an effect; measure it against another")
    if benchmark.design != "ladder":
        return Recommendation("iterate", DESIGN_ADVICE[benchmark.design])
    return _recommend_ladder(benchmark)


def _recommend_ladder(benchmark: Benchmark) -> Recommendation:
    last = benchmark.summaries[-1]
    label = parity(last)
    if label == "worse":
        return Recommendation("revert", "the detection score fell by more than the declared margin")
    if is_descriptive(benchmark):
        return Recommendation("iterate", "fewer than six rounds are descriptive; measure six or more for a verdict")
    if label == NO_PARITY:
        return Recommendation("iterate", "the score is too low to show that accuracy is kept; use trained weights")
    return _recommend_by_time(last)


def _recommend_by_time(last: Summary) -> Recommendation:
    if last.ratio_low > 1 - EQUIVALENCE_MARGIN and last.ratio_high < 1 + EQUIVALENCE_MARGIN:
        return Recommendation("revert", "the time did not change, and code that gains nothing is not kept")
    if last.ratio_low > 1:
        return Recommendation("keep", "faster, the whole interval lies above one, and accuracy is kept")
    if last.ratio_high < 1:
        return Recommendation("revert", "slower, the whole interval lies below one")
    return Recommendation(
        "iterate", "inconclusive, the interval includes one; measure more rounds on a quieter machine"
    )


def epoch_rows(run: RunFile) -> tuple[list[int], int]:
    """Indices of the epochs that the table shows, and how many of the middle it leaves out (never the best one)."""
    count = len(run.epochs)
    if count <= EPOCH_ROWS:
        return list(range(count)), 0
    half = EPOCH_ROWS // 2
    shown = {*range(half), *range(count - half, count)}
    best = best_epoch(run)
    if best is not None:
        shown.add(best)
    return sorted(shown), count - len(shown)


def best_epoch(run: RunFile) -> int | None:
    """Index of the pass that the run is judged by; None when no pass has an ICDAR hmean.

    The last pass over the best weights, where the trainer made one; else the highest hmean, the earliest of equals.
    """
    scored = [(index, epoch) for index, epoch in enumerate(run.epochs) if has_hmean(epoch)]
    kept = [index for index, epoch in scored if epoch.phase == "val" and epoch.weights == "best"]
    if kept:
        return kept[-1]
    return min(((-epoch.metrics["icdar_hmean"], index) for index, epoch in scored), default=(0.0, None))[1]


def has_hmean(epoch: EpochFigures) -> bool:
    """Whether the epoch measured the detection score."""
    return "icdar_hmean" in epoch.metrics


def warm_pair(run: RunFile) -> tuple[int, int] | None:
    """Indices of the first and the last epoch of the phase that ran more than once (validation first), or None."""
    for phase in ("val", "train"):
        found = [index for index, epoch in enumerate(run.epochs) if epoch.phase == phase]
        if len(found) > 1:
            return found[0], found[-1]
    return None


def stage_table(record: RunRecord) -> StageTable | None:
    """The stage times that the findings of a run or a profile show; None where there are none."""
    if record.kind == "profile":
        return _profile_table(record)
    if record.run is None or not record.run.epochs or not record.run.epochs[-1].stages:
        return None
    at = f"run/epochs/{len(record.run.epochs) - 1}"
    stages, parts = ordered_stages(record.run.epochs[-1])
    figures = {name: f"{at}/stages/{encode(name)}" for name in (*stages, *parts)}
    rows = [(name, figures[name]) for name in stages]
    rows.append((UNTIMED, "!".join(["rest", f"{at}/seconds", *(figures[name] for name in stages)])))
    rows += [(name, figures[name]) for name in parts]
    return _timed_table(record.run, len(record.run.epochs) - 1, tuple(rows), None)


def _timed_table(
    run: RunFile, index: int, rows: tuple[tuple[str, str], ...], largest: tuple[str, str] | None
) -> StageTable:
    """A table of rows with what the epoch holds beside its stage times."""
    at, epoch = f"run/epochs/{index}", run.epochs[index]
    measured = frozenset(epoch.cpu) if sum(epoch.cpu.values()) > 0 else frozenset()
    return StageTable(
        rows,
        f"{at}/seconds" if epoch.seconds else "",
        largest,
        f"{at}/cpu/" if measured else "",
        measured,
        f"{at}/limit/" if epoch.limit is not None else "",
    )


def _profile_table(record: RunRecord) -> StageTable | None:
    index = profiled_index(record)
    if not record.stages:
        return None
    if record.run is None or index is None:
        names = sorted(record.stages, key=lambda stage: (-record.stages[stage], stage))
        return StageTable(tuple((name, f"stages/{encode(name)}") for name in names), "", None)
    epoch = record.run.epochs[index]
    stages, parts = ordered_stages(epoch)
    rows = tuple((name, f"stages/{encode(name)}") for name in (*stages, UNTIMED, *parts))
    return _timed_table(record.run, index, rows, rows[0] if stages else None)


def modified_files(record: RunRecord) -> ModifiedFiles:
    """Which files a record is about: those between two revisions, of a culprit, or the uncommitted ones."""
    if record.comparison is not None and record.comparison.treatment == "revisions":
        names = tuple(sorted(record.comparison.files))
        return ModifiedFiles("between the two revisions", names, "none; both revisions hold the same files")
    if record.bisection is not None:
        names = tuple(sorted(record.bisection.files))
        return ModifiedFiles("by the first bad commit", names, "not known")
    which = "uncommitted at the time of measuring"
    if record.git is None:
        return ModifiedFiles(which, (), "not recorded")
    names = tuple(sorted(record.git.changed_files))
    return ModifiedFiles(which, names, "none; the tree was exactly commit", record.git.commit[:12])


def findings_values(record: RunRecord, plot: str) -> dict[str, Any]:
    """Everything that `findings.md.j2` and its part for the record's kind print, besides the source of the numbers.

    Raises:
        DocumentError: the record lacks the section that its kind promises.
    """
    if record.kind in SECTIONS and getattr(record, SECTIONS[record.kind]) is None:
        raise DocumentError(f"Record {record.id} is a {record.kind} without its figures; measure it again.")
    page = findings_page(record)
    return {
        "record": record,
        "name": document_name(record),
        "page": f"findings_{page}.md.j2",
        "advice": recommend(record),
        "files": modified_files(record),
        "plot": plot,
        "compares": record.kind in COMPARING_KINDS,
        **_values_of_kind(record, page),
    }


def findings_page(record: RunRecord) -> str:
    """NAME of `findings_NAME.md.j2`, the part of the template for a record: by its kind, or its benchmark's design."""
    is_design = record.benchmark is not None and record.benchmark.design != "ladder"
    return "arms" if is_design else FINDINGS_PAGES[record.kind]


def _values_of_kind(record: RunRecord, page: str) -> dict[str, Any]:
    if page == "comparison":
        return comparison_values(record)
    if page == "history":
        return history_values(record)
    if page == "run":
        return _run_values(record)
    if page == "arms":
        return _arms_values(record)
    return _ladder_values(record) if page == "ladder" else {}


def _ladder_values(record: RunRecord) -> dict[str, Any]:
    benchmark = record.benchmark
    assert benchmark is not None  # noqa: S101 - the caller chose a record that has one
    return {"benchmark": benchmark, "descriptive": is_descriptive(benchmark), "rungs": rungs(record)}


def _arms_values(record: RunRecord) -> dict[str, Any]:
    benchmark = record.benchmark
    if benchmark is None or not benchmark.summaries:
        raise DocumentError(f"Record {record.id} has no summaries to show; measure it again.")
    return {
        "benchmark": benchmark,
        "descriptive": is_descriptive(benchmark),
        "arms": arm_rows(benchmark),
        "contrasts": contrast_rows(benchmark),
    }


def arm_rows(benchmark: Benchmark) -> list[ArmRow]:
    """The arms of a design that is no ladder, each with what differs from the first one."""
    arms = {arm.name: arm for arm in benchmark.arms}
    base = benchmark.arms[0].overrides
    return [
        ArmRow(
            at=f"benchmark/summaries/{index}/",
            title=arms[row.arm].title or row.arm,
            changes=override_changes(base, arms[row.arm].overrides),
            precision=arms[row.arm].precision,
            parity=parity(row),
            scored=not math.isnan(row.icdar_hmean),
        )
        for index, row in enumerate(benchmark.summaries)
        if row.arm in arms
    ]


def contrast_rows(benchmark: Benchmark, where: str = "benchmark") -> list[ContrastRow]:
    """The ratios that a design asks for, with what each allows one to say."""
    titles = {arm.name: arm.title or arm.name for arm in benchmark.arms}
    shares = {share.stage: index for index, share in enumerate(benchmark.stage_shares)}
    return [
        ContrastRow(
            at=f"{where}/contrasts/{index}/",
            title=_contrast_title(benchmark, one, titles),
            outcome=contrast_outcome(benchmark, one),
            share=f"{where}/stage_shares/{shares[one.name]}/" if one.name in shares else "",
            has_cpu=one.name in shares and not math.isnan(benchmark.stage_shares[shares[one.name]].cpu),
        )
        for index, one in enumerate(benchmark.contrasts)
    ]


def _contrast_title(benchmark: Benchmark, contrast: Contrast, titles: Mapping[str, str]) -> str:
    if benchmark.design == "whatif":
        return contrast.name
    if benchmark.design == "leave-one-out":
        return titles.get(contrast.above, contrast.above).removeprefix("without ")
    return f"{titles.get(contrast.above, contrast.above)} / {titles.get(contrast.below, contrast.below)}"


def contrast_outcome(benchmark: Benchmark, contrast: Contrast) -> str:
    """What a ratio allows one to say of the arm below: faster, slower, no change, inconclusive or descriptive."""
    if is_descriptive(benchmark) or contrast.pairs < VERDICT_ROUNDS:
        return "descriptive"
    if contrast.low > 1 - EQUIVALENCE_MARGIN and contrast.high < 1 + EQUIVALENCE_MARGIN:
        return "no change"
    if contrast.low > 1:
        return "faster"
    return "slower" if contrast.high < 1 else "inconclusive"


def _run_values(record: RunRecord) -> dict[str, Any]:
    run = record.run
    epochs, left_out = epoch_rows(run) if run else ([], 0)
    return {
        "run": run,
        "epochs": epochs,
        "epochs_left_out": left_out,
        "best": best_epoch(run) if run else None,
        "warm_pair": warm_pair(run) if run else None,
        "stage_table": stage_table(record),
        "printed": printed_rows(record),
        "worst": worst_rows(record),
        "verdict": _clock_verdict(record),
        "encode": encode,
        "parity_floor": PARITY_FLOOR,
    }


def _clock_verdict(record: RunRecord) -> str:
    """What the trainer's clock calls the epoch whose stages are shown; '' where it says nothing."""
    if record.run is None or not record.run.epochs:
        return ""
    index = profiled_index(record) if record.kind == "profile" else len(record.run.epochs) - 1
    limit = record.run.epochs[index].limit if index is not None else None
    return limit.verdict if limit is not None else ""


def worst_rows(record: RunRecord) -> list[tuple[str, str, str]]:
    """Path of the figures, name, and picture ('' for none that is kept) of the worst images of a record's run."""
    worst = record.run.worst if record.run else []
    pictures = [picture_name(record.id, image.picture) for image in worst]
    return [
        (f"run/worst/{index}/", image.name, picture if picture in record.artifacts else "")
        for index, (image, picture) in enumerate(zip(worst, pictures, strict=True))
    ]


def printed_rows(record: RunRecord) -> list[tuple[str, str, str]]:
    """Name, milliseconds and share of the rows that a profiling command printed, as paths; none for other records."""
    figures = record.fact.figures if record.fact else {}
    names = [name.removesuffix(MILLISECONDS) for name in figures if name.endswith(MILLISECONDS)]
    return [
        (name, f"fact/figures/{encode(name + MILLISECONDS)}", f"fact/figures/{encode(name + SHARE)}")
        for name in names
        if name + SHARE in figures
    ]
