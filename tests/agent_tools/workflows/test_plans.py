"""Plans are written into the ledger by a command and read back from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook.plans import PLANS_FOLDER, Plan, PlanError, plan_text, read_plan
from agent_tools.workflows.plans import plan_new
from agent_tools.workspace.root import Root

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=60)


def test_a_new_plan_is_in_the_ledger_with_what_was_said(tmp_path: Path) -> None:
    made = plan_new(
        Root.at(tmp_path),
        "Faster decode: 2x?",
        hypothesis="half the pixels",
        expected_gain="2x",
        files="ocr/utils/image_loading.py, ocr/datasets/base.py",
        notes="Because of *that*.",
    )
    assert made.path == f"{PLANS_FOLDER}/faster-decode-2x.md"
    plan = read_plan(tmp_path / made.path)
    assert (plan.name, plan.status, plan.expected_gain) == ("Faster decode: 2x?", "planned", "2x")
    assert plan.files == ("ocr/utils/image_loading.py", "ocr/datasets/base.py")
    assert (tmp_path / made.path).read_text().endswith("---\nBecause of *that*.\n")


def test_a_plan_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / plan_new(Root.at(tmp_path), "decode", notes="mine").path
    with pytest.raises(PlanError, match=r"decode\.md is there already \(status planned\)"):
        plan_new(Root.at(tmp_path), "Decode!", notes="yours")
    assert "mine" in path.read_text()


def test_a_name_without_a_letter_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="faster decode"):
        plan_new(Root.at(tmp_path), "---")
    assert not (tmp_path / PLANS_FOLDER).exists()


@given(name=TEXT.filter(bool), hypothesis=TEXT, gain=TEXT, notes=TEXT)
def test_any_text_is_read_back_as_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, name: str, hypothesis: str, gain: str, notes: str
) -> None:
    plan = Plan(name=name, status="planned", hypothesis=hypothesis, expected_gain=gain, priority=1)
    path = tmp_path_factory.mktemp("ledger") / "any.md"
    path.write_text(plan_text(plan, notes), encoding="utf-8", newline="\n")
    assert read_plan(path) == plan
