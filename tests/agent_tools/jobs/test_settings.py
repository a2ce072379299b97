"""Where jobs run is one setting; a wrong one is a sentence, and starts nothing."""

import sys

import pytest

from agent_tools.jobs import runners
from agent_tools.jobs.folders import JobError
from agent_tools.jobs.settings import JOBS_VARIABLE, SlurmSettings, job_settings
from agent_tools.jobs.slurm import _parameters
from tests.agent_tools.jobs.waiting import python, until_ended


@pytest.fixture
def configured(tmp_path):
    def write(text: str):
        (tmp_path / "pyproject.toml").write_text(text)
        return tmp_path

    return write


def test_jobs_run_on_this_machine_unless_told_otherwise(configured, tmp_path):
    assert job_settings(tmp_path).jobs == "local"
    assert job_settings(configured("[project]\nname = 'x'\n")).jobs == "local"
    assert job_settings(configured("[tool.agent-tools]\nother = 1\n")).jobs == "local"


def test_the_file_chooses_and_the_variable_wins(configured, monkeypatch):
    root = configured('[tool.agent-tools]\njobs = "slurm"\n')
    assert job_settings(root).jobs == "slurm"
    monkeypatch.setenv(JOBS_VARIABLE, "local")
    assert job_settings(root).jobs == "local"
    assert until_ended(runners.start(python("pass"), "here", root).id, root).state.runner == "local"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('jobs = "slrum"', r"jobs = 'slrum' in \[tool.agent-tools\] of pyproject.toml: .*'local' or 'slurm'"),
        ("jobs = 3", "jobs = 3 "),
        ("[tool.agent-tools.slurm]\ncpu = 3", r"slurm\.cpu = 3 .*not permitted"),
        ("[tool.agent-tools.slurm]\ntimeout_minutes = 2", r"slurm\.timeout_minutes = 2 .*greater than or equal to 10"),
        ("jobs = ", "pyproject.toml cannot be read"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed_and_starts_nothing(configured, text, said):
    root = configured(f"[tool.agent-tools]\n{text}\n")
    with pytest.raises(JobError, match=said) as refusal:
        runners.start(python("pass"), "never", root)
    assert "\n" not in str(refusal.value)
    assert runners.list_jobs(root) == ([], [])


def test_a_wrong_variable_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS_VARIABLE, "cloud")
    with pytest.raises(JobError, match=f"'cloud' in {JOBS_VARIABLE}: .*'local' or 'slurm'"):
        runners.start(python("pass"), "never", tmp_path)


def test_without_slurm_a_sentence_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS_VARIABLE, "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError, match="need sbatch, which is not on the PATH; install SLURM"):
        runners.start(python("pass"), "never", tmp_path)
    (state,) = runners.list_jobs(tmp_path)[0]
    assert (state.status, state.runner) == ("failed", "slurm")


def test_without_submitit_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv(JOBS_VARIABLE, "slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(JobError, match="run `pip install submitit`"):
        runners.start(python("pass"), "never", tmp_path)


def test_only_what_is_asked_for_is_asked_of_slurm(tmp_path):
    assert set(_parameters("j", tmp_path, SlurmSettings(exclusive=False))) == {
        "job_name",
        "time",
        "signal_delay_s",
        "additional_parameters",
    }
    asked = _parameters("j", tmp_path, SlurmSettings(partition="p", cpus=4, memory_gib=1.5, gpus=2))
    assert (asked["partition"], asked["cpus_per_task"], asked["mem"], asked["gpus_per_node"]) == ("p", 4, "1536M", 2)
    assert asked["exclusive"] is True
