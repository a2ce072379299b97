"""What a site is made from: the documents, records and pictures that a repository holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent_tools.handbook.drafts import StoredRecord, load_record
from agent_tools.handbook.findings_files import plot_path
from agent_tools.handbook.inputs import record_files
from agent_tools.handbook.plans import PLANS_FOLDER
from agent_tools.handbook.site.links import Places
from agent_tools.handbook.state import relative

HANDBOOK = "docs/ai_handbook"
DOCUMENTS = (f"{HANDBOOK}/**/*.md", "logs/*/*.md", "README.md", "CHANGELOG.md")
PICTURES = tuple(
    f"{place}/*.{kind}" for place in (f"{HANDBOOK}/**", "logs/*", "logs/*/*-worst") for kind in ("svg", "png", "jpg")
)
WATCHED = ("docs", "logs")
"""Folders in which a change calls for another build."""


@dataclass(frozen=True)
class Sources:
    """The files of a site, sorted by path.

    Attributes:
        root: the repository, resolved.
        documents: Markdown files.
        pictures: picture files.
        records: of `logs/`, oldest id first.
    """

    root: Path
    documents: tuple[Path, ...]
    pictures: tuple[Path, ...]
    records: tuple[StoredRecord, ...]

    @property
    def sessions(self) -> list[str]:
        """Names of the folders below `logs/` that hold documents or records, newest first."""
        paths = [*self.documents, *(entry.path for entry in self.records)]
        names = [path.relative_to(self.root).parts for path in paths if path.is_relative_to(self.root / "logs")]
        return sorted({parts[1] for parts in names}, reverse=True)

    def is_plan(self, document: Path) -> bool:
        """Whether a document is a plan of the ledger, with a header."""
        return document.parent == self.root / PLANS_FOLDER and document.name != "README.md"

    def places(self) -> Places:
        """Where links of the documents may lead."""
        drawn = {plot_path(entry.record, entry.path.parent.parent): entry for entry in self.records}
        records = {path: self._name(drawn[path].path) if path in drawn else "" for path in self.pictures}
        return Places(
            pages=frozenset(self._name(path) for path in self.documents),
            records=frozenset(self._name(entry.path) for entry in self.records),
            pictures={self._name(path): record for path, record in records.items()},
            exists=lambda name: (self.root / name).exists(),
        )

    def _name(self, path: Path) -> str:
        return relative(path, self.root)


def read_sources(root: Path) -> Sources:
    """Find and read what the site of a repository shows.

    Raises:
        RecordError: a record that cannot be read.
        DocumentError: a record file with another record's name.
    """
    root = root.resolve()
    records = tuple(load_record(path, root) for path in record_files(root / "logs"))
    return Sources(root, _found(root, DOCUMENTS), _found(root, PICTURES), records)


def _found(root: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    paths = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return tuple(sorted(path for path in paths if not path.name.startswith(".")))
