"""All gates in one call: in order, resumed within a session, and one failure stops no other measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_tools.measure.rungs import LadderError
from agent_tools.records.store import RecordStore
from agent_tools.workflows.documents import docs_check, docs_render
from agent_tools.workflows.gates import STEPS, bench_gates, chosen_steps
from agent_tools.workspace.root import Root
from tests.agent_tools.conftest import run_git
from tests.agent_tools.measure.standin import build_repository

DATA = "data/my receipts"
BENCHMARK = """
import json, sys
arm = [word for word in sys.argv if word.startswith("--arm=")][0]
print(json.dumps({"seconds": 6.0 if arm == "--arm=reference" else 0.1, "outputs": "same", "dataset": "d", "work": "w"}))
"""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    data = build_repository(tmp_path)
    (data / "jsons" / "train.json").write_text((data / "jsons" / "val.json").read_text())
    (tmp_path / "docs" / "ai_handbook").mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    (tmp_path / "benchmarks" / "loader.py").write_text(BENCHMARK)
    (tmp_path / "benchmarks" / "memory.py").write_text("print('{\"largest_ratio\": 1.01}')")
    run_git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text("outputs/\n__pycache__/\nlogs/\ndocs/\n")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-q", "-m", "first")
    return Root.at(tmp_path)


def test_steps_are_chosen_by_name_and_run_in_their_own_order() -> None:
    assert [step.name for step in chosen_steps(["memory", "gates"])] == ["gates", "memory"]
    assert chosen_steps([]) == list(STEPS)
    with pytest.raises(LadderError, match="only names 'loadr'; choose from gates, main"):
        chosen_steps(["loadr"])


def test_gates_are_measured_shown_on_their_page_and_not_measured_twice(root: Root) -> None:
    asked = {"data": DATA, "images": 4, "rounds": 6, "session": "night", "foreign_limit": 1.0}
    first = bench_gates(root, only="limit,loader,memory,targets", **asked)  # type: ignore[arg-type]
    table = {line.split(" | ")[0]: line for line in first.table}
    assert "passed" in table["warm loader against the plain data path"]
    assert "passed" in table["memory of all workers over one cache"]
    assert "failed (the figure misses the threshold)" in table["warm epoch against its replay limit"]
    assert [line.partition(":")[0] for line in first.measured] == ["limit", "loader", "memory"]
    assert [line.partition(":")[0] for line in first.failed] == ["targets"]
    assert first.is_failure()
    again = bench_gates(root, only="limit,loader,memory", **asked)  # type: ignore[arg-type]
    assert again.measured == []
    assert [line.partition(":")[0] for line in again.skipped] == ["limit", "loader", "memory"]
    assert again.table == first.table
    assert not again.is_failure()
    assert RecordStore(root.path).list().total == 3


def test_another_commit_or_fewer_rounds_are_measured_anew(root: Root) -> None:
    asked = {"data": DATA, "images": 4, "session": "night", "only": "limit"}
    bench_gates(root, rounds=1, **asked)  # type: ignore[arg-type]
    assert bench_gates(root, rounds=2, **asked).skipped == []  # type: ignore[arg-type]
    (root.path / "ocr" / "more.py").write_text("")
    run_git(root.path, "add", ".")
    run_git(root.path, "commit", "-q", "-m", "second")
    assert bench_gates(root, rounds=1, **asked).skipped == []  # type: ignore[arg-type]
    assert RecordStore(root.path).list().total == 3


def test_the_page_about_performance_shows_what_was_measured_and_passes_the_check(root: Root) -> None:
    bench_gates(root, data=DATA, images=4, rounds=1, session="night", only="gates,main,limit,limit_train,whatif,memory")
    docs_render(root)
    page = (root.path / "docs/ai_handbook/02_dev_guide/performance.md").read_text()
    assert "| memory of all workers over one cache | 1.01" in page
    assert "The training epoch runs at 75.0%" in page
    assert "| forward | 50.0% |" in page
    assert "| aspect buckets |" in page
    assert page.count("not measured") > 5
    assert docs_check(root).problems == []
    (root.path / "docs/ai_handbook/02_dev_guide/performance.md").unlink()
    assert any("performance.md is missing" in problem for problem in docs_check(root).problems)
