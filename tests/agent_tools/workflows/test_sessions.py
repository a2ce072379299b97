"""Sessions on a real repository: what one claims, the next one verifies, and what a commit broke is named."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agent_tools.catalog import CATALOG
from agent_tools.handbook import render
from agent_tools.handbook.blocks import DocumentError
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.handover import Handover, read_handover
from agent_tools.handbook.session_files import SessionError
from agent_tools.handbook.session_notes import LONGEST_TEXT, CommandEvidence, SessionNote
from agent_tools.jobs import folders, runners
from agent_tools.records.store import RecordError, RecordNotFound
from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workflows import session_evidence, sessions
from agent_tools.workflows.commit_messages import message_problem
from agent_tools.workflows.session_evidence import SAFE_COMMANDS, program_of
from agent_tools.workspace.root import Root, RootError
from agent_tools.workspace.testing.running import LAST_RUN, run_tests
from agent_tools.workspace.testing.suite_runs import SuiteError
from tests.agent_tools.conftest import run_git
from tests.agent_tools.handbook import factory
from tests.agent_tools.small_projects import write_tested_value

LADDER = "20261121T200622Z-benchmark-3fa9c1"
FIGURE = "benchmark/summaries/5/ratio_to_first"
SCRIPT = '#!/bin/sh\necho "context $1 $2"\n'
GOOD = "fix: the value\n\n- it was wrong\n\nRecords: none\nFindings: none"


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    factory.project(folder)
    factory.plan(folder, "settled", "reverted", more="files: [old.py]\n")
    render.render_all(folder)
    (folder / "scripts").mkdir()
    (folder / "scripts/collect_context.sh").write_text(SCRIPT)
    (folder / "AGENTS.md").write_text("rules\n")
    (folder / "CHANGELOG.md").write_text("# Changelog\n")
    write_tested_value(folder)
    run_git(folder, "init", "-q", "-b", "main")
    commit(folder, "feat: first")
    return folder


@pytest.fixture
def root(committed: Path, tmp_path: Path) -> Root:
    shutil.copytree(committed, tmp_path / "repository")
    return Root.at(tmp_path / "repository")


def commit(folder: Path, message: str) -> str:
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "-q", "-m", message)
    return run_git(folder, "rev-parse", "HEAD").strip()


def do(function: Callable[..., Any], root: Root, *arguments: Any, **options: Any) -> Any:
    """Call a tool, whether or not it is async."""
    if inspect.iscoroutinefunction(function):
        return anyio.run(partial(function, root, *arguments, **options))
    return function(root, *arguments, **options)


def start(root: Root, name: str = "", **options: Any) -> sessions.SessionStarted:
    return do(sessions.session_start, root, name=name, **options)


def note(root: Root, kind: str, text: str, **options: Any) -> Path:
    return root.path / do(sessions.session_note, root, kind, text, **options).note


def hand_over(root: Root, name: str = "") -> Handover:
    result = do(sessions.session_handover, root, name)
    return read_handover((root.path / result.handover).parent, root.path)


def checklist(root: Root, moment: str) -> dict[str, str]:
    """Item -> its line; the item's own words are the key."""
    lines = do(sessions.session_checklist, root, moment).items
    return {re.split(r": | \(", line.partition(": ")[2])[0]: line for line in lines}


def later(root: Root, name: str = "later") -> sessions.SessionStarted:
    """The session after everything was committed."""
    commit(root.path, "docs: handover")
    return start(root, name)


# --- claims are verified again -----------------------------------------------------------------------------------


def test_a_claim_that_a_later_commit_makes_false_is_named_with_that_commit(root):
    start(root, "first", goal="a right value")
    note(root, "claim", "the value is right", command="pytest test_value.py", expects="1 passed", files=("value.py",))
    note(root, "claim", "the value is three", file="value.py", contains="VALUE = 3")
    note(root, "done", "no tabs", file="value.py", lacks="\t")
    hand_over(root)
    commit(root.path, "docs: handover")
    (root.path / "other.txt").write_text("x")
    commit(root.path, "feat: something else")
    (root.path / "value.py").write_text("VALUE = 4\n")
    broken = commit(root.path, "feat: a better value")
    started = start(root, "second")
    assert started.failed == 2
    test, text, good = started.claims
    assert test.startswith(
        "FAIL: the value is right (pytest test_value.py): exit code 1: FAILED test_value.py::test_value"
    )
    assert text.startswith("FAIL: the value is three (file value.py): 'value.py' does not contain 'VALUE = 3'")
    for line in (test, text):
        assert f"touched since: {broken[:10]} feat: a better value." in line
        assert "something else" not in line
    assert good == "pass: no tabs (file value.py)"
    assert "3 claims of" in started.note
    assert "2 failed" in started.summary()


def test_claims_that_hold_pass_in_another_clone(root, tmp_path):
    start(root, "first")
    note(root, "claim", "five times faster", record=LADDER, figure=FIGURE, value="4.94x")
    note(root, "claim", "it is there", command=f"agent-tools record show {LADDER}", expects="4.94x [4.84, 5.09]")
    note(root, "claim", "the value is right", command="pytest -q -k 'value or none' test_value.py::test_value")
    hand_over(root)
    commit(root.path, "docs: handover")
    run_git(tmp_path, "clone", "-q", str(root.path), "clone")
    started = start(Root.at(tmp_path / "clone"), "second")
    assert [line.split(":")[0] for line in started.claims] == ["pass"] * 3, started.claims


def test_uncommitted_changes_that_break_a_claim_are_named(root):
    start(root, "first")
    note(root, "claim", "the value is three", file="value.py", contains="VALUE = 3")
    hand_over(root)
    (root.path / "value.py").write_text("VALUE = 4\n")
    (line,) = start(root, "second").claims
    assert "No commit since touched value.py; uncommitted changes in value.py." in line


def test_a_record_that_is_gone_or_was_changed_fails_its_claim(root):
    start(root, "first")
    note(root, "claim", "five times faster", record=LADDER, figure=FIGURE, value="4.94x")
    hand_over(root)
    path = root.path / f"logs/2026-11-21_main-job/records/{LADDER}.json"
    whole = json.loads(path.read_text())
    whole["benchmark"]["summaries"][5]["ratio_to_first"] = 1.1
    path.write_text(json.dumps(whole))
    forged = later(root)
    assert f"{FIGURE} of record {LADDER} is 1.1, not 4.94x." in forged.claims[0]
    assert "docs: handover" in forged.claims[0]
    path.unlink()
    assert f"There is no record '{LADDER}'" in start(root, "third").claims[0]


def test_a_command_that_takes_too_long_is_not_run_and_does_not_count_as_failed(root):
    (root.path / "test_value.py").write_text("import time\ndef test_value(): time.sleep(60)\n")
    start(root, "first")
    note(root, "claim", "slow", command="pytest test_value.py")
    note(root, "claim", "slow again", command="pytest test_value.py")
    hand_over(root)
    started = start(root, "second", max_seconds=2)
    assert [line.split(":")[0] for line in started.claims] == ["not run"] * 2
    assert "no time was left; raise max_seconds" in started.claims[1]
    assert started.failed == 0


def test_a_handover_that_was_forged_breaks_nothing(root):
    start(root, "first")
    note(root, "claim", "five times faster", record=LADDER, figure=FIGURE, value="4.94x")
    note(root, "claim", "the value is three", file="value.py", contains="VALUE = 3", files=("value.py",))
    handed = hand_over(root)
    folder = root.path / "logs" / handed.session
    whole = json.loads((folder / "handover.json").read_text())
    whole |= {"session": "../../elsewhere", "commit": "--output=x"}
    whole["notes"][1]["files"] = ["../../secret", "-x", "\u0000"]
    whole["notes"][1]["evidence"]["file"] = "/etc/passwd"
    whole["notes"][0]["evidence"]["value"] = "9.99x"
    (folder / "handover.json").write_text(json.dumps(whole))
    started = start(root, "second")
    assert [line.split(":")[0] for line in started.claims] == ["FAIL"] * 2
    assert "is 4.94" in started.claims[0]
    assert "'/etc/passwd' leads outside" in started.claims[1]
    assert not (root.path / "x").exists()


def test_a_commit_that_this_repository_does_not_have_is_no_reason_to_break_off(root):
    start(root, "first")
    note(root, "claim", "the value is three", file="value.py", contains="VALUE = 3")
    folder = root.path / "logs" / hand_over(root).session
    whole = (folder / "handover.json").read_text()
    (folder / "handover.json").write_text(whole.replace(run_git(root.path, "rev-parse", "HEAD").strip(), "0" * 40))
    (root.path / "value.py").write_text("")
    assert "does not have the handover's commit '0000000000'" in start(root, "second").claims[0]


# --- what may be evidence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf .",
        "python -c 'print(1)'",
        "/bin/pytest test_value.py",
        "agent-tools bench fact rm -rf .",
        "agent-tools train run",
        "agent-tools --root / docs check",
        "agent-tools docs render",
        "agent-tools serve",
        "agent-tools session start x",
        "agent-tools",
        "pytest",
        "pytest --basetemp=/tmp/x test_value.py",
        "pytest -p os test_value.py",
        "pytest -c evil.ini test_value.py",
        "pytest --rootdir=/ test_value.py",
        "pytest -o addopts=-s test_value.py",
        "pytest @file",
        "pytest test_value.py; rm -rf .",
        "pytest /etc",
        "pytest ../elsewhere.py",
        "pytest test_value.py 'a\nb'",
        "pytest 'unclosed",
    ],
)
def test_a_command_that_does_more_than_read_or_test_is_refused_when_written_and_when_read(root, command):
    start(root, "first")
    with pytest.raises((SessionError, RootError, SuiteError)):
        note(root, "claim", "harmless", command=command)
    assert not (root.path / "logs" / Path(start(root).session).name / "notes").exists()
    if "unclosed" in command:
        return
    evidence = CommandEvidence(words=tuple(sessions._words(command)))
    planted = SessionNote(id="x", kind="claim", written=factory.START, text="harmless", evidence=evidence)
    verified = anyio.run(session_evidence.verify, root, planted, 10.0)
    assert verified.state == "FAIL"
    assert verified.reason


def test_the_commands_that_a_note_may_run_are_tools_that_only_read():
    for noun, verb in SAFE_COMMANDS:
        (tool,) = [tool for tool in CATALOG if tool.name == f"{noun}_{verb}"]
        assert tool.read_only, tool.name


def test_a_refused_command_says_what_is_allowed(root):
    with pytest.raises(
        SessionError, match=r"'rm -rf \.' may not run from a note.*allowed are pytest and agent-tools config"
    ):
        program_of(root, ["rm", "-rf", "."])
    with pytest.raises(SessionError, match=r"pytest --basetemp=/home may not run from a note"):
        program_of(root, ["pytest", "--basetemp=/home", "test_value.py"])
    with pytest.raises(SessionError, match="pytest without tests would run the whole suite"):
        program_of(root, ["pytest"])
    assert program_of(root, ["pytest", "-k", "a b", "test_value.py"])[-3:] == ["-k=a b", "--", "test_value.py"]
    assert program_of(root, ["agent-tools", "docs", "check"])[:4] == [sys.executable, "-P", "-m", "agent_tools.cli"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, SessionError, "A claim note needs what shows it"),
        ({"file": "value.py", "contains": "VALUE = 4"}, SessionError, "does not contain 'VALUE = 4'"),
        ({"file": "value.py", "lacks": "VALUE"}, SessionError, "contains 'VALUE'"),
        ({"file": "valeu.py", "contains": "x"}, RootError, "nearest there: 'value.py'"),
        ({"file": "logs", "contains": "x"}, SessionError, "is not a file"),
        ({"file": "/etc/passwd", "contains": "root"}, RootError, "outside"),
        ({"file": "../x", "lacks": "root"}, RootError, "'..'"),
        ({"record": "20261121T200622Z-benchmark-000000"}, RecordNotFound, LADDER),
        ({"record": LADDER, "figure": FIGURE, "value": "5.94x"}, SessionError, "is 4.94"),
        ({"record": LADDER, "figure": "benchmark/nowhere"}, SessionError, "'nowhere' is not there"),
        ({"record": LADDER, "figure": FIGURE, "value": "fast"}, SessionError, "give one number"),
        ({"file": "value.py", "contains": "VALUE", "files": ("../x",)}, RootError, "'..'"),
        ({"file": "value.py", "contains": "VALUE", "files": ("/etc/passwd",)}, RootError, "outside"),
        ({"file": "value.py", "contains": "VALUE", "why": "x" * (LONGEST_TEXT + 1)}, SessionError, "say it shorter"),
    ],
)
def test_what_does_not_hold_now_is_no_claim_for_later(root, options, error, said):
    start(root, "first")
    with pytest.raises(error, match=re.escape(said)):
        note(root, "claim", "it holds", **options)
    assert not list((root.path / "logs").glob("*/notes/*"))


def test_a_record_that_nobody_else_has_shows_nothing(root):
    factory.store(root.path / "outputs/records", factory.ladder("20261123T200000Z-benchmark-abcdef"))
    start(root, "first")
    with pytest.raises(SessionError, match="lies in outputs/, which nobody else has; measure with --session NAME"):
        note(root, "claim", "fast", record="20261123T200000Z-benchmark-abcdef")


def test_a_file_that_never_ends_is_not_read(root):
    import os

    start(root, "first")
    os.mkfifo(root.path / "fifo")
    with pytest.raises(SessionError, match="is not a file"):
        note(root, "claim", "x", file="fifo", contains="y")


# --- starting ----------------------------------------------------------------------------------------------------


def test_the_first_session_starts_without_a_handover_and_with_the_context(root):
    started = start(root, "first", goal="a right value", budget=2000)
    assert "there is no earlier handover" in started.note
    assert started.claims == []
    assert started.context == "context --budget 2000"
    whole = json.loads((root.path / started.session / "session.json").read_text())
    assert (whole["goal"], whole["branch"]) == ("a right value", "main")
    assert whole["commit"] == run_git(root.path, "rev-parse", "HEAD").strip()


def test_without_a_name_the_open_session_goes_on_and_without_one_a_sentence_says_what_to_do(root):
    with pytest.raises(SessionError, match="No session is open; name one"):
        start(root)
    with pytest.raises(SessionError, match="No session is open to write into"):
        note(root, "goal", "x")
    first = start(root, "first").session
    assert start(root).session == first
    assert start(root, "first", goal="another").session == first
    assert len(list((root.path / first / "notes").glob("*-goal-*"))) == 1
    with pytest.raises(RecordError, match="not a session name"):
        start(root, "../x")


def test_a_session_that_crashed_is_named_by_the_next_one_and_can_still_be_handed_over(root):
    start(root, "crashed")
    note(root, "failed", "forked workers", why="copy on write")
    started = start(root, "next")
    assert re.search(r"never handed over: \d{4}-\d\d-\d\d_crashed \(agent-tools session handover NAME\)", started.note)
    handed = hand_over(root, "crashed")
    assert handed.session.endswith("_crashed")
    assert [one.text for one in handed.notes] == ["forked workers"]
    assert "never handed over" not in start(root).note


def test_a_repository_without_the_script_says_so_and_starts_all_the_same(root):
    (root.path / "scripts/collect_context.sh").unlink()
    assert "there is no scripts/collect_context.sh" in start(root, "first").note
    (root.path / "scripts/collect_context.sh").write_text("echo no >&2; exit 3\n")
    assert "scripts/collect_context.sh failed: no" in start(root, "second").note


def test_a_start_stays_within_its_budget_and_says_what_it_left_out(root):
    start(root, "first")
    for number in range(60):
        note(root, "claim", f"{number} " + "word " * 60, file="value.py", contains="VALUE")
    hand_over(root)
    (root.path / "value.py").write_text("")
    started = start(root, "second", budget=1000)
    assert started.failed == 60
    assert re.fullmatch(r"\.\.\. `\d+` more lines: `cat logs/\*/handover.json`", started.claims[-1])
    assert sum(len(line.encode()) + 1 for line in started.claims) <= 1000 * 3 * 0.4
    assert len(started.model_dump_json()) < CHARACTER_LIMIT


def test_text_that_hides_something_or_holds_a_key_is_shown_and_stored_without_it(root):
    start(root, "first")
    secret = "ghp_" + "a" * 36
    path = note(root, "insight", f"use {secret}\u202e\udc80 <!-- END generated:lessons -->")
    assert secret not in path.read_text()
    assert "secret masked" in path.read_text()
    assert "<U+202E><U+DC80>" in json.loads(path.read_text())["text"]
    hand_over(root)
    assert check_documents(root.path) == []


# --- handing over ------------------------------------------------------------------------------------------------


def test_a_handover_gathers_what_git_records_jobs_tests_and_plans_say(root):
    begin = run_git(root.path, "rev-parse", "HEAD").strip()
    start(root, "first", goal="a right value")
    note(root, "read_first", "the rules", files=("AGENTS.md", "value.py"))
    (root.path / "new.py").write_text("x = 1\n")
    (root.path / "value.py").write_text("VALUE = 3  # three\n")
    made = commit(root.path, "feat: a new part")
    factory.store(
        root.path / "logs/2026-11-23_x/records",
        factory.comparison("20991121T210000Z-comparison-c0ffee", "slower", "revert"),
    )
    (root.path / "loose.txt").write_text("x")
    anyio.run(partial(run_tests, root, paths=("test_value.py",)))
    job = runners.start([sys.executable, "-c", "import time; time.sleep(60)"], "long", root.path, measuring=False)
    try:
        handed = hand_over(root)
    finally:
        runners.cancel(job.id, root.path)
    assert (handed.commit, handed.base, handed.branch, handed.before) == (made, begin, "main", "")
    assert [one.subject for one in handed.commits] == ["feat: a new part"]
    assert {(one.path, one.change) for one in handed.files} == {
        ("new.py", "created"),
        ("value.py", "modified"),
        ("loose.txt", "created"),
    }
    assert "? loose.txt" in handed.uncommitted
    assert not any("session.json" in entry or "/notes/" in entry for entry in handed.uncommitted)
    records = {one.id: one for one in handed.records}
    assert records["20991121T210000Z-comparison-c0ffee"].new
    assert not records[LADDER].new
    assert [one.id for one in handed.jobs] == [job.id]
    assert handed.tests is not None
    assert (handed.tests.said, handed.tests.scope, handed.tests.passed) == ("1 passed", "test_value.py", True)
    assert [plan.name for plan in handed.plans] == ["dali", "orientation", "target-ratio_to_first", "tensor-cache"]
    assert handed.reading[:2] == ("AGENTS.md", "value.py")
    assert any("20991121T210000Z" not in text and "findings.md is missing" in text for text in handed.documents)
    assert "CHANGELOG.md says nothing yet of what changed in 3 files." in handed.documents
    assert handed.cleanup == ("agent-tools docs render",)


def test_tests_that_ran_before_the_last_commit_are_called_outdated(root):
    anyio.run(partial(run_tests, root, paths=("test_value.py",)))
    assert not getattr(hand_over(root).tests, "outdated", True)
    path = root.path / LAST_RUN
    path.write_text(re.sub(r'"ended": "\d{4}', '"ended": "1999', path.read_text()))
    assert getattr(hand_over(root).tests, "outdated", False)


def test_files_are_to_be_reverted_where_a_comparison_or_a_plan_of_this_session_says_so(root):
    start(root, "first")
    for name in ("ocr/datasets/warp.py", "configs/transforms/base.yaml", "planned.py", "old.py"):
        (root.path / name).parent.mkdir(parents=True, exist_ok=True)
        (root.path / name).write_text("x = 1\n")
    factory.plan(root.path, "try", "reverted", more="files: [planned.py]\n")
    factory.store(
        root.path / "logs/2026-11-23_x/records",
        factory.comparison("20991121T210000Z-comparison-c0ffee", "slower", "revert"),
    )
    commit(root.path, "feat: three tries")
    (root.path / "ocr/datasets/warp.py").write_text("x = 2\n")
    handed = hand_over(root)
    verdicts = {one.path: (one.verdict, one.because) for one in handed.files}
    assert verdicts["ocr/datasets/warp.py"] == (
        "revert",
        "comparison 20991121T210000Z-comparison-c0ffee: it recommends revert",
    )
    assert verdicts["planned.py"] == ("revert", "plan try is reverted")
    assert verdicts["old.py"][0] == "keep"
    assert "git rm -- ocr/datasets/warp.py" in handed.cleanup
    assert "git rm -- planned.py" in handed.cleanup


def test_a_person_who_decided_otherwise_is_heard(root):
    start(root, "first")
    (root.path / "ocr/datasets").mkdir(parents=True)
    (root.path / "ocr/datasets/warp.py").write_text("x = 1\n")
    about = "20991121T210000Z-comparison-c0ffee"
    factory.store(
        root.path / "logs/2026-11-23_x/records",
        factory.comparison(about),
        factory.override("20991122T080000Z-override-0ddba1", about),
    )
    (file,) = [one for one in hand_over(root).files if one.path == "ocr/datasets/warp.py"]
    assert (file.verdict, file.because) == ("revert", f"comparison {about}: A. Person decided revert")


def test_a_handover_without_a_session_makes_one_and_counts_from_the_last_handover(root):
    first = hand_over(root)
    assert first.session.endswith("_unnamed")
    assert first.base == ""
    assert check_documents(root.path) == []


def test_handing_over_twice_takes_the_facts_anew_and_keeps_the_words(root):
    start(root, "first")
    handed = hand_over(root)
    page = root.path / "logs" / handed.session / "handover.md"
    page.write_text(
        page.read_text().replace("*Nothing written yet: why this way and no other.*", "Because I say so: 3x.")
    )
    commit(root.path, "docs: handover")
    note(root, "next", "go on")
    again = hand_over(root)
    assert again.session == handed.session
    assert again.base == handed.base
    assert [one.subject for one in again.commits] == ["docs: handover"]
    assert "Because I say so: 3x." in page.read_text()
    assert "1. go on" in page.read_text()
    assert check_documents(root.path) == []


def test_a_page_that_was_edited_by_hand_stops_a_second_handover_before_anything_is_written(root):
    start(root, "first")
    folder = root.path / "logs" / hand_over(root).session
    before = (folder / "handover.json").read_bytes()
    page = (folder / "handover.md").read_text().replace("no commit since", "many commits since")
    (folder / "handover.md").write_text(page)
    with pytest.raises(DocumentError, match="edited by hand"):
        hand_over(root)
    assert (folder / "handover.json").read_bytes() == before
    assert (folder / "handover.md").read_text() == page


def test_a_crash_between_the_facts_and_the_page_is_mended_by_the_next_rendering(root):
    start(root, "first")
    folder = root.path / "logs" / hand_over(root).session
    whole = (folder / "handover.md").read_bytes()
    (folder / "handover.md").unlink()
    assert [problem.kind for problem in check_documents(root.path)] == ["missing"]
    render.render_all(root.path)
    assert (folder / "handover.md").read_bytes() == whole


def test_the_second_session_counts_from_the_first_ones_handover_even_across_a_merge(root):
    start(root, "first")
    first = hand_over(root)
    commit(root.path, "docs: handover")
    run_git(root.path, "switch", "-q", "-c", "side", "HEAD~1")
    factory.store(root.path / "logs/2026-11-22_side/records", factory.trained("20261122T190000Z-train-51de51"))
    commit(root.path, "record: on a branch")
    run_git(root.path, "switch", "-q", "main")
    start(root, "second")
    run_git(root.path, "merge", "-q", "--no-edit", "side")
    second = hand_over(root)
    assert (second.base, second.before) == (first.commit, first.session)
    assert "record: on a branch" in [one.subject for one in second.commits]
    assert {one.id for one in second.records if one.new} == {"20261122T190000Z-train-51de51"}


def test_damaged_plans_records_and_an_archive_without_git_do_not_stop_a_handover(root):
    start(root, "first")
    factory.plan(root.path, "dali", "someday")
    broken = root.path / "logs/2026-11-21_main-job/records/20991130T000000Z-benchmark-0badc0.json"
    broken.write_text("{")
    shutil.rmtree(root.path / ".git")
    handed = hand_over(root)
    assert (handed.commit, handed.branch, handed.commits) == ("", "", ())
    assert any("0badc0" in text for text in handed.documents)
    assert "dali" not in [plan.name for plan in handed.plans]
    assert not any("0badc0" in one.id for one in handed.records)


def test_the_commit_message_that_fits_has_the_ratio_the_records_and_the_findings(root):
    start(root, "first")
    note(root, "done", "own warp", file="value.py", contains="VALUE", why="one pass instead of two")
    note(root, "failed", "two threads", why="they wait for each other")
    folder = root.path / "logs/2026-11-23_x"
    factory.store(folder / "records", factory.comparison("20991121T210000Z-comparison-c0ffee"))
    message = do(sessions.session_handover, root).message
    assert message.split("\n") == [
        "perf: own warp (1.12x)",
        "",
        "- own warp: one pass instead of two",
        "- tried in vain: two threads, because they wait for each other",
        "",
        "Records: 20991121T210000Z-comparison-c0ffee",
        "Findings: logs/2026-11-23_x/own-warp-c0ffee-findings.md",
    ]
    assert message_problem(message) == ""


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (GOOD, ""),
        ("Merge branch 'side'", ""),
        ("perf(cache)!: x (1.12x)\n\n- y\n\nRecords: a\nFindings: b", ""),
        ("more work", "its first line"),
        ("", "its first line"),
        ("fix: \n\n- y\nRecords: none\nFindings: none", "its first line"),
        ("fix: x\n\nRecords: none\nFindings: none", "no bullets"),
        ("fix: x\n\n- y\n\nFindings: none", "`Records: ...`"),
        ("fix: x\n\n- y\n\nRecords: none", "`Findings: ...`"),
    ],
)
def test_a_commit_message_lacks_what_it_lacks(message, problem):
    assert problem in message_problem(message)
    assert bool(problem) == bool(message_problem(message))


# --- checklists --------------------------------------------------------------------------------------------------


def test_before_the_first_session_only_the_handover_is_missing(root):
    items = checklist(root, "before")
    assert list(items) == [
        "state page fresh",
        "no uncommitted changes, or listed",
        "recent findings listed",
        "context collected",
        "continuation prompt with @-mentions present",
    ]
    failed = [name for name, line in items.items() if line.startswith("FAIL")]
    assert failed == ["continuation prompt with @-mentions present"]
    assert "`agent-tools session handover`" in items[failed[0]]
    assert "main-3fa9c1-findings.md" in items["recent findings listed"]
    start(root, "first")
    hand_over(root)
    result = do(sessions.session_checklist, root, "before")
    assert result.ok
    assert not result.is_failure()


def test_before_a_session_each_item_can_fail(root):
    start(root, "first")
    (root.path / "listed.txt").write_text("x")
    hand_over(root)
    assert all(line.startswith("pass") for line in checklist(root, "before").values())
    (root.path / "AGENTS.md").unlink()
    (root.path / "scripts/collect_context.sh").unlink()
    factory.store(root.path / "logs/2026-11-23_x/records", factory.ladder("20261123T200000Z-benchmark-abcdef", days=2))
    items = checklist(root, "before")
    assert all(line.startswith("FAIL") for line in items.values()), items
    assert "D AGENTS.md" in items["no uncommitted changes, or listed"]
    assert "listed.txt" not in items["no uncommitted changes, or listed"]
    assert "mentions AGENTS.md, which is not there" in items["continuation prompt with @-mentions present"]
    assert do(sessions.session_checklist, root, "before").is_failure()


def test_after_a_session_in_order_every_item_passes(root):
    start(root, "first")
    (root.path / "value.py").write_text("VALUE = 3  # three\n")
    (root.path / "CHANGELOG.md").write_text("# Changelog\n- a comment\n")
    commit(root.path, GOOD)
    hand_over(root)
    items = checklist(root, "after")
    assert list(items) == [
        "findings for every benchmark record",
        "state page updated",
        "committed with a structured message",
        "changelog entry",
        "handover written",
    ]
    assert all(line.startswith("pass") for line in items.values()), items


def test_after_a_session_each_item_can_fail(root):
    start(root, "first")
    (root.path / "value.py").write_text("VALUE = 3  # three\n")
    commit(root.path, "more work")
    factory.store(root.path / "logs/2026-11-23_x/records", factory.ladder("20261123T200000Z-benchmark-abcdef", days=2))
    items = checklist(root, "after")
    assert all(line.startswith("FAIL") for line in items.values()), items
    assert "abcdef-findings.md is missing" in items["findings for every benchmark record"]
    assert "uncommitted: ? logs/2026-11-23_x" in items["committed with a structured message"]
    assert "it says nothing of value.py" in items["changelog entry"]
    assert "_first is open" in items["handover written"]
    render.render_all(root.path)
    commit(root.path, GOOD)
    assert "'more work': its first line is not" in checklist(root, "after")["committed with a structured message"]


def test_a_note_after_the_handover_asks_for_another_one(root):
    start(root, "first")
    hand_over(root)
    written = do(sessions.session_note, root, "next", "go on")
    assert "hand over again" in written.summary()
    assert "notes came after it: go on" in checklist(root, "after")["handover written"]
    hand_over(root)
    assert checklist(root, "after")["handover written"].startswith("pass")


def test_a_session_of_another_day_takes_neither_notes_nor_a_second_handover(root):
    start(root, "first")
    first = hand_over(root)
    path = root.path / "logs" / first.session / "handover.json"
    earlier = first.model_copy(update={"made": first.made - timedelta(days=2)})
    path.write_text(earlier.model_dump_json())
    render.render_all(root.path)
    with pytest.raises(SessionError, match="No session is open"):
        note(root, "goal", "x")
    assert hand_over(root).session.endswith("_unnamed")


def test_a_job_that_ended_is_not_handed_over(root):
    job = runners.start([sys.executable, "-c", ""], "short", root.path, measuring=False)
    while runners.status(job.id, root.path).state.status in folders.ACTIVE:
        pass
    assert hand_over(root).jobs == ()
