"""Pictures of a run that go into the committed history: those of rendered receipts, which anybody may see."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import RunFile
from agent_tools.records.store import write_atomically


class PictureError(WorkbenchError):
    """A picture that a run file names and that cannot be kept."""


def keep_pictures(run: RunFile, run_folder: Path, session: Path, record_id: str) -> dict[str, str]:
    """Copy the pictures of a run's worst images into a session.

    Args:
        run: of an evaluation with `worst_images`; of other data than rendered receipts nothing is copied.
        run_folder: holds `run.json` and the pictures.
        session: `logs/YYYY-MM-DD_NAME`.
        record_id: of the record that will name them.

    Returns:
        Path relative to the session -> SHA-256, for the record's `artifacts`, in the order of the run file.

    Raises:
        PictureError: a picture is gone, or its name leads out of the run's folder.
    """
    kept: dict[str, str] = {}
    for image in run.worst if run.rendered else ():
        source = (run_folder / image.picture).resolve()
        if not source.is_relative_to(run_folder.resolve()) or not source.is_file():
            raise PictureError(f"{run.id} has no picture '{image.picture}' any more; evaluate again.")
        name = picture_name(record_id, image.picture)
        content = source.read_bytes()
        write_atomically(session / name, content)
        kept[name] = hashlib.sha256(content).hexdigest()
    return kept


def picture_name(record_id: str, picture: str) -> str:
    """Where a record's picture stands in its session, such as `3fa9c1-worst/00.jpg`."""
    return f"{record_id.rpartition('-')[2]}-worst/{Path(picture).name}"
