"""Running only what a change affects: never too little, and no more than needed."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.running import SuiteResult, run_tests
from agent_tools.workspace.testing.suite_runs import DIGESTS, RECORD, RECORD_FOLDER, SuiteError

PROJECT = {
    "pytest.ini": "[pytest]\nfilterwarnings = error\npythonpath = .\n",
    "value.py": "VALUE = 3\n",
    "shape.py": "from dataclasses import dataclass\n\n\n@dataclass\nclass Shape:\n    side: int = 3\n",
    "table.py": (
        "from value import VALUE\n\nTABLE = {}\n\n\ndef enter(f):\n    TABLE[f.__name__] = VALUE + 1\n    return f\n"
        "\n\n@enter\ndef kept():\n    return 7\n\n\ndef free():\n    return 8\n"
    ),
    "program.py": "from value import VALUE\n\nif __name__ == '__main__':\n    print(VALUE)\n",
    "tools/__init__.py": "",
    "tools/show.py": "def show():\n    print(5)\n\n\nif __name__ == '__main__':\n    show()\n",
    "data/x.json": "1\n",
    "tests/conftest.py": "import os\n\nos.environ['EXPECTED_DATA'] = '1'\n",
    "tests/test_value.py": (
        "from value import VALUE\n\n\ndef test_value():\n    assert VALUE == 3\n\n\n"
        "def test_twice():\n    assert VALUE * 2 == 6\n"
    ),
    "tests/test_shape.py": "from shape import Shape\n\n\ndef test_side():\n    assert Shape().side == 3\n",
    "tests/test_table.py": (
        "from table import TABLE, free\n\n\ndef test_table():\n    assert TABLE['kept'] == 4\n\n\n"
        "def test_free():\n    assert free() == 8\n"
    ),
    "tests/test_data.py": (
        "import os\nfrom pathlib import Path\n\n\n"
        "def test_data():\n    assert Path('data/x.json').read_text().strip() == os.environ['EXPECTED_DATA']\n"
    ),
    "tests/test_program.py": (
        "import subprocess, sys\n\n\ndef test_program():\n"
        "    done = subprocess.run([sys.executable, '-m', 'tools.show'], capture_output=True, text=True)\n"
        "    assert done.stdout == '5\\n'\n"
    ),
}
ALL = 7


def write(folder: Path) -> None:
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def run(folder: Path, **arguments) -> SuiteResult:
    async def call() -> SuiteResult:
        return await run_tests(Root.at(folder), **{"affected": True, **arguments})

    return anyio.run(call)


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("affected") / "project"
    write(folder)
    first = run(folder)
    assert first.passed == ALL
    assert "there was no record yet" in first.note
    return folder


@pytest.fixture
def project(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "project"))


def test_the_record_stays_out_of_the_tree_and_an_unchanged_tree_runs_nothing(project):
    assert not list(project.glob(".testmon*"))
    assert (project / RECORD).exists()
    again = run(project)
    assert (again.passed, again.failed, again.is_failure()) == (0, 0, False)
    assert "nothing changed that the chosen tests rest on" in again.note


@pytest.mark.parametrize(
    ("name", "old", "new", "failed"),
    [
        ("table.py", "return 8", "return 9", ["test_free"]),
        ("value.py", "3", "4", ["test_table", "test_twice", "test_value"]),
        ("shape.py", "= 3", "= 4", ["test_side"]),
        ("table.py", "+ 1", "+ 2", ["test_table"]),
        ("data/x.json", "1", "2", ["test_data"]),
        ("tools/show.py", "print(5)", "print(6)", ["test_program"]),
        ("tests/conftest.py", "= '1'", "= '2'", ["test_data"]),
        ("tests/test_value.py", "== 3", "== 5", ["test_value"]),
    ],
    ids=["function", "constant", "field", "called at import", "data", "program", "conftest", "test"],
)
def test_what_a_change_breaks_is_found_whatever_kind_of_change_it_is(project, name, old, new, failed):
    edit(project, name, old, new)
    broken = run(project)
    assert sorted(failure["test"].partition("::")[2] for failure in broken.failures) == failed
    edit(project, name, new, old)
    mended = run(project)
    assert (mended.failed, mended.passed >= len(failed)) == (0, True)
    assert (mended.passed < ALL) == (name != "tests/conftest.py")


def test_what_failed_stays_affected_until_it_passes(project):
    edit(project, "value.py", "3", "4")
    assert (run(project).failed, run(project).failed) == (3, 3)
    edit(project, "value.py", "4", "3")
    assert (run(project).failed, run(project).passed) == (0, 0)


def test_a_comment_and_the_body_of_a_function_that_no_test_calls_affect_nothing(project):
    edit(project, "value.py", "VALUE = 3", "# a reason\nVALUE = 3")
    edit(project, "table.py", "return 7", "return 70")
    assert (run(project).passed, run(project).failed) == (0, 0)


def test_a_new_test_runs_and_one_that_is_gone_is_forgotten(project):
    (project / "tests" / "test_new.py").write_text("def test_new():\n    pass\n")
    assert run(project).passed == 1
    (project / "tests" / "test_new.py").unlink()
    assert run(project).passed == 0


def test_paths_and_keyword_narrow_what_is_affected_and_the_rest_stays_affected(project):
    edit(project, "value.py", "3", "4")
    assert run(project, paths=("tests/test_value.py::test_value",)).failed == 1
    assert run(project, keyword="table").failed == 1
    assert run(project).failed == 3


@pytest.mark.parametrize("text", ["import os\n\n\ndef test_end():\n    os._exit(1)\n", "import nothing_of_this_name\n"])
def test_a_run_that_broke_off_leaves_its_tests_affected(project, text):
    edit(project, "value.py", "3", "4")
    (project / "tests" / "test_aa.py").write_text(text)
    assert not run(project).whole
    (project / "tests" / "test_aa.py").unlink()
    assert run(project).failed == 3


def test_switching_branches_runs_what_differs_between_them(project, git: Callable[..., str]):
    (project / ".gitignore").write_text("outputs/\n__pycache__/\n.pytest_cache/\n")
    git(project, "init", "-q", "-b", "main")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    git(project, "switch", "-q", "-c", "other")
    edit(project, "shape.py", "= 3", "= 4")
    git(project, "commit", "-q", "-a", "-m", "second")
    assert run(project).failed == 1
    git(project, "switch", "-q", "main")
    assert (run(project).passed, run(project).passed) == (1, 0)


@pytest.mark.slow
def test_under_xdist_the_same_tests_are_chosen(project):
    edit(project, "pytest.ini", "pythonpath = .", "pythonpath = .\naddopts = -n 2")
    edit(project, "value.py", "3", "4")
    broken = run(project)
    assert sorted(failure["test"].partition("::")[2] for failure in broken.failures) == [
        "test_table",
        "test_twice",
        "test_value",
    ]
    assert broken.passed < ALL - 3


def test_affected_together_with_last_failed_is_refused(project):
    with pytest.raises(SuiteError, match="exclude each other"):
        run(project, last_failed=True)


def test_a_damaged_record_of_imports_only_makes_more_tests_run(project):
    (project / DIGESTS).write_text("[")
    assert run(project).passed == ALL
    assert run(project).passed == 0


def test_two_runs_do_not_use_the_record_at_once(project):
    with (project / RECORD_FOLDER / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(SuiteError, match="Another affected run"):
            run(project, max_seconds=1)
    assert run(project).whole


def test_outputs_that_cannot_be_written_are_refused_with_a_way_out(tmp_path):
    write(tmp_path)
    (tmp_path / "outputs").write_text("a file where a folder should be")
    with pytest.raises(SuiteError, match="name paths instead"):
        run(tmp_path)


def test_pytest_run_by_hand_does_not_see_the_plugins_of_the_tool(project):
    command = [sys.executable, "-m", "pytest", "-q"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert f"{ALL} passed" in done.stdout
    assert json.loads((project / DIGESTS).read_text()).keys() == {
        f"tests/{path.name}" for path in (project / "tests").glob("test_*.py")
    }
