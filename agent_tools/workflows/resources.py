"""What can be read by address: pages, records, what sessions left, logs of jobs, and answers that were kept.

An address is `workbench://KIND/NAME`, with `?start=LINE&lines=COUNT` for a range of a text.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from agent_tools.jobs.folders import all_folders, find_folder
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import RecordStore
from agent_tools.results import page
from agent_tools.workspace import kept_outputs
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

SCHEME = "workbench://"
RANGE = ("start", "lines")
"""What may follow the question mark of an address."""
LISTED = 20
"""Newest of a kind that a listing shows; the others are found by completion."""
DEFAULT_LINES, MOST_LINES = 400, 5_000
MOST_BYTES = 4 << 20
"""Of a text that is read; of a longer one, its end."""
MOST_PICTURE_BYTES = 1 << 20
TEXT_CHARACTERS = 45_000
"""Of the lines of one answer, as JSON: with its last sentence it stays under the limit of a result."""
LONGEST_LINE = 10_000

MIME_TYPES = {
    ".md": "text/markdown",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".patch": "text/x-diff",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
PICTURES = frozenset({"image/png", "image/jpeg", "image/webp"})


class ResourceError(WorkbenchError):
    """An address that leads to nothing, or to something that cannot be shown."""


@dataclass(frozen=True)
class Kind:
    """One kind of resource.

    Attributes:
        name: first part of the address.
        variable: what the rest of the address is called.
        after: what follows the variable.
        title: for people.
        description: when to read it.
        names: every name there is, the newest first where that means something.
        find: the file of a name.
        spans_folders: a name may contain '/'.
    """

    name: str
    variable: str
    title: str
    description: str
    names: Callable[[Root], Iterator[str]]
    find: Callable[[Root, str], Path]
    after: str = ""
    spans_folders: bool = False

    @property
    def template(self) -> str:
        """The URI template (RFC 6570)."""
        plus = "+" if self.spans_folders else ""
        return f"{SCHEME}{self.name}/{{{plus}{self.variable}}}{self.after}{{?{','.join(RANGE)}}}"

    def address(self, name: str) -> str:
        """The address of a whole text."""
        return f"{SCHEME}{self.name}/{quote(name, safe='/' if self.spans_folders else '')}{self.after}"


@dataclass(frozen=True)
class Listed:
    """A resource as a listing has it."""

    address: str
    name: str
    title: str
    mime_type: str


@dataclass(frozen=True)
class Content:
    """What a resource holds: text, or the bytes of a picture."""

    data: str | bytes
    mime_type: str


def listing(root: Root) -> list[Listed]:
    """The newest resources of every kind; the many others are behind the templates."""
    return [
        Listed(kind.address(name), f"{kind.name}/{name}", kind.title, mime_type(kind, name))
        for kind in KINDS
        for name in islice(kind.names(root), LISTED)
    ]


def completions(known: Iterator[str], begun: str, limit: int = 100) -> tuple[list[str], int]:
    """Which of some names hold the text, those that begin with it first, and how many there are in all."""
    names = [name for name in known if begun in name]
    names.sort(key=lambda name: not name.startswith(begun))
    return names[:limit], len(names)


def read(root: Root, kind: Kind, name: str, start: str = "1", lines: str = "") -> Content:
    """Read a resource, or a range of its lines.

    Args:
        root: the repository.
        kind: a row of `KINDS`.
        name: as the address has it, decoded.
        start: the first line, from 1.
        lines: how many, up to `MOST_LINES`; '' is `DEFAULT_LINES`.

    Raises:
        WorkbenchError: there is no such thing, it is no text or picture, or the range is unusable.
    """
    path, first = _inside(root, kind, name), _number("start", start or "1", 1, 10**9)
    count = _number("lines", lines or str(DEFAULT_LINES), 1, MOST_LINES)
    mime = mime_type(kind, name)
    try:
        size = path.stat().st_size
        if mime in PICTURES:
            return Content(_picture(path, size, name), mime)
        text = _text(path, size, name)
    except OSError as error:
        raise ResourceError(f"{kind.address(name)} cannot be read ({error.strerror}).") from error
    shown_lines, said = _range(text, first, count, kind.address(name))
    whole = first == 1 and not said
    return Content("\n".join([*shown_lines, *said]), mime if whole else "text/plain")


def mime_type(kind: Kind, name: str) -> str:
    """The type of a whole resource."""
    return MIME_TYPES.get(".json" if kind is RECORDS else Path(name).suffix.lower(), "text/plain")


def _inside(root: Root, kind: Kind, name: str) -> Path:
    if not name or not name.isprintable():
        raise ResourceError(f"{name[:200]!r} is no {kind.variable} of {kind.template}.")
    path = root.resolve(root.relative(kind.find(root, name)), must_exist=False)
    if path.is_file():
        return path
    near = difflib.get_close_matches(name, list(islice(kind.names(root), 500)), n=3, cutoff=0.4)
    hint = f"the nearest are {', '.join(map(kind.address, near))}" if near else "resources/list shows the newest"
    raise ResourceError(f"There is no {kind.address(name)}; {hint}.")


def _number(what: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text[:12]) <= most:
        raise ResourceError(f"{what} is {text[:40]!r}; it must be a whole number from {least} to {most}.")
    return int(text)


def _picture(path: Path, size: int, name: str) -> bytes:
    if size > MOST_PICTURE_BYTES:
        raise ResourceError(f"{name} has {size} bytes, and pictures of up to {MOST_PICTURE_BYTES} are sent; open it.")
    return path.read_bytes()


def _text(path: Path, size: int, name: str) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, size - MOST_BYTES))
        data = stream.read(MOST_BYTES)
    if b"\0" in data[:1024]:
        raise ResourceError(f"{name} is neither text nor a picture of a known kind.")
    # Cleaned as a whole: a key that begins on one page and ends on the next has to be masked on both.
    text = shown(data)
    return text if size <= MOST_BYTES else f"[the first {size - MOST_BYTES} bytes are left out]\n{text}"


def _range(text: str, first: int, count: int, address: str) -> tuple[list[str], list[str]]:
    """The lines of a range that fit an answer, and the sentence that says how to go on."""
    lines = [line[at : at + LONGEST_LINE] for line in text.split("\n") for at in range(0, len(line) or 1, LONGEST_LINE)]
    if lines and not lines[-1]:
        lines.pop()
    if first > max(1, len(lines)):
        raise ResourceError(f"start is {first}, and {address} has {len(lines)} lines.")
    kept, following = page(lines, first - 1, count, TEXT_CHARACTERS)
    if not following:
        return kept, []
    last = int(following)
    go_on = f"{address}?start={last + 1}&lines={count}"
    return kept, [f"[lines {first} to {last} of {len(lines)}; go on with {go_on}]"]


def _files_below(folder: str, pattern: str = "**/*") -> Callable[[Root], Iterator[str]]:
    def names(root: Root) -> Iterator[str]:
        top = root.path / folder
        found = (path.relative_to(top).as_posix() for path in top.glob(pattern) if path.is_file())
        return iter(sorted(name for name in found if not any(part.startswith(".") for part in name.split("/"))))

    return names


def _below(folder: str) -> Callable[[Root, str], Path]:
    def find(root: Root, name: str) -> Path:
        path = root.resolve(f"{folder}/{name}", must_exist=False)
        if not path.is_relative_to(root.path / folder):
            raise ResourceError(f"{name!r} leads out of {folder}; name a file in it.")
        return path

    return find


def _session_files(root: Root) -> Iterator[str]:
    names = _files_below("logs", "*/**/*")(root)
    return iter(sorted((name for name in names if "/records/" not in name), reverse=True))


def _kept(root: Root) -> Iterator[str]:
    files = [path for path in (root.path / kept_outputs.FOLDER).glob("*") if path.is_file()]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return (path.name for path in files if not path.name.startswith("."))


def _records(root: Root) -> Iterator[str]:
    return iter(sorted(RecordStore(root.path).files(), reverse=True))


def _jobs(root: Root) -> Iterator[str]:
    return (folder.name for folder in all_folders(root.path))


HANDBOOK = Kind(
    "handbook",
    "page",
    "Handbook page",
    "How this project works and where it stands. 99_current_state.md first.",
    _files_below("docs/ai_handbook", "**/*.md"),
    _below("docs/ai_handbook"),
    spans_folders=True,
)
RECORDS = Kind(
    "records",
    "record",
    "Run record",
    "The whole JSON of one measurement. record_show gives its figures in a few lines.",
    _records,
    lambda root, name: RecordStore(root.path).find(name),
)
SESSIONS = Kind(
    "logs",
    "path",
    "Session file",
    "Findings, handovers, notes, plots and other artifacts of a session.",
    _session_files,
    _below("logs"),
    spans_folders=True,
)
JOB_LOGS = Kind(
    "jobs",
    "job",
    "Job log",
    "All that a job printed. job_status shows its end.",
    _jobs,
    lambda root, name: find_folder(root.path, name) / "log.txt",
    after="/log",
)
KEPT = Kind(
    "kept",
    "name",
    "Kept answer",
    "An answer that was too long for a result: a patch, a pack, a picture.",
    _kept,
    _below(kept_outputs.FOLDER),
)
KINDS = (HANDBOOK, RECORDS, SESSIONS, JOB_LOGS, KEPT)
"""Every kind, in the order of the listing."""
