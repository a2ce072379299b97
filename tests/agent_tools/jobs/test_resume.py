"""Resuming: a job that ended early goes on with the words that it left, or starts anew and says so."""

import json
import os
import sys

import psutil
import pytest

from agent_tools.jobs import folders, local, runners
from agent_tools.jobs.folders import JobError
from agent_tools.jobs.local import JOB_VARIABLE, Reporter
from agent_tools.jobs.processes import marked
from tests.agent_tools.jobs.waiting import SLEEP, python, until, until_ended

PROGRAM = [sys.executable, "-c"]
LEAVING = "from agent_tools.jobs.local import Reporter\nReporter().resume_with(['print(7)']); print('up')\n"


@pytest.mark.parametrize(("ending", "status"), [("raise SystemExit(3)", "failed"), (SLEEP, "cancelled")])
def test_a_job_goes_on_with_the_words_that_it_left(tmp_path, ending, status):
    old = runners.start(python(LEAVING + ending), "search", tmp_path, kind="bench", limit_seconds=77, measuring=False)
    until(lambda: runners.status(old.id, tmp_path).log_tail == ["up"])
    if status == "cancelled":
        runners.cancel(old.id, tmp_path)
    assert until_ended(old.id, tmp_path).state.status == status
    new, goes_on = runners.resume(old.id, tmp_path, PROGRAM)
    assert goes_on
    assert (new.title, new.kind, new.resumes, new.limit_seconds, new.measuring) == (
        "search",
        "bench",
        old.id,
        77,
        False,
    )
    assert until_ended(new.id, tmp_path).log_tail == ["7"]


def test_a_job_that_left_no_words_starts_anew(tmp_path):
    old = runners.start(python("print('from the start'); raise SystemExit(1)"), "t", tmp_path)
    until_ended(old.id, tmp_path)
    new, goes_on = runners.resume(old.id, tmp_path, PROGRAM)
    assert not goes_on
    assert until_ended(new.id, tmp_path).log_tail == ["from the start"]


def test_a_lost_job_is_resumed_once_its_processes_are_gone(tmp_path):
    old = runners.start(python(LEAVING + SLEEP), "victim", tmp_path)
    until(lambda: runners.status(old.id, tmp_path).log_tail == ["up"])
    psutil.Process(old.supervisor_pid).kill()
    until(lambda: runners.status(old.id, tmp_path).state.status == "lost")
    with pytest.raises(JobError, match=f"{old.id} is lost, but processes of it still run; end them with job_cancel"):
        runners.resume(old.id, tmp_path, PROGRAM)
    runners.cancel(old.id, tmp_path)
    assert marked(JOB_VARIABLE, old.id) == []
    new, _ = runners.resume(old.id, tmp_path, PROGRAM)
    assert until_ended(new.id, tmp_path).log_tail == ["7"]


def test_a_job_that_is_not_over_or_is_done_is_not_resumed(tmp_path):
    done = runners.start(python("pass"), "done", tmp_path)
    until_ended(done.id, tmp_path)
    running = runners.start(python(SLEEP), "running", tmp_path)
    queued = runners.start(python(SLEEP), "queued", tmp_path)
    for state, said in ((done, "is finished"), (running, "is running"), (queued, "is queued")):
        with pytest.raises(JobError, match=f"{state.id} {said}: there is nothing to resume"):
            runners.resume(state.id, tmp_path, PROGRAM)
    assert len(runners.list_jobs(tmp_path)[0]) == 3
    for state in (queued, running):
        runners.cancel(state.id, tmp_path)


def test_a_job_is_not_resumed_twice_unless_the_resumed_one_ended_early_too(tmp_path):
    old = runners.start(python("raise SystemExit(1)"), "t", tmp_path)
    until_ended(old.id, tmp_path)
    first, _ = runners.resume(old.id, tmp_path, PROGRAM)
    until_ended(first.id, tmp_path)
    folder = folders.jobs_folder(tmp_path) / old.id
    (folder / "resume.json").write_text(json.dumps([SLEEP]))
    second, _ = runners.resume(old.id, tmp_path, PROGRAM)
    with pytest.raises(JobError, match=f"{second.id}, which is running, resumes {old.id} already"):
        runners.resume(old.id, tmp_path, PROGRAM)
    runners.cancel(second.id, tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, 2]", '["a", null]'])
def test_damaged_words_are_not_run_and_nothing_is_started(tmp_path, text):
    old = runners.start(python("raise SystemExit(1)"), "t", tmp_path)
    until_ended(old.id, tmp_path)
    (folders.jobs_folder(tmp_path) / old.id / "resume.json").write_text(text)
    with pytest.raises(JobError, match=r"resume\.json is no list of words; delete it"):
        runners.resume(old.id, tmp_path, PROGRAM)
    assert len(runners.list_jobs(tmp_path)[0]) == 1


def test_the_reporter_keeps_the_words_from_the_processes_that_the_job_starts(tmp_path, monkeypatch):
    monkeypatch.setenv(local.RESUME_VARIABLE, str(tmp_path / "resume.json"))
    Reporter().resume_with(["mine"])
    assert local.RESUME_VARIABLE not in os.environ
    Reporter().resume_with(["theirs"])
    assert json.loads((tmp_path / "resume.json").read_text()) == ["mine"]
