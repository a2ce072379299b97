"""A Sphinx project made from the repository, in a folder of its own: the originals are only read.

Every page stands where its file stands in the repository, records as `logs/SESSION/records/ID.md`. Files that Sphinx
only passes on, the records' JSON and the pictures, lie under `extra/`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent_tools.handbook.blocks import is_owned, parse_document, read_text
from agent_tools.handbook.site.links import Places, with_web_links
from agent_tools.handbook.site.record_pages import plan_page, record_page
from agent_tools.handbook.site.sources import Sources, read_sources
from agent_tools.handbook.site.start_page import session_page, start_page
from agent_tools.handbook.state import relative
from agent_tools.records.errors import WorkbenchError

HERE = Path(__file__).parent
PROJECT = ("conf.py", *(f"static/{name}" for name in ("site.css", "site.js", "favicon.svg")))
"""Files of this package that belong to the Sphinx project."""


@dataclass(frozen=True)
class Staged:
    """How much a site holds."""

    pages: int
    records: int


def stage(root: Path, folder: Path) -> Staged:
    """Make the Sphinx project of a repository; files that are right already are not touched.

    Raises:
        SiteError: a link of a page leads nowhere.
        DocumentError: a document whose blocks cannot be read.
        RecordError: a record that cannot be read.
    """
    sources = read_sources(root)
    pages = dict(_pages(sources))
    files = {name: (HERE / name).read_bytes() for name in PROJECT}
    files |= {name: text.encode("utf-8") for name, text in pages.items()}
    for path in (*sources.pictures, *(entry.path for entry in sources.records)):
        files[f"extra/{relative(path, sources.root)}"] = path.read_bytes()
    _write(files, folder)
    return Staged(len(pages), len(sources.records))


def _pages(sources: Sources) -> Iterator[tuple[str, str]]:
    places = sources.places()
    yield "index.md", with_web_links(start_page(sources), "index.md", places)
    for session in sources.sessions:
        yield f"logs/{session}/index.md", session_page(session, sources)
    for path in sources.documents:
        yield relative(path, sources.root), _document(path, sources, places)
    for entry in sources.records:
        yield relative(entry.path.with_suffix(".md"), sources.root), record_page(entry)


def _document(path: Path, sources: Sources, places: Places) -> str:
    name, text = relative(path, sources.root), read_text(path)
    if sources.is_plan(path):
        return plan_page(path, with_web_links(_below_header(text), name, places))
    if is_owned(text):
        text = "\n\n".join(block.body for block in parse_document(text, name).blocks)
    titled = text if re.search(r"^# ", text, re.MULTILINE) else f"# {path.stem}\n\n{text}"
    return with_web_links(titled, name, places)


def _below_header(plan: str) -> str:
    return re.split(r"^---[ \t]*$", plan, maxsplit=2, flags=re.MULTILINE)[-1]


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for path in list(folder.rglob("*")):
        if path.is_file() and relative(path, folder) not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


if __name__ == "__main__":
    # The live server runs this before each build.
    try:
        stage(Path(sys.argv[1]), Path(sys.argv[2]))
    except WorkbenchError as error:
        sys.exit(f"error: {error}")
