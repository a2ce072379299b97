"""Jobs that measure wait for each other, in the order in which they were made. Real processes throughout."""

import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from agent_tools.jobs import folders, local, runners
from agent_tools.jobs.folders import JobError, JobState
from agent_tools.jobs.local import JOB_VARIABLE
from agent_tools.jobs.machine_lock import HOLDER_VARIABLE, measuring
from agent_tools.jobs.processes import is_alive, marked
from tests.agent_tools.jobs.waiting import SLEEP, python, until, until_ended


@pytest.fixture(autouse=True)
def nothing_left(tmp_path):
    yield
    for root in (tmp_path, tmp_path / "a", tmp_path / "b"):
        for state in runners.list_jobs(root)[0]:
            runners.cancel(state.id, root)


def state_of(state: JobState, root: Path) -> JobState:
    return runners.status(state.id, root).state


def noting(file: Path, name: str) -> list[str]:
    """A job that notes when it begins and ends."""
    return python(
        f"import time\nnote = lambda word: open({str(file)!r}, 'a').write(f'{{word}} {name}\\n')\n"
        "note('begin'); time.sleep(0.2); note('end')"
    )


def test_a_second_job_is_queued_says_behind_whom_and_starts_when_the_first_is_gone(tmp_path):
    first = runners.start(python(SLEEP), "first", tmp_path)
    second = runners.start(python("print('second')"), "second", tmp_path)
    assert (first.status, second.status) == ("running", "queued")
    assert f"waiting for job {first.id} (first), which measures on this machine since" in second.message
    runners.cancel(first.id, tmp_path)
    job = until_ended(second.id, tmp_path)
    assert (job.state.status, job.log_tail, job.state.message) == ("finished", ["second"], "")


def test_jobs_of_one_repository_start_in_the_order_in_which_they_were_made_and_never_two_at_once(tmp_path):
    notes = tmp_path / "notes.txt"
    blocker = runners.start(python(SLEEP), "blocker", tmp_path)
    jobs = [runners.start(noting(notes, str(number)), f"job {number}", tmp_path) for number in range(4)]
    assert f"waiting for job {jobs[0].id} (job 0), which was queued before it" in jobs[-1].message
    runners.cancel(blocker.id, tmp_path)
    for job in jobs:
        until_ended(job.id, tmp_path)
    assert notes.read_text().splitlines() == [f"{word} {number}" for number in range(4) for word in ("begin", "end")]


def test_jobs_of_two_repositories_share_the_machine(tmp_path):
    notes = tmp_path / "notes.txt"
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
    jobs = [
        (runners.start(noting(notes, f"{root.name}{number}"), "note", root), root)
        for number in (0, 1)
        for root in roots
    ]
    for job, root in jobs:
        assert until_ended(job.id, root).state.status == "finished"
    lines = [line.split() for line in notes.read_text().splitlines()]
    for begin, end in zip(lines[::2], lines[1::2], strict=True):
        assert (begin[0], end[0], begin[1]) == ("begin", "end", end[1])
    names = [name for _, name in lines[::2]]
    assert names.index("a0") < names.index("a1")
    assert names.index("b0") < names.index("b1")


def test_a_queued_job_is_cancelled_at_once_and_never_runs(tmp_path):
    first = runners.start(python(SLEEP), "first", tmp_path)
    second = runners.start(python("print('ran')"), "second", tmp_path)
    third = runners.start(python("print('ran')"), "third", tmp_path)
    for state in (third, second):
        started = time.monotonic()
        cancelled = runners.cancel(state.id, tmp_path)
        assert time.monotonic() - started < 10
        assert (cancelled.status, cancelled.message) == ("cancelled", "cancelled on request")
        assert cancelled.ended
        until(lambda gone=state: not is_alive(gone.supervisor_pid, gone.supervisor_started))
        assert "\n".join(runners.status(state.id, tmp_path).log_tail) == ""
    assert state_of(first, tmp_path).status == "running"


def test_a_job_that_was_cancelled_before_its_supervisor_came_up_never_runs(tmp_path):
    folder = folders.jobs_folder(tmp_path) / "20260101T000000Z-job-aaaaaa"
    folder.mkdir(parents=True)
    command = python("print('ran')")
    state = JobState(
        id=folder.name,
        kind="job",
        title="t",
        command=command,
        status="starting",
        created=folders.now(),
        limit_seconds=9,
    )
    folders.write_state(folder, state)
    (folder / "cancel").touch()
    local.launch(folder, tmp_path)
    job = until_ended(folder.name, tmp_path)
    assert (job.state.status, job.log_tail) == ("cancelled", [])


def test_a_full_disk_starts_no_job_and_says_so(tmp_path, monkeypatch):
    def full(folder: Path, state: JobState) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runners, "write_state", full)
    with pytest.raises(JobError, match=r"cannot be written .*No space left.*; free space"):
        runners.start(python("pass"), "never", tmp_path)


def test_a_job_that_measures_nothing_waits_for_nobody_and_holds_nobody_up(tmp_path):
    plain = runners.start(python(SLEEP), "plain", tmp_path, measuring=False)
    timed = runners.start(python(SLEEP), "timed", tmp_path)
    another = runners.start(python("pass"), "another", tmp_path, measuring=False)
    assert (plain.status, timed.status) == ("running", "running")
    assert until_ended(another.id, tmp_path).state.status == "finished"


def test_waiting_does_not_count_as_running(tmp_path):
    first = runners.start(python("import time; time.sleep(2)"), "first", tmp_path)
    second = runners.start(python("pass"), "second", tmp_path, limit_seconds=1.5)
    assert second.status == "queued"
    until_ended(first.id, tmp_path)
    assert until_ended(second.id, tmp_path).state.status == "finished"


def test_a_supervisor_killed_in_the_queue_loses_its_job_alone(tmp_path):
    first = runners.start(python(SLEEP), "first", tmp_path)
    second = runners.start(python("print('ran')"), "second", tmp_path)
    third = runners.start(python("print('third')"), "third", tmp_path)
    psutil.Process(second.supervisor_pid).kill()
    until(lambda: state_of(second, tmp_path).status == "lost")
    until(lambda: f"waiting for job {first.id}" in state_of(third, tmp_path).message)
    runners.cancel(first.id, tmp_path)
    assert until_ended(third.id, tmp_path).log_tail == ["third"]
    assert runners.status(second.id, tmp_path).log_tail == []


def test_a_job_whose_supervisor_was_killed_keeps_the_machine_until_its_process_is_gone_too(tmp_path):
    first = runners.start(python(SLEEP), "first", tmp_path)
    second = runners.start(python("pass"), "second", tmp_path)
    psutil.Process(first.supervisor_pid).kill()
    until(lambda: "end them with job_cancel" in state_of(second, tmp_path).message)
    time.sleep(1)
    assert state_of(second, tmp_path).status == "queued"
    (process,) = marked(JOB_VARIABLE, first.id)
    process.kill()
    assert until_ended(second.id, tmp_path).state.status == "finished"


def test_a_queued_job_outlives_a_starter_that_is_killed(tmp_path):
    first = runners.start(python(SLEEP), "first", tmp_path)
    starter = (
        "import time; from pathlib import Path; from agent_tools.jobs import runners\n"
        f"print(runners.start({python('print(1)')!r}, 'second', Path({str(tmp_path)!r})).id, "
        "flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(python(starter), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        second = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert runners.status(second, tmp_path).state.status == "queued"
    runners.cancel(first.id, tmp_path)
    assert until_ended(second, tmp_path).log_tail == ["1"]


def test_what_a_job_runs_measures_with_the_lock_of_its_job(tmp_path):
    code = "from agent_tools.jobs.machine_lock import measuring\nwith measuring('inner', print): print('measured')"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)\n{code}"
    job = until_ended(runners.start(python(nested), "outer", tmp_path).id, tmp_path)
    assert (job.state.status, job.log_tail) == ("finished", ["measured", "measured"])


def test_a_job_waits_for_a_command_and_a_command_for_a_job(tmp_path):
    with measuring("ladder main"):
        state = runners.start(python(SLEEP), "job", tmp_path)
        assert state.status == "queued"
        assert f"waiting for a command (ladder main, process {os.getpid()})" in state.message
    until(lambda: state_of(state, tmp_path).status == "running")
    said: list[str] = []

    def end(message: str) -> None:
        said.append(message)
        runners.cancel(state.id, tmp_path)

    with measuring("ladder main", end):
        assert HOLDER_VARIABLE in os.environ
    assert f"waiting for job {state.id} (job)" in said[0]


def test_a_lock_that_cannot_be_used_is_a_failed_job_that_says_so(tmp_path, machine_lock):
    machine_lock.mkdir()
    job = until_ended(runners.start(python("print('ran')"), "job", tmp_path).id, tmp_path)
    assert job.state.status == "failed"
    assert "The lock of this machine" in job.state.message
    assert job.log_tail == []


def test_a_job_from_before_there_was_a_queue_is_still_read(tmp_path):
    folder = folders.jobs_folder(tmp_path) / "20260101T000000Z-job-aaaaaa"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(
        f'{{"id": "{folder.name}", "kind": "job", "title": "t", "command": ["x"], "status": "running", '
        '"created": "2026-01-01T00:00:00+00:00", "limit_seconds": 1}'
    )
    assert runners.status(folder.name, tmp_path).state.status == "lost"
    assert until_ended(runners.start(python("pass"), "new", tmp_path).id, tmp_path).state.status == "finished"
