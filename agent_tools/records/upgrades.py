"""Older records read as today's: one step per schema version, each on plain data, none of them touching the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent_tools.records.schema import SCHEMA_VERSION

Plain = dict[str, Any]


def _from_1(record: Plain) -> Plain:
    """Version 2 only added sections that are absent from a version 1 record."""
    return record


def _from_2(record: Plain) -> Plain:
    """Version 3 only added sections and fields with defaults: every benchmark of version 2 is a ladder."""
    return record


def _from_3(record: Plain) -> Plain:
    """Version 4 only added fields of the run with defaults."""
    return record


STEPS: Mapping[int, Callable[[Plain], Plain]] = {1: _from_1, 2: _from_2, 3: _from_3}
"""Version -> the step that makes the next version out of it."""


def upgraded(record: Plain) -> Plain:
    """Return a record whose version has a step in today's form; the given one stays as it is."""
    for version in range(record["schema_version"], SCHEMA_VERSION):
        record = STEPS[version](dict(record)) | {"schema_version": version + 1}
    return record
