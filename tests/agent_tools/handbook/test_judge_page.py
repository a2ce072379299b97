"""The page about the judge: made from the newest simulation, and checked like every other page."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_tools.handbook import render
from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.drafts import write_drafts
from agent_tools.handbook.pages import draft_page, page_of
from tests.agent_tools.handbook import factory

RECORDS = "logs/2026-11-21_x/records"

JUDGE_PATH = page_of("judge").path


@pytest.fixture
def page(tmp_path: Path) -> Path:
    factory.store(tmp_path / RECORDS, factory.simulation())
    render.render_all(tmp_path)
    assert check_documents(tmp_path) == []
    return tmp_path / JUDGE_PATH


def problems(root: Path) -> set[tuple[str, str]]:
    return {(problem.path, problem.kind) for problem in check_documents(root)}


def test_every_kind_of_noise_stands_there_with_how_often_the_judge_was_wrong(page):
    text = page.read_text()
    assert "| drift | 12 | 2000 | 71, 3.55% (2.78% to 4.46%) | 1961, 98.05% (97.35% to 98.57%) | 2.14% |" in text
    assert "| spikes | 6 | 2000 |" in text
    assert "| none | [51a7e5](" in text, "an endless smallest change is no number"
    assert "- **drift:** `the machine slows down by 5% over the run`" in text
    assert "Again: `agent-tools bench check --judge`" in text


def test_without_a_simulation_there_is_no_page_and_none_is_missed(tmp_path):
    factory.store(tmp_path / RECORDS, factory.ladder())
    assert tmp_path / JUDGE_PATH not in render.render_all(tmp_path)
    assert check_documents(tmp_path) == []
    with pytest.raises(DocumentError, match="needs a record of a simulation, and there is none"):
        draft_page(page_of("judge"), tmp_path)


def test_a_newer_simulation_makes_the_page_stale_and_an_older_one_or_another_record_does_not(page, tmp_path):
    older = factory.simulation("20261119T000000Z-simulation-000001", days=-2)
    factory.store(tmp_path / RECORDS, older, factory.reported())
    write_drafts(render.draft_pages(tmp_path))
    assert problems(tmp_path) == set()
    newer = factory.simulation("20261123T000000Z-simulation-000002", days=2, alpha=0.1)
    factory.store(tmp_path / "logs/2026-11-23_y/records", newer)
    assert (JUDGE_PATH, "stale") in problems(tmp_path)
    render.render_all(tmp_path)
    assert "the error rate that it promises is 0.100" in page.read_text().lower()
    assert problems(tmp_path) == set()


def test_an_edit_a_loss_and_a_planted_number_are_found(page, tmp_path):
    before = page.read_text()
    page.write_text(before.replace("3.55%", "0.55%"))
    assert problems(tmp_path) == {(JUDGE_PATH, "edited"), (JUDGE_PATH, "orphan")}
    page.write_text("# How far the judge can be trusted: always\n")
    assert problems(tmp_path) == {(JUDGE_PATH, "unowned")}
    page.unlink()
    assert problems(tmp_path) == {(JUDGE_PATH, "missing")}
    assert check_documents(tmp_path, ["logs"]) == []


def test_a_page_whose_simulation_is_gone_is_broken(page, tmp_path):
    (tmp_path / RECORDS / f"{factory.simulation().id}.json").unlink()
    factory.store(tmp_path / RECORDS, factory.ladder())
    render.render_all(tmp_path)
    (problem,) = [problem for problem in check_documents(tmp_path) if problem.kind != "orphan"]
    assert (problem.path, problem.kind) == (JUDGE_PATH, "broken")
    assert "no simulation record is left" in problem.message


def test_notes_on_the_judge_are_kept_and_marked_when_the_numbers_moved(page, tmp_path):
    page.write_text(page.read_text().replace("*Nothing written yet: which", "Not covered: which"))
    render.render_all(tmp_path)
    factory.store(tmp_path / RECORDS, factory.simulation("20261123T000000Z-simulation-000002", days=2))
    render.render_all(tmp_path)
    assert "Not covered: which" in page.read_text()
    assert "Numbers changed since these notes were written" in page.read_text()
