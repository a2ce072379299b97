"""A document as it should be: made in memory from its template and inputs, checked, and written only if it changed.

No clock, git, network or machine is asked: the same files in give the same bytes out, on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from agent_tools.handbook.blocks import (
    Document,
    DocumentError,
    Header,
    assemble,
    parse_blocks,
    parse_document,
    read_text,
)
from agent_tools.handbook.figures import FigureError
from agent_tools.handbook.inputs import document_inputs
from agent_tools.handbook.markdown import SafeSource, environment
from agent_tools.handbook.state import RecordEntry, record_source, relative
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import parse_record, write_atomically

TEMPLATE_VERSIONS = {
    "findings": "v5",
    "current_state": "v3",
    "changelog": "v1",
    "judge": "v1",
    "performance": "v2",
    "handover": "v1",
    "history": "v1",
    "tools": "v1",
    "configuration": "v1",
    "gates": "v1",
    "api": "v1",
    "architecture": "v2",
    "rooms_plot": "v2",
    "ladder_plot": "v2",
    "comparison_plot": "v2",
    "history_plot": "v1",
    "arms_plot": "v1",
    "whatif_plot": "v1",
    "timeline_plot": "v1",
}
"""Version that the markers carry; the parts of a template have the version of the whole.

History:
- v1 (2026-11): first form.
- findings v2 (2026-11): comparisons, bisections, histories, overrides, imported reports; quoted commands.
- findings v3 (2026-11): designs that are no ladder, the CPU share of stages, the verdict of their clock, transforms.
- findings v4 (2026-11): the worst images of a run.
- findings v5 (2026-11): whole commit ids cut in titles, no count of images where the command names the data.
- current_state v2 (2026-11): the newest comparisons of each machine, and overridden verdicts.
- current_state v3 (2026-11): missed gates; reported figures stand on the page of the history alone.
- performance v2 (2026-11): what tuning and the cache settings give, each from its own record.
- architecture v2 (2026-11): which rooms are imported, no longer how often.
- rooms_plot v2 (2026-11): rooms of the workbench without its name, so that a row of four fits.
- comparison_plot v2 (2026-11): names as people write them.
- ladder_plot v2 (2026-11): names are never read as formulas.
"""


@dataclass(frozen=True)
class Draft:
    """A document as it should be. `before` is what the file holds now, None when there is no such file."""

    path: Path
    text: str
    before: str | None

    @property
    def changed(self) -> bool:
        """Whether writing it would change the file."""
        return self.text != self.before


@dataclass(frozen=True)
class StoredRecord:
    """A record, its file, and its file's content as plain data."""

    path: Path
    record: RunRecord
    data: dict[str, Any]


def write_drafts(drafts: Sequence[Draft]) -> list[Path]:
    """Write the drafts that change something; returns all paths.

    Raises:
        DocumentError: a file is not as it was when its draft was made; what was written into it meanwhile stays.
    """
    changed = [draft for draft in drafts if draft.changed]
    for draft in changed:
        _refuse_changed(draft)
    for draft in changed:
        _refuse_changed(draft)
        write_atomically(draft.path, draft.text)
    return [draft.path for draft in drafts]


def _refuse_changed(draft: Draft) -> None:
    if (read_text(draft.path) if draft.path.is_file() else None) != draft.before:
        raise DocumentError(f"{draft.path.name} was changed by somebody else while it was rendered; render again.")


def draft_document(
    path: Path,
    header: Header,
    values: Mapping[str, Any],
    sources: Iterable[SafeSource],
    root: Path,
    digest: str | None = None,
) -> Draft:
    """Render a document and put the notes of the one on disk back into it.

    Args:
        path: where it stands.
        header: its kind, which is the name of its template, and what it is made from.
        values: all that the template prints.
        sources: of the numbers in `values`; each number must have been followed by its link.
        root: the repository.
        digest: of what a page about the code is made from, which no file holds; see `inputs.FROM_CODE`.

    Raises:
        DocumentError: somebody's words would be lost, the document is made from other inputs, or the template fails.
    """
    where = relative(path, root)
    before = read_text(path) if path.is_file() else None
    previous = parse_document(before, where) if before is not None else None
    if previous is not None and previous.header != header:
        raise DocumentError(
            f"{where} is made from other inputs ({previous.header.text()}); move it away, then render again."
        )
    version = TEMPLATE_VERSIONS[header.document]
    try:
        skeleton = parse_blocks(environment().get_template(f"{header.document}.md.j2").render(values), where)
        for source in sources:
            source.refuse_pending()
    except (FigureError, TemplateError) as error:
        raise DocumentError(f"{where} cannot be rendered: {error}") from error
    document = Document(
        header, assemble(skeleton, previous, document_inputs(header, path.parent, digest), version, where)
    )
    text = document.text()
    if parse_document(text, where) != document:
        raise DocumentError(
            f"{where} would not read back as it was written; report this as a bug. Nothing was written."
        )
    return Draft(path, text, before)


def inside(path: Path | str, root: Path) -> Path:
    """A path (relative ones count from the root) with its symlinks followed; `root` must be resolved.

    Raises:
        DocumentError: it lies outside the root.
    """
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root):
        raise DocumentError(f"{Path(path).name} lies outside the repository; documents and their sources stay inside.")
    return resolved


def load_record(path: Path, root: Path) -> StoredRecord:
    """Read a record file both as a model and as plain data.

    Raises:
        RecordError: not readable as a record.
        DocumentError: the file holds another record than its name says.
    """
    content = path.read_bytes()
    record = parse_record(content, relative(path, root))
    if record.id != path.stem:
        raise DocumentError(f"{relative(path, root)} holds record {record.id}; rename the file to that id.")
    return StoredRecord(path, record, json.loads(content))


def record_entries(files: Iterable[Path], page: Path, root: Path) -> list[RecordEntry]:
    """Records as a page shows them."""
    stored = (load_record(path, root) for path in files)
    return [RecordEntry(one.record, record_source(one.record.id, one.data, one.path, page.parent)) for one in stored]
