"""The plan ledger's headers."""

from __future__ import annotations

import pytest

from agent_tools.handbook.inputs import plan_files
from agent_tools.handbook.plans import PlanError, Target, read_plan
from tests.agent_tools.handbook import factory


def test_a_header_is_read_with_its_types(tmp_path):
    plan = read_plan(factory.plan(tmp_path, "x", "kept", more="files: [a.py]\nrecords: [id-1]\nverdict: faster\n"))
    assert (plan.status, plan.files, plan.records, plan.verdict) == ("kept", ("a.py",), ("id-1",), "faster")
    assert plan.closed


BAD = {
    "no header": ("words\n", "has no header"),
    "an open header": ("---\nname: x\n", "has no header"),
    "not YAML": ("---\nname: [\n---\n", "is not YAML"),
    "a list": ("---\n- x\n---\n", "must hold `field: value`"),
    "an unknown field": ("---\nname: x\nstatus: kept\nstaus: y\n---\n", "field 'staus'"),
    "an unknown status": ("---\nname: x\nstatus: maybe\n---\n", "field 'status'.*'planned'"),
    "a missing name": ("---\nstatus: kept\n---\n", "field 'name'"),
    "a target that is no number": (
        "---\nname: x\nstatus: active\ntarget: {benchmark: main, figure: warm_seconds, value: .nan}\n---\n",
        "field 'target.value'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_header_is_an_error_that_names_the_file_and_the_field(tmp_path, case):
    text, message = BAD[case]
    path = tmp_path / "plan-x.md"
    path.write_text(text)
    with pytest.raises(PlanError, match=message) as raised:
        read_plan(path)
    assert "plan-x.md" in str(raised.value)


@pytest.mark.parametrize(("figure", "better", "worse"), [("warm_seconds", 1.9, 2.1), ("icdar_hmean", 2.1, 1.9)])
def test_a_target_knows_which_way_is_better(figure, better, worse):
    target = Target(benchmark="main", figure=figure, value=2.0)
    assert target.reached_by(better)
    assert target.reached_by(2.0)
    assert not target.reached_by(worse)


def test_a_ledger_that_does_not_exist_is_empty(tmp_path):
    assert plan_files(tmp_path / "nowhere") == []
