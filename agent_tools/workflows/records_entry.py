"""Records that a person enters: another tool's report, a figure from a document, a decision against a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agent_tools.records.compared import Recommendation
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.fingerprints import strip_private
from agent_tools.records.foreign_reports import read_report
from agent_tools.records.schema import Override, RecordKind, Reported, RunRecord
from agent_tools.records.store import RecordStore, new_id
from agent_tools.results import ToolResult
from agent_tools.workflows.records_text import headline
from agent_tools.workspace.root import Root

Session = Annotated[str, Field(description="record into logs/DATE_SESSION/; a name with its date is taken whole")]

TITLES: Mapping[RecordKind, str] = {"reported": "reported figure", "override": "decision of a person"}

_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")


class EntryError(WorkbenchError):
    """Something that cannot be entered as a record."""


class Entered(ToolResult):
    """A record that was just entered."""

    record_id: str
    headline: str
    path: str
    note: str

    def summary(self) -> str:
        """Say what was entered and where."""
        return "\n".join(filter(None, (f"record {self.record_id}: {self.headline}", self.path, self.note)))


def record_import(
    root: Root,
    file: Annotated[str, Field(description="pytest-benchmark's JSON, or the text of a Lightning profiler")],
    session: Session = "",
) -> Entered:
    """Keep another tool's report as a record: pytest-benchmark's JSON, or the text of Lightning's profilers.

    Its machine and its tree are not known for certain, so it is never a side of a verdict.

    Raises:
        ReportError: the report cannot be read, or is of no known format.
        RootError: the file lies outside of the allowed folders.
    """
    path = root.resolve_data(file)
    report = read_report(path, root.path)
    now = datetime.now(UTC)
    record = RunRecord(
        id=new_id("imported", now),
        kind="imported",
        title=f"{report.imported.tool}: {report.imported.source}",
        started=report.measured or now,
        ended=report.measured or now,
        command=["agent-tools", "record", "import", report.imported.source],
        environment=report.environment,
        imported=report.imported,
    )
    return _kept(root, record, session)


def record_report(
    root: Root,
    *,
    metric: Annotated[str, Field(description="what the figure is of")],
    value: float,
    unit: str,
    source: Annotated[str, Field(description="the document that it stands in")],
    note: str = "",
    date: Annotated[str, Field(description="YYYY, YYYY-MM or YYYY-MM-DD of the document")] = "",
    session: Session = "",
) -> Entered:
    """Keep a figure that stands in a document and was not measured here.

    Documents mark it so, and no verdict may rest on it.

    Raises:
        EntryError: the metric, unit or source is empty, the value is no number, or the date has another form.
    """
    given = {"metric": metric, "unit": unit, "source": source}
    _check_texts(given | {"note": note or "-"})
    if not math.isfinite(value):
        raise EntryError(f"The value {value} is no finite number; give the figure that stands in the document.")
    if date and not _DATE.fullmatch(date):
        raise EntryError(f"The date '{date}' is not of the form YYYY, YYYY-MM or YYYY-MM-DD; write it so.")
    clean = strip_private({**given, "value": value, "note": note, "date": date}, root.path)
    entry = _entry("reported", "report", clean, reported=Reported.model_validate(clean))
    return _kept(root, entry, session)


def record_override(
    root: Root,
    record: Annotated[str, Field(description="id of the comparison")],
    *,
    decided: Annotated[Recommendation, Field(description="in place of the recommendation")],
    by: Annotated[str, Field(description="who decides")],
    reason: str,
    session: Annotated[str, Field(description="'' = the session of the comparison")] = "",
) -> Entered:
    """Decide against the recommendation of a comparison, with a name and a reason; the comparison stays as it is.

    Raises:
        EntryError: not a comparison, the decision is the recommendation itself, or the name or reason is empty.
        RecordNotFound: there is no such record.
    """
    store = RecordStore(root.path)
    about = store.load(record)
    if about.comparison is None:
        raise EntryError(f"Record {record} is of kind {about.kind}; only a comparison recommends: name one of those.")
    recommended = about.comparison.outcome.recommendation
    if decided == recommended:
        raise EntryError(f"Record {record} recommends {recommended} already; there is nothing to override.")
    _check_texts({"by": by, "reason": reason})
    # The name is there to be read: it is kept even where it is the account's.
    clean = {"decided": decided, "by": by.strip(), "reason": strip_private(reason, root.path)}
    said = Override.model_validate({"record": record, "recommended": recommended, **clean})
    entry = _entry("override", "override", clean, record, override=said)
    return _kept(root, entry, session, None if session else store.find_folder(record))


def _check_texts(given: Mapping[str, str]) -> None:
    for name, text in given.items():
        if not text.strip() or not text.isprintable():
            raise EntryError(f"{name} is {text!r}; write it as one line of visible text.")


def _entry(kind: RecordKind, verb: str, options: Mapping[str, Any], *words: str, **parts: Any) -> RunRecord:
    now = datetime.now(UTC)
    given = [word for name, value in options.items() if value != "" for word in (f"--{name}", f"{value}")]
    command = ["agent-tools", "record", verb, *words, *given]
    return RunRecord(
        id=new_id(kind, now), kind=kind, title=TITLES[kind], started=now, ended=now, command=command, **parts
    )


def _kept(root: Root, record: RunRecord, session: str, folder: Path | None = None) -> Entered:
    path = RecordStore(root.path).write(record, session or None, folder)
    committed = path.is_relative_to(root.path / "logs")
    return Entered(
        record_id=record.id,
        headline=headline(record),
        path=root.relative(path),
        note="run `agent-tools docs render` to bring the documents up to date" if committed else "",
    )
