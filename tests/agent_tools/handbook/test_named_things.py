"""What people write in pages has to exist: files, links, commands, make targets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook.check import check_documents
from agent_tools.handbook.named_things import dangling_names, pages_of_people

COMMANDS = ("docs check", "docs render", "demo", "bench run")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "ocr").mkdir()
    (tmp_path / "ocr/cli.py").write_text("")
    (tmp_path / "Makefile").write_text("VAR := a\ntest: lint\n\tpytest\nlint:\n\truff\n")
    (tmp_path / "docs/ai_handbook/07_planning/plans").mkdir(parents=True)
    return tmp_path


def complaints(project: Path, text: str) -> list[str]:
    (project / "README.md").write_text(text)
    return [one.message for one in dangling_names(project, COMMANDS)]


@pytest.mark.parametrize(
    "text",
    [
        "`ocr/cli.py` and `ocr/` are there",
        "[a page](docs/ai_handbook) and [a heading](#there) and [the web](https://example.com/x)",
        "`agent-tools docs check`, `agent-tools demo DATA`, `agent-tools bench` and `agent-tools --help`",
        "```bash\nagent-tools docs render && agent-tools docs check\nmake test lint  # both\n```",
        "records in `logs/2026-01-01_x/records`, runs in `outputs/run`, `ocr/NAME.py`, `ocr/...`",
        "`a/b` is a ratio, `batch/step` too, and `1/2`",
        "make sure that it runs; `[not a link](nowhere.md)` is quoted",
    ],
)
def test_what_exists_or_is_no_name_is_no_complaint(project: Path, text: str) -> None:
    assert complaints(project, text) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("see `ocr/clu.py`", "`ocr/clu.py` does not exist; nearest: `ocr/cli.py`"),
        ("see [it](docs/gone.md#part)", "the link to docs/gone.md leads nowhere"),
        ("`agent-tools docs chek --json`", "`agent-tools docs chek` is no command; nearest: `agent-tools docs check`"),
        (
            "```bash\nagent-tools bench runs\n```",
            "`agent-tools bench runs` is no command; nearest: `agent-tools bench run`",
        ),
        ("```bash\nmake tset\n```", "`make tset` is no target; there are lint, test"),
        ("run `make benchmark`", "`make benchmark` is no target; there are lint, test"),
    ],
)
def test_what_does_not_exist_is_named_with_the_nearest(project: Path, text: str, complaint: str) -> None:
    assert complaints(project, text) == [complaint]


def test_generated_blocks_and_plans_are_not_read_but_notes_are(project: Path) -> None:
    page = project / "docs/ai_handbook/99_current_state.md"
    page.write_text(
        "<!-- OWNED document=current_state; x -->\n\n"
        "<!-- BEGIN generated:a -->`ocr/gone.py`<!-- END generated:a -->\n\n"
        "<!-- BEGIN notes:b -->`ocr/lost.md`<!-- END notes:b -->\n"
    )
    (project / "docs/ai_handbook/07_planning/plans/next.md").write_text("`ocr/to_be_written.py`")
    assert [one.message for one in dangling_names(project)] == ["`ocr/lost.md` does not exist"]


@given(text=st.text(alphabet="`[]()#/~ \n\\abAB.-", max_size=80))
def test_no_text_breaks_the_reading(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    project = tmp_path_factory.mktemp("any")
    complaints(project, text)


def test_the_pages_of_this_project_name_nothing_in_vain() -> None:
    from agent_tools.catalog import CATALOG

    root = Path(__file__).resolve().parents[3]
    commands = [f"{tool.noun} {tool.verb}".strip() for tool in CATALOG] + ["serve"]
    assert len(pages_of_people(root)) > 5
    assert dangling_names(root, commands) == []


def test_the_documents_check_reports_them(project: Path) -> None:
    (project / "README.md").write_text("see `ocr/clu.py` and `agent-tools docs chek`")
    facts = {"tools": [{"command": "agent-tools docs check"}]}
    found = [(problem.kind, problem.message) for problem in check_documents(project, facts=facts)]
    assert [kind for kind, _ in found] == ["dangling", "dangling"]
    assert "`ocr/clu.py` does not exist" in found[0][1]
    assert "mend the page" in found[0][1]


def test_a_page_that_cannot_be_parsed_is_left_to_the_check_that_says_why(project: Path) -> None:
    page = project / "docs/ai_handbook/99_current_state.md"
    page.write_text("<!-- OWNED document=current_state; x -->\n\nloose words `ocr/gone.py`\n")
    assert dangling_names(project) == []
