"""Samples of several sides taken in turn, each a fresh process, in the order of a plan."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil

from agent_tools.measure.comparability import NotComparable, refuse_other_data
from agent_tools.measure.experiment_folder import ExperimentError, Plan, append_sample
from agent_tools.measure.interference import Watch, await_quiet
from agent_tools.measure.sides import refuse_other_code, refuse_other_files
from agent_tools.measure.targets import Answer, Call, Place, TargetError, TargetRunner
from agent_tools.measure.trainer import Progress, TrainerCancelled
from agent_tools.records.compared import Measurement
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import DatasetFingerprint

Phase = Literal["warmup", "pilot", "measured"]


class SampleFailed(ExperimentError):
    """One side's process failed; `side` names it."""

    def __init__(self, message: str, side: str) -> None:
        super().__init__(message)
        self.side = side


@dataclass
class State:
    """What was measured so far, and what the sides said of themselves."""

    samples: list[Measurement] = field(default_factory=list)
    dataset: DatasetFingerprint | None = None
    answers: dict[str, Answer] = field(default_factory=dict)

    def rounds(self) -> dict[int, dict[str, Measurement]]:
        """Return the samples of the measured phase by round and side."""
        found: dict[int, dict[str, Measurement]] = {}
        for sample in self.samples:
            if sample.phase == "measured":
                found.setdefault(sample.round, {})[sample.arm] = sample
        return found


@dataclass
class Experiment:
    """Takes the samples of a plan, and goes on where an earlier process stopped."""

    root: Path
    plan: Plan
    runner: TargetRunner
    places: list[Place]
    folder: Path
    progress: Progress
    cancel: threading.Event | None = None
    state: State = field(default_factory=State)
    begun: float = field(default_factory=time.monotonic)
    taken: int = 0

    def prepare(self) -> None:
        """Check that every side runs its own code, and take one sample of each that does not count.

        Raises:
            NotComparable: a side would run other code, or sees other data.
            SampleFailed: a side does not run.
        """
        for place in self.places:
            refuse_other_files(self.root, place, self.plan.request.command)
            refuse_other_code(place, self.plan.request.command)
        done = {sample.arm for sample in self.state.samples if sample.phase == "warmup"}
        for position, place in enumerate(self.places):
            # After an interruption the data and the settings are looked at again, so a side always starts cold.
            if place.side.name not in done or place.side.name not in self.state.answers:
                self._take(place, "warmup", self._next_round("warmup", place.side.name), position)

    def pilot(self, rounds: int) -> list[Measurement]:
        """Take pilot rounds that are missing and return all pilot samples."""
        orders = self.plan.order
        done = {(sample.round, sample.arm) for sample in self.state.samples if sample.phase == "pilot"}
        for number in range(rounds):
            for position, name in enumerate(orders[number % len(orders)]):
                if (number, name) not in done:
                    self._take(self._place(name), "pilot", number, position)
        return [sample for sample in self.state.samples if sample.phase == "pilot"]

    def measure(self, decided: Callable[[State], bool]) -> None:
        """Take rounds until as many untainted ones are complete as were declared, or `decided` says to stop.

        A round that foreign work tainted, or that an interruption cut in two, is run again in the same order at once,
        so that the good rounds follow the plan and stay balanced; its samples stay. At most `plan.replacements` tainted
        rounds are run again.
        """
        while not decided(self.state):
            number, order = self._next()
            if number < 0:
                return
            for position, name in enumerate(order):
                self._take(self._place(name), "measured", number, position)
            if any(sample.tainted for sample in self.state.rounds()[number].values()):
                await_quiet(self.plan.protocol.foreign_limit, self.cancel)

    def order(self) -> list[list[str]]:
        """Return the order that really ran, round by round."""
        rounds = self.state.rounds()
        return [
            [sample.arm for sample in sorted(rounds[number].values(), key=lambda sample: sample.position)]
            for number in sorted(rounds)
        ]

    def good_rounds(self) -> list[int]:
        """Return the numbers of complete, untainted rounds."""
        names = {place.side.name for place in self.places}
        return [
            number
            for number, sides in sorted(self.state.rounds().items())
            if set(sides) == names and not any(sample.tainted for sample in sides.values())
        ]

    def _next(self) -> tuple[int, list[str]]:
        """Number and order of the next round; a negative number where none is left."""
        rounds, good, planned = self.state.rounds(), len(self.good_rounds()), self.plan.order
        if good >= len(planned) or self._tainted_rounds() > self.plan.replacements:
            return -1, []
        return max(rounds, default=-1) + 1, planned[good]

    def _tainted_rounds(self) -> int:
        return sum(any(sample.tainted for sample in sides.values()) for sides in self.state.rounds().values())

    def _next_round(self, phase: Phase, arm: str) -> int:
        return sum(sample.phase == phase and sample.arm == arm for sample in self.state.samples)

    def _place(self, name: str) -> Place:
        return next(place for place in self.places if place.side.name == name)

    def _take(self, place: Place, phase: Phase, number: int, position: int) -> None:
        name = f"{phase}{number}-{place.side.name}"
        if self.cancel is not None and self.cancel.is_set():
            raise self._failure(TrainerCancelled("The comparison was cancelled."), place, name)
        seed = self.plan.seed + number
        call = Call(place, self.folder, name, seed, self.cancel)
        load, started, clock = psutil.getloadavg()[0], datetime.now(UTC), time.monotonic()
        watch = Watch(self.plan.protocol.foreign_limit)
        try:
            answer = self.runner.run(call)
        except WorkbenchError as error:
            raise self._failure(error, place, name) from error
        seconds, seen = time.monotonic() - clock, watch.stop()
        self._check_figures(answer, place, name)
        self._check_data(answer, place)
        sample = Measurement(
            arm=place.side.name,
            round=number,
            position=position,
            phase=phase,
            started=started,
            process_seconds=round(seconds, 4),
            metrics=answer.metrics,
            outputs=answer.outputs,
            dataset=self.state.dataset.content_hash if self.state.dataset else "",
            run_id=answer.run_id,
            seed=seed if self.runner.paired_seeds else None,
            load=round(load, 2),
            foreign_cpu=seen.foreign_cpu,
            stolen=seen.stolen,
            tainted=seen.tainted,
        )
        append_sample(self.folder, sample)
        self.state.samples.append(sample)
        self.state.answers[place.side.name] = answer
        self.taken += 1
        self._report(sample)

    def _failure(self, error: WorkbenchError, place: Place, name: str) -> WorkbenchError:
        kept = len(self.state.samples)
        note = f"\nThe samples before it ({kept}) are kept; go on with --resume {self.plan.id}." if kept else ""
        if isinstance(error, TrainerCancelled | NotComparable):
            return type(error)(f"{error}{note}")
        said = f"Side {place.side.name} ({place.side.title}) failed in {name}: {error}{note}"
        return SampleFailed(said, place.side.name)

    def _check_data(self, answer: Answer, place: Place) -> None:
        """Refuse a sample that saw other data than the first one: it could not be compared."""
        data = answer.dataset or self.plan.data
        if data is None:
            raise NotComparable(
                f"dataset: side {place.side.name} names no data, and a verdict needs to know that both sides saw the "
                "same; give --data PATH, let the command print a 'dataset' hash, or say --data none if it reads none."
            )
        before = self.state.samples[0].dataset if self.state.samples else data.content_hash
        refuse_other_data(data.model_copy(update={"content_hash": before}), data, f"side {place.side.name}")
        self.state.dataset = self.state.dataset or data

    def _check_figures(self, answer: Answer, place: Place, name: str) -> None:
        """Refuse figures that no verdict could be made of, and work of another size than the other samples did."""
        target = self.runner.target
        for metric in (target.primary, *target.accuracy):
            value = answer.metrics.get(metric, math.nan)
            if not math.isfinite(value) or (metric == target.primary and value <= 0):
                known = ", ".join(sorted(answer.metrics)) or "nothing"
                what = f"{metric} is {value:g}" if metric in answer.metrics else f"there is no metric '{metric}'"
                raise self._failure(TargetError(f"{what}; it reports {known}"), place, name)
        for other in self.state.answers.values():
            for what in sorted({*answer.work} & {*other.work}):
                if answer.work[what] != other.work[what]:
                    raise NotComparable(
                        f"{what}: {answer.work[what]} for side {place.side.name} against {other.work[what]}; both "
                        "sides must do the same work."
                    )

    def _report(self, sample: Measurement) -> None:
        done, total = len(self.state.samples), self.total()
        figure = sample.metrics.get(self.runner.target.primary, math.nan)
        said = f"{sample.phase} round {sample.round + 1}, {sample.arm}: {self.runner.target.primary} {figure:.4g}"
        taint = f" (tainted: {sample.tainted})" if sample.tainted else ""
        left = (time.monotonic() - self.begun) / self.taken * max(0, total - done)
        self.progress(done, max(done, total), f"{said}{taint}; about {duration(left)} left")

    def total(self) -> int:
        """Return how many samples there will be in all, as far as is known now."""
        rounds = self.state.rounds()
        running = bool(rounds) and len(rounds[max(rounds)]) < len(self.places)
        missing = len(self.plan.order) - len(self.good_rounds())
        begun = len(rounds[max(rounds)]) if running else 0
        return len(self.state.samples) + max(0, missing * len(self.places) - begun)


def duration(seconds: float) -> str:
    """Say a duration in the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
