"""Reading and writing the small files of a session: strict, bounded, and never half understood.

A session is a folder `logs/YYYY-MM-DD_NAME/` with `session.json`, `notes/ID.json` (one file per note, written once,
so that branches never collide) and, at its end, `handover.json` with the page `handover.md` rendered from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from agent_tools.handbook.drafts import inside
from agent_tools.handbook.state import relative
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.frozen import Frozen

VERSION = 1
"""Version of all files of a session; another one is refused.

History:
- 1 (2026-11): first form.
"""
SIZE_CAP = 4 << 20

SESSION_FILE = "session.json"
NOTES_FOLDER = "notes"
HANDOVER_FILE = "handover.json"
HANDOVER_PAGE = "handover.md"


class SessionError(WorkbenchError):
    """A session, a note or a handover that cannot be made or read."""


class SessionFile(Frozen):
    """Base of all files of a session."""

    schema_version: int = VERSION


F = TypeVar("F", bound=SessionFile)


def read_session_file(path: Path, model: type[F], root: Path) -> F:
    """Read one file of a session; both paths are resolved but for the file's own name.

    Raises:
        SessionError: no plain file inside the root, too large, another version, or a field that does not fit.
    """
    where = relative(path, root)
    raw = _json_object(path, where, root)
    version = raw.get("schema_version")
    if version != VERSION:
        raise SessionError(
            f"{where} has schema_version {version!r}, but this workbench reads {VERSION}; update the workbench, or "
            f"restore the file with `git checkout -- {where}`."
        )
    try:
        return model.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SessionError(
            f"{where}: {field}: {first['msg']}. Restore it with `git checkout -- {where}` or delete it."
        ) from error


def _json_object(path: Path, where: str, root: Path) -> dict[str, Any]:
    target = inside(path, root)
    if not target.is_file():
        raise SessionError(f"{where} is not a file; restore it with `git checkout -- {where}`.")
    with target.open("rb") as stream:
        content = stream.read(SIZE_CAP + 1)
    if len(content) > SIZE_CAP:
        raise SessionError(f"{where} is larger than {SIZE_CAP >> 20} MiB, so no session wrote it; delete it.")
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SessionError(f"{where} is not valid JSON; restore it with `git checkout -- {where}`.") from error
    if not isinstance(raw, dict):
        raise SessionError(f"{where} holds no JSON object; restore it with `git checkout -- {where}`.")
    return raw


def as_text(value: SessionFile) -> str:
    """The file's content."""
    return value.model_dump_json(indent=1) + "\n"
