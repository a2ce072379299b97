"""Limit, what-if, designs and tuning with the real trainer on three rendered receipts: nothing stands in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from agent_tools.records.schema import Benchmark
from agent_tools.records.store import RecordStore
from agent_tools.workflows.documents import docs_check, docs_render
from agent_tools.workflows.measuring import bench_ladder, profile_stages
from agent_tools.workflows.profiling import profile_limit, profile_whatif
from agent_tools.workflows.tuning import bench_tune
from agent_tools.workspace.root import Root
from tests.agent_tools.conftest import run_git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
DATA = "outputs/receipts"
TINY = ("model=tiny", "dataloaders.num_workers=0", "batch_size=2")
WEIGHTS = REPOSITORY / "ocr/models/pretrained/tiny-synthetic.ckpt"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """An empty repository with a few rendered receipts; trainer and templates are the installed ones."""
    folder = tmp_path_factory.mktemp("repository")
    run_git(folder, "init", "-q", "-b", "main")
    (folder / "docs" / "ai_handbook").mkdir(parents=True)
    (folder / ".gitignore").write_text("outputs/\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-q", "-m", "first")
    render = (
        "from pathlib import Path; from ocr.datasets.synthetic import render_dataset\n"
        "render_dataset(Path('outputs/receipts'), train=3, val=3, test=0)"
    )
    subprocess.run([sys.executable, "-c", render], cwd=folder, check=True)
    (folder / "outputs" / "weights.ckpt").write_bytes(WEIGHTS.read_bytes())
    return Root.at(folder)


def benchmark(root: Root, record_id: str) -> Benchmark:
    found = RecordStore(root.path).load(record_id).benchmark
    assert found is not None
    return found


def test_a_stage_that_is_replayed_runs_in_the_cold_epoch_only(root: Root) -> None:
    shown = profile_whatif(
        root,
        overrides=TINY,
        stages="loader,forward,post,score",
        data=DATA,
        images=3,
        size=128,
        rounds=1,
        session="end-to-end",
    )
    found = benchmark(root, shown.record_id)
    by_arm = {sample.arm: sample for sample in found.samples}
    base = by_arm["baseline"]
    assert by_arm["forward"].stages.get("forward", 0.0) < 0.2 * base.stages["forward"]
    shares = {share.stage: share for share in found.stage_shares}
    assert 0 < shares["forward"].wall < 1
    assert 0 < shares["forward"].cpu < 1
    assert [row.parity for row in found.summaries[1:]] == ["replayed"] * 4
    docs_render(root)
    assert docs_check(root).problems == []


@pytest.mark.parametrize("phase", ["val", "train"])
def test_the_limit_of_a_phase_is_measured(root: Root, phase: str) -> None:
    shown = profile_limit(root, overrides=TINY, phase=phase, data=DATA, images=3, size=128, rounds=1)
    found = benchmark(root, shown.record_id)
    assert found.phase == phase
    assert found.contrasts[0].ratio > 0
    assert not list(root.path.glob("outputs/ladders/*/runs/**/*.ckpt"))


@pytest.mark.parametrize("name", ["leave_one_out", "maps", "gates", "pipeline_history"])
def test_every_arm_of_a_design_runs(root: Root, name: str) -> None:
    shown = bench_ladder(
        root,
        name,
        DATA,
        images=3,
        size=128,
        rounds=1,
        passes=2,
        checkpoint="outputs/weights.ckpt",
        overrides=("model=tiny",),
    )
    found = benchmark(root, shown.record_id)
    assert {sample.arm for sample in found.samples} == {arm.name for arm in found.arms}


def test_a_new_profile_draws_its_timeline_and_knows_cpu_times(root: Root) -> None:
    overrides = (*TINY, f"dataset_base_path={DATA}/", "image_size=[128,128]")
    shown = profile_stages(root, overrides, session="end-to-end")
    record = RecordStore(root.path).load(shown.record_id)
    assert record.run is not None
    assert record.run.timeline
    assert record.run.epochs[-1].cpu
    assert record.run.epochs[-1].limit is not None
    assert any(path.endswith("-timeline.svg") for path in docs_render(root).documents)
    assert docs_check(root).problems == []


def test_the_preset_that_tuning_writes_composes_with_the_trainer(root: Root) -> None:
    bench_tune(
        root, overrides=("model=tiny",), settings="post_workers", data=DATA, images=3, size=128, rounds=1, passes=2
    )
    (preset,) = (root.path / "configs" / "preset").glob("tuned_*.yaml")
    with initialize_config_dir(str(REPOSITORY / "configs"), version_base=None):
        path = f"hydra.searchpath=[file://{root.path / 'configs'}]"
        assert compose("evaluate", overrides=[f"preset={preset.stem}", path]).batch_size == 16
