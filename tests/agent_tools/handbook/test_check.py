"""The documents check finds what is stale, edited, unowned, missing or unaccounted for, and writes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent_tools.handbook import render
from agent_tools.handbook.blocks import Document, parse_document, text_digest
from agent_tools.handbook.check import Problem, check_documents
from agent_tools.handbook.drafts import TEMPLATE_VERSIONS
from agent_tools.handbook.pages import STATE_PATH, page_of
from tests.agent_tools.handbook import factory


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = factory.project(tmp_path)
    render.render_all(tmp_path)
    assert check_documents(tmp_path) == []
    return folder


def ladder_page(session: Path) -> Path:
    return session / "main-3fa9c1-findings.md"


def kinds(problems: list[Problem]) -> set[str]:
    return {problem.kind for problem in problems}


def forge(path: Path, old: str, new: str) -> None:
    """Change a generated block and its digest: a forgery that the digest alone would not show."""
    document = parse_document(path.read_text(), path.name)
    blocks = []
    for block in document.blocks:
        body = block.body.replace(old, new) if block.kind == "generated" else block.body
        attributes = {**block.attributes, "body": text_digest(body)} if body != block.body else block.attributes
        blocks.append(replace(block, body=body, attributes=attributes))
    text = Document(document.header, tuple(blocks)).text()
    assert text != path.read_text()
    path.write_text(text)


def test_the_check_writes_nothing_even_where_everything_is_wrong(session, tmp_path):
    forge(ladder_page(session), "14.20", "14.21")
    (session / "first-train-run-aa11bb-findings.md").unlink()
    (session / "main-3fa9c1-ladder.svg").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert check_documents(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_digit_changed_by_hand_is_found_as_an_edit_and_as_a_number_that_no_record_has(session, tmp_path):
    path = ladder_page(session)
    path.write_text(path.read_text().replace("| 14.20 |", "| 14.30 |"))
    problems = check_documents(tmp_path)
    assert kinds(problems) == {"edited", "orphan"}
    (orphan,) = [problem for problem in problems if problem.kind == "orphan"]
    assert orphan.block == "generated:benchmark"
    assert "the number 14.30 is 14.203" in orphan.message


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("| 14.20 |", "| 14.21 |", "the number 14.21 is 14.203"),
        ("faster is above one.", "faster is above one, 8x at best.", "the number 8x has no record"),
        ("| naive | 19.88 |", "| naive | 19.88 and 7 |", "but these stand before its link"),
        (
            "benchmark-3fa9c1.json#/benchmark/summaries/4:",
            "benchmark-000000.json#/benchmark/summaries/4:",
            "no such file",
        ),
        ("summaries/4:ratio_to_previous)", "summaries/4:ratio_to_gone)", "'ratio_to_gone' is not there"),
        ("](records/20261121T200622Z-benchmark-3fa9c1.json#/dataset:images)", "](../../../../x.json#/d:i)", "outside"),
    ],
)
def test_a_planted_number_is_caught_even_when_the_digests_were_forged(session, tmp_path, old, new, complaint):
    forge(ladder_page(session), old, new)
    problems = check_documents(tmp_path)
    assert kinds(problems) == {"stale", "orphan"}
    assert any(complaint in problem.message for problem in problems if problem.kind == "orphan")


def test_every_number_of_every_page_is_checked_against_the_record_itself(session, tmp_path):
    path = session / "records/20261121T200622Z-benchmark-3fa9c1.json"
    record = json.loads(path.read_text())
    record["benchmark"]["summaries"][5]["warm_seconds"] = 2.5
    path.write_text(json.dumps(record))
    problems = check_documents(tmp_path)
    assert {(problem.path.rsplit("/", 1)[-1], problem.kind) for problem in problems} == {
        *(("main-3fa9c1-findings.md", kind) for kind in ("stale", "orphan")),
        *(("99_current_state.md", kind) for kind in ("stale", "orphan")),
        *(("performance.md", kind) for kind in ("stale", "orphan")),
        ("main-3fa9c1-ladder.svg", "stale"),
    }


def test_a_reported_figure_that_lost_its_mark_is_caught(session, tmp_path):
    history = tmp_path / page_of("history").path
    forge(history, "| reported, not measured here |", "| measured |")
    assert any("not marked 'reported, not measured here'" in problem.message for problem in check_documents(tmp_path))


def test_a_new_record_makes_the_state_page_stale_and_misses_its_findings(session, tmp_path):
    factory.store(session / "records", factory.ladder("20261123T200000Z-benchmark-abcdef", days=2))
    problems = check_documents(tmp_path)
    assert kinds(problems) == {"stale", "missing"}
    assert "main-abcdef-findings.md is missing" in " ".join(problem.message for problem in problems)
    render.render_all(tmp_path)
    assert check_documents(tmp_path) == []


def test_a_changed_plan_makes_the_state_page_stale(session, tmp_path):
    factory.plan(tmp_path, "dali", "active")
    assert {(problem.kind, problem.path) for problem in check_documents(tmp_path)} == {("stale", STATE_PATH)}


def test_a_template_change_makes_every_page_of_it_stale(session, tmp_path, monkeypatch):
    monkeypatch.setitem(TEMPLATE_VERSIONS, "findings", "v999")
    problems = check_documents(tmp_path)
    assert kinds(problems) == {"stale"}
    assert {problem.path for problem in problems} == {
        path.relative_to(tmp_path).as_posix() for path in session.glob("*-findings.md")
    }


def test_a_note_edited_since_the_last_render_is_not_stale(session, tmp_path):
    path = ladder_page(session)
    path.write_text(path.read_text().replace("*Nothing written yet: what explains", "Because: what explains"))
    assert check_documents(tmp_path) == []


def test_an_unowned_file_under_an_owned_name_is_found_and_any_other_page_is_free(session, tmp_path):
    (session / "more-findings.md").write_text("# typed by hand, 99x\n")
    (session / "handover-draft.md").write_text("# free, 99x\n")
    assert [(problem.path, problem.kind) for problem in check_documents(tmp_path)] == [
        ("logs/2026-11-21_main-job/more-findings.md", "unowned")
    ]


def test_an_edited_plot_is_stale(session, tmp_path):
    path = session / "main-3fa9c1-ladder.svg"
    path.write_text(path.read_text().replace("#5b95d1", "#000000"))
    assert [(problem.path, problem.kind) for problem in check_documents(tmp_path)] == [
        ("logs/2026-11-21_main-job/main-3fa9c1-ladder.svg", "stale")
    ]


def test_findings_whose_record_is_gone_and_findings_under_a_wrong_name_are_broken(session, tmp_path):
    (session / "records/20261121T193000Z-profile-77aa88.json").unlink()
    ladder_page(session).rename(session / "other-findings.md")
    messages = " ".join(problem.message for problem in check_documents(tmp_path) if problem.kind == "broken")
    assert "its record records/20261121T193000Z-profile-77aa88.json is gone" in messages
    assert "these findings belong in main-3fa9c1-findings.md" in messages


def test_a_broken_record_and_a_broken_plan_are_named(session, tmp_path):
    (session / "records/20261121T220000Z-train-000000.json").write_text("{}")
    factory.plan(tmp_path, "dali", "someday")
    messages = " ".join(problem.message for problem in check_documents(tmp_path) if problem.kind == "broken")
    assert "20261121T220000Z-train-000000.json is not a record" in messages
    (tmp_path / "logs/2026-11-21_main-job/records/20261121T220000Z-train-000000.json").unlink()
    messages = " ".join(problem.message for problem in check_documents(tmp_path) if problem.kind == "broken")
    assert "dali.md: field 'status'" in messages


def test_a_folder_outside_the_root_is_refused(session, tmp_path):
    with pytest.raises(Exception, match="outside the repository"):
        check_documents(tmp_path, ["../"])


def test_a_state_page_that_is_missing_is_reported_once_anything_was_measured(session, tmp_path):
    (tmp_path / STATE_PATH).unlink()
    assert [(problem.path, problem.kind) for problem in check_documents(tmp_path)] == [(STATE_PATH, "missing")]
    assert check_documents(tmp_path / "elsewhere") == []
    assert check_documents(tmp_path, ["logs"]) == []
