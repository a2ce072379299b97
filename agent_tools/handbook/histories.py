"""What the page about the project's history says: lines of commits, measured, and figures that documents report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent_tools.handbook.findings import document_name
from agent_tools.handbook.paired import history_values
from agent_tools.handbook.state import RecordEntry, reported_entry


def histories_values(entries: Sequence[RecordEntry], plots: Mapping[str, str]) -> dict[str, Any]:
    """Everything that `history.md.j2` prints.

    Args:
        entries: records of histories and of reported figures, in any order.
        plots: id of a record -> its plot, relative to the page.
    """
    oldest_first = sorted(entries, key=lambda entry: entry.record.id)
    return {
        "histories": [_history(entry, plots) for entry in reversed(oldest_first) if entry.record.history is not None],
        "reported": [reported_entry(entry) for entry in oldest_first if entry.record.reported is not None],
    }


def _history(entry: RecordEntry, plots: Mapping[str, str]) -> dict[str, Any]:
    """A history as `findings_history.md.j2` prints it."""
    return {
        **history_values(entry.record),
        "name": document_name(entry.record),
        "record": entry.record,
        "r": entry.source,
        "plot": plots[entry.record.id],
    }
