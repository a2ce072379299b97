"""Large answers, kept as files: the caller gets a short text and a path that `file_read` reads by range.

A diff, a pack, a picture or a log would fill the context of an assistant that needs ten lines of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from agent_tools.records.store import write_atomically
from agent_tools.workspace.root import Root

FOLDER = "outputs/kept"
"""Under the git-ignored folder: what is kept can be made again, and is never committed."""

MOST_BYTES = 256 << 20
"""The oldest files make room beyond this."""


def keep(root: Root, name: str, content: str | bytes) -> str:
    """Keep an answer; the same content under the same name is one file.

    Args:
        root: the repository.
        name: what it is, with its suffix, such as `diff.patch`; letters, digits, '.', '_' and '-' stay.
        content: the whole answer; text is written as UTF-8.

    Returns:
        Its path relative to the root, such as `outputs/kept/diff-3fa9c1d2.patch`.
    """
    data = content.encode("utf-8", errors="surrogateescape") if isinstance(content, str) else content
    stem, dot, suffix = re.sub(r"[^A-Za-z0-9._-]", "_", name).rpartition(".")
    digest = hashlib.sha256(data).hexdigest()[:8]
    folder = root.resolve(FOLDER, must_exist=False)
    path = folder / f"{stem or suffix}-{digest}{f'.{suffix}' if dot else ''}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # For a repository that does not ignore outputs/: what is kept is never committed.
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        write_atomically(path, data)
        _make_room(folder, path)
    return root.relative(path)


def _make_room(folder: Path, newest: Path) -> None:
    """Remove the oldest files beyond `MOST_BYTES`; another process may be doing the same."""
    files = sorted(_files(folder))
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= MOST_BYTES or path == newest:
            return
        path.unlink(missing_ok=True)
        total -= size


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of change, bytes and path of every file that is still there when it is looked at; none half written."""
    for path in folder.glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if stat.S_ISREG(found.st_mode):
                yield found.st_mtime, found.st_size, path
