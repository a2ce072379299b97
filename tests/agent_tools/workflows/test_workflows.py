"""Joined rooms, with a trainer that takes no time: the processes, records and documents are real."""

import json
import sys
import threading
import time
from functools import partial
from pathlib import Path

import anyio
import pytest

from agent_tools.handbook.blocks import DocumentError
from agent_tools.jobs import folders, runners
from agent_tools.measure.rungs import LADDERS, LadderError
from agent_tools.measure.trainer import TrainerError
from agent_tools.records.schema import FeatureRow
from agent_tools.records.store import RecordError, RecordStore
from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workflows import demo
from agent_tools.workflows.comparing import bench_run
from agent_tools.workflows.documents import docs_check, docs_render
from agent_tools.workflows.jobs import JobReport, job_cancel, job_status
from agent_tools.workflows.measuring import bench_ladder, profile_run, profile_stages
from agent_tools.workflows.overrides import OverrideError, check_overrides
from agent_tools.workflows.records import record_list, record_show
from agent_tools.workflows.training import ConfigKeyError, config_show, features_check, train_now, train_run
from agent_tools.workspace.root import Root, RootError
from tests.agent_tools.conftest import run_git
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.records.build import record, run_file, write_run_file

RUNGS = len(LADDERS["demo"])
DATA = "data/my receipts"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    build_repository(tmp_path)
    (tmp_path / "docs" / "ai_handbook").mkdir(parents=True)
    run_git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text("outputs/\n__pycache__/\n")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-q", "-m", "first")
    return Root.at(tmp_path)


def ended(root: Root, job: str) -> JobReport:
    deadline = time.monotonic() + 280
    while (report := job_status(root, job)).status in folders.ACTIVE:
        assert time.monotonic() < deadline, report
        time.sleep(0.1)
    return report


# --- measuring ---------------------------------------------------------------------------------------------------


def test_a_ladder_in_the_foreground_leaves_record_findings_and_state_page(root):
    seen: list[tuple[int, int]] = []
    measured = bench_ladder(
        root,
        "demo",
        DATA,
        rounds=1,
        images=4,
        session="try",
        progress=lambda done, total, message: seen.append((done, total)),
    )
    assert (seen[0], seen[-1]) == ((0, RUNGS), (RUNGS, RUNGS))
    record = RecordStore(root.path).load(measured.record_id)
    assert record.benchmark is not None
    assert record.benchmark.protocol.descriptive
    assert "descriptive" in measured.headline
    assert [line.split(" | ")[0] for line in measured.table[1:]] == [arm.name for arm in record.benchmark.arms]
    assert any(path.endswith("-findings.md") for path in measured.documents)
    assert "docs/ai_handbook/99_current_state.md" in measured.documents
    assert docs_check(root).ok


def test_a_ladder_as_a_job_reports_progress_and_its_record(root):
    started = bench_run(root, "demo", DATA, images=4, rounds=1)
    report = ended(root, started.job)
    assert report.status == "finished", report.log_tail
    assert (report.done, report.total) == (RUNGS, RUNGS)
    shown = record_show(root, report.result["record_id"])
    assert shown.kind == "benchmark"
    assert shown.path.startswith("outputs/records/")
    assert shown.table == report.result["table"]
    assert str(root.path) not in shown.model_dump_json()


def test_a_job_that_fails_shows_the_reason_in_its_log(root):
    report = ended(root, bench_run(root, "demo", DATA, rounds=1, overrides=("standin.fail=yes",)).job)
    assert report.status == "failed"
    assert any("the batch is on fire" in line for line in report.log_tail)
    assert report.result == {}


def test_a_cancelled_ladder_ends_its_trainer_too(root, tmp_path):
    started = bench_run(root, "demo", DATA, rounds=1, overrides=("standin.hang=hung.txt",))
    deadline = time.monotonic() + 280
    while not (tmp_path / "hung.txt").exists():
        assert time.monotonic() < deadline, job_status(root, started.job)
        time.sleep(0.05)
    assert job_cancel(root, started.job).status == "cancelled"
    for pid in (tmp_path / "hung.txt").read_text().split():
        assert not Path("/proc", pid).exists() or "Z" in Path("/proc", pid, "stat").read_text()


def test_what_cannot_work_is_refused_before_a_job_is_started(root):
    with pytest.raises(LadderError, match="nearest: main"):
        bench_run(root, "mian")
    with pytest.raises(RecordError, match="not a session name"):
        bench_run(root, "demo", session="../x")
    with pytest.raises(RootError, match="outside"):
        bench_run(root, "demo", data="../elsewhere")
    assert runners.list_jobs(root.path) == ([], [])


def test_data_outside_is_usable_where_the_operator_allowed_it(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("receipts")
    (folder / "jsons").mkdir()
    (root.path / DATA / "jsons" / "val.json").rename(folder / "jsons" / "val.json")
    wider = Root.at(root.path, (folder,))
    measured = bench_ladder(wider, "demo", str(folder), rounds=1, images=4, docs=False)
    assert str(folder) not in RecordStore(root.path).find(measured.record_id).read_text()


def test_a_document_that_cannot_be_written_does_not_hide_the_measurement(root):
    page = root.path / "docs" / "ai_handbook" / "99_current_state.md"
    page.write_text("by hand\n")
    measured = bench_ladder(root, "demo", DATA, rounds=1, images=4, session="try")
    assert "documents were not rendered" in measured.note
    assert page.read_text() == "by hand\n"
    assert RecordStore(root.path).load(measured.record_id).id == measured.record_id


def test_a_profile_of_an_existing_run_answers_at_once_and_of_a_new_one_by_a_job(root):
    new = profile_run(root)
    report = ended(root, new.job)
    assert report.status == "finished", report.log_tail
    again = profile_stages(root, run="latest")
    assert again.stages == report.result["stages"]
    assert profile_run(root, run="latest").stages == again.stages
    assert record_list(root, "profile").total == 3


def test_the_demo_writes_everything_below_its_own_folder(root):
    weights = root.path / demo.WEIGHTS
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    run_git(root.path, "add", ".")
    run_git(root.path, "commit", "-q", "-m", "weights")
    said: list[str] = []
    measured = demo.run_demo(root, data=DATA, progress=lambda done, total, message: said.append(message))
    assert len(measured.table) == RUNGS + 1
    assert "descriptive" in measured.headline
    assert all(path.startswith("outputs/demo/") for path in measured.documents)
    assert "outputs/demo/99_current_state.md" in measured.documents
    assert sum(path.endswith("-findings.md") for path in measured.documents) >= 1
    assert any("training" in line for line in said)
    assert run_git(root.path, "status", "--porcelain") == ""


# --- training ----------------------------------------------------------------------------------------------------


def test_a_training_becomes_a_record_in_the_foreground_and_as_a_job(root):
    first = train_now(root, ("standin.metric=0.7",))
    assert "0.7" in first.headline
    report = ended(root, train_run(root, ("standin.metric=0.9",)).job)
    assert report.status == "finished", report.log_tail
    assert "0.9" in record_show(root, report.result["record_id"]).headline
    assert [row["kind"] for row in record_list(root).records] == ["train", "train"]


def test_the_configuration_is_shown_by_key_and_by_pages(root):
    whole = anyio.run(config_show, root)
    assert "cache_images: true" in whole.yaml
    assert (
        anyio.run(partial(config_show, root, select="datasets.val_dataset.config.cache_config")).yaml
        == "cache_images: true"
    )
    first = anyio.run(partial(config_show, root, limit=3))
    second = anyio.run(partial(config_show, root, limit=3, cursor=first.next_cursor))
    assert f"{first.yaml}\n{second.yaml}" == whole.yaml
    with pytest.raises(ConfigKeyError, match=r"no 'cash' in datasets; it has: val_dataset"):
        anyio.run(partial(config_show, root, select="datasets.cash"))


def test_a_misspelt_key_is_refused_in_the_words_of_the_trainer(root):
    with pytest.raises(TrainerError, match="batch_sise"):
        anyio.run(config_show, root, ("batch_sise=4",))


def test_the_features_of_the_newest_run_are_shown(root):
    train_now(root)
    features = features_check(root)
    assert features.features
    assert features.passed is all(row["status"] != "fail" for row in features.features)
    assert features.is_failure() is not features.passed


def test_overrides_that_set_values_pass_unchanged(root):
    good = [
        "trainer.max_epochs=2",
        "+trainer.limit_val_batches=2",
        "~callbacks.progress",
        "image_size=[640,640]",
        f"dataset_base_path='{DATA}/'",
        "model/postprocess=box",
        "cache_dir=outputs/cache",
        "checkpoint=outputs/x/best.ckpt",
        "preset=null",
    ]
    assert check_overrides(root, good) == good


def test_a_link_out_of_the_root_is_no_way_around(root, tmp_path_factory):
    (root.path / "link").symlink_to(tmp_path_factory.mktemp("outside"))
    for override in ("dataset_base_path=link", "dataset_base_path=link/x", "cache_dir=link"):
        with pytest.raises(RootError, match="outside"):
            check_overrides(root, [override])


def test_a_folder_that_is_written_must_lie_in_the_root_even_where_data_may_be_read_anywhere(root):
    everywhere = Root(root.path, (Path("/"),))
    assert check_overrides(everywhere, ["dataset_base_path=/srv/receipts/"])
    with pytest.raises(RootError):
        check_overrides(everywhere, ["cache_dir=/srv/receipts/"])


@pytest.mark.parametrize(
    "override", ["a=${oc.env:HOME}", "x._target_=os.system", "hydra.run.dir=x", "x", "-m", "a=~/x"]
)
def test_overrides_that_do_more_are_refused(root, override):
    if override == "x":
        override = "x y"
    with pytest.raises(OverrideError):
        check_overrides(root, [override])


# --- records, jobs, documents ------------------------------------------------------------------------------------


def test_a_detailed_record_is_its_file_page_by_page(root):
    measured = bench_ladder(root, "demo", DATA, rounds=1, images=4, docs=False)
    joined, cursor = [], ""
    for _ in range(100):
        part = record_show(root, measured.record_id, limit=200, cursor=cursor, response_format="detailed")
        assert len(part.model_dump_json()) < CHARACTER_LIMIT
        joined.append(part.raw)
        cursor = part.next_cursor
        if not cursor:
            break
    assert json.loads("\n".join(joined))["id"] == measured.record_id


def test_a_corrupt_record_is_named_and_hides_no_other(root):
    measured = train_now(root)
    bad = root.path / "outputs" / "records" / "20990101T000000Z-train-aaaaaa.json"
    bad.write_text("{")
    listed = record_list(root)
    assert [row["id"] for row in listed.records] == [measured.record_id]
    assert bad.name in listed.unreadable[0]


def test_jobs_are_listed_newest_first_in_pages(root):
    names = [f"2026010{day}T000000Z-bench-00000{day}" for day in range(1, 6)]
    for name in names:
        folder = folders.jobs_folder(root.path) / name
        folder.mkdir(parents=True)
        state = folders.JobState(
            id=name, kind="bench", title="t", command=["x"], status="finished", created="2026", limit_seconds=1
        )
        folders.write_state(folder, state)
    (folders.jobs_folder(root.path) / names[2] / "state.json").write_text("{")
    first = job_status(root, limit=3)
    second = job_status(root, limit=3, cursor=first.next_cursor)
    assert [row["job"] for row in first.jobs + second.jobs] == names[::-1]
    assert [row["status"] for row in first.jobs] == ["finished", "finished", "damaged"]


def test_a_stale_document_is_found_and_mended(root):
    measured = bench_ladder(root, "demo", DATA, rounds=1, images=4, session="try")
    page = next(path for path in measured.documents if path.endswith("-findings.md"))
    (root.path / page).unlink()
    checked = docs_check(root)
    assert page in checked.problems[0]
    assert checked.is_failure()
    assert docs_render(root).documents == [page]
    assert docs_check(root).ok
    session = next((root.path / "logs").iterdir())
    for only in ({"records": (measured.record_id,)}, {"folder": f"logs/{session.name}"}):
        (root.path / page).unlink()
        assert docs_render(root, **only).documents == [page]


def test_a_folder_without_records_is_refused_and_gets_no_page(root):
    for folder in ("docs", "data", "docs/ai_handbook"):
        with pytest.raises(DocumentError, match=rf"'{folder}' holds no records/\*\.json"):
            docs_render(root, folder=folder)
    assert not list((root.path / "docs").rglob("*.md"))


def test_a_table_that_does_not_follow_from_its_samples_is_a_problem(root):
    measured = bench_ladder(root, "demo", DATA, rounds=1, images=4, session="try")
    assert docs_check(root).ok
    path = RecordStore(root.path).find(measured.record_id)
    data = json.loads(path.read_text())
    data["benchmark"]["summaries"][-1]["ratio_to_first"] = 9.0
    path.write_text(json.dumps(data))
    docs_render(root)
    (problem,) = docs_check(root).problems
    assert path.name in problem
    assert "does not follow from its samples: ratio_to_first is" in problem
    data["benchmark"]["samples"][0]["warm_seconds"] = []
    path.write_text(json.dumps(data))
    assert any("cannot be computed again" in problem for problem in docs_check(root).problems)


def test_a_disk_that_refuses_a_document_does_not_hide_the_measurement(root):
    (root.path / "docs" / "ai_handbook").rmdir()
    (root.path / "docs" / "ai_handbook").write_text("in the way")
    measured = train_now(root, session="try")
    assert "documents were not rendered" in measured.note
    assert RecordStore(root.path).load(measured.record_id).kind == "train"


def test_a_demo_whose_page_cannot_be_written_still_says_what_it_measured(root):
    weights = root.path / demo.WEIGHTS
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    (root.path / demo.DEMO / "99_current_state.md").mkdir(parents=True)
    measured = demo.run_demo(root, data=DATA)
    assert "documents were not rendered" in measured.note
    assert "two rounds: descriptive" in measured.note
    assert len(measured.table) == RUNGS + 1


def test_a_slow_epoch_is_reported_and_fails_no_feature_check(root):
    row = FeatureRow(
        feature="epoch ratio", criterion="c", verified_by="v", expected=">= 1.0x", seen="0.9x", status="fail"
    )
    write_run_file(root.path, run_file(id="slow", features=[*run_file().features, row]))
    assert features_check(root, "slow").passed
    write_run_file(root.path, run_file(id="idle", features=[row.model_copy(update={"feature": "tensor cache"})]))
    assert not features_check(root, "idle").passed


def test_a_record_whose_figures_are_odd_is_listed_with_the_reason_and_hides_no_other(root):
    good = train_now(root)
    odd = record(kind="profile", stages={"forward": 1.0})
    RecordStore(root.path).write(odd)
    rows = {row["id"]: row["headline"] for row in record_list(root).records}
    assert set(rows) == {good.record_id, odd.id}
    assert rows[odd.id].startswith("no headline: Record")


@pytest.mark.parametrize(
    "override",
    [
        "synthetic.root=/srv/receipts",
        "synthetic={root:/srv/receipts}",
        "output_dir=/srv/runs",
        "logger.name=../../elsewhere",
        "logger.name=..",
        "+logger.save_dir=/srv/logs",
        "logger.version=/srv/v1",
        "+callbacks.best.dirpath=/srv/checkpoints",
        "+trainer.default_root_dir=/srv",
        "+trainer={default_root_dir:/srv}",
        "datasets.val_dataset.config.cache_dir=/srv/cache",
        "datasets={val_dataset:{config:{cache_dir:/srv/cache}}}",
    ],
)
def test_whatever_the_trainer_writes_to_lies_in_the_root_even_for_people(root, override):
    with pytest.raises((RootError, OverrideError)):
        check_overrides(Root(root.path, (Path("/"),)), [override])
    assert check_overrides(root, ["synthetic.root=outputs/mine/", "callbacks.best.monitor=val/icdar_hmean"])


def test_who_waits_for_a_job_hears_of_its_end_at_once_and_of_one_that_goes_on_after_the_wait(root):
    command = [sys.executable, "-c", "import time; time.sleep(1.5)"]
    job = runners.start(command, "a nap", root.path, measuring=False).id
    began = time.monotonic()
    assert job_status(root, job, wait=1).status in folders.ACTIVE
    assert job_status(root, job, wait=50).status == "finished"
    assert time.monotonic() - began < 40
    gone = threading.Event()
    gone.set()
    other = runners.start([sys.executable, "-c", "import time; time.sleep(60)"], "long", root.path, measuring=False).id
    assert job_status(root, other, wait=50, cancel=gone).status in folders.ACTIVE
    job_cancel(root, other)


def test_rendering_names_what_it_changed_and_counts_the_rest(root):
    bench_ladder(root, "demo", DATA, rounds=1, images=4, session="try")
    assert docs_render(root).documents == []
    (page,) = root.path.glob("docs/ai_handbook/99_current_state.md")
    page.unlink()
    said = docs_render(root)
    assert said.documents == ["docs/ai_handbook/99_current_state.md"]
    assert said.unchanged > 0
