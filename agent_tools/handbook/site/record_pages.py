"""The page of a record: what it is, the way to its findings, and every value that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent_tools.handbook.drafts import StoredRecord
from agent_tools.handbook.findings import FINDINGS_PAGES, document_name, short_id
from agent_tools.handbook.findings_files import findings_path
from agent_tools.handbook.markdown import code, date, heading
from agent_tools.handbook.plans import read_header
from agent_tools.handbook.site.values import value_table
from agent_tools.records.schema import RunRecord


def record_page(entry: StoredRecord) -> str:
    """Markdown of the page of a record."""
    record = entry.record
    file = entry.path.name
    return "\n".join(
        [
            f"# Record {short_id(record.id)}: {heading(document_name(record))}",
            "",
            *(f"- **{name}:** {text}" for name, text in _facts(entry)),
            "",
            f'<p class="download">The file: <a href="{file}" download>{file}</a></p>',
            "",
            value_table(entry.data),
        ]
    )


def _facts(entry: StoredRecord) -> Iterator[tuple[str, str]]:
    record = entry.record
    yield "Kind", record.kind
    yield "Measured", f"{date(record.started)} to {date(record.ended)}"
    yield "Machine", _machine(record)
    yield "Commit", _commit(record)
    findings = findings_path(record, entry.path.parent.parent)
    if record.kind in FINDINGS_PAGES and findings.is_file():
        yield "Findings", f"[{heading(document_name(record))}](../{findings.name})"


def _machine(record: RunRecord) -> str:
    machine = record.machine
    if machine is None:
        return "not recorded"
    gpu = f", {heading(machine.gpu_model)}" if machine.gpu_model else ""
    return f"{heading(machine.cpu_model)}{gpu}, key {code(machine.key)}"


def _commit(record: RunRecord) -> str:
    if record.git is None:
        return "not recorded"
    state = "with uncommitted changes" if record.git.dirty else "clean"
    return f"{code(record.git.commit[:12])} on {code(record.git.branch)}, {state}"


def plan_page(path: Path, notes: str) -> str:
    """Markdown of the page of a plan: its header as values, then its notes.

    Raises:
        PlanError: the header cannot be read.
    """
    header = read_header(path)
    return f"# {heading(str(header.get('name', path.stem)))}\n\n{value_table(header)}\n{notes}"
