"""Limit, what-if, tuning, facts and transforms as tools: record, findings, plot and the documents check."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path

import pytest

from agent_tools.measure.profile import ProfileError
from agent_tools.measure.rungs import LadderError
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from agent_tools.workflows.comparing import bench_run
from agent_tools.workflows.documents import docs_check, docs_render
from agent_tools.workflows.measuring import OPTIONS_OF_MODE, bench_ladder, profile_run, profile_stages
from agent_tools.workflows.profiling import (
    bench_fact,
    fact_name,
    printed_figures,
    profile_limit,
    profile_transforms,
    profile_whatif,
    transform_figures,
)
from agent_tools.workflows.tuning import bench_tune
from agent_tools.workspace.root import Root
from tests.agent_tools.conftest import run_git
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.workflows.test_workflows import ended

DATA = "data/my receipts"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    data = build_repository(tmp_path)
    (data / "jsons" / "train.json").write_text((data / "jsons" / "val.json").read_text())
    (tmp_path / "docs" / "ai_handbook").mkdir(parents=True)
    run_git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text("outputs/\n__pycache__/\n")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-q", "-m", "first")
    return Root.at(tmp_path)


def findings(root: Root, documents: list[str]) -> str:
    return (root.path / next(path for path in documents if path.endswith("-findings.md"))).read_text()


def stored(root: Root, record_id: str) -> RunRecord:
    return RecordStore(root.path).load(record_id)


@pytest.mark.parametrize("name", ["leave_one_out", "maps", "gates", "caches", "pipeline_history"])
def test_every_design_ends_as_findings_that_agree_with_its_record(root: Root, name: str) -> None:
    shown = bench_ladder(root, name, DATA, images=4, rounds=1, session="try")
    text = findings(root, shown.documents)
    assert f"`{stored(root, shown.record_id).benchmark.design}`" in text  # type: ignore[union-attr]
    assert any(path.endswith("-arms.svg") for path in shown.documents)
    assert "**Descriptive.**" in text
    assert "descriptive" in shown.headline
    docs_render(root)
    assert docs_check(root).problems == []


def test_the_limit_of_both_phases_is_documented(root: Root) -> None:
    val = profile_limit(root, data=DATA, images=4, rounds=1, session="try")
    train = profile_limit(root, phase="train", data=DATA, images=4, rounds=1, session="try")
    assert "0.750 [0.750, 0.750] of the limit" in val.headline
    assert "the epoch runs at 75.0% (75.0% to 75.0%)" in findings(root, val.documents)
    assert "training epochs" in findings(root, train.documents)
    docs_render(root)
    page = (root.path / "docs/ai_handbook/02_dev_guide").glob("*.md")
    assert list(page) == []  # no benchmark yet, so nothing to show a page about
    assert docs_check(root).problems == []


def test_what_if_shows_the_share_of_a_stage_beside_what_removing_it_gives(root: Root) -> None:
    shown = profile_whatif(root, stages="forward,loader", data=DATA, images=4, rounds=1, session="try")
    text = findings(root, shown.documents)
    assert "| forward | 50.0% | 72.7% | 2.000x (2.000x to 2.000x) |" in text
    assert any(line.startswith("forward | baseline / forward | 2.000") for line in shown.table)
    assert any(path.endswith("-whatif.svg") for path in shown.documents)
    assert docs_check(root).problems == []
    with pytest.raises(LadderError, match="cannot be replayed"):
        profile_whatif(root, stages="colour", data=DATA)


def test_a_profile_shows_cpu_shares_and_a_timeline(root: Root) -> None:
    shown = profile_stages(root, session="try")
    assert any("CPU" in line for line in shown.stages)
    documents = docs_render(root).documents
    text = findings(root, documents)
    assert "share of the CPU time" in text
    assert "### Timeline" in text
    (plot,) = [path for path in documents if path.endswith("-timeline.svg")]
    before = (root.path / plot).read_bytes()
    (root.path / plot).unlink()
    docs_render(root)
    assert (root.path / plot).read_bytes() == before
    assert docs_check(root).problems == []


def test_tuning_as_a_tool_says_what_each_setting_gave_and_where_the_preset_is(root: Root) -> None:
    shown = bench_tune(root, settings="threads", data=DATA, images=4, rounds=1, session="try")
    assert "descriptive: fewer than six rounds" in shown.note
    assert "changes nothing" in shown.note
    assert list((root.path / "configs/preset").glob("tuned_*.yaml"))
    assert docs_check(root).problems == []


def test_the_table_of_a_record_that_was_changed_by_hand_is_found(root: Root) -> None:
    shown = profile_whatif(root, stages="forward", data=DATA, images=4, rounds=1, session="try")
    path = RecordStore(root.path).find(shown.record_id)
    plain = json.loads(path.read_text())
    for section, field in (("contrasts", "ratio"), ("stage_shares", "wall")):
        changed = json.loads(path.read_text())
        changed["benchmark"][section][0][field] = 9.0
        path.write_text(json.dumps(changed))
        problems = docs_check(root).problems
        assert any("does not follow from its samples" in problem for problem in problems)
        path.write_text(json.dumps(plain))


SCRIPT = """
import json, sys
rows = [
    {"name": "Normalize", "pipeline": "naive", "with_keypoints": keys, "milliseconds": 3.15, "share": 0.875}
    for keys in (True, False)
]
print("talk")
print(json.dumps({"images": 4, "size": [64, 64], "rows": rows, "dataset": "abc" * 10, "argv": sys.argv}))
"""


def test_transforms_are_timed_by_their_script_and_documented(root: Root) -> None:
    with pytest.raises(ProfileError, match=r"There is no scripts/profile_transforms\.py"):
        profile_transforms(root, data=DATA, images=4)
    (root.path / "scripts").mkdir()
    (root.path / "scripts" / "profile_transforms.py").write_text(SCRIPT)
    shown = profile_transforms(root, data=DATA, images=4, session="try")
    record = stored(root, shown.record_id)
    assert record.stages == {"naive Normalize, keypoints": 0.00315, "naive Normalize": 0.00315}
    assert record.dataset is not None
    assert record.dataset.content_hash == "abc" * 10
    text = findings(root, shown.documents)
    assert "| naive Normalize, keypoints | 3.15" in text
    assert "87.5%" in text
    assert docs_check(root).problems == []


@pytest.mark.parametrize(
    ("line", "why"),
    [({}, "printed no rows"), ({"rows": [{"name": "a"}]}, "needs name, with_keypoints"), ({"rows": [3]}, "the row 3")],
)
def test_a_line_of_transforms_that_cannot_be_used_is_refused(line: dict[str, object], why: str) -> None:
    with pytest.raises(ProfileError, match=why):
        transform_figures(line)


def test_a_fact_keeps_the_figures_that_a_command_printed(root: Root) -> None:
    line = '{"largest_ratio": 1.02, "work": "4 images", "rows": [1], "ok": true}'
    (root.path / "memory.py").write_text(f"print('''{line}''')")
    shown = bench_fact(root, "python memory.py")
    record = stored(root, shown.record_id)
    assert record.fact is not None
    assert (record.kind, record.fact.figures, record.fact.work) == ("fact", {"largest_ratio": 1.02}, "4 images")
    assert shown.headline == "memory.py: largest_ratio 1.02"
    (root.path / "memory.py").write_text("import sys; print('the disk is full', file=sys.stderr); sys.exit(3)")
    with pytest.raises(ProfileError, match=r"status 3(.|\n)*the disk is full"):
        bench_fact(root, "python memory.py")
    (root.path / "memory.py").write_text("print('{}')")
    with pytest.raises(ProfileError, match="printed no numbers"):
        bench_fact(root, "python memory.py")


def test_figures_inside_of_a_printed_object_keep_its_name() -> None:
    line = {"a": 1, "rows": {"x": {"rate": 2.5}, "y": True}, "nan": float("nan"), "text": "t"}
    assert printed_figures(line) == {"a": 1.0, "rows.x.rate": 2.5}


def test_a_command_is_called_by_its_module() -> None:
    assert fact_name(["python", "-m", "benchmarks.memory", "--size=64"]) == "benchmarks.memory"
    assert fact_name(["./run"]) == "./run"


@pytest.mark.parametrize("mode", ["limit", "whatif"])
def test_a_mode_of_the_profile_runs_as_a_job(root: Root, mode: str) -> None:
    given = {"stages": "post"} if mode == "whatif" else {}
    started = profile_run(root, data=DATA, images=4, rounds=1, mode=mode, **given)  # type: ignore[arg-type]
    report = ended(root, started.job)
    assert report.status == "finished", report.log_tail
    record = stored(root, report.result["record_id"])
    assert record.benchmark is not None
    assert record.benchmark.design == mode


def test_tuning_is_a_mode_of_the_benchmark(root: Root) -> None:
    report = ended(root, bench_run(root, "main", DATA, 4, rounds=1, mode="tune").job)
    assert report.status == "finished", report.log_tail
    record = stored(root, report.result["record_id"])
    assert record.benchmark is not None
    assert record.benchmark.design == "tune"


def test_a_run_that_exists_has_stages_only(root: Root) -> None:
    with pytest.raises(ProfileError, match="mode is limit"):
        profile_run(root, run="latest", mode="limit")


def test_every_mode_hands_on_only_what_its_command_takes() -> None:
    commands = {"stages": profile_stages, "limit": profile_limit, "whatif": profile_whatif}
    commands |= {"transforms": profile_transforms}
    for mode, names in OPTIONS_OF_MODE.items():
        assert set(names) <= set(signature(commands[mode]).parameters), mode
