"""Comparisons of one side with itself on this machine: how often the judge sees a change where there is none."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent_tools.measure.compare import compare
from agent_tools.measure.comparison_plan import CompareRequest, command_line
from agent_tools.measure.trainer import Progress
from agent_tools.records.compared import Comparison, Control, Target
from agent_tools.records.fingerprints import strip_private
from agent_tools.records.schema import DatasetFingerprint


@dataclass
class RealControls:
    """What the controls gave, what they measured and on which data, and the words of a command that ask for them."""

    controls: list[Control] = field(default_factory=list)
    target: Target | None = None
    dataset: DatasetFingerprint | None = None
    words: list[str] = field(default_factory=list)


def measure_controls(
    root: Path,
    request: CompareRequest,
    count: int,
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> RealControls:
    """Compare a side with itself `count` times, each with an order of its own.

    Raises:
        NotComparable, SampleFailed: see `compare`.
        TrainerCancelled: `cancel` was set; the controls before it are lost with this one.
    """
    words = strip_private(command_line("judge", request), root)
    found = RealControls(words=words[words.index("--target") :])
    for number in range(count):
        if progress is not None:
            progress(number, count, f"control {number + 1} of {count}")
        # The seed of a comparison also gives that of its second half, and 0 draws one: two apart, from 1 on.
        asked = replace(request, seed=request.seed + 2 * number + 1)
        record = compare(root, asked, cancel=cancel, store=False)
        assert record.comparison is not None  # noqa: S101 - compare always leaves one
        found.controls.append(as_control(record.comparison))
        found.target, found.dataset = record.comparison.target, record.dataset
    return found


def as_control(comparison: Comparison) -> Control:
    """Return the control that a comparison of a side with itself is."""
    outcome, metric = comparison.outcome, comparison.target.primary
    measured = [sample for sample in comparison.samples if sample.phase == "measured"]
    rounds = sorted({sample.round for sample in measured})
    of = {(sample.round, sample.arm): sample for sample in measured}
    first = outcome.metrics[0]
    return Control(
        verdict=outcome.verdict,
        ratio=first.ratio,
        low=first.low,
        high=first.high,
        smallest_effect=outcome.smallest_effect,
        pairs=outcome.pairs,
        tainted=outcome.tainted,
        first=["A" if of[number, "A"].position == 0 else "B" for number in rounds],
        a=[of[number, "A"].metrics[metric] for number in rounds],
        b=[of[number, "B"].metrics[metric] for number in rounds],
    )
