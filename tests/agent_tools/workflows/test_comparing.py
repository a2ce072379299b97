"""Comparisons as tools: as a job over the server's surface, on the command line, and with their documents."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from agent_tools.catalog import CATALOG, call, find
from agent_tools.jobs import runners
from agent_tools.jobs.folders import ACTIVE
from agent_tools.measure.accepted import ACCEPTED
from agent_tools.measure.targets import TargetError
from agent_tools.records.store import RecordStore
from agent_tools.workflows.comparing import bench_bisect, bench_check, bench_compare, bench_history, compare_now
from agent_tools.workflows.documents import docs_check, docs_render
from agent_tools.workflows.jobs import JobReport, JobStarted, job_resume, job_status
from agent_tools.workflows.overrides import OverrideError
from agent_tools.workflows.targets import check_command
from agent_tools.workspace.root import Root, RootError
from tests.agent_tools.measure.project import build_project, commit, write_package

QUICK: dict[str, Any] = {"command": "python bench.py", "accuracy": "recall", "foreign_limit": 1.0}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """The project with a second commit that is 20% slower, and a handbook folder."""
    path = build_project(tmp_path / "project")
    (path / "docs" / "ai_handbook").mkdir(parents=True)
    write_package(path, seconds=1.2)
    commit(path, "refactor: tidy up")
    return Root.at(path)


def ended(root: Root, job: str) -> JobReport:
    deadline = time.monotonic() + 280
    while (report := job_status(root, job)).status in ACTIVE:
        assert time.monotonic() < deadline, report
        time.sleep(0.1)
    return report


def test_a_comparison_leaves_record_findings_plot_and_state_page_that_agree(root: Root) -> None:
    shown = compare_now(root=root, a="HEAD~1", b="HEAD", rounds=8, session="try", **QUICK)
    assert shown.headline.startswith("slower: seconds 0.83")
    assert shown.note == ""
    assert [Path(path).suffix for path in shown.documents] == [".md", ".svg", ".md"]
    findings = (root.path / shown.documents[0]).read_text()
    assert "slower" in findings
    assert "revert" in findings
    assert docs_check(root).ok


def test_an_edited_verdict_in_a_record_is_caught_by_the_documents_check(root: Root) -> None:
    shown = compare_now(root=root, a="HEAD~1", b="HEAD", rounds=8, session="try", **QUICK)
    path = RecordStore(root.path).find(shown.record_id)
    path.write_text(path.read_text().replace('"verdict": "slower"', '"verdict": "faster"'))
    docs_render(root)
    problems = docs_check(root).problems
    assert any("its outcome does not follow from its samples: verdict is slower" in problem for problem in problems)


def test_over_the_server_a_comparison_is_a_job_with_progress_and_a_record(root: Root) -> None:
    started = anyio.run(call, find("bench_compare"), root, {"a": "HEAD~1", "b": "HEAD", "rounds": 6, **QUICK})
    assert isinstance(started, JobStarted)
    report = ended(root, started.job)
    assert report.status == "finished", report.log_tail
    assert (report.done, report.total) == (14, 14)
    record = RecordStore(root.path).load(report.result["record_id"])
    assert record.comparison is not None
    assert record.comparison.outcome.verdict == "slower"


def test_the_job_and_the_command_have_the_same_parameters() -> None:
    def names(function: Any) -> list[str]:
        return [
            name for name in inspect.signature(function).parameters if name not in ("progress", "cancel", "resume_with")
        ]

    assert names(bench_compare) == names(compare_now)
    assert find("bench_compare").command.function is compare_now
    assert [tool.name for tool in CATALOG if tool.foreground] == ["bench_compare"]


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /",
        "python -c 'print(1)'",
        "python -c",
        "python ../outside.py",
        "python -m os.path",
        "python -m ../x",
        "/bin/sh bench.py",
        "python",
        "python -",
        "python -m agent_tools.cli bench compare a b",
        "python agent_tools/cli.py",
        "python -m ocr.cli evaluate",
        "python /etc/passwd.py",
    ],
)
def test_over_the_server_only_scripts_and_modules_of_the_repository_are_run(root: Root, command: str) -> None:
    (root.path.parent / "outside.py").write_text("print(1)")
    with pytest.raises((TargetError, RootError)):
        bench_compare(root=root, a="HEAD~1", command=command)
    assert not (root.path / "outputs" / "jobs").exists()


@pytest.mark.parametrize("command", ["python bench.py --x=1", "python3 -m pkg", "python -m bench"])
def test_scripts_and_modules_of_the_repository_may_be_run(root: Root, command: str) -> None:
    check_command(root, command)


@pytest.mark.parametrize(
    "side",
    ["model._target_=os.system", "--config-dir=/tmp", "hydra.run.dir=/tmp/x", "a=${oc.env:HOME}", "cache_dir=/tmp/x"],
)
def test_a_configuration_side_may_set_values_and_nothing_else(root: Root, side: str) -> None:
    for start in (bench_compare, compare_now):
        with pytest.raises((OverrideError, RootError)):
            start(root=root, a="defaults", b=side, data="bench.py")


def test_over_the_server_the_first_side_has_to_be_named_and_a_control_is_one(root: Root) -> None:
    with pytest.raises(TargetError, match="a is missing"):
        bench_compare(root=root)
    report = ended(root, bench_compare(root=root, a="HEAD", aa=True, rounds=6, **QUICK).job)
    record = RecordStore(root.path).load(report.result["record_id"])
    assert record.comparison is not None
    assert record.comparison.treatment == "none"


def test_over_the_server_data_outside_of_the_root_is_refused(root: Root) -> None:
    with pytest.raises(RootError):
        bench_compare(root=root, a="HEAD~1", command="python bench.py", data="/etc")


def test_a_job_that_was_killed_goes_on_with_its_samples(root: Root) -> None:
    started = bench_compare(root=root, a="HEAD~1", b="HEAD", rounds=30, **QUICK)
    deadline = time.monotonic() + 120
    while job_status(root, started.job).done < 5:
        assert time.monotonic() < deadline, job_status(root, started.job)
        time.sleep(0.02)
    kept = job_status(root, started.job).done
    assert runners.cancel(started.job, root.path).status == "cancelled"
    resumed = job_resume(root, started.job)
    assert not resumed.from_start
    report = ended(root, resumed.job)
    assert report.status == "finished", report.log_tail
    record = RecordStore(root.path).load(report.result["record_id"])
    assert record.comparison is not None
    assert record.comparison.protocol.resumed == 1
    assert len(record.comparison.samples) >= max(kept, 62)


def test_two_records_are_put_beside_each_other_without_a_verdict(root: Root) -> None:
    first = compare_now(root=root, a="HEAD~1", b="HEAD~1", rounds=6, **QUICK)
    second = compare_now(root=root, a="HEAD", b="HEAD", rounds=6, **QUICK)
    shown = compare_now(root=root, a=first.record_id, b=second.record_id)
    assert shown.headline.startswith("descriptive: seconds 0.83")


def test_a_check_fails_a_slower_head_and_passes_an_equal_one(root: Root) -> None:
    accepted = compare_now(root=root, a="HEAD~1", b="HEAD~1", rounds=8, **QUICK)
    assert bench_check(root, accept=accepted.record_id).documents == [ACCEPTED]
    slower = bench_check(root, rounds=8, foreign_limit=1.0, session="check")
    assert slower.is_failure()
    assert slower.headline.startswith("slower")
    assert slower.documents
    assert docs_check(root).ok
    write_package(root.path, seconds=1.0, extra="# equal")
    commit(root.path, "fix: as fast as before")
    assert not bench_check(root, rounds=8, foreign_limit=1.0).is_failure()


def test_a_check_before_anything_was_accepted_says_how_to_accept(root: Root) -> None:
    command = [sys.executable, "-m", "agent_tools.cli", "--root", str(root.path), "bench", "check", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--accept RECORD" in json.loads(done.stdout.splitlines()[-1])["error"]


def test_a_search_writes_its_finding_and_those_of_every_look(root: Root) -> None:
    write_package(root.path, seconds=1.21)
    commit(root.path, "docs: more")
    shown = bench_bisect(root=root, good="HEAD~2", bad="HEAD", rounds=6, session="search", **QUICK)
    assert "refactor: tidy up" in "\n".join([shown.headline, *shown.table])
    assert sum(path.endswith("-findings.md") for path in shown.documents) >= 3
    assert docs_check(root).ok


def test_a_history_leaves_a_table_a_plot_and_documents_that_agree(root: Root) -> None:
    shown = bench_history(root=root, first="HEAD~1", last="HEAD", rounds=6, session="line", **QUICK)
    assert any(path.endswith("-history.svg") for path in shown.documents)
    assert any("slower" in line for line in shown.table)
    assert docs_check(root).ok
