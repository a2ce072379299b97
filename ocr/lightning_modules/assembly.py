"""From a composed configuration to the parts of a run, and the run file around them."""

from __future__ import annotations

import logging
import pickle
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint

from ocr.datasets.base import OCRDataset
from ocr.datasets.schemas import ConfigError
from ocr.datasets.synthetic import ensure_dataset
from ocr.lightning_modules.callbacks import CacheStatistics, EpochRecorder, describe_clock
from ocr.lightning_modules.data_pl import LoaderConfig, OCRDataModule
from ocr.lightning_modules.features import check_features, enforce
from ocr.lightning_modules.ocr_pl import OCRPLModule
from ocr.lightning_modules.precision import choose_precision
from ocr.lightning_modules.replay import StageReplay, replayed_stages
from ocr.lightning_modules.run_file import (
    DatasetFingerprint,
    RunFile,
    RunKind,
    environment,
    new_run_id,
    relative_path,
    shareable_text,
    start_run_file,
    utc_now,
)
from ocr.lightning_modules.worst_images import check_count, keep_worst
from ocr.models.architecture import DBNet
from ocr.utils.allocator import keep_pages
from ocr.utils.content_hash import sha256_of_file

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """The built parts of one run."""

    config: DictConfig
    folder: Path
    data: OCRDataModule
    module: OCRPLModule
    trainer: pl.Trainer
    recorder: EpochRecorder
    allocator: dict[str, str]

    @property
    def file(self) -> RunFile:
        """The run file as it stands."""
        return self.recorder.run_file

    def prepare_data(self) -> None:
        """Preload what the configuration asks for, timed as setup."""
        start = time.perf_counter()
        self.data.prepare()
        self.file.setup_seconds["preload"] = time.perf_counter() - start

    def validate(self) -> None:
        """Run one validation epoch with the weights as they are."""
        self.recorder.start_phase()
        self.trainer.validate(self.module, datamodule=self.data, verbose=False)

    def keep_worst_images(self) -> None:
        """Keep pictures of the images that the last validation found hardest, as many as `worst_images` says."""
        count = check_count(self.config.worst_images)
        if count and self.file.replayed:
            raise ConfigError(f"worst_images={count} needs real outputs; leave replay empty")
        if count:
            precision = self.trainer.precision_plugin.val_step_context()
            self.file.worst = keep_worst(self.module, self.data.val, count, self.folder, precision)

    def validate_best(self) -> None:
        """Go back to the best weights by hmean, unless they are the last ones, and score them.

        A run that replays stages has no best weights: its scores prove nothing.
        """
        if self.file.replayed:
            return
        best = next(
            (item for item in self.trainer.checkpoint_callbacks if isinstance(item, ModelCheckpoint) and item.monitor),
            None,
        )
        if best is None or not best.best_model_path or best.best_model_score is None:
            return
        # Lightning keeps the score as float32: compare like with like.
        if float(best.best_model_score) > float(np.float32(self.module.metrics()["icdar_hmean"])):
            load_checkpoint(self.module, Path(best.best_model_path))
            self.recorder.weights = "best"
            self.validate()


def prepare_data_folder(config: DictConfig) -> None:
    """End `dataset_base_path` with a slash, and render the synthetic receipts while it is their folder."""
    config.dataset_base_path = str(config.dataset_base_path).rstrip("/") + "/"
    if _is_rendered(config):
        made = config.synthetic
        ensure_dataset(Path(made.root), seed=made.seed, train=made.train, val=made.val, test=made.test)


def _is_rendered(config: DictConfig) -> bool:
    return "synthetic" in config and config.synthetic.root == config.dataset_base_path


@contextmanager
def open_run(config: DictConfig, kind: RunKind, overrides: Sequence[str]) -> Iterator[Run]:
    """Build a run and keep its run file: `running` while the block runs, then `finished`, or `failed` with the reason.

    Raises:
        OCRError: the configuration or the data cannot work.
        FeatureError: at the end, when a requested feature stayed inactive (`features.strict`).
    """
    prepare_data_folder(config)
    run_id = config.run_id or new_run_id(kind)
    folder = Path(config.output_dir) / run_id
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    run_file = start_run_file(kind, run_id, plain, list(overrides))
    run_file.rendered = _is_rendered(config)
    run_file.write(folder)
    try:
        run = _build(config, kind, run_file, folder)
        yield run
        _close(run)
        run_file.status = "finished"
    except BaseException as error:
        run_file.status, run_file.error = "failed", shareable_text(f"{type(error).__name__}: {error}")
        raise
    finally:
        run_file.ended = utc_now()
        run_file.write(folder)


def _build(config: DictConfig, kind: RunKind, run_file: RunFile, folder: Path) -> Run:
    started = time.perf_counter()
    _check_image_size(config.image_size)
    replay = _start_replay(config, run_file)
    _set_threads(config.threads)
    on_gpu = torch.cuda.is_available() and config.trainer.accelerator in ("auto", "gpu", "cuda")
    precision = choose_precision(config.trainer.precision, on_gpu)
    logger.info("Precision %s (asked %s): %s", precision.used, precision.asked, precision.reason)
    run_file.precision = {"asked": precision.asked, "used": precision.used, "reason": precision.reason}
    allocator = _set_allocator(config.allocator)
    run_file.environment = environment(allocator["used"])
    pl.seed_everything(config.seed, workers=True, verbose=False)
    module: OCRPLModule = instantiate(config.model)
    module.replay, module.clock.timeline = StageReplay(replay), config.timeline
    recorder = EpochRecorder(run_file, folder, module)
    trainer = _build_trainer(config, kind, folder, precision.used, recorder)
    run_file.device = str(trainer.strategy.root_device)
    data = _build_data(config, kind, on_gpu, replay, trainer.strategy.root_device)
    recorder.loader_workers = data.workers
    run = Run(config, folder, data, module, trainer, recorder, allocator)
    if config.resume:
        _check_resume(module, Path(config.resume), kind)
    if config.checkpoint:
        path = Path(config.checkpoint)
        load_checkpoint(module, path)
        run_file.checkpoints["loaded"] = _checkpoint(path)
    _record_data(config, data, run_file)
    run_file.setup_seconds["build"] = time.perf_counter() - started
    run_file.write(folder)
    return run


def _start_replay(config: DictConfig, run_file: RunFile) -> frozenset[str]:
    replay = replayed_stages(config.replay)
    run_file.replayed = sorted(replay)
    if replay:
        logger.warning("replay=%s: this run measures; its weights and scores prove nothing", run_file.replayed)
    return replay


def _record_data(config: DictConfig, data: OCRDataModule, run_file: RunFile) -> None:
    for name, split in (("train", data.train), ("val", data.val)):
        if split is not None:
            run_file.datasets[name] = _fingerprint(config, name, split)
            run_file.shapes[name] = split.shape_counts()
    run_file.environment["decoder"] = data.val.report.decoder
    run_file.environment["workers"] = str(data.workers)


def _build_data(
    config: DictConfig, kind: RunKind, on_gpu: bool, replay: frozenset[str], device: torch.device
) -> OCRDataModule:
    targets = instantiate(config.targets)
    train: OCRDataset | None = instantiate(config.datasets.train_dataset, targets=targets) if kind == "train" else None
    val: OCRDataset = instantiate(config.datasets.val_dataset, targets=targets if config.val_loss else None)
    loader: dict[str, Any] = OmegaConf.to_container(config.dataloaders, resolve=True)  # type: ignore[assignment]
    return OCRDataModule(train, val, config.batch_size, LoaderConfig(**loader), on_gpu, replay, device)


def _build_trainer(
    config: DictConfig, kind: RunKind, folder: Path, precision: str, recorder: EpochRecorder
) -> pl.Trainer:
    statistics = CacheStatistics(config.datasets.val_dataset.config.cache_config.log_statistics_every_n)
    callbacks: list[pl.Callback] = [recorder, statistics]
    training = kind == "train"
    if training:
        callbacks += [
            instantiate(item, dirpath=str(folder / "checkpoints")) for item in config.callbacks.values() if item
        ]
    # The number of workers is a measured choice (`LoaderConfig.workers`), not an oversight.
    warnings.filterwarnings("ignore", message=".*does not have many workers which may be a bottleneck")
    trainer: pl.Trainer = instantiate(
        config.trainer,
        precision=precision,
        callbacks=callbacks,
        logger=instantiate(config.logger, save_dir=str(folder / "metrics")) if training else False,
        default_root_dir=str(folder),
        enable_checkpointing=training,
    )
    return trainer


def _check_image_size(size: Any) -> None:
    multiple = DBNet.size_multiple
    sides = list(size) if isinstance(size, ListConfig) else []
    if len(sides) != 2 or any(not isinstance(side, int) or side < multiple or side % multiple for side in sides):
        raise ConfigError(
            f"image_size={size}; it is [height, width], both positive multiples of {multiple}, for instance [640, 640]"
        )


def _check_resume(module: OCRPLModule, path: Path, kind: RunKind) -> None:
    """Refuse what cannot be gone on from: weights alone, other preprocessing, or a run that trains nothing."""
    if kind != "train":
        raise ConfigError(f"resume={path} goes on training; to evaluate weights give checkpoint={path}")
    checkpoint = read_checkpoint(path)
    if "optimizer_states" not in checkpoint:
        raise ConfigError(
            f"{path} holds weights only; resume needs a last.ckpt, or give checkpoint={path} to start anew"
        )
    module.check_preprocessing(checkpoint, path.name)


def _set_threads(threads: Any) -> None:
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"threads={threads!r}; it is null (as many as the libraries choose) or a positive number")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _set_allocator(asked: str) -> dict[str, str]:
    if asked not in ("keep_pages", "default"):
        raise ConfigError(f"allocator={asked!r} is unknown; allowed: keep_pages, default")
    refused = keep_pages() if asked == "keep_pages" else None
    used = asked if refused is None else "default"
    return {"asked": asked, "used": used, "reason": refused or ""}


def _fingerprint(config: DictConfig, name: str, split: OCRDataset) -> DatasetFingerprint:
    root = relative_path(Path(config.dataset_base_path))
    return DatasetFingerprint(
        name=f"{Path(root).name}/{name}",
        root=root,
        images=len(split),
        content_hash=split.content_hash,
        dropped=sorted(split.report.dropped),
        decode_warnings=sorted(split.report.decode_warnings),
    )


def _checkpoint(path: Path) -> dict[str, str]:
    return {"path": relative_path(path), "sha256": sha256_of_file(path)}


def load_checkpoint(module: OCRPLModule, path: Path) -> None:
    """Load a checkpoint's weights into a module.

    Raises:
        ConfigError: no such file, not a checkpoint, or made for another network or other preprocessing.
    """
    module.load_weights(read_checkpoint(path), path.name)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint file; nothing in it is executed.

    Raises:
        ConfigError: no such file, or not a checkpoint.
    """
    if not path.is_file():
        raise ConfigError(
            f"checkpoint {path} does not exist; give the path of a .ckpt file, such as outputs/*/checkpoints/best.ckpt"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path} is not a checkpoint that can be read ({error}); choose another file") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ConfigError(f"{path} holds no state_dict; choose a checkpoint written by `ocr train`")
    return checkpoint


def _close(run: Run) -> None:
    run_file, config = run.file, run.config
    logger.info("%s", describe_clock(run_file.epochs))
    for item in run.trainer.checkpoint_callbacks:
        if isinstance(item, ModelCheckpoint) and item.best_model_path and not (item.monitor and run_file.replayed):
            run_file.checkpoints["best" if item.monitor else "last"] = _checkpoint(Path(item.best_model_path))
    rows = check_features(
        run.data.val,
        run.module,
        run_file.epochs,
        run_file.precision,
        run.allocator,
        epoch_ratio=config.features.epoch_ratio,
        shapes=run.recorder.shapes_seen.get("val", {}),
        resident=bool(config.dataloaders.get("resident", False)),
    )
    run_file.features = [row.model_copy(update={"reason": shareable_text(row.reason)}) for row in rows]
    run_file.write(run.folder)
    # What a replayed stage would have asked of a feature is not asked any more.
    enforce(run_file.features, config.features.strict and not run_file.replayed)
