"""The trainer's form of the run file and the workbench's are one form, and its versions have a history."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from agent_tools.records import schema as read
from ocr.lightning_modules import run_file as written

PARTS = [
    "CacheCounts",
    "DatasetFingerprint",
    "EpochFigures",
    "EpochLimit",
    "FeatureRow",
    "RunFile",
    "TimelineSpan",
]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_written_and_what_is_read_have_the_same_fields(part: str) -> None:
    ours: type[BaseModel] = getattr(written, part)
    theirs: type[BaseModel] = getattr(read, part)
    assert set(ours.model_fields) == set(theirs.model_fields)


def test_both_sides_are_at_the_same_version_and_tell_of_every_one() -> None:
    assert written.RUN_FILE_VERSION == read.RUN_FILE_VERSION
    for module in (written, read):
        text = Path(str(module.__file__)).read_text().partition("RUN_FILE_VERSION = ")[2].partition('"""\n\n')[0]
        for version in range(1, written.RUN_FILE_VERSION + 1):
            assert f"\n- {version} (" in text


def test_a_file_of_version_1_is_still_read(tmp_path: Path) -> None:
    from agent_tools.records.importers import load_run_file

    run = written.start_run_file("evaluate", "run", {"seed": 1}, [])
    run.epochs.append(
        written.EpochFigures(
            epoch=0, phase="val", seconds=1.0, images=2, stages={"metric": 0.1}, cache={}, metrics={}, counts={}
        )
    )
    added = {"replayed", "timeline", "shapes"}
    run.schema_version = 1
    (tmp_path / "run.json").write_text(
        run.model_dump_json(exclude={**dict.fromkeys(added, True), "epochs": {"__all__": {"cpu", "limit"}}})
    )
    old = load_run_file(tmp_path / "run.json")
    assert old.schema_version == 1
    assert (old.epochs[0].limit, old.epochs[0].cpu, old.replayed) == (None, {}, [])
