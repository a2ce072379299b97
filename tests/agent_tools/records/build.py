"""Small real records and run files for tests: every part is the model that production code reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent_tools.records.compared import (
    AccuracyOutcome,
    Comparison,
    Measurement,
    MetricOutcome,
    Outcome,
    PairedProtocol,
    Side,
    Target,
)
from agent_tools.records.schema import Arm, DatasetFingerprint, EpochFigures, FeatureRow, RunFile, RunRecord, Sample
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


def measurement(arm: str, round_: int, seconds: float, **changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "arm": arm,
        "round": round_,
        "position": 0,
        "phase": "measured",
        "started": START,
        "process_seconds": seconds + 1,
        "metrics": {"warm_seconds": seconds, "icdar_hmean": 0.8},
        "load": 0.5,
        "foreign_cpu": 0.1,
        "stolen": 0.0,
    }
    return Measurement(**(fields | changes))


def target(**changes: Any) -> Target:
    fields: dict[str, Any] = {"name": "evaluate", "command": ["ocr", "evaluate"], "primary": "warm_seconds"}
    fields |= {"accuracy": ["icdar_hmean"], "gate": "margin", "margin": 0.005}
    return Target(**(fields | changes))


def side(name: str, title: str, **changes: Any) -> Side:
    fields: dict[str, Any] = {"commit": name.lower() * 40, "tree": "e" * 40, "dirty": False, "overrides": []}
    return Side(name=name, title=title, environment="f" * 8, **(fields | changes))


def paired_protocol(rounds: int, **changes: Any) -> PairedProtocol:
    order = [["A", "B"] if number % 2 == 0 else ["B", "A"] for number in range(rounds)]
    fields: dict[str, Any] = {"rounds": rounds, "looks": 1, "alpha": 0.05, "equivalence": 0.02, "order_seed": 0}
    fields |= {"order": order, "warmup_samples": 1, "foreign_limit": 0.02}
    return PairedProtocol(**(fields | changes))


def paired(
    ratios: Sequence[float], *, a: Mapping[str, Any] | None = None, b: Mapping[str, Any] | None = None, **metrics: float
) -> list[Measurement]:
    """A round per ratio (A over B, times near 2 s), who leads in turn; `a` and `b` change the samples of one side."""
    samples = []
    for number, ratio in enumerate(ratios):
        for name, seconds, changes in (("A", 2.0, a), ("B", 2.0 / ratio, b)):
            own = {"warm_seconds": seconds, "icdar_hmean": 0.8} | metrics | (changes or {}).get("metrics", {})
            position = (number + (name == "B")) % 2
            samples.append(
                measurement(name, number, seconds, **{"position": position} | (changes or {}) | {"metrics": own})
            )
    return samples


def outcome(**changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "verdict": "faster",
        "recommendation": "keep",
        "reason": "B is faster.",
        "pairs": 6,
        "look": 1,
        "alpha": 0.05,
        "metrics": [
            MetricOutcome(
                metric="warm_seconds",
                a=4.0,
                b=2.0,
                ratio=2.0,
                median_ratio=2.0,
                low=1.9,
                high=2.1,
                sign_low=1.8,
                sign_high=2.2,
                p=0.03,
                p_adjusted=0.03,
            )
        ],
        "accuracy": [
            AccuracyOutcome(metric="icdar_hmean", a=0.8, b=0.8, difference=0.0, low=0.0, high=0.0, parity="equal")
        ],
        "outputs_equal": None,
        "smallest_effect": 0.04,
        "order_effect": 0.0,
        "order_p": 1.0,
        "drift": 0.0,
        "drift_p": 1.0,
        "floor_low": 0.99,
        "floor_high": 1.01,
        "outliers": 0,
        "tainted": 0,
    }
    return Outcome(**(fields | changes))


def comparison(**changes: Any) -> Comparison:
    samples = [measurement(arm, number, 4.0 if arm == "A" else 2.0) for number in range(6) for arm in "AB"]
    fields: dict[str, Any] = {
        "name": "cache",
        "treatment": "configurations",
        "changes": ["cache_images"],
        "target": target(),
        "arms": [side("A", "preset=naive"), side("B", "preset=fast", dirty=True, overrides=["preset=fast"])],
        "protocol": paired_protocol(6),
        "samples": [measurement("A", 0, 9.0, phase="warmup", tainted="foreign work"), *samples],
        "outcome": outcome(),
    }
    return Comparison(**(fields | changes))
