"""Settings chosen for one machine: each against the defaults in one interleaved run, the winners together in a second.

A setting wins where the whole interval of its ratio lies above 1 and accuracy is kept. Winners need not add up, so
together they are one arm of a confirmation beside the best single one; what is written is what won there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from agent_tools.measure.arms_experiment import run_arms
from agent_tools.measure.arms_plan import ArmsOutput, ArmsRequest
from agent_tools.measure.rungs import ArmsDesign, LadderError, changed_one_at_a_time, merged_overrides
from agent_tools.measure.statistics import PAIRS_FOR_A_VERDICT
from agent_tools.measure.trainer import Progress
from agent_tools.records.schema import Arm, Benchmark, Contrast, RunRecord, Summary
from agent_tools.records.store import write_atomically

KEPT = frozenset({"equal", "within margin"})
"""Parities with which a setting may win."""

PRESETS = "configs/preset"


@dataclass(frozen=True)
class TunedArm:
    """One value of one setting: the setting it belongs to, and its arm."""

    setting: str
    arm: Arm


def _arm(setting: str, name: str, title: str, *overrides: str) -> TunedArm:
    return TunedArm(setting, Arm(name=name, title=title, overrides=list(overrides), precision="", decoder=""))


def _workers() -> list[TunedArm]:
    return [
        _arm("workers", f"workers_{count}", f"{count} workers", f"dataloaders.num_workers={count}")
        for count in (0, 1, 2)
    ]


def _prefetch() -> list[TunedArm]:
    return [
        _arm(
            "prefetch",
            f"prefetch_{ahead}",
            f"1 worker, {ahead} batches ahead",
            "dataloaders.num_workers=1",
            f"dataloaders.prefetch_factor={ahead}",
        )
        for ahead in (2, 4)
    ]


def _batch() -> list[TunedArm]:
    return [_arm("batch", f"batch_{size}", f"batches of {size}", f"batch_size={size}") for size in (4, 8, 16, 32)]


def _precision() -> list[TunedArm]:
    return [
        _arm("precision", f"precision_{name}", name, f"trainer.precision={name}") for name in ("32-true", "bf16-mixed")
    ]


def _memory_format() -> list[TunedArm]:
    return [
        _arm("memory_format", name, name, f"model.memory_format={name}") for name in ("contiguous", "channels_last")
    ]


def _allocator() -> list[TunedArm]:
    return [
        _arm("allocator", f"allocator_{name}", f"allocator: {name}", f"allocator={name}")
        for name in ("keep_pages", "default")
    ]


def _compile() -> list[TunedArm]:
    return [_arm("compile", "compile", "compiled", "model.compile_mode=default")]


def _threads() -> list[TunedArm]:
    cores = len(os.sched_getaffinity(0))
    counts = range(1, cores + 1) if cores <= 4 else sorted({1, cores // 4, cores // 2, cores})
    return [_arm("threads", f"threads_{count}", f"{count} threads", f"threads={count}") for count in counts]


def _post_workers() -> list[TunedArm]:
    return [
        _arm(
            "post_workers",
            f"post_workers_{count}",
            f"{count} threads for post-processing",
            f"model.post_workers={count}",
        )
        for count in (0, 1, 2)
    ]


SETTINGS: dict[str, Callable[[], list[TunedArm]]] = {
    "workers": _workers,
    "prefetch": _prefetch,
    "batch": _batch,
    "precision": _precision,
    "memory_format": _memory_format,
    "allocator": _allocator,
    "compile": _compile,
    "threads": _threads,
    "post_workers": _post_workers,
}
"""What can be tuned, and the values that are tried on this machine."""


def tune_design(settings: Sequence[str] = ()) -> ArmsDesign:
    """Return the design that changes one setting at a time of the defaults.

    Args:
        settings: names of `SETTINGS`; all of them by default.

    Raises:
        LadderError: an unknown setting.
    """
    unknown = [name for name in settings if name not in SETTINGS]
    if unknown:
        raise LadderError(f"settings names '{unknown[0]}'; choose from {', '.join(SETTINGS)}.")
    base = Arm(name="defaults", title="the defaults", overrides=[], precision="", decoder="")
    changed = [tuned.arm for name in dict.fromkeys(settings or SETTINGS) for tuned in SETTINGS[name]()]
    return changed_one_at_a_time("tune", "tune", base, changed)


@dataclass(frozen=True)
class Setting:
    """What one arm gave against the first one: `wins`, or why it does not."""

    arm: Arm
    contrast: Contrast
    parity: str
    wins: bool
    reason: str


def judged_settings(benchmark: Benchmark) -> list[Setting]:
    """Say of every arm but the first whether it wins: faster beyond doubt, with its accuracy kept, in six rounds."""
    arms = {arm.name: arm for arm in benchmark.arms}
    rows = {row.arm: row for row in benchmark.summaries}
    return [_judged(arms[one.below], one, rows[one.below], benchmark) for one in benchmark.contrasts]


def _judged(arm: Arm, contrast: Contrast, row: Summary, benchmark: Benchmark) -> Setting:
    reason = _why_not(contrast, row, descriptive=benchmark.protocol.descriptive)
    return Setting(arm, contrast, row.parity, not reason, reason)


def _why_not(contrast: Contrast, row: Summary, *, descriptive: bool) -> str:
    if row.parity not in KEPT:
        return f"refused: accuracy is {row.parity}" if row.parity == "worse" else f"refused: {row.parity}"
    if descriptive:
        return "descriptive: fewer than six rounds"
    return "" if contrast.low > 1 else "not faster beyond doubt"


def winners(benchmark: Benchmark) -> list[Setting]:
    """Return the best winning value of each group of arms that set the same keys, the fastest first."""
    best: dict[str, Setting] = {}
    for setting in sorted((row for row in judged_settings(benchmark) if row.wins), key=lambda row: -row.contrast.ratio):
        keys = " ".join(sorted(override.partition("=")[0] for override in setting.arm.overrides))
        best.setdefault(keys, setting)
    return list(best.values())


def confirmation_design(won: Sequence[Setting]) -> ArmsDesign:
    """Return the design that tries the winners together, beside the best single one; `won` holds the fastest first.

    Where two winners set the same key, the faster one's value stays.
    """
    base = Arm(name="defaults", title="the defaults", overrides=[], precision="", decoder="")
    best = won[0].arm
    # Merging keeps the last value of a key, and the fastest setting is to have the last word.
    together = merged_overrides(override for setting in reversed(won) for override in setting.arm.overrides)
    changed = [best]
    if len(won) > 1:
        changed.append(Arm(name="together", title="all winners together", overrides=together, precision="", decoder=""))
    return changed_one_at_a_time("tune_confirmation", "tune", base, changed)


def confirmed_setting(benchmark: Benchmark) -> Setting | None:
    """Return the fastest arm that won the confirmation: the combination, or the best single one; None where none did.

    The combination has to be faster than the single one by the median of its rounds.
    """
    won = [setting for setting in judged_settings(benchmark) if setting.wins]
    return max(won, key=lambda setting: setting.contrast.ratio, default=None)


@dataclass(frozen=True)
class Tuned:
    """What tuning found: its records, the setting that won (None: the defaults stay), and the preset it wrote."""

    trial: RunRecord
    confirmation: RunRecord | None
    chosen: Setting | None
    preset: Path


def tune(
    root: Path,
    request: ArmsRequest,
    settings: Sequence[str] = (),
    command: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    session: str | None = None,
) -> Tuned:
    """Try settings on this machine, confirm the winners, and write the preset `configs/preset/tuned_MACHINE.yaml`.

    Args:
        root: the repository.
        request: on what, and how often; the confirmation has six rounds at least.
        settings: names of `SETTINGS`; all of them by default.
        command: the command line to record; by default the equivalent `agent-tools bench tune`.
        progress: see `run_arms`.
        cancel: see `run_arms`.
        session: the session that the records are stored under.

    Raises:
        LadderError: an unknown setting, or see `run_arms`; no preset is written then.
        DataError, TrainerCancelled: see `run_arms`.
    """
    design = tune_design(settings)
    chosen = ["--settings", ",".join(settings)] if settings else []
    said = list(command) or ["agent-tools", "bench", "tune", *chosen, *request.flags(root)]
    trial = run_arms(root, design, request, ArmsOutput("tuning", said, session=session), progress, cancel)
    won, confirmation, kept = _winners(trial), None, None
    if won:
        enough = replace(request, rounds=max(request.rounds, PAIRS_FOR_A_VERDICT), seed=request.seed + 1)
        output = ArmsOutput("tuning, confirmation", said, session=session)
        confirmation = run_arms(root, confirmation_design(won), enough, output, progress, cancel)
        kept = confirmed_setting(_benchmark(confirmation))
    return Tuned(trial, confirmation, kept, write_preset(root, trial, confirmation, kept))


def _winners(record: RunRecord) -> list[Setting]:
    return winners(_benchmark(record))


def _benchmark(record: RunRecord) -> Benchmark:
    if record.benchmark is None:
        raise LadderError(f"Record {record.id} holds no benchmark; it was edited.")
    return record.benchmark


def write_preset(root: Path, trial: RunRecord, confirmation: RunRecord | None, chosen: Setting | None) -> Path:
    """Write the preset of the machine that the records are of, and return its path."""
    machine = trial.machine.key if trial.machine else "unknown"
    path = root / PRESETS / f"tuned_{machine}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, preset_text(trial, confirmation, chosen))
    return path


def preset_text(trial: RunRecord, confirmation: RunRecord | None, chosen: Setting | None) -> str:
    """Return a preset with only the keys that won, and the records that say so; without a winner it changes nothing."""
    lines = ["# @package _global_", f"# Tuned with `agent-tools bench tune`: record {trial.id}."]
    if confirmation is not None:
        lines.append(f"# Confirmed in record {confirmation.id}.")
    if chosen is None:
        return "\n".join(
            [*lines, "# No setting was faster beyond doubt with its accuracy kept: the defaults stay.", ""]
        )
    ratio = f"{chosen.contrast.ratio:.2f}x ({chosen.contrast.low:.2f} to {chosen.contrast.high:.2f})"
    lines.append(f"# {chosen.arm.title}: {ratio} against the defaults; accuracy: {chosen.parity}.")
    return "\n".join(lines) + "\n" + yaml.safe_dump(nested(chosen.arm.overrides), sort_keys=True)


def nested(overrides: Sequence[str]) -> dict[str, object]:
    """Return overrides `a.b=value` as nested plain data, as a configuration file has them."""
    tree: dict[str, object] = {}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        place = tree
        *groups, last = key.split(".")
        for group in groups:
            inner = place.setdefault(group, {})
            if not isinstance(inner, dict):
                raise LadderError(f"'{key}' lies below '{group}', which has a value of its own; correct the setting.")
            place = inner
        place[last] = yaml.safe_load(value)
    return tree
