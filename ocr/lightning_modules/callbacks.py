"""Callbacks that observe a run: epoch figures into the run file, cache statistics into the log."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from ocr.datasets.collate import Batch
from ocr.lightning_modules.ocr_pl import OCRPLModule
from ocr.lightning_modules.run_file import CacheCounts, EpochFigures, RunFile

logger = logging.getLogger(__name__)


class EpochRecorder(Callback):
    """Times every epoch and writes the run file after each.

    Seconds run from the end of what came before (the last batch of the previous phase, or `start_phase`) to the end of
    the epoch, so that starting workers and the first batch are paid for. Sanity batches are not an epoch.
    """

    def __init__(self, run_file: RunFile, folder: Path, module: OCRPLModule) -> None:
        self.run_file, self.folder, self.module = run_file, folder, module
        self._started = self._batch_ended = time.perf_counter()
        self._images = 0
        self._cache: dict[str, CacheCounts] = {}
        self._losses: list[torch.Tensor] = []
        self.weights: Literal["current", "best"] = "current"

    def start_phase(self) -> None:
        """Start the clock of a phase that begins now."""
        self._started = self._batch_ended = time.perf_counter()
        self._images, self._cache, self._losses = 0, {}, []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a training epoch."""
        self.module.clock.take()
        self.start_phase()

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count the wait for the loader."""
        self._begin_batch(batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Any) -> None:
        """Remember when the backward pass begins."""
        self._backward_started = self.module.clock.now()

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the backward pass."""
        self.module.clock.add("backward", self.module.clock.now() - self._backward_started)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Close the training epoch at its last batch: validation comes before Lightning's own end of epoch."""
        self._batch_ended = time.perf_counter()
        # Lightning hands out the loss divided by the batches that one step accumulates.
        self._losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches * len(batch))
        if trainer.is_last_batch:
            self._record(
                "train", trainer.current_epoch, {"loss": float(torch.stack(self._losses).sum()) / self._images}, {}
            )

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the wait for the loader."""
        self._begin_batch(batch)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remember when the batch ended."""
        self._batch_ended = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the validation epoch and its scores."""
        if trainer.sanity_checking:
            self.start_phase()
            return
        passes = sum(figures.phase == "val" for figures in self.run_file.epochs)
        epoch = passes if self.run_file.kind == "evaluate" else trainer.current_epoch
        self._record("val", epoch, self.module.metrics(), self.module.counts())

    def _begin_batch(self, batch: Batch) -> None:
        self.module.clock.add("wait", time.perf_counter() - self._batch_ended)
        for stage, seconds in batch.stages.items():
            self.module.clock.add(f"loader.{stage}", seconds)
        for tier, (hits, misses, size) in batch.cache.items():
            before = self._cache.get(tier, CacheCounts())
            self._cache[tier] = CacheCounts(
                hits=before.hits + hits, misses=before.misses + misses, bytes=before.bytes + size
            )
        self._images += len(batch)

    def _record(
        self,
        phase: Literal["train", "val"],
        epoch: int,
        metrics: dict[str, float],
        counts: dict[str, dict[str, float]],
    ) -> None:
        seconds = time.perf_counter() - self._started
        figures = EpochFigures(
            epoch=epoch,
            phase=phase,
            weights=self.weights,
            seconds=seconds,
            images=self._images,
            stages=self.module.clock.take(),
            cache=self._cache,
            metrics=metrics,
            counts=counts,
        )
        self.run_file.epochs.append(figures)
        self.run_file.write(self.folder)
        logger.info("%s", describe_epoch(figures))
        self.start_phase()


def describe_epoch(figures: EpochFigures) -> str:
    """Return one line: epoch, seconds, images a second, the largest stages, the scores."""
    own = {stage: seconds for stage, seconds in figures.stages.items() if not stage.startswith("loader.")}
    largest = sorted(own.items(), key=lambda item: -item[1])[:4]
    shares = ", ".join(f"{stage} {100 * seconds / max(figures.seconds, 1e-9):.0f}%" for stage, seconds in largest)
    scores = ", ".join(
        f"{name} {figures.metrics[name]:.4f}"
        for name in ("icdar_hmean", "cleval_hmean", "loss")
        if name in figures.metrics
    )
    rate = figures.images / max(figures.seconds, 1e-9)
    return f"{figures.phase} epoch {figures.epoch}: {figures.seconds:.2f} s, {rate:.1f} images/s ({shares}); {scores}"


class CacheStatistics(Callback):
    """Logs the first tensor hit of each validation epoch and the statistics every N accesses.

    It runs in the main process, where the counts of all workers come together with the batches.
    """

    def __init__(self, log_every_n: int) -> None:
        self.log_every_n = log_every_n
        self._announced = False
        self._hits = self._accesses = 0

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Announce the first hit of each epoch."""
        self._announced = False

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch's accesses and log what is due."""
        hits, misses, _ = batch.cache.get("tensors", (0, 0, 0))
        before = self._accesses
        self._hits, self._accesses = self._hits + hits, self._accesses + hits + misses
        due = self.log_every_n and before // self.log_every_n != self._accesses // self.log_every_n
        if batch.first_hit is not None and (due or not self._announced):
            logger.info("[CACHE HIT] Returning cached tensor for index %d", batch.first_hit)
            self._announced = True
        if due:
            logger.info("Tensor cache: %d hits, %d misses so far", self._hits, self._accesses - self._hits)
