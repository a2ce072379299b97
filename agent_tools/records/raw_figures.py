"""Every raw figure of a record as one long table: what exports, queries and other programs can recompute all from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from agent_tools.records.compared import Measurement
from agent_tools.records.schema import EpochFigures, RunRecord, Sample, Series


@dataclass(frozen=True)
class RawFigure:
    """One number as it was measured, and where in its record it stands.

    Attributes:
        record: id of the record.
        kind: kind of the record.
        arm: rung, side or series; empty where the record has one thing only.
        round: round of a benchmark, epoch of a run, number of the sample in an imported series; from 0.
        position: place in the round, in the order measured; from 0.
        phase: warmup, pilot or measured of a sample; train or val of an epoch.
        tainted: why the sample can support no verdict; empty where it can.
        metric: name; seconds where the name ends so, and stages and set-up steps as `stage.NAME` and `setup.NAME`.
        value: the number, in the metric's own unit.
    """

    record: str
    kind: str
    arm: str
    round: int
    position: int
    phase: str
    tainted: str
    metric: str
    value: float


@dataclass(frozen=True)
class _Place:
    arm: str = ""
    round: int = 0
    position: int = 0
    phase: str = ""
    tainted: str = ""


def raw_figures(record: RunRecord) -> Iterator[RawFigure]:
    """Yield the raw figures of a record in the order measured; a kind without samples of its own yields none."""
    for place, figures in _measured(record):
        for metric, value in figures.items():
            yield RawFigure(record=record.id, kind=record.kind, metric=metric, value=value, **vars(place))


def _measured(record: RunRecord) -> Iterator[tuple[_Place, Mapping[str, float]]]:
    for sample in record.benchmark.samples if record.benchmark else ():
        yield _Place(sample.arm, sample.round, sample.position, "measured"), _of_ladder_sample(sample)
    for part in (record.comparison, record.history):
        for measurement in part.samples if part else ():
            yield _place_of(measurement), _of_measurement(measurement)
    for number, epoch in enumerate(record.run.epochs if record.run else ()):
        yield _Place("", epoch.epoch, number, epoch.phase), _of_epoch(epoch)
    for series in record.imported.series if record.imported else ():
        yield from _of_series(series)
    if record.stages:
        yield _Place(), _named("stage", record.stages)
    if record.reported is not None:
        yield _Place(), {record.reported.metric: record.reported.value}
    if record.fact is not None:
        yield _Place(), record.fact.figures


def _of_ladder_sample(sample: Sample) -> dict[str, float]:
    warm = sample.warm_seconds
    return (
        {"cold_seconds": sample.cold_seconds}
        | ({"warm_seconds": median(warm)} if warm else {})
        | {f"warm_seconds.epoch_{number}": seconds for number, seconds in enumerate(warm, 1)}
        | {"images": sample.images, "load": sample.load}
        | sample.metrics
        | _named("setup", sample.setup_seconds)
        | _named("stage", sample.stages)
        | _named("cpu", sample.cpu)
    )


def _place_of(measurement: Measurement) -> _Place:
    return _Place(measurement.arm, measurement.round, measurement.position, measurement.phase, measurement.tainted)


def _of_measurement(measurement: Measurement) -> dict[str, float]:
    return {
        "process_seconds": measurement.process_seconds,
        "load": measurement.load,
        "foreign_cpu": measurement.foreign_cpu,
        "stolen": measurement.stolen,
    } | measurement.metrics


def _of_epoch(epoch: EpochFigures) -> dict[str, float]:
    return (
        {"seconds": epoch.seconds, "images": epoch.images}
        | epoch.metrics
        | _named("stage", epoch.stages)
        | _named("cpu", epoch.cpu)
    )


def _of_series(series: Series) -> Iterator[tuple[_Place, Mapping[str, float]]]:
    for number, seconds in enumerate(series.seconds):
        yield _Place(series.name, number, number), {"seconds": seconds}


def _named(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in figures.items()}
