"""Running pytest as a tool: structured, bounded, honest about what it did not run."""

import os
import sys
import time
from pathlib import Path
from unittest.mock import ANY

import anyio
import pytest

from agent_tools.jobs.processes import marked
from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workspace.root import Root, RootError
from agent_tools.workspace.testing.running import LAST_RUN, SuiteResult, last_run, run_tests
from agent_tools.workspace.testing.suite_runs import SuiteError

SUITE = """
import pytest

def test_good(): pass
def test_bad():
    left = {"a": 1}
    assert left == {"a": 2}, "they differ"
def test_skipped(): pytest.skip("not today")
@pytest.mark.xfail
def test_expected(): assert False
@pytest.fixture
def broken(): raise RuntimeError("no fixture")
def test_error(broken): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(SUITE)
    return tmp_path


MARKER = f"{os.getpid()}-"
"""Another run of these tests on this machine has processes of its own."""


def run(folder: Path, **arguments) -> SuiteResult:
    async def call() -> SuiteResult:
        return await run_tests(Root.at(folder), **arguments)

    return anyio.run(call)


def test_every_outcome_is_counted_and_each_failure_described(project):
    result = run(project)
    assert (result.passed, result.failed, result.errors, result.skipped, result.xfailed) == (1, 1, 1, 1, 1)
    failure = result.failures[0]
    assert failure["test"] == "tests/test_x.py::test_bad"
    assert "they differ" in failure["message"]
    assert "test_x.py:7" in failure["traceback"]
    assert result.failures[1]["test"] == "tests/test_x.py::test_error (setup)"
    assert result.is_failure()
    assert "1 passed, 1 failed, 1 errors" in result.summary()


def test_the_last_run_is_remembered_with_its_scope_and_a_damaged_memory_is_none(project):
    assert last_run(Root.at(project)) is None
    run(project, paths=("tests/test_x.py",), keyword="good or bad")
    remembered = last_run(Root.at(project))
    assert remembered is not None
    assert (remembered.said, remembered.succeeded) == ("1 passed, 1 failed", False)
    assert (remembered.paths, remembered.keyword) == (("tests/test_x.py",), "good or bad")
    run(project, keyword="good")
    assert last_run(Root.at(project)) == remembered.model_copy(
        update={"paths": (), "keyword": "good", "said": "1 passed", "succeeded": True, "ended": ANY}
    )
    (project / LAST_RUN).write_text("{")
    assert last_run(Root.at(project)) is None


def test_a_tree_that_cannot_be_written_does_not_hide_the_result(project):
    (project / "outputs").write_text("a file where a folder should be")
    assert run(project, keyword="good").passed == 1


def test_paths_and_ids_and_keywords_choose_tests(project):
    assert run(project, paths=("tests/test_x.py::test_good",)).passed == 1
    assert run(project, paths=("tests",), keyword="good or bad").failed == 1


def test_last_failed_runs_only_what_failed(project):
    run(project)
    again = run(project, last_failed=True)
    assert (again.passed, again.failed, again.errors) == (0, 1, 1)


def test_last_failed_without_a_failure_says_so(project):
    run(project, keyword="good")
    assert "no failures are recorded" in run(project, last_failed=True, paths=("tests",)).note


def test_nothing_selected_is_not_a_success_in_disguise(project):
    result = run(project, keyword="no_such_test")
    assert result.passed == 0
    assert "no tests match" in result.note


def test_a_file_that_cannot_be_imported_is_an_error_with_its_reason(project):
    (project / "tests" / "test_broken.py").write_text("import no_such_module\n")
    result = run(project, paths=("tests/test_broken.py",))
    assert result.errors == 1
    assert "no_such_module" in result.failures[0]["traceback"]


def test_failures_beyond_the_limit_are_counted(project):
    (project / "tests" / "test_many.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(30))\ndef test_n(n): assert 'x' * 10000 == n\n"
    )
    result = run(project, paths=("tests/test_many.py",), limit=5)
    assert (len(result.failures), result.omitted, result.failed) == (5, 25, 30)
    assert len(run(project, paths=("tests/test_many.py",), limit=50).model_dump_json()) < CHARACTER_LIMIT


@pytest.mark.parametrize("path", ["../other", "/etc", "-x", "--pdb", "tests/missing.py", "tests\0", "--rootdir=/"])
def test_paths_outside_and_options_in_disguise_are_refused(project, path):
    with pytest.raises(RootError):
        run(project, paths=(path,))


def test_a_keyword_that_looks_like_an_option_is_a_keyword(project):
    result = run(project, keyword="--co")
    assert (result.passed, result.note) == (0, "no tests match paths and keyword")


def test_an_expression_that_pytest_refuses_is_a_sentence(project):
    with pytest.raises(SuiteError, match=r"pytest could not run: .*'-k'"):
        run(project, keyword="a and (")


def test_the_time_limit_ends_everything_and_keeps_what_was_seen(project, monkeypatch):
    monkeypatch.setenv("TEST_MARKER", MARKER + "suite-limit")
    (project / "tests" / "test_slow.py").write_text(
        "import subprocess, sys, time\n"
        "def test_a(): pass\n"
        "def test_b():\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)\n"
        "    time.sleep(300)\n"
    )
    started = time.monotonic()
    result = run(project, paths=("tests/test_slow.py",), max_seconds=8)
    assert time.monotonic() - started < 60
    assert not result.whole
    assert "stopped at max_seconds" in result.note
    assert result.passed == 1
    assert marked("TEST_MARKER", MARKER + "suite-limit") == []


def test_a_caller_that_vanishes_takes_the_tests_with_it(project, monkeypatch):
    monkeypatch.setenv("TEST_MARKER", MARKER + "suite-vanish")
    (project / "tests" / "test_slow.py").write_text("import time\ndef test_b(): time.sleep(300)\n")

    async def vanish() -> None:
        with anyio.move_on_after(2):
            await run_tests(Root.at(project), paths=("tests/test_slow.py",))

    anyio.run(vanish)
    assert marked("TEST_MARKER", MARKER + "suite-vanish") == []


def test_progress_is_reported_while_tests_run(project):
    (project / "tests" / "test_steps.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_n(n): time.sleep(1)\n"
    )
    seen: list[float] = []

    async def report(done: float, total: float | None, message: str) -> None:
        seen.append(done)

    run(project, report=report, paths=("tests/test_steps.py",))
    assert seen == sorted(seen)
    assert seen[-1] == 4
    assert any(0 < done < 4 for done in seen)


def test_options_of_the_caller_do_not_leak_in(project, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    assert run(project, keyword="good").passed == 1


def test_the_tests_run_under_the_interpreter_of_the_workbench(project):
    (project / "tests" / "test_python.py").write_text(
        f"import sys\ndef test_python(): assert sys.executable == {sys.executable!r}\n"
    )
    assert run(project, paths=("tests/test_python.py",)).passed == 1


@pytest.mark.parametrize("code", [0, 1])
def test_a_test_that_ends_the_process_is_a_failure_whatever_the_exit_code_says(project, code):
    (project / "tests" / "test_vanish.py").write_text(
        f"import os\ndef test_a(): pass\ndef test_b(): os._exit({code})\ndef test_c(): assert False\n"
    )
    result = run(project, paths=("tests/test_vanish.py",))
    assert (result.passed, result.failed) == (1, 0)
    assert result.is_failure()
    assert "vanished in mid-run" in result.note


def test_an_interrupted_run_is_noted_even_where_failures_are_described(project):
    (project / "tests" / "test_broken.py").write_text("import no_such_module\n")
    result = run(project)
    assert result.errors == 1
    assert result.is_failure()
    assert "exit code 2" in result.note


def test_a_run_killed_by_a_signal_after_a_failure_is_noted(project):
    (project / "tests" / "test_killed.py").write_text(
        "import os\ndef test_a(): assert False\ndef test_b(): os.kill(os.getpid(), 9)\n"
    )
    result = run(project, paths=("tests/test_killed.py",))
    assert result.failed == 1
    assert "exit code -9" in result.note
