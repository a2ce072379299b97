"""What may differ between two sides, and what must not: the treatment is declared, all else is refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import DatasetFingerprint, Machine, RunRecord

SHOWN = 5
"""Differences that a refusal names; more are counted."""

PLACES = frozenset({"run_id", "output_dir", "cache_dir", "checkpoint", "hydra", "passes"})
"""Configuration keys that say where a run writes, or that a target sets itself: they are no treatment."""


class NotComparable(WorkbenchError):
    """Two sides that differ in more than their declared treatment."""


def flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as `a.b.c` -> value; lists and empty mappings are values."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value} if prefix else {}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= flattened(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def config_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every configuration key that differs, sorted; keys of places are left out."""
    return [
        f"{key}: {old!r} -> {new!r}"
        for key, (old, new) in _differing(a, b).items()
        if key.partition(".")[0] not in PLACES
    ]


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    left, right = flattened(a), flattened(b)
    return {
        key: (left.get(key, "absent"), right.get(key, "absent"))
        for key in sorted({*left, *right})
        if (key in left) != (key in right) or left.get(key) != right.get(key)
    }


def refuse_other_data(first: DatasetFingerprint, other: DatasetFingerprint, who: str) -> None:
    """Refuse a sample or record that saw other data.

    Raises:
        NotComparable: their contents differ.
    """
    if first.content_hash != other.content_hash:
        raise NotComparable(
            f"dataset.content_hash: {first.content_hash[:19]} ({first.images} images) against "
            f"{other.content_hash[:19]} ({other.images} images) in {who}; even one byte of difference is other data, "
            "so measure both sides on the same files."
        )


def refuse_unlike_records(a: RunRecord, b: RunRecord, treatment: Iterable[str]) -> None:
    """Refuse to put two stored records beside each other unless they differ in the treatment alone.

    Args:
        a: one record.
        b: the other one; its commit may differ, which is then part of the treatment.
        treatment: configuration keys that may differ, with everything below them.

    Raises:
        NotComparable: naming each field that differs, with both values.
    """
    for record in (a, b):
        if record.reported is not None or record.imported is not None:
            raise NotComparable(f"kind: record {record.id} is {record.kind}, which is never one side of a comparison.")
    refuse_other_data(_dataset(a), _dataset(b), f"record {b.id}")
    declared = tuple(treatment)
    found = [
        *field_differences("machine", _machine_fields(a), _machine_fields(b)),
        *_work_differences(_work_fields(a), _work_fields(b)),
        *field_differences("environment", _environment_fields(a), _environment_fields(b)),
        *(
            f"config.{key}: {old!r} against {new!r}"
            for key, (old, new) in _differing(a.config, b.config).items()
            if key.partition(".")[0] not in PLACES and not _is_declared(key, declared)
        ),
    ]
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise NotComparable(
            f"Records {a.id} and {b.id} differ in more than the treatment: {'; '.join(found[:SHOWN])}{more}. "
            "Declare configuration keys with --treatment KEY, or measure both sides in one comparison."
        )


def _is_declared(key: str, declared: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in declared)


def field_differences(group: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return `GROUP.FIELD: one against the other` for every field that differs, sorted."""
    return [f"{group}.{key}: {old!r} against {new!r}" for key, (old, new) in _differing(a, b).items()]


def _dataset(record: RunRecord) -> DatasetFingerprint:
    if record.dataset is None:
        raise NotComparable(f"dataset: record {record.id} names no data set; compare records of runs that name theirs.")
    return record.dataset


def machine_fields(machine: Machine) -> dict[str, Any]:
    """Return the stable fields of a machine, those that its key hashes."""
    return machine.model_dump(exclude={"key", "observations"})


def _machine_fields(record: RunRecord) -> dict[str, Any]:
    if record.machine is None:
        raise NotComparable(f"machine: record {record.id} names no machine; compare records of runs that name theirs.")
    return machine_fields(record.machine)


def _work_fields(record: RunRecord) -> dict[str, Any]:
    """What its section alone says of the work that was timed."""
    if record.comparison is not None:
        target = record.comparison.target
        return {
            "checkpoint_sha256": target.checkpoint_sha256,
            "target": target.name,
            "command": target.command,
            "primary": target.primary,
            "better": target.better,
            # Overrides show in the configuration, where they may be declared as the treatment.
            "options": {name: value for name, value in target.options.items() if name != "overrides"},
        }
    if record.benchmark is not None:
        return {"checkpoint_sha256": record.benchmark.checkpoint_sha256}
    return {"checkpoint_sha256": record.run.checkpoints.get("loaded", {}).get("sha256", "")} if record.run else {}


def _work_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Of what both sections say: records of two kinds can be alike."""
    return [f"{key}: {a[key]!r} against {b[key]!r}" for key in a if key in b and a[key] != b[key]]


def _environment_fields(record: RunRecord) -> dict[str, Any]:
    return {name: value for name, value in record.environment.items() if name != "tree"}
