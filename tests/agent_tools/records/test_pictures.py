"""Pictures of the worst images go into the history with a record, are checked to the byte, and never show real data."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_tools.handbook import render
from agent_tools.handbook.check import check_documents
from agent_tools.measure.profile import profile_run
from agent_tools.records.pictures import PictureError
from agent_tools.records.schema import RunFile, WorstImage
from agent_tools.records.store import RecordStore
from tests.agent_tools.records.build import run_file, write_run_file


def evaluated(root: Path, picture: str = "worst/00.jpg", *, rendered: bool = True) -> RunFile:
    """A run that kept the picture of one image."""
    worst = [WorstImage(name="a.jpg", icdar_hmean=0.25, cleval_hmean=0.5, picture=picture)]
    run = run_file().model_copy(update={"worst": worst, "rendered": rendered})
    folder = write_run_file(root, run).parent
    (folder / "worst").mkdir()
    (folder / "worst/00.jpg").write_bytes(b"\xff\xd8 a picture")
    return run


def profiled(root: Path, run: RunFile) -> tuple[Path, str]:
    """Store its profile in a session; return the session's folder and the text of its findings."""
    record = profile_run(root, run.id, session="s")
    folder = RecordStore(root).find_folder(record.id)
    render.render_all(root)
    return folder, next(folder.glob("*-findings.md")).read_text()


def problems(root: Path) -> list[tuple[str, str]]:
    return [(problem.kind, Path(problem.path).name) for problem in check_documents(root)]


def test_a_picture_of_a_rendered_receipt_is_shown_and_checked_to_the_byte(tmp_path: Path) -> None:
    folder, text = profiled(tmp_path, evaluated(tmp_path))
    (picture,) = folder.glob("*-worst/00.jpg")
    assert picture.read_bytes() == b"\xff\xd8 a picture"
    assert f"![a.jpg]({picture.parent.name}/00.jpg)" in text
    assert "| 0.500 | 0.250 |" in text
    assert problems(tmp_path) == []
    picture.write_bytes(b"another")
    assert problems(tmp_path) == [("edited", "00.jpg")]
    picture.unlink()
    assert problems(tmp_path) == [("missing", "00.jpg")]


def test_of_data_that_may_be_somebodys_the_scores_are_shown_and_no_picture_is_copied(tmp_path: Path) -> None:
    folder, text = profiled(tmp_path, evaluated(tmp_path, rendered=False))
    assert list(folder.glob("*-worst")) == []
    assert "not kept: only rendered receipts may be shared" in text
    assert "| 0.500 | 0.250 |" in text
    assert problems(tmp_path) == []


@pytest.mark.parametrize("picture", ["worst/gone.jpg", "../../../secret.jpg", "/etc/hostname"])
def test_a_picture_that_is_gone_or_elsewhere_is_refused_and_nothing_is_stored(tmp_path: Path, picture: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    run = evaluated(tmp_path, picture)
    with pytest.raises(PictureError, match="evaluate again"):
        profile_run(tmp_path, run.id, session="s")
    assert not (tmp_path / "logs").exists()
