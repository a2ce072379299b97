"""Changelog entries: a file of their own per finding, true to their record, gathered by a release."""

import re
from datetime import date
from pathlib import Path

import pytest

from agent_tools.handbook import render
from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.changelog import draft_fragment, fragment_files, released, unannounced
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.drafts import load_record
from agent_tools.records.errors import WorkbenchError
from agent_tools.workflows.changelog import changelog_add, changelog_release
from agent_tools.workspace.root import Root
from tests.agent_tools.handbook import factory

EMPTY = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n### Added\n- The first.\n"
NOTE = "\n*Nothing written yet: what changes for whoever uses this.*\n"


@pytest.fixture
def fragment(tmp_path: Path) -> Path:
    record = factory.ladder()
    factory.store(tmp_path / "logs/2026-11-21_try/records", record)
    (tmp_path / "CHANGELOG.md").write_text(EMPTY)
    made = changelog_add(Root.at(tmp_path), record.id)
    render.render_all(tmp_path)
    return tmp_path / made.path


def write_note(fragment: Path, words: str) -> None:
    text = fragment.read_text()
    note = re.search(r"BEGIN notes:change[^>]*-->(.*?)<!-- END", text, re.DOTALL)
    assert note is not None
    fragment.write_text(text.replace(note[1], f"\n{words}\n\n"))


def test_an_entry_says_the_ratio_of_its_record_and_links_it(fragment, tmp_path):
    (line,) = [line for line in fragment.read_text().splitlines() if line.startswith("- ")]
    assert re.search(r"\d+\.\d\dx \(\d+\.\d\dx to \d+\.\d\dx\)", line)
    assert "](../logs/2026-11-21_try/records/" in line
    assert not [one for one in check_documents(tmp_path) if one.path.startswith("changelog.d")]


def test_a_digit_changed_in_an_entry_fails_the_check(fragment, tmp_path):
    fragment.write_text(
        re.sub(r"(\d)\.(\d\d)x \(", lambda m: f"{(int(m[1]) + 1) % 10}.{m[2]}x (", fragment.read_text(), count=1)
    )
    assert {one.kind for one in check_documents(tmp_path) if one.path.startswith("changelog.d")} == {"edited", "orphan"}
    with pytest.raises(DocumentError, match="edited"):
        render.render_all(tmp_path)


def test_a_release_takes_entries_and_notes_in_and_their_figures_stay_checked(fragment, tmp_path):
    write_note(fragment, "Evaluation needs a tenth of the time.\nNo setting changes.")
    said = changelog_release(Root.at(tmp_path), "0.2.0")
    text = (tmp_path / "CHANGELOG.md").read_text()
    assert said.fragments == [fragment.relative_to(tmp_path).as_posix()]
    assert not fragment_files(tmp_path)
    assert text.index("[Unreleased]") < text.index("[0.2.0]") < text.index("### Measured") < text.index("[0.1.0]")
    assert "\n  Evaluation needs a tenth of the time.\n  No setting changes.\n" in text
    assert "](logs/2026-11-21_try/records/" in text
    assert not [one for one in check_documents(tmp_path) if one.path == "CHANGELOG.md"]
    (tmp_path / "CHANGELOG.md").write_text(text.replace("x (", "1x (", 1))
    assert [one.kind for one in check_documents(tmp_path) if one.path == "CHANGELOG.md"] == ["orphan"]


def test_an_entry_whose_note_nobody_wrote_stops_the_release_and_nothing_changes(fragment, tmp_path):
    with pytest.raises(DocumentError, match="does not say yet what changes"):
        changelog_release(Root.at(tmp_path), "0.2.0")
    assert (tmp_path / "CHANGELOG.md").read_text() == EMPTY
    assert fragment.is_file()


@pytest.mark.parametrize("version", ["", "2", "v1.0.0", "1.0", "0.2.0\n", "../x"])
def test_a_version_of_another_form_is_refused(version, tmp_path):
    with pytest.raises(DocumentError, match=r"such as 0\.2\.0"):
        released(EMPTY, version, date(2026, 1, 2), [], tmp_path)


def test_a_version_that_is_there_and_an_empty_release_are_refused(tmp_path):
    with pytest.raises(DocumentError, match="has a version"):
        released(EMPTY, "0.1.0", date(2026, 1, 2), [], tmp_path)
    with pytest.raises(DocumentError, match="nothing to release"):
        released(EMPTY, "0.2.0", date(2026, 1, 2), [], tmp_path)


def test_what_is_unreleased_moves_below_the_version_and_older_ones_stay_as_they_are(tmp_path):
    text = EMPTY.replace("## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n- A leak.\n")
    new = released(text, "0.2.0", date(2026, 1, 2), [], tmp_path)
    assert new == EMPTY.replace(
        "## [Unreleased]\n", "## [Unreleased]\n\n## [0.2.0] - 2026-01-02\n\n### Fixed\n- A leak.\n"
    )


def test_only_a_record_with_a_verdict_is_announced(tmp_path):
    for record in (factory.ladder(rounds=2), factory.trained()):
        (path,) = factory.store(tmp_path / "logs/2026-11-21_try/records", record)
        with pytest.raises(DocumentError, match="a changelog announces what was decided"):
            draft_fragment(load_record(path, tmp_path), tmp_path)
    with pytest.raises(WorkbenchError, match="agent-tools record list"):
        changelog_add(Root.at(tmp_path), "20260101T000000Z-comparison-abcdef")


def test_a_comparison_is_announced_with_its_verdict_and_its_accuracy(tmp_path):
    (path,) = factory.store(tmp_path / "logs/2026-11-21_try/records", factory.comparison())
    text = draft_fragment(load_record(path, tmp_path), tmp_path).text
    assert re.search(r"- \*\*Faster\*\*, \d\.\d{3}x \(.*\), accuracy (equal|within margin)", text)


def test_a_fragment_or_the_changelog_announces_a_change_of_code_and_documents_need_none():
    assert unannounced(["ocr/oracle.py", "docs/x.md"]) == ["ocr/oracle.py"]
    assert unannounced(["ocr/oracle.py", "CHANGELOG.md"]) == []
    assert unannounced(["ocr/oracle.py", "changelog.d/x.md"]) == []
    assert unannounced(["docs/x.md", "logs/x.json"]) == []
