"""The records as tables: which columns there are, and the rows of one record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from agent_tools.records.raw_figures import raw_figures
from agent_tools.records.schema import RunRecord

_WRITTEN = {
    "records": "id VARCHAR, kind VARCHAR, title VARCHAR, started TIMESTAMP, ended TIMESTAMP, commit VARCHAR, "
    "branch VARCHAR, dirty BOOLEAN, machine VARCHAR, cpu_model VARCHAR, gpu_model VARCHAR, dataset VARCHAR, "
    "dataset_hash VARCHAR, config_hash VARCHAR, verdict VARCHAR, recommendation VARCHAR, path VARCHAR",
    "samples": "record VARCHAR, kind VARCHAR, arm VARCHAR, round BIGINT, position BIGINT, phase VARCHAR, "
    "tainted VARCHAR, metric VARCHAR, value DOUBLE",
    "epochs": "record VARCHAR, epoch BIGINT, phase VARCHAR, seconds DOUBLE, images BIGINT, weights VARCHAR, "
    "hits BIGINT, misses BIGINT, icdar_hmean DOUBLE, cleval_hmean DOUBLE",
    "metrics": "record VARCHAR, metric VARCHAR, role VARCHAR, a DOUBLE, b DOUBLE, effect DOUBLE, low DOUBLE, "
    "high DOUBLE, p DOUBLE, p_adjusted DOUBLE, parity VARCHAR",
    "raw": "id VARCHAR, record JSON",
}

TABLES: Mapping[str, Mapping[str, str]] = {
    table: dict(column.split(" ") for column in columns.split(", ")) for table, columns in _WRITTEN.items()
}
"""Table -> column -> DuckDB type. Times are UTC. `samples` has one row per raw figure (see `RawFigure`). In `metrics`,
`effect` is the ratio (above 1: B is better), or B minus A where `role` is accuracy. `raw` holds whole records."""

Row = dict[str, Any]


def rows_of(record: RunRecord, path: str) -> dict[str, list[Row]]:
    """Return the rows of one record by table; `path` is its file, relative to the root."""
    return {
        "records": [_record_row(record, path)],
        "samples": [vars(figure) for figure in raw_figures(record)],
        "epochs": list(_epoch_rows(record)),
        "metrics": list(_metric_rows(record)),
        "raw": [{"id": record.id, "record": record.model_dump(mode="json")}],
    }


def _record_row(record: RunRecord, path: str) -> Row:
    git, machine, dataset = record.git, record.machine, record.dataset
    outcome = record.comparison.outcome if record.comparison else None
    return {
        "id": record.id,
        "kind": record.kind,
        "title": record.title,
        "started": _utc(record.started),
        "ended": _utc(record.ended),
        "commit": git and git.commit,
        "branch": git and git.branch,
        "dirty": git and git.dirty,
        "machine": machine and machine.key,
        "cpu_model": machine and machine.cpu_model,
        "gpu_model": machine and machine.gpu_model,
        "dataset": dataset and dataset.name,
        "dataset_hash": dataset and dataset.content_hash,
        "config_hash": record.config_hash,
        "verdict": outcome and outcome.verdict,
        "recommendation": outcome and outcome.recommendation,
        "path": path,
    }


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def _epoch_rows(record: RunRecord) -> Iterator[Row]:
    for epoch in record.run.epochs if record.run else ():
        yield {
            "record": record.id,
            "epoch": epoch.epoch,
            "phase": epoch.phase,
            "seconds": epoch.seconds,
            "images": epoch.images,
            "weights": epoch.weights,
            "hits": sum(tier.hits for tier in epoch.cache.values()),
            "misses": sum(tier.misses for tier in epoch.cache.values()),
            "icdar_hmean": epoch.metrics.get("icdar_hmean"),
            "cleval_hmean": epoch.metrics.get("cleval_hmean"),
        }


def _metric_rows(record: RunRecord) -> Iterator[Row]:
    if record.comparison is None:
        return
    outcome, primary = record.comparison.outcome, record.comparison.target.primary
    for timed in outcome.metrics:
        role = "primary" if timed.metric == primary else "secondary"
        figures = timed.model_dump(include={"metric", "a", "b", "low", "high", "p", "p_adjusted"})
        yield {"record": record.id, "role": role, "effect": timed.ratio, "parity": None, **figures}
    for gate in outcome.accuracy:
        figures = gate.model_dump(include={"metric", "a", "b", "low", "high", "parity"})
        unknown = {"p": None, "p_adjusted": None}
        yield {"record": record.id, "role": "accuracy", "effect": gate.difference, **figures, **unknown}
