"""Repeated runs: a flaky test is told from a broken one, in fresh processes and other orders."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.running import SuiteResult, run_tests

FLAKY = """
from pathlib import Path

def test_steady(): pass
def test_broken(): assert 1 == 2
def test_every_second_time():
    seen = Path("outputs_seen")
    runs = int(seen.read_text()) if seen.exists() else 0
    seen.write_text(str(runs + 1))
    assert runs % 2 == 0
"""

ORDERED = "STATE = []\n" + "\n".join(
    f"def test_{n}():\n    assert STATE == list(range({n}))\n    STATE.append({n})\n" for n in range(6)
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_flaky.py").write_text(FLAKY)
    return tmp_path


def run(folder: Path, **arguments) -> SuiteResult:
    async def call() -> SuiteResult:
        return await run_tests(Root.at(folder), **arguments)

    return anyio.run(call)


def test_a_test_that_fails_in_some_runs_is_flaky_and_one_that_fails_in_all_is_not(project):
    result = run(project, repeat=3)
    assert result.flaky == ["test_flaky.py::test_every_second_time: failed in 2; passed in 1, 3"]
    assert (result.passed, result.failed) == (1, 2)
    assert {failure["test"] for failure in result.failures} == {
        "test_flaky.py::test_broken",
        "test_flaky.py::test_every_second_time",
    }
    assert "3 of 3 runs; each test counts once" in result.note


def test_only_what_failed_is_repeated_and_what_failed_last_stays_known(project):
    (project / "outputs_seen").write_text("1")
    assert run(project).failed == 2
    (project / "outputs_seen").write_text("1")
    again = run(project, last_failed=True, repeat=2)
    assert again.flaky == ["test_flaky.py::test_every_second_time: failed in 1; passed in 2"]
    assert (again.passed, again.failed) == (0, 2)
    # The second run passed one of them; that is not the last word.
    (project / "outputs_seen").write_text("1")
    assert run(project, last_failed=True).failed == 2


def test_tests_that_need_their_order_are_flaky_and_the_order_can_be_had_again(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_ordered.py").write_text(ORDERED)
    result = run(tmp_path, repeat=2)
    assert result.flaky
    assert all("passed in 1" in line and "failed in 2" in line for line in result.flaky)
    assert "--random-order-bucket=global --random-order-seed=N" in result.note
    assert run(tmp_path, repeat=2).flaky == result.flaky


def test_repeats_end_with_a_run_that_did_not_come_to_its_end(project):
    (project / "test_vanish.py").write_text("import os\n\n\ndef test_vanish():\n    os._exit(1)\n")
    result = run(project, repeat=5)
    assert "1 of 5 runs" in result.note
    assert "vanished in mid-run" in result.note
    assert not result.whole


def test_the_time_limit_is_for_all_runs_together(project):
    (project / "test_slow.py").write_text("import time\n\n\ndef test_slow():\n    time.sleep(3)\n")
    result = run(project, paths=("test_slow.py",), repeat=20, max_seconds=8)
    assert result.passed == 1
    assert result.note.startswith("stopped at max_seconds") or not result.note.startswith("20 of 20")
