"""Raw samples as a CSV file, from which a spreadsheet or R can recompute every figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.raw_figures import raw_figures
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore, write_atomically
from agent_tools.results import ToolResult
from agent_tools.workflows.records import KindFilter
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

COLUMNS = (
    *("record", "kind", "arm", "round", "position", "phase", "tainted", "metric", "value"),
    *("commit", "machine", "dataset"),
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A text that starts so is a formula to a spreadsheet, which may run it."""


class ExportError(WorkbenchError):
    """An export that cannot be written where it should go."""


class RecordExport(ToolResult):
    """A CSV file with one row per raw sample."""

    path: str
    rows: int
    records: int
    unreadable: list[str] = Field(description="files that are no records, so not in the table")

    def summary(self) -> str:
        """Say what was written."""
        return "\n".join([f"{self.path}: {self.rows} rows of {self.records} records", *self.unreadable])


def record_export(
    root: Root,
    *,
    output: Annotated[str, Field(description="the CSV file, inside the root")],
    kind: KindFilter = "",
) -> RecordExport:
    """Write every raw sample of the records as CSV, one figure a row.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; numbers are written in full.

    Raises:
        ExportError: not a .csv file, another file stands there, or the disk refuses.
        RootError: the file lies outside of the root.
    """
    path = _checked(root, output)
    found = RecordStore(root.path).list_all(kind or None)
    # Oldest first: a later export only adds rows at the end.
    rows = [row for record in reversed(found.records) for row in _rows(record)]
    try:
        write_atomically(path, _csv([COLUMNS, *rows]))
    except OSError as error:
        raise ExportError(f"'{output}' could not be written: {error.strerror}; make room, then retry.") from error
    return RecordExport(
        path=root.relative(path),
        rows=len(rows),
        records=len(found.records),
        unreadable=[shown(entry.problem)[:400] for entry in found.corrupt[:20]],
    )


def _checked(root: Root, output: str) -> Path:
    path = root.resolve(output, must_exist=False)
    if path.suffix != ".csv":
        raise ExportError(f"'{output}' does not end in .csv; name such a file.")
    if path.is_dir() or (path.exists() and not _is_export(path)):
        raise ExportError(f"'{output}' exists and is no export of records; name another file, or remove it first.")
    return path


def _is_export(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.readline(1000) == _csv([COLUMNS]).encode()


def _rows(record: RunRecord) -> Iterator[tuple[str | int | float, ...]]:
    commit = f"{record.git.commit}{'+' if record.git.dirty else ''}" if record.git else ""
    place = (commit, record.machine.key if record.machine else "", record.dataset.name if record.dataset else "")
    for figure in raw_figures(record):
        yield (*(_inert(value) for value in vars(figure).values()), *(_inert(text) for text in place))


def _inert(value: str | int | float) -> str | int | float:
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA) else value


def _csv(rows: list[tuple[str | int | float, ...]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
