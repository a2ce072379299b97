"""Failures in few words: what was compared and where in the project, without the frames of libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.testing.tracebacks import CONCISE, DETAILED, Room, explained

SUITE = """
import json

def parse(text):
    try:
        return json.loads("{" + text)
    except ValueError as error:
        raise RuntimeError("not a value") from error

def test_chain(): parse("x")
def test_library(): json.loads("{x")
def test_diff():
    left, right = {"same": list(range(30)), "b": 2}, {"same": list(range(30)), "b": 3, "c": 1}
    assert left == right
def test_says(capsys):
    with capsys.disabled(): pass
    print("said before it failed")
    assert False
def test_deep():
    def down(n):
        if n == 0: raise ValueError("at the bottom")
        down(n - 1)
    down(200)
def test_long(): assert "x" * 100 + "START" == "y" * 9000 + "END"
def test_secret(): raise RuntimeError("token ghp_" + "a" * 30)
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The real lines that pytest wrote of each failure, by the test's name."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_x.py").write_text(SUITE)
    log = folder / "log.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--report-log={log}", "-p", "no:cacheprovider"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return {entry["nodeid"].partition("::")[2]: entry for entry in entries if entry.get("outcome") == "failed"}


def test_frames_of_libraries_are_one_line_and_the_projects_own_stand_whole(reports):
    told = explained(reports["test_library"], CONCISE)
    assert "test_x.py:11: in test_library\n" in told["traceback"]
    assert "[3 frames of libraries, the last json/decoder.py:" in told["traceback"]
    assert "raw_decode(s, idx" not in told["traceback"]
    assert told["traceback"].endswith("char 1)")
    assert "Expecting property name" in told["message"]


def test_a_chain_of_exceptions_keeps_its_cause(reports):
    told = explained(reports["test_chain"], CONCISE)["traceback"]
    assert told.index("JSONDecodeError") < told.index("direct cause") < told.index("E   RuntimeError: not a value")
    assert "test_x.py:8: in parse" in told


def test_what_was_compared_is_kept_with_its_difference(reports):
    told = explained(reports["test_diff"], CONCISE)["traceback"]
    assert "assert left == right" in told
    assert "E     {'b': 2} != {'b': 3}" in told
    assert "E     {'c': 1}" in told


def test_output_is_shown_on_request_only(reports):
    assert "output" not in explained(reports["test_says"], CONCISE)
    assert explained(reports["test_says"], DETAILED)["output"] == "--- Captured stdout call ---\nsaid before it failed"


def test_a_deep_recursion_keeps_its_first_and_its_last_frame(reports):
    told = explained(reports["test_deep"], CONCISE)["traceback"]
    assert told.startswith("test_x.py:23: in test_deep")
    assert "left out]" in told
    assert told.endswith("E   ValueError: at the bottom")
    assert len(told) < CONCISE.traceback + 100


def test_of_a_long_comparison_both_ends_are_kept(reports):
    told = explained(reports["test_long"], Room(message=200, traceback=400, output=0))
    assert told["message"].startswith("AssertionError: assert")
    assert "characters left out]" in told["traceback"]
    assert len(told["traceback"]) < 500


def test_a_secret_in_a_failure_is_masked(reports):
    told = explained(reports["test_secret"], DETAILED)
    assert "ghp_a" not in json.dumps(told)
    assert "<secret masked>" in told["message"]


def test_an_environment_inside_of_the_project_is_not_its_own():
    own, foreign = "pkg/a.py", ".venv/lib/python3.11/site-packages/lib/b.py"
    entries = [
        {"data": {"lines": [f"    line of {path}"], "reprfileloc": {"path": path, "lineno": 3, "message": "in f"}}}
        for path in (own, foreign, foreign)
    ]
    told = explained({"longrepr": {"reprtraceback": {"reprentries": entries}, "reprcrash": {}}}, CONCISE)["traceback"]
    assert told == "pkg/a.py:3: in f\n    line of pkg/a.py\n[2 frames of libraries, the last lib/b.py:3: in f]"


@given(
    st.recursive(
        st.none() | st.text() | st.dictionaries(st.sampled_from(["chain", "reprcrash", "reprtraceback"]), st.none()),
        lambda inner: st.fixed_dictionaries({"longrepr": inner}),
        max_leaves=3,
    ),
    st.integers(30, 500),
)
def test_any_form_of_failure_gives_a_message_within_its_room(report, room):
    told = explained({"longrepr": report}, Room(message=room, traceback=room, output=0))
    assert told["message"] or report == ""
    # What is invisible is written out after the cut is decided, and the cut says how much is gone.
    assert len(told["traceback"]) <= room + 40
