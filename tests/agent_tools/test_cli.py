"""The command line: the same tools under the same names."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from agent_tools.catalog import CATALOG
from agent_tools.cli import build_app
from agent_tools.jobs.local import RESULT_VARIABLE
from tests.agent_tools.conftest import run_git
from tests.agent_tools.measure.standin import build_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    run_git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.txt").write_text("one\n")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(build_app(), ["--root", str(folder), *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def last_json(output: str) -> dict:
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("tool", CATALOG, ids=lambda tool: tool.name)
def test_every_tool_is_a_command_with_help_and_json(tmp_path, tool):
    output = run(tmp_path, *filter(None, (tool.noun, tool.verb)), "--help")
    assert "--json" in output


def test_json_is_one_object_on_the_last_line(repository):
    answer = last_json(run(repository, "git", "log", "--json"))
    assert answer["commits"][0]["subject"] == "first"


def test_without_json_people_read_all_of_it(repository):
    (repository / "a.txt").write_text("two\n")
    output = run(repository, "git", "diff")
    assert "work tree against HEAD: 1 files" in output
    assert "-one\n+two" in output


def test_lists_are_words_and_the_rest_are_options(repository):
    (repository / "a.txt").write_text("two\n")
    (repository / "b.txt").write_text("b\n")
    run_git(repository, "add", ".")
    answer = last_json(run(repository, "git", "diff", "a.txt", "--response-format", "concise", "--json"))
    assert answer["files"] == ["1 1 a.txt"]


def test_an_error_is_a_sentence_on_stderr_an_exit_code_and_with_json_an_object(repository):
    result = CliRunner().invoke(build_app(), ["--root", str(repository), "record", "show", "nope", "--json"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: There is no record 'nope'")
    assert "There is no record 'nope'" in last_json(result.stdout)["error"]


def test_values_out_of_range_are_refused_as_on_the_server(repository):
    assert "limit is 0" in last_json(run(repository, "git", "log", "--limit", "0", "--json", code=1))["error"]


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    assert "is not a folder" in last_json(run(tmp_path / "missing", "git", "log", "--json", code=1))["error"]


def test_failing_tests_make_the_command_fail(repository):
    (repository / "test_x.py").write_text("def test_x(): assert False\n")
    assert last_json(run(repository, "test", "run", "test_x.py", "--json", code=1))["failed"] == 1


def test_in_a_job_the_result_is_left_for_whoever_asks(repository, monkeypatch, tmp_path):
    monkeypatch.setenv(RESULT_VARIABLE, str(tmp_path / "result.json"))
    run(repository, "git", "status")
    assert json.loads((tmp_path / "result.json").read_text())["branch"] == "main"
    assert RESULT_VARIABLE not in os.environ


def test_a_command_does_not_wait_for_the_servers_library(repository):
    code = (
        "import sys; from agent_tools.cli import build_app\n"
        "from typer.testing import CliRunner\n"
        f"CliRunner().invoke(build_app(), ['--root', {str(repository)!r}, 'record', 'list'])\n"
        "print([name for name in ('mcp', 'torch', 'matplotlib', 'scipy', 'duckdb') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_ladder_that_is_told_to_end_ends_its_trainer_and_removes_its_cache(tmp_path, number):
    data = build_repository(tmp_path)
    # The first sample goes through, so that there is a cache folder; the second one hangs.
    overrides = ["standin.hang=hung.txt", "standin.hang_with=go"]
    command = [sys.executable, "-m", "agent_tools.cli", "--root", str(tmp_path), "bench", "ladder"]
    with subprocess.Popen(
        [*command, "--data", str(data), "--rounds", "1", "--no-docs", "--", "demo", *overrides],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        while "[1/" not in (line := process.stderr.readline()):
            assert line, "the ladder ended early"
        (tmp_path / "go").touch()
        deadline = time.monotonic() + 120
        while not (tmp_path / "hung.txt").exists() or len((tmp_path / "hung.txt").read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (cache,) = tmp_path.glob("outputs/ladders/*/cache")
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(timeout=60) == 1
    assert "cancelled" in said
    assert not cache.exists()
    for pid in (tmp_path / "hung.txt").read_text().split():
        assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
