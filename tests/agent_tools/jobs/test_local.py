"""Jobs: they outlive their starter, end as a whole, and are never lost in silence. Real processes throughout."""

import json
import os
import signal
import subprocess
import time

import psutil
import pytest

from agent_tools.jobs import folders, local, runners
from agent_tools.jobs.folders import JobError
from agent_tools.jobs.local import JOB_VARIABLE, Reporter
from agent_tools.jobs.processes import marked
from tests.agent_tools.jobs.waiting import python, until, until_ended


def test_a_finished_job_gives_its_log_progress_and_result(tmp_path):
    code = (
        "from agent_tools.jobs.local import Reporter\n"
        "r = Reporter(); r.progress(1, 2, 'half'); r.progress(2, 2, 'whole'); r.result({'answer': 42}); print('hello')"
    )
    state = runners.start(python(code), "count", tmp_path)
    job = until_ended(state.id, tmp_path)
    assert (job.state.status, job.state.exit_code) == ("finished", 0)
    assert (job.done, job.total, job.progress) == (2, 2, "whole")
    assert job.result == {"answer": 42}
    assert job.log_tail == ["hello"]
    assert job.state.ended >= job.state.created


def test_a_failing_command_is_failed_with_its_exit_code_and_the_end_of_its_log(tmp_path):
    state = runners.start(python("print('before'); raise SystemExit(7)"), "fail", tmp_path)
    job = until_ended(state.id, tmp_path)
    assert (job.state.status, job.state.exit_code, job.log_tail) == ("failed", 7, ["before"])


def test_a_command_that_does_not_exist_is_a_failed_job_that_says_so(tmp_path):
    job = until_ended(runners.start(["/no/such/program"], "nothing", tmp_path).id, tmp_path)
    assert job.state.status == "failed"
    assert "cannot be started" in job.state.message


def test_a_job_survives_a_starter_that_is_killed(tmp_path):
    worker = (
        "import time; time.sleep(1.5); from agent_tools.jobs.local import Reporter; Reporter().result({'done': True})"
    )
    starter = (
        "import sys, time; from pathlib import Path; from agent_tools.jobs import runners\n"
        f"print(runners.start([sys.executable, '-c', {worker!r}], 'long', Path({str(tmp_path)!r})).id, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(python(starter), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert runners.status(job_id, tmp_path).state.status == "running"
    job = until_ended(job_id, tmp_path)
    assert (job.state.status, job.result) == ("finished", {"done": True})


FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], " \
        "start_new_session=True); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", child])
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    time.sleep(300)
time.sleep(300)
"""


def test_cancel_ends_children_grandchildren_and_daemons_in_seconds(tmp_path):
    state = runners.start(python(FAMILY), "family", tmp_path)
    until(lambda: len(marked(JOB_VARIABLE, state.id)) >= 4)
    started = time.monotonic()
    cancelled = runners.cancel(state.id, tmp_path)
    assert time.monotonic() - started < 10
    assert marked(JOB_VARIABLE, state.id) == []
    assert cancelled.status == "cancelled"


def test_what_a_job_leaves_running_is_ended_with_it(tmp_path):
    leave = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)"
    code = f"import subprocess, sys; {leave}"
    job = until_ended(runners.start(python(code), "leaver", tmp_path).id, tmp_path)
    assert job.state.status == "finished"
    assert marked(JOB_VARIABLE, job.state.id) == []


def test_a_job_whose_supervisor_vanished_is_lost_shows_its_log_and_can_still_be_cleared_away(tmp_path):
    state = runners.start(python("import time; print('so far', flush=True); time.sleep(300)"), "victim", tmp_path)
    until(lambda: runners.status(state.id, tmp_path).log_tail == ["so far"])
    psutil.Process(state.supervisor_pid).kill()
    until(lambda: runners.status(state.id, tmp_path).state.status == "lost")
    assert runners.status(state.id, tmp_path).log_tail == ["so far"]
    assert len(marked(JOB_VARIABLE, state.id)) == 1
    second = runners.start(python("pass"), "second", tmp_path)
    assert second.status == "queued"
    assert f"{state.id} (victim), which lost its supervisor" in second.message
    assert "job_cancel" in second.message
    runners.cancel(state.id, tmp_path)
    assert marked(JOB_VARIABLE, state.id) == []
    assert until_ended(second.id, tmp_path).state.status == "finished"


def test_a_number_reused_by_another_process_is_not_taken_for_the_supervisor(tmp_path):
    state = runners.start(python("pass"), "short", tmp_path)
    until_ended(state.id, tmp_path)
    own = psutil.Process()
    forged = state.model_copy(
        update={"status": "running", "supervisor_pid": own.pid, "supervisor_started": own.create_time() - 3600}
    )
    folders.write_state(folders.jobs_folder(tmp_path) / state.id, forged)
    assert runners.status(state.id, tmp_path).state.status == "lost"


def test_a_supervisor_that_is_told_to_end_takes_the_job_with_it(tmp_path):
    state = runners.start(python("import time; time.sleep(300)"), "stopped", tmp_path)
    os.kill(state.supervisor_pid, signal.SIGTERM)
    job = until_ended(state.id, tmp_path)
    assert job.state.status == "failed"
    assert marked(JOB_VARIABLE, state.id) == []


def test_the_word_of_a_cancel_alone_ends_a_job_for_whoever_is_on_another_machine(tmp_path):
    state = runners.start(python("import time; time.sleep(300)"), "far", tmp_path)
    (folders.jobs_folder(tmp_path) / state.id / "cancel").touch()
    assert until_ended(state.id, tmp_path).state.status == "cancelled"
    assert marked(JOB_VARIABLE, state.id) == []


def test_a_job_over_its_time_limit_is_ended_and_says_so(tmp_path):
    state = runners.start(python("import time; time.sleep(300)"), "slow", tmp_path, limit_seconds=0.5)
    job = until_ended(state.id, tmp_path)
    assert job.state.status == "failed"
    assert "limit" in job.state.message


def test_cancelling_an_ended_job_changes_nothing(tmp_path):
    state = runners.start(python("pass"), "short", tmp_path)
    until_ended(state.id, tmp_path)
    assert runners.cancel(state.id, tmp_path).status == "finished"


@pytest.mark.parametrize("job_id", ["", "../x", "nonsense", "20261121T000000Z-job-000000", "a\0b"])
def test_an_unknown_id_is_refused_and_the_nearest_named(tmp_path, job_id):
    known = runners.start(python("pass"), "short", tmp_path)
    until_ended(known.id, tmp_path)
    with pytest.raises(JobError, match=known.id):
        runners.status(job_id, tmp_path)


def test_a_damaged_state_file_hides_no_other_job(tmp_path):
    good = runners.start(python("pass"), "good", tmp_path)
    until_ended(good.id, tmp_path)
    bad = folders.jobs_folder(tmp_path) / "20200101T000000Z-job-aaaaaa"
    bad.mkdir()
    (bad / "state.json").write_text("{")
    states, damaged = runners.list_jobs(tmp_path)
    assert [state.id for state in states] == [good.id]
    assert damaged == [bad.name]
    with pytest.raises(JobError, match="deleting that folder"):
        runners.status(bad.name, tmp_path)


def test_a_half_written_line_of_progress_falls_back_to_the_one_before(tmp_path):
    state = runners.start(python("pass"), "short", tmp_path)
    until_ended(state.id, tmp_path)
    path = folders.jobs_folder(tmp_path) / state.id / "progress.jsonl"
    path.write_text(json.dumps({"done": 3, "total": 9, "message": "third"}) + '\n{"done": 4, "to')
    assert runners.status(state.id, tmp_path).done == 3


def test_the_reporter_keeps_its_files_from_the_processes_that_the_job_starts(tmp_path, monkeypatch):
    monkeypatch.setenv(local.RESULT_VARIABLE, str(tmp_path / "result.json"))
    monkeypatch.setenv(local.PROGRESS_VARIABLE, str(tmp_path / "progress.jsonl"))
    Reporter().result({"mine": 1})
    assert local.RESULT_VARIABLE not in os.environ
    Reporter().result({"theirs": 2})
    assert json.loads((tmp_path / "result.json").read_text()) == {"mine": 1}


def test_a_progress_bar_that_overwrites_its_line_shows_its_last_form(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"one\n10%\r50%\r100%\nlast\n")
    assert folders.tail(log, 2) == ["100%", "last"]


def test_a_module_in_the_repository_does_not_stand_in_for_one_that_a_job_needs(tmp_path):
    (tmp_path / "psutil.py").write_text("raise SystemExit('the wrong one')")
    state = runners.start(python("pass"), "a job", tmp_path, measuring=False)
    assert until_ended(state.id, tmp_path).state.status == "finished"
