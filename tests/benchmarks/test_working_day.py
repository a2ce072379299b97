"""A whole working day over stdio, on a clone of this repository: every step needs the one before."""

from __future__ import annotations

import json

import pytest

from benchmarks import working_day

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_an_assistant_does_its_day_through_the_server_and_every_answer_is_a_good_one(capsys):
    working_day.main(["--rounds", "2"])
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["tokens_of"]) >= {
        *("session_start", "code_search", "file_read", "test_run", "bench_compare", "job_status", "docs_render"),
        *("git_commit", "session_handover"),
    }
    assert 0 < figures["tokens"] < 30_000
