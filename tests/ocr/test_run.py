"""The real trainer on rendered receipts: what it logs, what it leaves behind, and what it refuses in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from agent_tools.records.schema import RunFile
from ocr.datasets.annotations import AnnotationError
from ocr.inference import evaluate, predict_images, score, sentence_for_errors

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "ocr/models/pretrained/tiny-synthetic.ckpt"
SMALL = [
    "model=tiny",
    "image_size=[128,64]",
    "batch_size=2",
    "dataloaders.num_workers=0",
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
]


def small(root: Path, out: Path, *more: str) -> list[str]:
    return [*SMALL, f"dataset_base_path={root}/", f"output_dir={out}", f"cache_dir={out}/cache", *more]


def train(root: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runners.train", *small(root, out, *more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def trained(synthetic_receipts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("out")
    done = train(synthetic_receipts, out, "run_id=first", "trainer.max_epochs=2", "trainer.num_sanity_val_steps=0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"run: {out / 'first/run.json'}"
    return done.stderr, json.loads((out / "first/run.json").read_text()), out / "first"


def test_training_says_what_it_preloads_and_what_it_caches(trained: tuple[str, dict[str, Any], Path]) -> None:
    log = trained[0]
    assert "into RAM..." in log
    assert "Preloaded 6/6 images into RAM (100.0%)" in log
    assert "Tensor caching enabled - will cache 5 transformed samples after first access" in log
    epoch_0, epoch_1 = log.split("val epoch 0")
    assert "[CACHE HIT]" not in epoch_0
    assert "[CACHE HIT] Returning cached tensor for index 0" in epoch_1


def test_the_run_file_is_what_the_workbench_reads(trained: tuple[str, dict[str, Any], Path]) -> None:
    run = RunFile.model_validate(trained[1])
    assert (run.status, run.kind, run.error) == ("finished", "train", None)
    validations = [epoch for epoch in run.epochs if epoch.phase == "val"]
    assert [epoch.cache["tensors"].misses for epoch in validations[:2]] == [5, 0]
    assert [epoch.cache["tensors"].hits for epoch in validations[:2]] == [0, 5]
    assert all(epoch.images == 5 for epoch in validations)
    assert {"forward", "post", "score", "wait"} <= set(validations[0].stages)
    assert "backward" in next(epoch for epoch in run.epochs if epoch.phase == "train").stages
    assert run.datasets["val"].content_hash.startswith("sha256:")
    assert [epoch.epoch for epoch in run.epochs if epoch.weights == "current"] == [0, 0, 1, 1]
    statuses = {row.feature: row.status for row in run.features}
    assert statuses["cache hits"] == statuses["preload_images"] == "pass"


def test_no_absolute_path_enters_the_run_file(trained: tuple[str, dict[str, Any], Path]) -> None:
    text = json.dumps(trained[1])
    assert str(trained[2].parent) not in text
    assert str(ROOT) not in text


def test_the_best_checkpoint_evaluates_to_the_recorded_scores(
    trained: tuple[str, dict[str, Any], Path], synthetic_receipts: Path, tmp_path: Path
) -> None:
    best = trained[2] / "checkpoints/best.ckpt"
    recorded = max(epoch["metrics"]["icdar_hmean"] for epoch in trained[1]["epochs"] if epoch["phase"] == "val")
    run = json.loads(evaluate(small(synthetic_receipts, tmp_path, f"checkpoint={best}", "passes=2")).read_text())
    assert [epoch["metrics"]["icdar_hmean"] for epoch in run["epochs"]] == [recorded, recorded]
    assert run["checkpoints"]["loaded"]["sha256"] == trained[1]["checkpoints"]["best"]["sha256"]


def shipped(root: Path, out: Path, *more: str) -> list[str]:
    """The shipped weights at the size they were trained for: far from zero, so that parity means something."""
    return small(root, out, "image_size=[320,320]", f"checkpoint={WEIGHTS}", "trainer.precision=32-true", *more)


def hmeans(run_file: Path) -> list[tuple[float, float]]:
    epochs = json.loads(run_file.read_text())["epochs"]
    return [(epoch["metrics"]["icdar_hmean"], epoch["metrics"]["cleval_hmean"]) for epoch in epochs]


def test_the_same_weights_score_the_same_cold_cached_and_naive(synthetic_receipts: Path, tmp_path: Path) -> None:
    cold, warm = hmeans(evaluate(shipped(synthetic_receipts, tmp_path, "aspect_buckets=0", "passes=2")))
    assert min(cold) > 0.5
    assert warm == cold
    naive_file = evaluate(shipped(synthetic_receipts, tmp_path, "preset=naive"))
    (naive,) = hmeans(naive_file)
    assert naive == pytest.approx(cold, abs=0.005)
    run = json.loads(naive_file.read_text())
    assert {row["feature"]: row["status"] for row in run["features"]}["cache hits"] == "n/a"
    assert run["epochs"][0]["metrics"]["loss"] > 0


def test_aspect_buckets_change_the_padding_and_hardly_the_scores(synthetic_receipts: Path, tmp_path: Path) -> None:
    (square,) = hmeans(evaluate(shipped(synthetic_receipts, tmp_path, "aspect_buckets=0")))
    cold, warm = hmeans(evaluate(shipped(synthetic_receipts, tmp_path, "aspect_buckets=3", "passes=2")))
    assert warm == cold
    assert cold == pytest.approx(square, abs=0.02)


def test_mixed_precision_scores_within_the_parity_margin(synthetic_receipts: Path, tmp_path: Path) -> None:
    (full,) = hmeans(evaluate(shipped(synthetic_receipts, tmp_path)))
    (mixed,) = hmeans(evaluate(shipped(synthetic_receipts, tmp_path, "trainer.precision=bf16-mixed")))
    assert mixed == pytest.approx(full, abs=0.01)


def test_predictions_score_as_the_evaluation_does(synthetic_receipts: Path, tmp_path: Path) -> None:
    (evaluated,) = hmeans(evaluate(shipped(synthetic_receipts, tmp_path, "batch_size=1")))
    assert min(evaluated) > 0.5
    output = tmp_path / "found.json"
    assert predict_images(synthetic_receipts / "images/val", output, shipped(synthetic_receipts, tmp_path)) == 5
    scores = score(synthetic_receipts / "jsons/val.json", output, fp_cap=100)
    assert (scores["icdar"]["hmean"], scores["cleval"]["hmean"]) == pytest.approx(evaluated, abs=1e-9)


def test_predictions_for_an_unknown_image_are_refused_by_name(synthetic_receipts: Path, tmp_path: Path) -> None:
    name = next(iter(json.loads((synthetic_receipts / "jsons/val.json").read_text())["images"]))
    output = tmp_path / "found.json"
    output.write_text(json.dumps({"images": {name.replace(".jpg", ".png"): {"words": {}}}}))
    with pytest.raises(AnnotationError, match=f"does not have, first .* .did you mean '{name}'"):
        score(synthetic_receipts / "jsons/val.json", output, fp_cap=100)


def test_dropped_images_are_named_in_the_run_file(synthetic_receipts: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(synthetic_receipts, root)
    broken = next((root / "images/val").iterdir())
    broken.write_bytes(broken.read_bytes()[:1000])
    run = RunFile.model_validate_json(evaluate(small(root, tmp_path, "on_bad_image=drop")).read_text())
    assert run.datasets["val"].dropped == [broken.name]
    assert run.datasets["val"].images == run.epochs[0].images == 4


def test_the_recorded_training_loss_does_not_depend_on_how_many_batches_a_step_accumulates(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    losses = []
    for batches in (1, 3):
        done = train(
            synthetic_receipts,
            tmp_path,
            f"run_id=accumulate-{batches}",
            "trainer.max_epochs=1",
            "trainer.limit_val_batches=1",
            "model.optimizer.lr=1e-12",
            f"trainer.accumulate_grad_batches={batches}",
        )
        assert done.returncode == 0, done.stderr
        run = json.loads((tmp_path / f"accumulate-{batches}/run.json").read_text())
        losses.append(next(epoch["metrics"]["loss"] for epoch in run["epochs"] if epoch["phase"] == "train"))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_resumed_run_goes_on_with_its_epoch_and_its_schedule(
    trained: tuple[str, dict[str, Any], Path], synthetic_receipts: Path, tmp_path: Path
) -> None:
    last = trained[2] / "checkpoints/last.ckpt"
    before = torch.load(last, weights_only=True)
    done = train(synthetic_receipts, tmp_path, "run_id=more", "trainer.max_epochs=3", f"resume={last}")
    assert done.returncode == 0, done.stderr
    after = torch.load(tmp_path / "more/checkpoints/last.ckpt", weights_only=True)
    assert before["epoch"] == 1
    assert after["epoch"] == 2
    assert after["lr_schedulers"][0]["last_epoch"] == after["global_step"] == 9
    trained_epochs = [
        epoch for epoch in json.loads((tmp_path / "more/run.json").read_text())["epochs"] if epoch["phase"] == "train"
    ]
    assert [epoch["epoch"] for epoch in trained_epochs] == [2]


def sentence(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    with pytest.raises(SystemExit) as stopped, sentence_for_errors():
        evaluate(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    return error


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.precision=16-mixed"], ["16-mixed needs a GPU", "bf16-mixed"]),
        (["datasets.val_dataset.config.preload_imagez=true"], ["preload_imagez", "did you mean", "preload_images"]),
        (["+datasets.val_dataset.config.cache_config.cache_image=true"], ["cache_image", "cache_images"]),
        (["data=receipt"], ["receipt", "synthetic"]),
        (["checkpoint=nowhere.ckpt"], ["nowhere.ckpt", "does not exist"]),
        (["allocator=jemalloc"], ["jemalloc", "keep_pages, default"]),
        (["image_size=[100,64]"], ["100", "multiple"]),
        (["datasets.val_dataset.config.cache_config.cache_images=maybe"], ["cache_images", "maybe", "boolean"]),
        (["datasets.val_dataset.config.annotation_path=none.json"], ["none.json"]),
        (["batch_size=0"], ["batch_size=0", "at least 1"]),
        (["batch_size=many"], ["batch_size=many", "at least 1"]),
        (["image_size=640"], ["image_size=640", "[height, width]"]),
        (["resume=last.ckpt"], ["resume=last.ckpt", "checkpoint=last.ckpt"]),
        ([f"checkpoint={WEIGHTS}", "model.network.encoder.width=8"], ["another network", "model=tiny"]),
    ],
)
def test_bad_configuration_is_one_sentence_with_the_way_out(
    overrides: list[str], words: list[str], synthetic_receipts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = sentence(capsys, small(synthetic_receipts, tmp_path, *overrides))
    for word in words:
        assert word in error


def test_a_polygon_of_two_points_names_file_image_and_word(
    synthetic_receipts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(synthetic_receipts, root)
    labels = json.loads((root / "jsons/val.json").read_text())
    image, entry = next(iter(labels["images"].items()))
    word = next(iter(entry["words"]))
    entry["words"][word]["points"] = entry["words"][word]["points"][:2]
    (root / "jsons/val.json").write_text(json.dumps(labels))
    error = sentence(capsys, small(root, tmp_path))
    assert "val.json" in error
    assert image in error
    assert word in error


def test_a_broken_jpeg_is_named_with_the_way_out(
    synthetic_receipts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(synthetic_receipts, root)
    broken = next((root / "images/val").iterdir())
    broken.write_bytes(broken.read_bytes()[:1000])
    error = sentence(capsys, small(root, tmp_path))
    assert broken.name in error
    assert "on_bad_image=drop" in error


def test_a_failed_run_says_so_in_its_run_file(
    synthetic_receipts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence(capsys, small(synthetic_receipts, tmp_path, "checkpoint=nowhere.ckpt", "run_id=broken"))
    run = json.loads((tmp_path / "broken/run.json").read_text())
    assert run["status"] == "failed"
    assert "nowhere.ckpt" in run["error"]


def test_a_checkpoint_of_another_network_or_shrink_ratio_is_refused(
    trained: tuple[str, dict[str, Any], Path],
    synthetic_receipts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = f"checkpoint={trained[2] / 'checkpoints/best.ckpt'}"
    assert "set shrink_ratio=" in sentence(capsys, small(synthetic_receipts, tmp_path, best, "shrink_ratio=0.5"))
    assert "another network" in sentence(capsys, small(synthetic_receipts, tmp_path, best, "model=resnet18"))


def test_the_worst_images_of_an_evaluation_are_kept_with_their_scores_and_pictures(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    asked = small(synthetic_receipts, tmp_path, f"checkpoint={WEIGHTS}", "worst_images=3", "image_size=[320,320]")
    path = evaluate(asked)
    run = RunFile.model_validate_json(path.read_bytes())
    assert [image.picture for image in run.worst] == ["worst/00.jpg", "worst/01.jpg", "worst/02.jpg"]
    scores = [image.cleval_hmean for image in run.worst]
    assert scores == sorted(scores)
    every = small(synthetic_receipts, tmp_path, f"checkpoint={WEIGHTS}", "worst_images=99", "image_size=[320,320]")
    of_all = RunFile.model_validate_json(evaluate(every).read_bytes())
    mean = sum(image.cleval_hmean for image in of_all.worst) / len(of_all.worst)
    assert mean == pytest.approx(run.epochs[-1].metrics["cleval_mean"], abs=0.02), "bf16 at another batch size"
    assert scores[0] < mean
    assert not run.rendered, "another folder than that of the rendered receipts may hold anything"
    for image in run.worst:
        drawn = cv2.imread(str(path.parent / image.picture))
        assert max(drawn.shape[:2]) <= 720
        blue, orange = (
            np.abs(drawn.astype(int) - colour).sum(axis=2) < 120 for colour in ((180, 119, 31), (14, 127, 255))
        )
        assert blue.any()
        assert orange.any()


@pytest.mark.parametrize("count", ["-1", "true", "2.5", "many"])
def test_a_number_of_worst_images_that_is_none_is_refused(
    synthetic_receipts: Path, tmp_path: Path, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), sentence_for_errors():
        evaluate(small(synthetic_receipts, tmp_path, f"worst_images={count}"))
    assert "whole number of at least 0" in capsys.readouterr().err


def test_worst_images_of_replayed_stages_are_refused(
    synthetic_receipts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), sentence_for_errors():
        evaluate(small(synthetic_receipts, tmp_path, "worst_images=2", "replay=[loader]"))
    assert "worst_images=2 needs real outputs" in capsys.readouterr().err
