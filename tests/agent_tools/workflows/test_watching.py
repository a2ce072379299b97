"""A watch runs what a change affects, and only that; nothing of it remains when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_tools.jobs import folders, runners
from agent_tools.jobs.local import JOB_VARIABLE
from agent_tools.jobs.machine_lock import measuring
from agent_tools.jobs.processes import marked
from agent_tools.workflows.jobs import JobReport, job_status
from agent_tools.workflows.watching import WatchRuns, watch_start, watch_stop
from agent_tools.workspace.root import Root, RootError
from tests.agent_tools.jobs.waiting import until, until_ended
from tests.agent_tools.small_projects import write_tested_value

SLOW = "import time\nfrom pathlib import Path\n\n\ndef test_slow():\n    time.sleep(300)\n"


@pytest.fixture
def root(repository: Path) -> Iterator[Root]:
    write_tested_value(repository)
    (repository / "other.py").write_text("def other():\n    return 1\n")
    (repository / "test_other.py").write_text(
        "from other import other\n\n\ndef test_other():\n    assert other() == 1\n"
    )
    yield Root.at(repository)
    watch_stop(Root.at(repository))


def last(root: Root, job: str) -> dict[str, Any]:
    return job_status(root, job).result


def after_runs(root: Root, job: str, runs: int) -> JobReport:
    def come() -> bool:
        report = job_status(root, job)
        assert report.status == "running", report
        return bool(report.result.get("runs", 0) >= runs)

    until(come, 120)
    return job_status(root, job)


def test_an_edited_module_runs_its_own_test_and_the_result_is_read_through_job_status(root):
    job = watch_start(root).job
    begun = after_runs(root, job, 1)
    assert begun.result["last"]["passed"] == 2
    assert begun.status == "running"
    (root.path / "value.py").write_text("VALUE = 4\n")
    broken = after_runs(root, job, 2)
    assert broken.result["changed"] == ["value.py"]
    assert (broken.result["last"]["passed"], broken.result["last"]["failed"]) == (0, 1)
    assert broken.result["last"]["failures"][0]["test"] == "test_value.py::test_value"
    assert "value.py: 1 failed" in broken.message
    assert "value.py: 1 failed" in broken.log_tail[-1]
    (root.path / "value.py").write_text("VALUE = 3\n")
    mended = after_runs(root, job, 3)
    assert (mended.result["last"]["passed"], mended.result["last"]["failed"]) == (1, 0)
    assert [line.split(" ", 1)[1].split(" in ")[0] for line in mended.result["history"]] == [
        "start: 2 passed",
        "value.py: 1 failed",
        "value.py: 1 passed",
    ]
    assert watch_stop(root).status == "cancelled"
    assert marked(JOB_VARIABLE, job) == []


def test_a_burst_is_one_run_and_what_git_ignores_is_none(root):
    job = watch_start(root).job
    after_runs(root, job, 1)
    (root.path / "outputs" / "noise.py").write_text("x = 1\n")
    (root.path / ".gitignore").write_text("outputs/\n__pycache__/\nignored/\n")
    after_runs(root, job, 2)
    (root.path / "ignored").mkdir()
    (root.path / "ignored" / "new.py").write_text("x = 1\n")
    (root.path / "empty").mkdir()
    for number in range(5):
        (root.path / "value.py").write_text(f"VALUE = {number}\n")
        (root.path / "other.py").write_text(f"def other():\n    return {number}\n")
    report = after_runs(root, job, 3)
    assert report.result["changed"] == ["other.py", "value.py"]
    assert report.result["last"]["failed"] == 2
    assert last(root, job)["runs"] == 3


def test_a_change_while_tests_run_makes_one_more_run(root):
    (root.path / "test_wait.py").write_text("import time\n\n\ndef test_wait():\n    time.sleep(4)\n")
    job = watch_start(root).job
    until(lambda: "running what is affected by start" in job_status(root, job).message)
    (root.path / "value.py").write_text("VALUE = 4\n")
    report = after_runs(root, job, 2)
    assert report.result["changed"] == ["value.py"]
    assert report.result["last"]["failed"] == 1


@pytest.mark.slow
def test_a_test_that_fails_and_writes_into_the_tree_is_not_run_for_ever(root):
    (root.path / "test_writes.py").write_text(
        "import time\nfrom pathlib import Path\n\n\ndef test_writes():\n"
        "    Path('written.txt').write_text(str(time.time()))\n    assert False\n"
    )
    job = watch_start(root).job
    after_runs(root, job, 2)
    time.sleep(12)
    assert last(root, job)["runs"] == 2
    (root.path / "value.py").write_text("VALUE = 4\n")
    assert after_runs(root, job, 3).result["changed"] == ["value.py"]


def test_a_folder_that_is_moved_into_the_tree_is_noticed(root):
    outside = root.path.parent / "made"
    outside.mkdir()
    (outside / "test_made.py").write_text("def test_made():\n    pass\n")
    job = watch_start(root).job
    after_runs(root, job, 1)
    outside.rename(root.path / "made")
    assert after_runs(root, job, 2).result["last"]["passed"] == 1


def test_only_tests_in_the_named_paths_run(root):
    job = watch_start(root, paths=("test_other.py",)).job
    assert after_runs(root, job, 1).result["last"]["passed"] == 1
    (root.path / "value.py").write_text("VALUE = 4\n")
    report = after_runs(root, job, 2)
    assert (report.result["last"]["passed"], report.result["last"]["failed"]) == (0, 0)
    assert "nothing changed that the chosen tests rest on" in report.message


def test_what_pytest_refuses_does_not_end_the_watch(root):
    job = watch_start(root).job
    after_runs(root, job, 1)
    (root.path / "conftest.py").write_text("def broken(:\n")
    assert "pytest could not run" in after_runs(root, job, 2).message
    (root.path / "conftest.py").write_text("")
    assert after_runs(root, job, 3).result["last"]["failed"] == 0


def test_there_is_one_watch_per_repository_and_stopping_none_is_no_error(root):
    assert watch_stop(root).status == "none"
    job = watch_start(root).job
    with pytest.raises(WatchRuns, match=job):
        watch_start(root)
    command = [sys.executable, "-m", "agent_tools.workspace.testing.watch", str(root.path)]
    until(lambda: "running" in job_status(root, job).message or last(root, job))
    second = runners.start(
        [*command, "--idle-seconds=60", "--max-seconds=60"], "second", root.path, kind="watch", measuring=False
    )
    ended = until_ended(second.id, root.path)
    assert ended.state.status == "failed"
    assert ended.log_tail == ["error: Another watch of this repository runs; watch_stop ends it."]
    assert watch_stop(root).job == job
    with pytest.raises(RootError):
        watch_start(root, paths=("../elsewhere",))


def test_a_stop_ends_the_tests_that_run(root, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (root.path / "test_slow.py").write_text(SLOW)
    job = watch_start(root).job
    until(lambda: bool(list((tmp_path / "temporary").rglob("report-*"))), 60)
    assert watch_stop(root).status == "cancelled"
    assert marked(JOB_VARIABLE, job) == []
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("victim", ["supervisor", "watch"])
def test_whoever_is_killed_no_test_runs_on(root, victim):
    (root.path / "test_slow.py").write_text(SLOW)
    job = watch_start(root).job
    until(lambda: len(marked(JOB_VARIABLE, job)) >= 2)
    state = folders.read_state(folders.jobs_folder(root.path) / job)
    supervisor = psutil.Process(state.supervisor_pid)
    (watch,) = supervisor.children()
    os.kill(supervisor.pid if victim == "supervisor" else watch.pid, signal.SIGKILL)
    until(lambda: marked(JOB_VARIABLE, job) == [], 30)
    until(lambda: job_status(root, job).status in ("lost", "failed"))
    assert watch_start(root).job != job


def test_what_is_left_of_a_watch_that_was_killed_whole_is_ended_by_the_next(root):
    (root.path / "test_slow.py").write_text(SLOW)
    job = watch_start(root).job
    until(lambda: len(marked(JOB_VARIABLE, job)) >= 2)
    supervisor = psutil.Process(folders.read_state(folders.jobs_folder(root.path) / job).supervisor_pid)
    (watch,) = supervisor.children()
    for process in (supervisor, watch):
        process.suspend()
    for process in (supervisor, watch):
        process.kill()
    until(lambda: job_status(root, job).status == "lost")
    assert len(marked(JOB_VARIABLE, job)) >= 1
    watch_start(root)
    assert marked(JOB_VARIABLE, job) == []


def test_a_watch_without_changes_ends(root):
    command = [sys.executable, "-m", "agent_tools.workspace.testing.watch", str(root.path)]
    job = runners.start(
        [*command, "--idle-seconds=1", "--max-seconds=60"], "short", root.path, kind="watch", measuring=False
    )
    ended = until_ended(job.id, root.path)
    assert ended.state.status == "finished"
    assert "nothing changed for" in ended.progress
    assert ended.result is not None


def test_tests_wait_while_something_is_measured(root):
    with measuring("a ladder"):
        job = watch_start(root).job
        until(lambda: "waiting for a command (a ladder" in job_status(root, job).message)
        assert last(root, job) == {}
    assert after_runs(root, job, 1).result["last"]["passed"] == 2
