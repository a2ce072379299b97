"""Small real records and run files for tests: every part is the model that production code reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent_tools.records.schema import (
    Arm,
    DatasetFingerprint,
    EpochFigures,
    FeatureRow,
    RunFile,
    RunRecord,
    Sample,
)
from agent_tools.records.store import new_id

START = datetime(2026, 11, 21, 20, 6, 22, tzinfo=UTC)


def record(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {"id": new_id(changes.get("kind", "benchmark"), changes.get("started", START))}
    fields |= {"kind": "benchmark", "started": START, "ended": START, "command": ["agent-tools", "bench", "ladder"]}
    return RunRecord(**(fields | changes))


def epoch(number: int = 0, phase: str = "val", seconds: float = 2.0, **changes: Any) -> EpochFigures:
    fields: dict[str, Any] = {
        "epoch": number,
        "phase": phase,
        "seconds": seconds,
        "images": 4,
        "stages": {"load": 0.25 * seconds, "forward": 0.5 * seconds},
        "cache": {"images": {"hits": 4 * number, "misses": 4 if number == 0 else 0, "bytes": 1000}},
        "metrics": {"icdar_hmean": 0.8, "cleval_hmean": 0.9},
        "counts": {"icdar": {"tp": 8, "n_gt": 10, "n_det": 10}},
    }
    return EpochFigures(**(fields | changes))


def run_file(**changes: Any) -> RunFile:
    fields: dict[str, Any] = {
        "schema_version": 1,
        "id": "20261121T200622Z-evaluate-3fa9c1",
        "kind": "evaluate",
        "status": "finished",
        "error": None,
        "started": START,
        "ended": START,
        "argv": ["ocr", "evaluate", "passes=2"],
        "overrides": ["passes=2"],
        "config": {"passes": 2, "trainer": {"max_epochs": 1}},
        "config_hash": "c" * 64,
        "datasets": {"val": DatasetFingerprint(name="receipts", root="data/receipts", images=4, content_hash="d" * 64)},
        "device": "cpu",
        "precision": {"asked": "auto", "used": "bf16-mixed", "reason": "the CPU has bf16"},
        "environment": {"decoder": "turbojpeg 2.1.5", "threads": "2"},
        "seeds": {"seed": 0},
        "setup_seconds": {"model": 5.0, "preload_images": 0.5},
        "features": [
            FeatureRow(
                feature="tensor cache",
                criterion="tensor caching enabled",
                verified_by="hits in epoch 1",
                expected="4 hits",
                seen="4 hits",
                status="pass",
            )
        ],
        "epochs": [epoch(0), epoch(1, seconds=1.0)],
        "checkpoints": {},
    }
    return RunFile(**(fields | changes))


def write_run_file(root: Path, run: RunFile, folder: str = "outputs") -> Path:
    path = root / folder / run.id / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(run.model_dump_json())
    return path


def sample(arm: str, round_: int, warm: float, hmean: float = 0.8, **changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "arm": arm,
        "round": round_,
        "position": 0,
        "run_id": new_id("evaluate", START),
        "cold_seconds": 3 * warm,
        "warm_seconds": [warm],
        "images": 48,
        "setup_seconds": {},
        "stages": {"forward": warm / 2},
        "metrics": {"icdar_hmean": hmean, "cleval_hmean": min(1.0, hmean + 0.1)},
        "load": 0.5,
    }
    return Sample(**(fields | changes))


def arm(name: str) -> Arm:
    return Arm(name=name, title=name, overrides=[], precision="32-true", decoder="pillow")
