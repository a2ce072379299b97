"""Records as the workbench writes them, small and complete, for the tests of the documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent_tools.records.compared import (
    AccuracyOutcome,
    Bisection,
    BisectionStep,
    Comparison,
    History,
    HistoryPoint,
    Measurement,
    MetricOutcome,
    Outcome,
    PairedProtocol,
    Side,
    Simulation,
    SimulationRow,
    Target,
)
from agent_tools.records.schema import (
    Arm,
    Benchmark,
    CacheCounts,
    DatasetFingerprint,
    EpochFigures,
    FeatureRow,
    GitState,
    Imported,
    Machine,
    Override,
    Protocol,
    Reported,
    RunFile,
    RunRecord,
    Sample,
    Series,
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

HOSTILE = (
    "48 receipts | 3.5x faster",
    "<!-- END generated:title --> 99x",
    "[id](records/other.json#/a:b) `x` *y*",
    "line\nbreak\r\n# heading",
    "{{ 7 * 7 }}",
    "``",
    "9.99x",
    "<script>9.99x</script>",
)
"""Texts that want to be Markdown, markers, templates or numbers."""


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


def side(name: str, title: str, commit: str = "0123456789abcdef", **changes: Any) -> Side:
    values = {"tree": f"{commit[::-1]}", "dirty": False, "overrides": [], "environment": "e5" * 8}
    return Side(name=name, title=title, commit=commit, **(values | changes))


def compared(name: str = "evaluate", gate: str = "margin") -> Target:
    return Target(
        name=name,
        command=["python", "-m", "runners.test", "seed=42"],
        primary="warm_seconds",
        accuracy=["icdar_hmean", "cleval_hmean"],
        gate=gate,  # type: ignore[arg-type]
        margin=0.005,
        checkpoint_sha256="cd" * 32,
    )


def paired_protocol(order: list[list[str]], **changes: Any) -> PairedProtocol:
    values: dict[str, Any] = {
        "rounds": len(order),
        "looks": 1,
        "alpha": 0.05,
        "equivalence": 0.02,
        "order_seed": 11,
        "order": order,
        "warmup_samples": 1,
        "foreign_limit": 0.05,
    }
    return PairedProtocol(**(values | changes))


def measurement(arm: str, number: int, position: int, seconds: float, **changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "phase": "measured",
        "started": START + timedelta(minutes=2 * number + position),
        "process_seconds": seconds + 3.1,
        "metrics": {"warm_seconds": seconds, "cold_seconds": 1.3 * seconds, "icdar_hmean": 0.842},
        "load": round(0.1 + 0.03 * number, 2),
        "foreign_cpu": 0.01 * position,
        "stolen": 0.001,
    }
    return Measurement(arm=arm, round=number, position=position, **(values | changes))


def paired_samples(rounds: int, seconds: dict[str, float], tainted: int | None = 3) -> list[Measurement]:
    """A warm-up per side, then rounds in alternating order that scatter by a fixed pattern; one sample is tainted."""
    samples = [
        measurement(name, 0, place, 1.25 * value, phase="warmup") for place, (name, value) in enumerate(seconds.items())
    ]
    for number in range(rounds):
        order = list(seconds)[:: 1 if number % 3 else -1]
        for place, name in enumerate(order):
            value = seconds[name] * (1 + 0.01 * ((number * 7 + place * 3) % 5 - 2))
            taint = "another process used 1.4 cores" if number == tainted and place == 0 else ""
            samples.append(
                measurement(name, number, place, round(value * (1.4 if taint else 1), 4), tainted=taint, load=0.2)
            )
    return samples


def metric_outcome(metric: str, a: float, b: float, width: float = 0.03, p: float = 0.0078) -> MetricOutcome:
    ratio = a / b
    return MetricOutcome(
        metric=metric,
        a=a,
        b=b,
        ratio=ratio,
        median_ratio=ratio * 1.001,
        low=ratio - width,
        high=ratio + width,
        sign_low=ratio - 1.3 * width,
        sign_high=ratio + 1.3 * width,
        p=p,
        p_adjusted=p,
    )


def outcome(verdict: str = "faster", recommendation: str = "keep", **changes: Any) -> Outcome:
    seconds_b = {"slower": 14.5, "equivalent": 12.31, "inconclusive": 12.2}.get(verdict, 11.02)
    width = 0.01 if verdict == "equivalent" else 0.03
    values: dict[str, Any] = {
        "verdict": verdict,
        "recommendation": recommendation,
        "reason": f"{verdict}, as the interval says",
        "pairs": 7,
        "look": 1,
        "alpha": 0.05,
        "metrics": [
            metric_outcome("warm_seconds", 12.31, seconds_b, width),
            metric_outcome("cold_seconds", 16.1, 15.9, p=0.31),
        ],
        "accuracy": [
            AccuracyOutcome(
                metric=name, a=value, b=value - 0.0004, difference=-0.0004, low=-0.0011, high=0.0003,
                parity="within margin",
            )
            for name, value in (("icdar_hmean", 0.842), ("cleval_hmean", 0.821))
        ],
        "outputs_equal": None,
        "smallest_effect": 0.0231,
        "order_effect": 0.0042,
        "order_p": 0.62,
        "drift": -0.0113,
        "drift_p": 0.21,
        "floor_low": 0.985,
        "floor_high": 1.012,
        "outliers": 1,
        "tainted": 1,
    }  # fmt: skip
    return Outcome(**(values | changes))


def comparison(
    record_id: str = "20261121T210000Z-comparison-c0ffee",
    verdict: str = "faster",
    recommendation: str = "keep",
    *,
    title: str = "Own warp against albumentations",
    name: str = "own warp",
    days: int = 0,
    outcome_changes: dict[str, Any] | None = None,
    **changes: Any,
) -> RunRecord:
    """A comparison of two revisions over eight rounds, one of them tainted."""
    result = outcome(verdict, recommendation, **(outcome_changes or {}))
    samples = paired_samples(8, {"A": result.metrics[0].a, "B": result.metrics[0].b})
    order = [[s.arm for s in samples if s.phase == "measured" and s.round == number] for number in range(8)]
    values: dict[str, Any] = {
        "name": name,
        "treatment": "revisions",
        "changes": ["0123456789ab..fedcba987654", "warp: own transform"],
        "files": ["ocr/datasets/warp.py", "configs/transforms/base.yaml"],
        "target": compared(),
        "arms": [side("A", "HEAD~1"), side("B", "worktree", "fedcba9876543210", dirty=True)],
        "protocol": paired_protocol(order),
        "samples": samples,
        "outcome": result,
    }
    whole: dict[str, Any] = {
        "id": record_id,
        "kind": "comparison",
        "title": title,
        "started": START + timedelta(days=days, hours=1),
        "ended": START + timedelta(days=days, hours=1, minutes=31),
        "command": ["agent-tools", "bench", "compare", "HEAD~1", "worktree"],
        "git": git(),
        "machine": machine(),
        "environment": {"python": "3.11.7"},
        "dataset": dataset(),
        "comparison": Comparison(**(values | changes)),
    }
    return RunRecord(**whole)


def bisection(record_id: str = "20261121T220000Z-bisection-b15ec7", *, found: bool = True, **changes: Any) -> RunRecord:
    """A search over eight commits that found its culprit, or was left with two suspects."""
    steps = [
        BisectionStep(commit="44" * 20, title="faster | decoder", verdict="good", ratio=1.004, low=0.99, high=1.02,
                      record="20261121T210500Z-comparison-000044"),
        BisectionStep(commit="66" * 20, title="fix: 3 tests", verdict="skipped", reason="the command failed"),
        BisectionStep(commit="77" * 20, title="new loss", verdict="bad", ratio=0.81, low=0.79, high=0.83,
                      record="20261121T211500Z-comparison-000077"),
    ]  # fmt: skip
    values: dict[str, Any] = {
        "good": "11" * 20,
        "bad": "88" * 20,
        "commits": 7,
        "steps": steps,
        "culprit": "77" * 20 if found else "",
        "culprit_title": "new loss" if found else "",
        "suspects": ["77" * 20] if found else ["66" * 20, "77" * 20],
        "files": ["ocr/models/loss.py"] if found else [],
        "confirmed": "20261121T212000Z-comparison-000078" if found else "",
    }
    return RunRecord(
        id=record_id,
        kind="bisection",
        title="Who made it slow",
        started=START,
        ended=START + timedelta(hours=2),
        command=["agent-tools", "bench", "bisect"],
        git=git(()),
        machine=machine(),
        dataset=dataset(),
        bisection=Bisection(**(values | changes)),
    )


COMMITS = (
    ("11" * 20, "first form", 12.31, "", ""),
    ("22" * 20, "faster decoder", 9.84, "faster", ""),
    ("33" * 20, "half of a change", float("nan"), "", "the command failed with exit code 1"),
    ("44" * 20, "new loss", 11.9, "slower", ""),
    ("55" * 20, "docs", 11.95, "", ""),
)


def history(record_id: str = "20261121T230000Z-history-415701", **changes: Any) -> RunRecord:
    """Five commits, one of which cannot be measured; one made it faster and one slower."""
    measured = {commit[:7]: seconds for commit, _, seconds, _, failed in COMMITS if not failed}
    samples = paired_samples(6, measured, tainted=None)
    before, points = float("nan"), []
    for place, (commit, title, seconds, change, failed) in enumerate(COMMITS):
        ratio = 1.0 if failed or not place else before / seconds
        points.append(
            HistoryPoint(
                commit=commit,
                title=title,
                committed=START - timedelta(days=9 - place),
                value=seconds,
                low=seconds * 0.98,
                high=seconds * 1.02,
                accuracy={} if failed else {"icdar_hmean": 0.842 + 0.002 * place, "cleval_hmean": 0.82},
                ratio=ratio,
                ratio_low=ratio * 0.98,
                ratio_high=ratio * 1.02,
                p_adjusted=0.031 if change else 0.7,
                change=change,  # type: ignore[arg-type]
                failed=failed,
            )
        )
        before = before if failed else seconds
    values: dict[str, Any] = {
        "name": "November",
        "target": compared(),
        "arms": [side(commit[:7], title, commit) for commit, title, *_ in COMMITS],
        "protocol": paired_protocol([list(measured)] * 6),
        "samples": samples,
        "points": points,
    }
    return RunRecord(
        id=record_id,
        kind="history",
        title="",
        started=START,
        ended=START + timedelta(hours=3),
        command=["agent-tools", "bench", "history"],
        git=git(()),
        machine=machine(),
        dataset=dataset(),
        history=History(**(values | changes)),
    )


def simulation(record_id: str = "20261121T234500Z-simulation-51a7e5", days: int = 0, **changes: Any) -> RunRecord:
    """The judge judged in two kinds of noise; with six rounds of spikes no smallest change can be stated."""
    rows = [
        SimulationRow(
            scenario=scenario,
            description=description,
            rounds=rounds,
            experiments=2000,
            false_positives=71,
            false_positive_rate=71 / 2000,
            false_positive_low=0.0278,
            false_positive_high=0.0446,
            detected=1961,
            power=1961 / 2000,
            power_low=0.9735,
            power_high=0.9857,
            stated_effect=effect,
        )
        for scenario, description, rounds, effect in (
            ("drift", "the machine slows down by 5% over the run", 12, 0.0214),
            ("spikes", "one sample in ten takes a third longer", 6, float("inf")),
        )
    ]
    return RunRecord(
        id=record_id,
        kind="simulation",
        title="The judge judged",
        started=START + timedelta(days=days),
        ended=START + timedelta(days=days, minutes=4),
        command=["agent-tools", "bench", "check", "--judge"],
        git=git(()),
        simulation=Simulation(**({"seed": 7, "alpha": 0.05, "rows": rows} | changes)),
    )


def override(
    record_id: str = "20261122T080000Z-override-0ddba1",
    about: str = "20261121T210000Z-comparison-c0ffee",
    **changes: Any,
) -> RunRecord:
    values: dict[str, Any] = {
        "record": about,
        "recommended": "keep",
        "decided": "revert",
        "by": "A. Person",
        "reason": "the code is 3x as long",
    }
    return RunRecord(
        id=record_id,
        kind="override",
        title="Own warp is not kept",
        started=START + timedelta(hours=12),
        ended=START + timedelta(hours=12),
        command=["agent-tools", "record", "override"],
        override=Override(**(values | changes)),
    )


def imported(record_id: str = "20261121T235000Z-imported-1a90c7") -> RunRecord:
    series = [
        Series(name="test_warp[640]", seconds=[0.0031, 0.0030, 0.0034], calls=300),
        Series(name="run_training_batch | total", seconds=[], calls=12),
    ]
    return RunRecord(
        id=record_id,
        kind="imported",
        title="Microbenchmarks",
        started=START,
        ended=START,
        command=["agent-tools", "record", "import", "bench.json"],
        imported=Imported(
            tool="pytest-benchmark", version="5.2.3", source="bench.json", source_sha256="ef" * 32, series=series
        ),
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
