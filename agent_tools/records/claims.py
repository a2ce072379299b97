"""Claims of the project's history as data, and what measurements say of each.

A claim is a range of speed-ups that somebody wrote down. It is measured where it was made, on the plain pipeline, and
where it would count today, beside all other optimisations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agent_tools.records.gates import Figure, FromComparison, FromContrast, figure_of
from agent_tools.records.schema import RunRecord

ClaimVerdict = Literal["confirmed", "smaller than claimed", "larger than claimed", "no gain", "not measured"]

NO_CHANGE = 0.02
"""A gain below this is none."""


@dataclass(frozen=True)
class Claim:
    """One claim: a speed-up between `low` and `high` (both 1: none; no upper end: some), and where it is measured."""

    name: str
    title: str
    low: float
    high: float
    sources: tuple[FromContrast | FromComparison, ...]

    @property
    def said(self) -> str:
        """The claim in words, such as `1.5 to 2x`."""
        if self.high <= 1:
            return "none"
        if math.isinf(self.high):
            return "some"
        return f"{self.low:g}x" if self.low == self.high else f"{self.low:g} to {self.high:g}x"


def _measured(*places: tuple[str, str]) -> tuple[FromContrast, ...]:
    return tuple(FromContrast(experiment, contrast) for experiment, contrast in places)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "map_preloading",
        "preloading maps",
        1,
        1,
        _measured(("maps", "preloading"), ("maps", "load_maps"), ("pipeline_history", "preload_maps")),
    ),
    Claim(
        "image_cache",
        "images in RAM",
        1.12,
        1.12,
        _measured(("pipeline_history", "image_cache"), ("leave_one_out", "image_cache")),
    ),
    Claim(
        "tensor_cache",
        "tensor cache",
        2.5,
        3.1,
        _measured(("pipeline_history", "tensor_cache"), ("leave_one_out", "tensor_cache")),
    ),
    Claim(
        "loader_tuning",
        "loader tuning",
        1.2,
        1.5,
        _measured(("pipeline_history", "workers_2"), ("tune", "workers_1"), ("tune", "workers_2")),
    ),
    Claim("amp", "mixed precision", 1.5, 2, _measured(("pipeline_history", "amp"), ("leave_one_out", "bf16"))),
    Claim(
        "batch_size",
        "larger batches",
        1.2,
        1.5,
        _measured(("pipeline_history", "batch_32"), ("tune", "batch_32")),
    ),
    Claim("compile", "torch.compile", 1.3, 2, _measured(("pipeline_history", "compile"), ("tune", "compile"))),
    Claim("prenormalising", "pre-normalised images", 1, 1, _measured(("caches", "prenormalised"))),
    Claim(
        "canonical_images",
        "canonical images",
        1,
        math.inf,
        (FromComparison("benchmarks.loader", arms=("original", "canonical")),),
    ),
    Claim("webdataset", "WebDataset", 2, 3, ()),
    Claim("dali", "DALI", 5, 10, ()),
)


@dataclass(frozen=True)
class ClaimRow:
    """A claim at one of the places where it is measured; `place` is '' where no record measures it anywhere."""

    claim: Claim
    place: str
    verdict: ClaimVerdict
    descriptive: bool = False
    record: RunRecord | None = None
    figure: Figure | None = None


def claim_verdicts(records: Sequence[RunRecord]) -> list[ClaimRow]:
    """Return what the newest fitting record of each place says of each claim; one row where none does.

    Args:
        records: any records, in any order.
    """
    newest_first = sorted(records, key=lambda record: record.id, reverse=True)
    rows: list[ClaimRow] = []
    for claim in CLAIMS:
        found = [row for source in claim.sources if (row := _found(claim, source, newest_first)) is not None]
        rows += found or [ClaimRow(claim, "", "not measured")]
    return rows


def _found(claim: Claim, source: FromContrast | FromComparison, newest_first: Sequence[RunRecord]) -> ClaimRow | None:
    for record in newest_first:
        figure = figure_of(record, source)
        if figure is not None:
            descriptive = any(problem.startswith("descriptive") for problem in figure.problems)
            verdict = claim_verdict(claim, figure.low, figure.high)
            return ClaimRow(claim, _place(source), verdict, descriptive, record, figure)
    return None


def _place(source: FromContrast | FromComparison) -> str:
    return source.module if isinstance(source, FromComparison) else f"{source.experiment}: {source.contrast}"


def claim_verdict(claim: Claim, low: float, high: float) -> ClaimVerdict:
    """Say what an interval of the measured speed-up makes of a claim.

    A claim of no gain is confirmed unless the whole interval lies above no change. Any other one is confirmed where
    the interval meets the claimed range, and is `no gain` where it does not lie above 1.
    """
    if claim.high <= 1:
        return "larger than claimed" if low > 1 + NO_CHANGE else "confirmed"
    if low <= 1:
        return "no gain"
    if high < claim.low:
        return "smaller than claimed"
    return "larger than claimed" if low > claim.high else "confirmed"
