"""Jobs as tools and commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent_tools.jobs import folders
from agent_tools.jobs.folders import JobError
from agent_tools.jobs.machine_lock import measuring
from agent_tools.workflows.jobs import job_cancel, job_resume, job_status, start_command
from agent_tools.workspace.root import Root
from tests.agent_tools.jobs.waiting import until, until_ended


@pytest.fixture
def root(repository: Path) -> Root:
    return Root.at(repository)


def command(root: Root, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "agent_tools.cli", "--root", str(root.path), *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def failed_job(root: Root) -> str:
    job = start_command(root, "bench", "a look", ("job", "status"), {}, ("no-such-job",)).job
    assert until_ended(job, root.path).state.status == "failed"
    return job


def test_a_queued_job_says_what_it_waits_for(root):
    with measuring("ladder main"):
        job = start_command(root, "bench", "second", ("job", "status"), {}, ()).job
        report = job_status(root, job)
        assert report.status == "queued"
        assert "waiting for a command (ladder main" in report.summary()
        assert job_cancel(root, job).status == "cancelled"


def test_a_job_is_resumed_with_its_words_from_the_command_line(root):
    old = failed_job(root)
    words = ["job", "status", "--json", "--", old]
    (folders.jobs_folder(root.path) / old / "resume.json").write_text(json.dumps(words))
    done = command(root, "job", "resume", old, "--json")
    resumed = json.loads(done.stdout.splitlines()[-1])
    assert (resumed["resumes"], resumed["title"], resumed["from_start"]) == (old, "a look", False)
    job = until_ended(resumed["job"], root.path)
    assert job.state.status == "finished"
    assert job.result is not None
    assert job.result["job"] == old


def test_a_job_without_words_runs_from_the_start_and_says_so(root):
    resumed = job_resume(root, failed_job(root))
    assert resumed.from_start
    assert "left no word how to go on, so it runs from the start" in resumed.summary()
    assert until_ended(resumed.job, root.path).state.command[-1] == "no-such-job"


def test_a_finished_job_is_not_resumed(root):
    job = start_command(root, "bench", "fine", ("job", "status"), {}, ()).job
    until(lambda: job_status(root, job).status == "finished")
    with pytest.raises(JobError, match="is finished: there is nothing to resume"):
        job_resume(root, job)
    refused = command(root, "job", "resume", job)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: Job {job} is finished")
