"""Whole runs: overlap changes no score, replay costs nothing and claims nothing, settings reach the run file."""

import logging
import re
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from agent_tools.records.schema import RunFile
from ocr.datasets.schemas import ConfigError
from ocr.inference import compose_config, evaluate
from ocr.lightning_modules.assembly import Run, open_run
from ocr.models.architecture import DBNet
from ocr.models.loss import DBLoss
from ocr.models.postprocess import DBPostProcessor, Detections

WEIGHTS = Path(__file__).resolve().parents[3] / "ocr/models/pretrained/tiny-synthetic.ckpt"


def small(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "model=tiny",
        "image_size=[64,64]",
        "batch_size=2",
        "dataloaders.num_workers=0",
        "trainer.enable_progress_bar=false",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        f"dataset_base_path={root}/",
        f"output_dir={out}",
        f"cache_dir={out}/cache",
        *more,
    ]


def read(path: Path) -> RunFile:
    return RunFile.model_validate_json(path.read_text())


class WeightsOfEpochs(pl.Callback):
    """Copies the network's state at the end of each training epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def fit(arguments: list[str]) -> tuple[Run, list[dict[str, torch.Tensor]]]:
    """Train as `runners.train` does, in this process; also return the weights at the end of each epoch."""
    weights = WeightsOfEpochs()
    arguments = [*arguments, "trainer.log_every_n_steps=1"]
    with open_run(compose_config("train", arguments), "train", arguments) as run:
        run.trainer.callbacks.append(weights)  # type: ignore[attr-defined]
        run.prepare_data()
        run.trainer.fit(run.module, datamodule=run.data, weights_only=True)
        run.validate_best()
    return run, weights.states


@pytest.fixture
def detections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that post-processed, one per image."""
    seen: list[str] = []
    original = DBPostProcessor.__call__

    def noted(self: DBPostProcessor, *arguments: Any) -> Detections:
        seen.append(threading.current_thread().name)
        return original(self, *arguments)

    monkeypatch.setattr(DBPostProcessor, "__call__", noted)
    return seen


def counted(monkeypatch: pytest.MonkeyPatch, part: type[nn.Module]) -> list[int]:
    """Count the calls of a kind of module from here on."""
    calls: list[int] = []
    original = part.forward

    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return original(self, *arguments, **named)

    monkeypatch.setattr(part, "forward", forward)
    return calls


def test_overlapped_post_processing_scores_exactly_as_the_serial_one_does(
    synthetic_receipts: Path, tmp_path: Path, detections: list[str]
) -> None:
    shipped = ["image_size=[320,320]", f"checkpoint={WEIGHTS}", "val_loss=true"]
    serial = read(evaluate(small(synthetic_receipts, tmp_path, *shipped, "model.post_workers=0")))
    assert set(detections) == {"MainThread"}
    detections.clear()
    overlapped = read(evaluate(small(synthetic_receipts, tmp_path, *shipped, "model.post_workers=2")))
    assert all(name.startswith("post") for name in detections)
    assert serial.epochs[0].metrics["icdar_hmean"] > 0.5
    assert overlapped.epochs[0].metrics == serial.epochs[0].metrics
    assert overlapped.epochs[0].counts == serial.epochs[0].counts
    assert {"post", "score", "post_wait"} <= set(overlapped.epochs[0].stages)
    assert "post_wait" not in serial.epochs[0].stages
    statuses = [{row.feature: row.status for row in run.features}["post_workers"] for run in (serial, overlapped)]
    assert statuses == ["n/a", "pass"]


def test_an_error_while_post_processing_beside_the_main_thread_fails_the_run_and_leaves_no_thread(
    synthetic_receipts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Detections:
        raise ZeroDivisionError("no boxes today")

    monkeypatch.setattr(DBPostProcessor, "__call__", fails)
    with pytest.raises(ZeroDivisionError, match="no boxes today"):
        evaluate(small(synthetic_receipts, tmp_path, "model.post_workers=1", "run_id=run"))
    assert "no boxes today" in str(read(tmp_path / "run/run.json").error)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("post")]


def test_an_error_in_the_main_thread_ends_the_threads_beside_it(
    synthetic_receipts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DBNet.forward
    seen: list[int] = []

    def fails_at_the_second_batch(self: DBNet, *arguments: Any, **named: Any) -> Any:
        seen.append(1)
        if len(seen) == 2:
            raise ZeroDivisionError("no maps")
        return original(self, *arguments, **named)

    monkeypatch.setattr(DBNet, "forward", fails_at_the_second_batch)
    with pytest.raises(ZeroDivisionError, match="no maps") as kept:  # its traceback keeps the module alive
        evaluate(small(synthetic_receipts, tmp_path, "model.post_workers=1"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("post")]
    assert kept.value.__traceback__ is not None


@pytest.mark.parametrize(("stages", "times_run"), [("copy,forward,loss,normalise,post,score", 1), ("", 3)])
def test_replayed_stages_run_in_the_first_pass_alone_and_the_scores_repeat(
    synthetic_receipts: Path,
    tmp_path: Path,
    detections: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stages: str,
    times_run: int,
) -> None:
    calls = {part: counted(monkeypatch, part) for part in (DBNet, DBLoss)}
    with caplog.at_level(logging.WARNING):
        run = read(evaluate(small(synthetic_receipts, tmp_path, f"replay=[{stages}]", "val_loss=true", "passes=3")))
    assert {part.__name__: len(made) for part, made in calls.items()} == {
        "DBNet": 3 * times_run,
        "DBLoss": 3 * times_run,
    }
    assert len(detections) == 5 * times_run
    assert run.replayed == [name for name in stages.split(",") if name]
    assert ("its weights and scores prove nothing" in caplog.text) == bool(stages)
    assert run.epochs[2].metrics == run.epochs[1].metrics == run.epochs[0].metrics


@pytest.mark.parametrize("replay", ["[step]", "[]"])
def test_only_a_replayed_step_stands_still_from_the_second_epoch_on_and_it_claims_no_best_checkpoint(
    synthetic_receipts: Path, tmp_path: Path, replay: str
) -> None:
    run, weights = fit(small(synthetic_receipts, tmp_path, f"replay={replay}", "trainer.max_epochs=3"))
    stood_still = [
        all(torch.equal(before[name], after[name]) for name in before) for before, after in pairwise(weights)
    ]
    trained = [epoch for epoch in run.file.epochs if epoch.phase == "train"]
    own_stages = {"forward", "loss", "optimizer"}
    assert own_stages <= set(trained[0].stages)
    if replay == "[]":
        assert stood_still == [False, False]
        assert own_stages <= set(trained[2].stages)
        assert set(run.file.checkpoints) == {"best", "last"}
    else:
        assert stood_still == [True, True]
        assert not own_stages & set(trained[2].stages)
        # The loss belongs to a place in the epoch, and another order weighs the places by other numbers of images.
        assert trained[1].metrics["loss"] == pytest.approx(trained[0].metrics["loss"], rel=0.1)
        assert set(run.file.checkpoints) == {"last"}


def test_training_times_the_optimizer_and_states_its_limit_epoch_by_epoch(
    synthetic_receipts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run, _ = fit(small(synthetic_receipts, tmp_path, "trainer.max_epochs=1"))
    for epoch in run.file.epochs:
        assert epoch.limit is not None
        assert 0 < epoch.limit.fraction <= 1
        assert epoch.limit.clock_seconds > 0
        assert epoch.cpu["forward"] > 0
    train = next(epoch for epoch in run.file.epochs if epoch.phase == "train")
    assert {"wait", "copy", "normalise", "forward", "loss", "backward", "optimizer"} <= set(train.stages)
    main_thread = sum(seconds for stage, seconds in train.stages.items() if not stage.startswith("loader."))
    assert main_thread <= train.seconds
    line = r"{} epoch 0: \d+\.\d s, \d+% of the limit, (input|compute|post|overhead)-bound \(.*wait \d+%.*\)"
    for phase in ("train", "val"):
        assert re.search(line.format(phase), caplog.text)
    assert re.search(r"stage clock: \d+\.\d\d% of the epochs", caplog.text)


def test_the_timeline_is_kept_only_when_asked_for_and_of_the_last_epoch_alone(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    asked = read(evaluate(small(synthetic_receipts, tmp_path, "timeline=true", "passes=2", "model.post_workers=1")))
    batches = [span.batch for span in asked.timeline if span.stage == "forward"]
    assert batches == [0, 1, 2]
    assert {span.batch for span in asked.timeline if span.stage == "post"} == {0, 1, 2}
    assert max(span.start + span.seconds for span in asked.timeline) <= asked.epochs[1].seconds
    assert read(evaluate(small(synthetic_receipts, tmp_path))).timeline == []


def test_the_number_of_threads_is_set_and_recorded(synthetic_receipts: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            run = read(evaluate(small(synthetic_receipts, tmp_path, f"threads={threads}")))
            assert run.environment["threads"] == str(threads) == str(torch.get_num_threads())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("threads=0", "threads=0; it is null"),
        ("threads=two", "threads='two'"),
        ("replay=[decoed]", "did you mean 'decode'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    synthetic_receipts: Path, tmp_path: Path, override: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)):
        evaluate(small(synthetic_receipts, tmp_path, override))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_network_that_cannot_be_compiled_is_declined_with_the_reason_and_scored_all_the_same(
    synthetic_receipts: Path, tmp_path: Path, no_compiler: None
) -> None:
    plain = read(evaluate(small(synthetic_receipts, tmp_path)))
    run = read(evaluate(small(synthetic_receipts, tmp_path, "model.compile_mode=default", "passes=1")))
    row = next(row for row in run.features if row.feature == "compile")
    assert (row.status, row.seen) == ("declined", "0 graphs")
    assert "compiler" in row.reason.lower()
    assert np.isclose(run.epochs[0].metrics["icdar_hmean"], plain.epochs[0].metrics["icdar_hmean"])
