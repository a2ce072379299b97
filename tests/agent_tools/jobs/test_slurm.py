"""Jobs in a real SLURM of one node: `make test-slurm` sets it up; elsewhere these tests are skipped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agent_tools.jobs import folders, runners
from agent_tools.jobs.folders import JobError
from agent_tools.jobs.local import JOB_VARIABLE
from agent_tools.jobs.processes import marked
from agent_tools.jobs.settings import JOBS_VARIABLE
from tests.agent_tools.jobs.waiting import SLEEP, python, until, until_ended

if "TEST_SLURM_NODE" not in os.environ:
    missing = os.environ.get("TEST_SLURM_MISSING", "needs a SLURM of its own: run `make test-slurm`")
    pytest.skip(missing, allow_module_level=True)

pytestmark = pytest.mark.slurm

FAMILY = f"""
import os, signal, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    time.sleep(300)
print("up", flush=True)
time.sleep(300)
"""


@pytest.fixture(autouse=True)
def slurm(monkeypatch, tmp_path):
    monkeypatch.setenv(JOBS_VARIABLE, "slurm")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    yield
    for state in runners.list_jobs(tmp_path)[0]:
        runners.cancel(state.id, tmp_path)
    until(lambda: not queue())


def queue() -> str:
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout


def running(job_id: str, root: Path) -> folders.Job:
    until(lambda: runners.status(job_id, root).state.status not in folders.WAITING)
    return runners.status(job_id, root)


def test_a_job_leaves_the_same_in_slurm_as_on_this_machine(tmp_path, monkeypatch):
    code = (
        "from agent_tools.jobs.local import Reporter\n"
        "r = Reporter(); r.progress(1, 2, 'half'); r.resume_with(['go', 'on']); r.result({'answer': 42})\n"
        "print('hello'); raise SystemExit(3)"
    )
    there = until_ended(runners.start(python(code), "count", tmp_path).id, tmp_path)
    monkeypatch.setenv(JOBS_VARIABLE, "local")
    here = until_ended(runners.start(python(code), "count", tmp_path).id, tmp_path)
    own = {"id", "created", "ended", "limit_seconds", "runner", "slurm_id", "supervisor_pid", "supervisor_started"}
    assert there.state.model_dump(exclude=own) == here.state.model_dump(exclude=own)
    assert there.model_dump(exclude={"state"}) == here.model_dump(exclude={"state"})
    assert (there.state.status, there.state.exit_code, there.log_tail) == ("failed", 3, ["hello"])
    assert there.state.slurm_id.isdigit()
    assert (here.state.runner, there.state.runner) == ("local", "slurm")


def test_a_finished_job_is_finished(tmp_path):
    job = until_ended(runners.start(python("print('done')"), "short", tmp_path).id, tmp_path)
    assert (job.state.status, job.state.exit_code, job.log_tail) == ("finished", 0, ["done"])


def test_a_second_job_waits_in_the_queue_of_slurm_and_can_be_cancelled_there(tmp_path):
    first = runners.start(python(SLEEP), "first", tmp_path)
    running(first.id, tmp_path)
    second = runners.start(python("print('never')"), "second", tmp_path)
    third = runners.start(python("print('third')"), "third", tmp_path)
    assert (second.status, third.status) == ("queued", "queued")
    until(lambda: "Resources" in runners.status(second.id, tmp_path).state.message)
    assert runners.cancel(second.id, tmp_path).status == "cancelled"
    assert runners.status(first.id, tmp_path).state.status == "running"
    assert runners.cancel(first.id, tmp_path).status == "cancelled"
    assert until_ended(third.id, tmp_path).log_tail == ["third"]
    assert not (folders.jobs_folder(tmp_path) / second.id / "log.txt").exists()


def test_a_job_of_this_machine_and_one_of_slurm_do_not_measure_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS_VARIABLE, "local")
    here = runners.start(python(SLEEP), "here", tmp_path)
    monkeypatch.setenv(JOBS_VARIABLE, "slurm")
    there = runners.start(python("print('after')"), "there", tmp_path)
    until(lambda: f"waiting for job {here.id}" in runners.status(there.id, tmp_path).state.message)
    runners.cancel(here.id, tmp_path)
    assert until_ended(there.id, tmp_path).log_tail == ["after"]


def test_cancel_ends_children_and_daemons_in_the_allocation(tmp_path):
    state = runners.start(python(FAMILY), "family", tmp_path)
    until(lambda: runners.status(state.id, tmp_path).log_tail == ["up"])
    until(lambda: len(marked(JOB_VARIABLE, state.id)) >= 3)
    assert runners.cancel(state.id, tmp_path).status == "cancelled"
    assert marked(JOB_VARIABLE, state.id) == []
    until(lambda: not queue())


def test_a_job_over_its_limit_says_so_itself(tmp_path):
    state = runners.start(python(SLEEP), "slow", tmp_path, limit_seconds=0.5)
    job = until_ended(state.id, tmp_path)
    assert job.state.status == "failed"
    assert "limit" in job.state.message


def test_a_job_whose_supervisor_was_killed_is_lost_keeps_its_log_and_is_cleared_away(tmp_path):
    state = runners.start(python(FAMILY), "victim", tmp_path)
    until(lambda: runners.status(state.id, tmp_path).log_tail == ["up"])
    psutil.Process(running(state.id, tmp_path).state.supervisor_pid).kill()
    job = until_ended(state.id, tmp_path)
    assert (job.state.status, job.log_tail) == ("lost", ["up"])
    assert f"outputs/jobs/{state.id}/slurm" in job.state.message
    runners.cancel(state.id, tmp_path)
    assert marked(JOB_VARIABLE, state.id) == []


def test_a_job_whose_step_of_slurm_was_killed_goes_on_and_can_be_cancelled_without_orphans(tmp_path):
    state = runners.start(python(FAMILY), "victim", tmp_path)
    until(lambda: runners.status(state.id, tmp_path).log_tail == ["up"])
    supervisor = psutil.Process(running(state.id, tmp_path).state.supervisor_pid)
    step = supervisor.parent()
    assert step is not None
    step.kill()
    step.wait()
    assert runners.status(state.id, tmp_path).state.status == "running"
    assert runners.cancel(state.id, tmp_path).status == "cancelled"
    assert marked(JOB_VARIABLE, state.id) == []
    until(lambda: not supervisor.is_running())


def test_a_job_survives_a_submitter_that_is_killed(tmp_path):
    starter = (
        "import time; from pathlib import Path; from agent_tools.jobs import runners\n"
        f"print(runners.start({python('import time; time.sleep(1); print(1)')!r}, 'long', Path({str(tmp_path)!r})).id, "
        "flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(python(starter), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    job = until_ended(job_id, tmp_path)
    assert (job.state.status, job.log_tail) == ("finished", ["1"])


def test_a_lost_job_is_resumed_in_slurm_with_the_words_that_it_left(tmp_path):
    code = f"from agent_tools.jobs.local import Reporter\nReporter().resume_with(['print(7)']); print('up'); {SLEEP}"
    state = runners.start(python(code), "victim", tmp_path)
    until(lambda: runners.status(state.id, tmp_path).log_tail == ["up"])
    with pytest.raises(JobError, match="is running"):
        runners.resume(state.id, tmp_path, [sys.executable, "-c"])
    psutil.Process(running(state.id, tmp_path).state.supervisor_pid).kill()
    until_ended(state.id, tmp_path)
    runners.cancel(state.id, tmp_path)
    resumed, goes_on = runners.resume(state.id, tmp_path, [sys.executable, "-c"])
    assert goes_on
    job = until_ended(resumed.id, tmp_path)
    assert (job.state.runner, job.state.resumes, job.log_tail) == ("slurm", state.id, ["7"])


def test_an_allocation_that_slurm_cannot_give_is_a_failed_job_that_quotes_it(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.agent-tools.slurm]\npartition = "moon"\n')
    with pytest.raises(JobError, match=r"did not take job .*Invalid partition"):
        runners.start(python("pass"), "lost", tmp_path)
    assert [state.status for state in runners.list_jobs(tmp_path)[0]] == ["failed"]


def test_a_controller_that_does_not_answer_ends_no_job(tmp_path, monkeypatch):
    state = runners.start(python(SLEEP), "long", tmp_path)
    running(state.id, tmp_path)
    with monkeypatch.context() as away:
        nowhere = tmp_path / "slurm.conf"
        nowhere.write_text("ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\n")
        away.setenv("SLURM_CONF", str(nowhere))
        unsure = runners.status(state.id, tmp_path).state
        assert (unsure.status, unsure.message[:13]) == ("running", "squeue failed")
    assert runners.status(state.id, tmp_path).state.message == ""
