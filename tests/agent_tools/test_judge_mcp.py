"""What outside judges said is held against what is expected: surprises both ways fail, and so does silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.agent_tools.small_projects import REPOSITORY

EXPECTED = REPOSITORY / "tests/agent_tools/judge_expected_failures.yaml"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Judges that find nothing, but for what the fixture scenario `tools-call-image` always fails."""
    for revision in ("2025-11-25", "2026-07-28"):
        checks(tmp_path, revision, "tools-list", {"tools-list": "SUCCESS", "wire-schema-valid": "INFO"})
    checks(tmp_path, "2026-07-28", "tools-call-image", {"tools-call-image": "FAILURE", "wire-schema-valid": "SUCCESS"})
    write(tmp_path / "inspector-list.json", {"tools": [{"name": "git_status"}]})
    (tmp_path / "inspector-list.log").touch()
    write(tmp_path / "inspector-call.json", {"isError": False, "structuredContent": {"branch": "main"}})
    write(tmp_path / "toolproof-inspect.json", {"tools": [{"name": "git_status"}], "checks": []})
    fuzzed = {"tool": "git_status", "skipped": None, "findings": []}
    write(tmp_path / "toolproof-fuzz.json", {"fuzz": {"tools": [fuzzed]}})
    return tmp_path


def checks(results: Path, revision: str, scenario: str, statuses: dict[str, str]) -> None:
    folder = results / f"conformance-{revision}" / f"server-{scenario}-2026-11-26T01-04-38-205Z"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "checks.json", [{"id": name, "status": status} for name, status in statuses.items()])


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value))


def judged(results: Path, *expected: dict[str, Any]) -> tuple[int, str]:
    file = results / "expected.yaml"
    file.write_text(yaml.safe_dump([IMAGE, *expected]))
    command = [sys.executable, "scripts/judge_mcp.py", str(file), str(results)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


IMAGE = {
    "judge": "conformance 2026-07-28",
    "reason": "a tool of the fixture",
    "fails": ["tools-call-image/tools-call-image"],
}


def test_expected_failures_and_nothing_else_are_as_expected(results):
    status, said = judged(results)
    assert status == 0
    assert said.splitlines()[-1] == "as expected"
    assert "conformance 2026-07-28: 3 passed, 1 failed" in said


@pytest.mark.parametrize("status", ["FAILURE", "WARNING"])
def test_one_more_failed_check_of_a_scenario_that_fails_anyhow_is_seen(results, status):
    checks(results, "2026-07-28", "tools-call-image", {"tools-call-image": "FAILURE", "wire-schema-valid": status})
    assert judged(results)[0] == 1
    assert "2026-07-28: tools-call-image/wire-schema-valid failed, and is not expected to" in judged(results)[1]


@pytest.mark.parametrize("found", [{"tools-call-image": "SUCCESS"}, {}])
def test_an_expected_failure_that_did_not_happen_is_seen(results, found):
    checks(results, "2026-07-28", "tools-call-image", found)
    assert "tools-call-image/tools-call-image should fail, and did not" in judged(results)[1]


def test_a_check_that_fails_once_and_passes_once_failed(results):
    for time, status in (("01", "FAILURE"), ("02", "SUCCESS")):
        folder = results / "conformance-2025-11-25" / f"server-ping-2026-11-26T{time}-00-00-000Z"
        folder.mkdir()
        write(folder / "checks.json", [{"id": "ping", "status": status}])
    assert "2025-11-25: ping/ping failed" in judged(results)[1]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("toolproof-fuzz.json", "toolproof fuzz: said nothing"),
        ("toolproof-inspect.json", "toolproof inspect: definitions failed"),
        ("inspector-call.json", "inspector: tools/call failed"),
        ("inspector-list.json", "inspector: tools/list failed"),
    ],
)
def test_a_judge_that_broke_off_is_no_judge_that_was_content(results, file, said):
    (results / file).write_text("")
    assert judged(results)[0] == 1
    assert said in judged(results)[1]


def test_what_toolproof_found_is_named_by_tool_and_kind(results):
    finding = {"kind": "crash", "mode": "valid", "input": {}, "detail": ""}
    fuzzed = {"tool": "git_log", "skipped": None, "findings": [finding]}
    write(results / "toolproof-fuzz.json", {"fuzz": {"tools": [fuzzed]}})
    assert "toolproof fuzz: git_log/crash failed" in judged(results)[1]
    status, _ = judged(results, {"judge": "toolproof fuzz", "reason": "known", "fails": ["git_log/crash"]})
    assert status == 0


def test_a_complaint_of_the_inspector_about_a_schema_is_a_failure(results):
    (results / "inspector-list.log").write_text("1 schema portability problem\n")
    assert "inspector: tools/list --strict failed" in judged(results)[1]


def test_every_committed_exception_has_a_reason_and_stands_once():
    groups = yaml.safe_load(EXPECTED.read_text())
    listed = [(group["judge"], check) for group in groups for check in group["fails"]]
    assert len(listed) == len(set(listed))
    assert all(set(group) == {"judge", "reason", "fails"} and len(group["reason"]) > 20 for group in groups)
