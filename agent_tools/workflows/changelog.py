"""The changelog as tools: a fragment for a finding, and a release of all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from agent_tools.handbook import changelog
from agent_tools.handbook.blocks import read_text
from agent_tools.handbook.drafts import load_record, write_drafts
from agent_tools.records.store import RecordStore, write_atomically
from agent_tools.results import ToolResult
from agent_tools.workspace.root import Root


class FragmentMade(ToolResult):
    """A fragment that is now there."""

    path: str

    def summary(self) -> str:
        """Say where it is and what it lacks."""
        return f"{self.path}; write into its note what changes for whoever uses the project"


class ChangelogReleased(ToolResult):
    """A version that the changelog now has."""

    version: str
    fragments: list[str] = Field(description="taken in and removed")

    def summary(self) -> str:
        """Say the version and what went into it."""
        return "\n".join([f"{changelog.CHANGELOG} has {self.version}", *self.fragments])


def changelog_add(
    root: Root, record: Annotated[str, Field(description="id of a comparison or ladder with a verdict")]
) -> FragmentMade:
    """Write the changelog entry of a finding, in a file of its own: branches that add entries do not collide.

    Raises:
        RecordError: no such record.
        DocumentError: it supports no verdict.
    """
    store = RecordStore(root.path)
    found = store.load(record)
    path = store.find_folder(found.id) / "records" / f"{found.id}.json"
    draft = changelog.draft_fragment(load_record(path, root.path), root.path)
    draft.path.parent.mkdir(exist_ok=True)
    return FragmentMade(path=root.relative(write_drafts([draft])[0]))


def changelog_release(root: Root, version: Annotated[str, Field(description="such as 0.2.0")]) -> ChangelogReleased:
    """Put what is unreleased, and all fragments, below the heading of a version.

    Raises:
        DocumentError: nothing to release, no such version, or a fragment whose note nobody has written.
    """
    path = root.resolve(changelog.CHANGELOG)
    fragments = changelog.fragment_files(root.path)
    text = changelog.released(read_text(path), version, datetime.now(UTC).date(), fragments, root.path)
    write_atomically(path, text)
    for fragment in fragments:
        fragment.unlink()
    return ChangelogReleased(version=version, fragments=[root.relative(fragment) for fragment in fragments])
