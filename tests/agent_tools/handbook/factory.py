"""Records as the workbench writes them, small and complete, for the tests of the documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent_tools.records.schema import (
    Arm,
    Benchmark,
    CacheCounts,
    DatasetFingerprint,
    EpochFigures,
    FeatureRow,
    GitState,
    Machine,
    Protocol,
    Reported,
    RunFile,
    RunRecord,
    Sample,
    Summary,
)
from agent_tools.records.stages import stage_seconds

START = datetime(2026, 11, 21, 20, 6, 22, tzinfo=UTC)
RUNGS = (
    ("naive", "naive", 14.203, ["preset=naive"]),
    ("turbojpeg", "TurboJPEG decoder", 11.871, ["preset=naive", "decoder=turbojpeg"]),
    ("image_cache", "image cache in RAM", 9.264, ["preset=naive", "decoder=turbojpeg", "cache_images=true"]),
    ("own_warp", "own warp, uint8", 6.102, ["preset=base", "decoder=turbojpeg", "cache_images=true"]),
    ("channels_last", "channels_last", 6.231, ["preset=base", "decoder=turbojpeg", "cache_images=true", "layout=last"]),
    ("bf16", "bf16", 2.874, ["preset=base", "decoder=turbojpeg", "cache_images=true", "layout=last", "precision=bf16"]),
)


def machine(key: str = "9f31c2d4e5a6", cpu: str = "Intel(R) Xeon(R) 8481C @ 2.70GHz") -> Machine:
    return Machine(
        key=key,
        cpu_model=cpu,
        cores=2,
        memory_gib=8,
        gpu_model="",
        gpu_count=0,
        os="Linux 6.1",
        libraries={"torch": "2.13.0"},
        observations={"load_1m": 0.31},
    )


def dataset(name: str = "sroie-val", images: int = 48) -> DatasetFingerprint:
    return DatasetFingerprint(name=name, root="data/receipts", images=images, content_hash="sha256:" + "ab" * 32)


def git(files: tuple[str, ...] = ("ocr/datasets/base.py", "configs/base.yaml")) -> GitState:
    return GitState(
        commit="0123456789abcdef0123456789abcdef01234567",
        branch="main",
        dirty=bool(files),
        dirty_hash="ff" * 8 if files else "",
        changed_files=list(files),
    )


def ladder(
    record_id: str = "20261121T200622Z-benchmark-3fa9c1",
    *,
    rounds: int = 6,
    hmean: float = 0.842,
    parity: str = "equal",
    name: str = "main",
    title: str = "Main ladder",
    days: int = 0,
    speed: float = 1.0,
    interval: tuple[float, float] = (0.98, 1.03),
    **changes: Any,
) -> RunRecord:
    """A ladder whose rounds scatter by a fixed pattern around each rung's seconds."""
    arms = [Arm(name=n, title=t, overrides=o, precision="32-true", decoder="turbojpeg 2.1.5") for n, t, _, o in RUNGS]
    seconds = {n: s if index == 0 else s / speed for index, (n, _, s, _) in enumerate(RUNGS)}
    samples = [
        Sample(
            arm=arm,
            round=r,
            position=position,
            run_id=f"20261121T20{r:02d}{position:02d}Z-evaluate-{r:03d}{position:03d}",
            cold_seconds=round(warm * 1.4, 3),
            warm_seconds=[round(warm * (1 + 0.02 * ((r * 7 + position * 3) % 5 - 2)), 4)],
            images=48,
            setup_seconds={"preload": 0.4},
            stages={"decode": 0.2 * warm, "model": 0.8 * warm},
            metrics={"icdar_hmean": hmean},
            load=round(0.1 + 0.03 * r, 2),
        )
        for r in range(rounds)
        for position, (arm, warm) in enumerate(seconds.items())
    ]
    first = seconds["naive"]
    before = dict(zip(seconds, [first, *seconds.values()], strict=False))
    summaries = [
        Summary(
            arm=arm,
            cold_seconds=round(warm * 1.4, 4),
            warm_seconds=warm,
            images_per_second=48 / warm,
            ratio_to_first=first / warm,
            ratio_low=first / warm * interval[0],
            ratio_high=first / warm * interval[1],
            ratio_to_previous=before[arm] / warm,
            icdar_hmean=hmean,
            cleval_hmean=hmean - 0.021,
            parity=parity,  # type: ignore[arg-type]
        )
        for arm, warm in seconds.items()
    ]
    benchmark = Benchmark(
        name=name,
        arms=arms,
        protocol=Protocol(
            rounds=rounds, warmup_epochs=1, order_seed=7, order=[list(seconds)] * rounds, descriptive=rounds < 6
        ),
        samples=samples,
        summaries=summaries,
        checkpoint_sha256="cd" * 32,
        parity_margin=0.005,
    )
    values: dict[str, Any] = {
        "id": record_id,
        "kind": "benchmark",
        "title": title,
        "started": START + timedelta(days=days),
        "ended": START + timedelta(days=days, minutes=17),
        "command": ["agent-tools", "bench", "ladder", "--rounds", str(rounds)],
        "git": git(),
        "machine": machine(),
        "environment": {"python": "3.11.7", "torch": "2.13.0"},
        "dataset": dataset(),
        "benchmark": benchmark,
    }
    return RunRecord(**(values | changes))


def epoch(number: int, phase: str, seconds: float, hmean: float | None) -> EpochFigures:
    return EpochFigures(
        epoch=number,
        phase=phase,  # type: ignore[arg-type]
        seconds=seconds,
        images=48,
        stages={"decode": 0.25 * seconds, "model": 0.7 * seconds, "post": 0.05 * seconds},
        cache={"images": CacheCounts(hits=48 * number, misses=0 if number else 48, bytes=10**8)},
        metrics={} if hmean is None else {"icdar_hmean": hmean, "cleval_hmean": hmean - 0.02},
        counts={},
    )


def run_file(kind: str = "train", epochs: int = 3, hmean: float = 0.7) -> RunFile:
    passes = [
        epoch(
            n,
            phase,
            (4.5 if phase == "train" else 2.2) / (1 if n == 0 else 2),
            hmean + n / 1000 if phase == "val" else None,
        )
        for n in range(epochs)
        for phase, seconds in ((("train", 4.5), ("val", 2.2)) if kind == "train" else (("val", 2.2),))
    ]
    return RunFile(
        schema_version=1,
        id="20261121T190000Z-train-aa11bb",
        kind=kind,  # type: ignore[arg-type]
        status="finished",
        error=None,
        started=START,
        ended=START,
        argv=["python", "-m", "runners.train"],
        overrides=["trainer.max_epochs=3"],
        config={},
        config_hash="ee",
        datasets={"val": dataset()},
        device="cpu",
        precision={"asked": "auto", "used": "bf16-mixed", "reason": "the CPU has AMX"},
        environment={},
        seeds={"seed": 42},
        setup_seconds={"preload": 0.8},
        features=[
            FeatureRow(
                feature="image preloading",
                criterion="image preloading works",
                verified_by="count of resident images",
                expected="48/48",
                seen="48/48",
                status="pass",
            )
        ],
        epochs=passes,
        checkpoints={},
    )


def trained(
    record_id: str = "20261121T190000Z-train-aa11bb",
    kind: str = "train",
    epochs: int = 3,
    hmean: float = 0.7,
    **changes: Any,
) -> RunRecord:
    values: dict[str, Any] = {
        "id": record_id,
        "kind": kind,
        "title": f"First {kind} run",
        "started": START - timedelta(hours=1),
        "ended": START - timedelta(minutes=50),
        "command": ["agent-tools", "train", "run"],
        "git": git(()),
        "machine": machine(),
        "dataset": dataset(),
        "overrides": ["trainer.max_epochs=3"],
        "run": run_file(kind, epochs, hmean),
    }
    return RunRecord(**(values | changes))


def profiled(
    record_id: str = "20261121T193000Z-profile-77aa88", seconds: float = 5.5, stages: dict[str, float] | None = None
) -> RunRecord:
    """A profile of the last epoch of an evaluation, as `profile_run` writes it."""
    given = stages or {"wait": 1.25, "forward": 3.5, "post: boxes": 0.4, "metric": 0.05, "loader.decode": 1.0}
    run = run_file("evaluate", 2)
    epochs = [run.epochs[0], run.epochs[1].model_copy(update={"seconds": seconds, "stages": given})]
    run = run.model_copy(update={"epochs": epochs})
    return RunRecord(
        id=record_id,
        kind="profile",
        title="Stages of a validation epoch",
        started=START,
        ended=START + timedelta(minutes=1),
        command=["agent-tools", "profile", "run"],
        git=git(()),
        machine=machine(),
        dataset=dataset(),
        run=run,
        stages=stage_seconds(epochs[1]),
    )


def reported(
    record_id: str = "20261101T000000Z-reported-010101", value: float = 158.9, metric: str = "val epoch"
) -> RunRecord:
    return RunRecord(
        id=record_id,
        kind="reported",
        title="History",
        started=START - timedelta(days=20),
        ended=START - timedelta(days=20),
        command=[],
        reported=Reported(metric=metric, value=value, unit="s", source="the project's handover", date="2025-10"),
    )


def store(folder: Path, *records: RunRecord) -> list[Path]:
    """Write records as `RecordStore` does, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for record in records:
        path = folder / f"{record.id}.json"
        path.write_text(record.model_dump_json(indent=1) + "\n")
        paths.append(path)
    return paths


PLAN = """---
name: {name}
kind: {kind}
status: {status}
hypothesis: {hypothesis}
{more}---

Free notes.
"""


def plan(
    root: Path, name: str, status: str, kind: str = "optimisation", hypothesis: str = "it helps", more: str = ""
) -> Path:
    folder = root / "docs/ai_handbook/07_planning/plans"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(PLAN.format(name=name, kind=kind, status=status, hypothesis=hypothesis, more=more))
    return path


def target(root: Path, figure: str = "ratio_to_first", value: float = 5.0, benchmark: str = "main") -> Path:
    more = f"target:\n  benchmark: {benchmark}\n  figure: {figure}\n  value: {value}\n"
    return plan(root, f"target-{figure}", "active", "target", "the ladder reaches it", more)


def project(root: Path) -> Path:
    """A small repository tree with one session of every kind of record and a ledger; returns the session's folder."""
    session = root / "logs/2026-11-21_main-job"
    store(
        session / "records",
        ladder(),
        trained(),
        trained("20261121T191500Z-evaluate-bb22cc", "evaluate"),
        profiled(),
        reported(),
    )
    target(root)
    plan(
        root,
        "tensor-cache",
        "active",
        hypothesis="decoding twice is waste",
        more="expected_gain: 1.3x\neffort: 1 day\n",
    )
    plan(root, "dali", "planned", hypothesis="decode on the GPU", more="priority: 2\n")
    plan(
        root,
        "prenormalise",
        "reverted",
        hypothesis="Normalize is 87.8% of transform time",
        more="verdict: 4x memory, no gain\n",
    )
    plan(root, "orientation", "planned", "issue", "one receipt is upside down")
    return session
