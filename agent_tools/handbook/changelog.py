"""The changelog: one fragment per finding, so that branches do not collide, and a release that gathers them.

A fragment is an owned document in `changelog.d/`: its line is rendered from the record, its note says what changes for
whoever uses the project. A release moves `Unreleased` and the fragments below the heading of a version, in the form of
https://keepachangelog.com/en/1.1.0/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from agent_tools.handbook.blocks import DocumentError, Header, parse_document, read_text
from agent_tools.handbook.drafts import Draft, StoredRecord, draft_document
from agent_tools.handbook.findings import document_name, is_descriptive, parity, slug
from agent_tools.handbook.paired import no_verdict, parity_label
from agent_tools.handbook.state import is_ladder, record_source, relative
from agent_tools.records.schema import RunRecord

CHANGELOG = "CHANGELOG.md"
FRAGMENTS = "changelog.d"
MEASURED = "### Measured"
UNRELEASED = "## [Unreleased]"

_VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+.][0-9A-Za-z.-]+)?")
_NOT_WRITTEN = "*Nothing written yet"


def unannounced(changed: Sequence[str]) -> list[str]:
    """Changed paths, code or configuration, that neither the changelog nor a fragment among them announces."""
    if any(path == CHANGELOG or path.startswith(f"{FRAGMENTS}/") for path in changed):
        return []
    return [path for path in changed if not path.startswith(("logs/", "docs/"))]


def fragment_path(record: RunRecord, root: Path) -> Path:
    """Where the fragment of a record stands."""
    return root / FRAGMENTS / f"{slug(record)}.md"


def fragment_files(root: Path) -> list[Path]:
    """The fragments that are there, by name."""
    return sorted((root / FRAGMENTS).glob("*.md"))


def draft_fragment(entry: StoredRecord, root: Path) -> Draft:
    """Draft of the fragment of one record.

    Raises:
        DocumentError: no verdict follows from the record, so that there is nothing to announce.
    """
    record, path = entry.record, fragment_path(entry.record, root)
    problem = _unfit(record)
    if problem:
        raise DocumentError(f"record {record.id} {problem}; a changelog announces what was decided.")
    source = record_source(record.id, entry.data, entry.path, path.parent)
    outcome = record.comparison.outcome if record.comparison else None
    values = {
        "r": source,
        "name": document_name(record),
        "outcome": outcome,
        "parity": parity_label(outcome) if outcome else parity(record.benchmark.summaries[-1]),  # type: ignore[union-attr]
        "last": len(record.benchmark.summaries) - 1 if record.benchmark else 0,
    }
    header = Header("changelog", {"record": relative(entry.path, path.parent)})
    return draft_document(path, header, values, [source], root)


def _unfit(record: RunRecord) -> str:
    if record.comparison is not None:
        if not record.comparison.outcome.metrics:
            return "compared nothing"
        return no_verdict(record.comparison) and "has no verdict"
    if record.benchmark is None or not is_ladder(record):
        return f"is of kind {record.kind} and no comparison or ladder"
    return "is descriptive" if is_descriptive(record.benchmark) else ""


def released(text: str, version: str, day: date, fragments: Sequence[Path], root: Path) -> str:
    """The text of the changelog with `Unreleased` and all fragments below a version of their own.

    Args:
        text: the changelog as it is.
        version: such as `0.2.0`.
        day: of the release.
        fragments: their files; they are read and not removed.
        root: the repository.

    Raises:
        DocumentError: no version of this form, one that is there already, nothing to release, or a fragment whose note
            nobody has written.
    """
    if not _VERSION.fullmatch(version):
        raise DocumentError(f"{version!r} is no version; give one such as 0.2.0.")
    if f"## [{version}]" in text:
        raise DocumentError(f"{CHANGELOG} has a version {version} already; give the next one.")
    if text.count(f"{UNRELEASED}\n") != 1:
        raise DocumentError(f"{CHANGELOG} needs exactly one line '{UNRELEASED}'.")
    before, after = text.split(f"{UNRELEASED}\n")
    body, separator, older = after.partition("\n## [")
    entries = [_entry(path, root) for path in fragments]
    if not body.strip() and not entries:
        raise DocumentError(f"nothing stands below {UNRELEASED} and there is no fragment: nothing to release.")
    measured = f"\n\n{MEASURED}\n" + "\n".join(entries) if entries else ""
    section = f"## [{version}] - {day.isoformat()}\n\n{body.strip()}{measured}".replace("\n\n\n", "\n\n")
    return f"{before}{UNRELEASED}\n\n{section.rstrip()}\n{separator}{older}"


def _entry(path: Path, root: Path) -> str:
    """The line of a fragment and its note, as the changelog at the top of the repository has them."""
    where = relative(path, root)
    document = parse_document(read_text(path), where)
    line, note = document.block("generated", "entry"), document.block("notes", "change")
    if line is None or note is None:
        raise DocumentError(f"{where} lacks its line or its note; `agent-tools docs render` mends it.")
    if _NOT_WRITTEN in note.body:
        raise DocumentError(f"{where} does not say yet what changes; write its note, or delete the file.")
    words = [f"  {text}" if text else "" for text in note.body.strip().split("\n")]
    return "\n".join([line.body.strip().replace("](../", "]("), *words])


def measured_lines(text: str) -> list[str]:
    """The lines of a changelog that state measured figures."""
    found, inside = [], False
    for line in text.split("\n"):
        inside = line == MEASURED or (inside and not line.startswith("#"))
        if inside and line.startswith("- "):
            found.append(line)
    return found
