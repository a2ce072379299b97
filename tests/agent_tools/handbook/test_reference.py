"""Pages made from the code: the same bytes anywhere, stale with what they describe, and never edited unseen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_tools.catalog import tool_facts
from agent_tools.handbook import gate_list, render
from agent_tools.handbook.api import LISTED
from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.pages import PAGES, draft_page, page_of
from agent_tools.handbook.rooms import PACKAGES, STEPS
from agent_tools.records.gates import GATES
from tests.agent_tools.handbook import factory

REPOSITORY = Path(__file__).resolve().parents[3]
FROM_THE_TREE = ("architecture", "tools", "configuration", "gates", "api")
TOOLS: dict[str, Any] = {"tools": tool_facts()}


def house(root: Path) -> Path:
    """The configuration, and as much of the code as the pages name."""
    shutil.copytree(REPOSITORY / "configs", root / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    named = [*LISTED, *(name for step in STEPS for name in step.files), "*/__init__.py", "*/*/__init__.py"]
    for path in {path for name in named for path in REPOSITORY.glob(name)}:
        if path.relative_to(REPOSITORY).parts[0] in PACKAGES:
            target = root / path.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    return root


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its pages rendered and a history; never changed."""
    root = house(tmp_path_factory.mktemp("rendered"))
    factory.store(root / "logs/2026-11-21_x/records", factory.history(), factory.reported())
    render.render_all(root, TOOLS)
    assert check_documents(root, facts=TOOLS) == []
    return root


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(rendered, tmp_path / "project"))


def problems(root: Path, facts: dict[str, Any] | None = TOOLS) -> set[tuple[str, str]]:
    found = check_documents(root, facts=facts)
    return {(problem.path.removeprefix("docs/ai_handbook/"), problem.kind) for problem in found}


def append(root: Path, name: str, text: str) -> None:
    path = root / name
    path.write_text(path.read_text() + text)


def test_rendering_twice_and_in_another_folder_gives_the_same_bytes(tmp_path):
    def pages(root: Path) -> dict[str, bytes]:
        render.render_all(root, TOOLS)
        files = sorted((root / "docs").rglob("*"))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.is_file()}

    first = house(tmp_path / "here")
    before = pages(first)
    assert {page_of(kind).path for kind in FROM_THE_TREE} <= set(before)
    assert pages(first) == before
    assert pages(house(tmp_path / "somewhere/else")) == before
    assert not any(str(tmp_path).encode() in content for content in before.values())


def a_key(root: Path) -> None:
    append(root, "configs/base.yaml", "\nnew_key: 3\n")


def a_public_function(root: Path) -> None:
    append(
        root, "ocr/metrics/icdar.py", '\n\ndef new_score(hits: int) -> int:\n    """Twice."""\n    return 2 * hits\n'
    )


def an_import_of_another_room(root: Path) -> None:
    append(root, "agent_tools/records/store.py", "\nimport agent_tools.jobs.folders\n")


def an_import_of_a_room_that_its_neighbours_import(root: Path) -> None:
    append(root, "agent_tools/measure/statistics.py", "\nimport agent_tools.records.store\n")


def a_docstring(root: Path) -> None:
    path = root / "ocr/models/loss.py"
    path.write_text(path.read_text().replace('"""The DB loss', '"""This DB loss', 1))


@pytest.mark.parametrize(
    ("add", "stale"),
    [
        (a_key, {"03_reference/configuration.md"}),
        (a_public_function, {"03_reference/api.md"}),
        (an_import_of_another_room, {"01_architecture/map.md"}),
        (an_import_of_a_room_that_its_neighbours_import, set()),
        (a_docstring, {"01_architecture/map.md"}),
    ],
)
def test_what_is_added_to_the_tree_makes_its_page_stale(project, add: Callable[[Path], None], stale):
    add(project)
    assert problems(project) == {(name, "stale") for name in stale}
    render.render_all(project, TOOLS)
    assert problems(project) == set()


def test_a_new_tool_makes_the_page_of_tools_stale(project):
    changed = {"tools": [*TOOLS["tools"], {**TOOLS["tools"][0], "name": "word_echo"}]}
    assert problems(project, changed) == {("03_reference/tools.md", "stale")}
    render.render_all(project, changed)
    assert problems(project, changed) == set()
    assert "| `word_echo` |" in (project / page_of("tools").path).read_text()


def test_a_changed_gate_makes_the_page_of_gates_stale(project, monkeypatch):
    monkeypatch.setattr(gate_list, "GATES", (replace(GATES[0], threshold=9), *GATES[1:]))
    assert problems(project) == {("03_reference/gates.md", "stale")}


def test_a_new_history_makes_its_page_stale_and_any_other_record_does_not(project):
    factory.store(project / "logs/2026-11-21_x/records", factory.simulation())
    assert ("02_dev_guide/history.md", "stale") not in problems(project)
    factory.store(project / "logs/2026-11-21_x/records", factory.history("20261129T200000Z-history-abcdef"))
    assert ("02_dev_guide/history.md", "stale") in problems(project)


def test_a_page_edited_by_hand_is_found_and_not_written_over(project):
    pages = {page_of(kind).path for kind in (*FROM_THE_TREE, "history")}
    for name in pages:
        path = project / name
        path.write_text(path.read_text().replace("\n# ", "\n# Really: ", 1))
    assert {(problem.path, problem.kind) for problem in check_documents(project, facts=TOOLS)} == {
        (name, "edited") for name in pages
    }
    for name in sorted(pages):
        with pytest.raises(DocumentError, match="edited by hand"):
            draft_page(next(page for page in PAGES if page.path == name), project, facts=TOOLS)


def test_a_note_on_a_page_is_kept_when_the_page_changes(project):
    path = project / page_of("configuration").path
    path.write_text(path.read_text().replace("*Nothing written yet.*", "Read `base.yaml` first."))
    a_key(project)
    render.render_all(project, TOOLS)
    text = path.read_text()
    assert "Read `base.yaml` first." in text
    assert re.search(r"^\| `new_key` \| `3` \| \*\*not written\*\* \| \[base\.yaml:\d+\]", text, re.MULTILINE)


def test_a_picture_that_was_edited_or_removed_is_found(project):
    picture = project / "docs/ai_handbook/01_architecture/map.svg"
    picture.write_text(picture.read_text().replace("#1f2933", "#ff0000"))
    assert problems(project) == {("01_architecture/map.svg", "stale")}
    picture.unlink()
    assert problems(project) == {("01_architecture/map.svg", "missing")}
    assert check_documents(project, ["logs"], facts=TOOLS) == []


def test_a_page_that_is_gone_is_missed(project):
    for kind in FROM_THE_TREE:
        (project / page_of(kind).path).unlink()
    assert {name for name, kind in problems(project) if kind == "missing"} == {
        page_of(kind).path.removeprefix("docs/ai_handbook/") for kind in FROM_THE_TREE
    }


def test_without_the_running_program_the_page_of_tools_is_left_alone(project):
    path = project / page_of("tools").path
    before = path.read_text()
    assert problems(project, None) == set()
    render.render_all(project)
    assert path.read_text() == before
    path.unlink()
    assert problems(project, None) == set()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: (root / "ocr/models/loss.py").unlink(), "ocr/models/loss.py is gone"),
        (lambda root: append(root, "ocr/metrics/icdar.py", "\ndef (:\n"), "icdar.py, line 101 is not Python"),
        (lambda root: append(root, "configs/base.yaml", "\na: [1\n"), "base.yaml is not YAML"),
    ],
)
def test_a_tree_that_cannot_be_read_is_reported_and_nothing_is_written(project, break_it, said):
    break_it(project)
    messages = [problem.message for problem in check_documents(project, facts=TOOLS) if problem.kind == "broken"]
    assert any(said in message for message in messages)
    with pytest.raises(DocumentError, match=said):
        render.render_all(project, TOOLS)


def test_a_repository_without_the_workbench_gets_no_such_page(tmp_path):
    (tmp_path / "ocr").mkdir()
    (tmp_path / "ocr/a.py").write_text("import os\n")
    render.render_all(tmp_path, TOOLS)
    assert [page.kind for page in PAGES if (tmp_path / page.path).is_file()] == ["current_state"]
    assert check_documents(tmp_path, facts=TOOLS) == []
