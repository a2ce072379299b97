"""Callbacks that observe a run: epoch figures into the run file, cache statistics into the log."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from ocr.datasets.collate import Batch
from ocr.lightning_modules.epoch_limit import COMPUTE, INPUT, POST, POST_WAIT, PREPARE_PREFIX, epoch_limit
from ocr.lightning_modules.ocr_pl import OCRPLModule
from ocr.lightning_modules.run_file import CacheCounts, EpochFigures, EpochLimit, RunFile
from ocr.lightning_modules.stage_clock import EpochTimes

logger = logging.getLogger(__name__)


class EpochRecorder(Callback):
    """Times every epoch and writes the run file after each.

    Seconds run from the end of what came before (the last batch of the previous phase, or `start_phase`) to the end of
    the epoch, so that starting workers and the first batch are paid for. Sanity batches are not an epoch.
    """

    def __init__(self, run_file: RunFile, folder: Path, module: OCRPLModule) -> None:
        self.run_file, self.folder, self.module = run_file, folder, module
        self.loader_workers = 0
        self.weights: Literal["current", "best"] = "current"
        self.shapes_seen: dict[str, dict[str, int]] = {}
        self.start_phase()

    def start_phase(self) -> None:
        """Start the clock of a phase that begins now."""
        self._started = time.perf_counter()
        self.module.clock.begin_epoch()
        self._images = 0
        self._cache: dict[str, CacheCounts] = {}
        self._shapes: dict[str, int] = {}
        self._losses: list[torch.Tensor] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a training epoch."""
        self.start_phase()

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count what the loader did for the batch."""
        self._begin_batch(batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Any) -> None:
        """Remember when the backward pass begins."""
        self._backward_started = self.module.clock.start()

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the backward pass."""
        self.module.clock.stop("backward", self._backward_started)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Close the training epoch at its last batch: validation comes before Lightning's own end of epoch."""
        self.module.clock.begin_wait()
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
        """Count what the loader did for the batch."""
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
        """Wait for the next batch from here on."""
        self.module.clock.begin_wait()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the validation epoch and its scores."""
        if trainer.sanity_checking:
            self.module.replay.forget()
            self.start_phase()
            return
        passes = sum(figures.phase == "val" for figures in self.run_file.epochs)
        epoch = passes if self.run_file.kind == "evaluate" else trainer.current_epoch
        self._record("val", epoch, self.module.metrics(), self.module.counts())

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no thread behind."""
        self.module.end_post_threads()

    def _begin_batch(self, batch: Batch) -> None:
        for stage, seconds in batch.stages.items():
            self.module.clock.add(f"{PREPARE_PREFIX}{stage}", seconds)
        for tier, (hits, misses, size) in batch.cache.items():
            before = self._cache.get(tier, CacheCounts())
            self._cache[tier] = CacheCounts(
                hits=before.hits + hits, misses=before.misses + misses, bytes=before.bytes + size
            )
        shape = "x".join(str(side) for side in batch.images.shape[2:])
        self._shapes[shape] = self._shapes.get(shape, 0) + len(batch)
        self._images += len(batch)

    def _record(
        self,
        phase: Literal["train", "val"],
        epoch: int,
        metrics: dict[str, float],
        counts: dict[str, dict[str, float]],
    ) -> None:
        seconds = time.perf_counter() - self._started
        times = self.module.clock.end_epoch()
        figures = EpochFigures(
            epoch=epoch,
            phase=phase,
            weights=self.weights,
            seconds=seconds,
            images=self._images,
            stages=times.stages,
            cache=self._cache,
            metrics=metrics,
            counts=counts,
            cpu=times.cpu,
            limit=self._limit(phase, seconds, times),
        )
        self.shapes_seen[phase] = self._shapes
        self.run_file.epochs.append(figures)
        self.run_file.timeline = times.spans
        self.run_file.write(self.folder)
        logger.info("%s", describe_epoch(figures))
        self.start_phase()

    def _limit(self, phase: Literal["train", "val"], seconds: float, times: EpochTimes) -> EpochLimit:
        return epoch_limit(
            seconds,
            times.stages,
            times.cpu,
            cores=len(os.sched_getaffinity(0)),
            on_gpu=self.module.device.type == "cuda",
            workers=self.loader_workers,
            post_workers=self.module.post_workers if phase == "val" else 0,
            clock_seconds=times.clock_seconds,
        )


def describe_epoch(figures: EpochFigures) -> str:
    """Return one line: epoch, seconds, share of the limit, verdict, the largest stages, images a second, the scores."""
    seconds = max(figures.seconds, 1e-9)
    shares = ", ".join(
        f"{stage} {100 * figures.stages.get(stage, 0.0) / seconds:.0f}%" for stage in _shown_stages(figures.stages)
    )
    limit = (
        "" if figures.limit is None else f"{100 * figures.limit.fraction:.0f}% of the limit, {figures.limit.verdict} "
    )
    scores = ", ".join(
        f"{name} {figures.metrics[name]:.4f}"
        for name in ("icdar_hmean", "cleval_hmean", "loss")
        if name in figures.metrics
    )
    return (
        f"{figures.phase} epoch {figures.epoch}: {figures.seconds:.1f} s, {limit}({shares}), "
        f"{figures.images / seconds:.1f} images/s; {scores}"
    )


def _shown_stages(stages: Mapping[str, float], shown: int = 3) -> list[str]:
    """Return the largest stages of the main thread, largest first; the wait for the loader is always among them."""
    overlapped = POST_WAIT in stages
    own = {*INPUT, *COMPUTE, *((POST_WAIT,) if overlapped else POST)} & {"wait", *stages}
    ordered = sorted(own, key=lambda stage: (-stages.get(stage, 0.0), stage))
    largest = ordered[:shown]
    return largest if "wait" in largest else [*largest[: shown - 1], "wait"]


def describe_clock(epochs: Sequence[EpochFigures]) -> str:
    """Return one line: the share of all epochs that measuring their stages took."""
    limits = [epoch.limit.clock_seconds for epoch in epochs if epoch.limit is not None]
    return f"stage clock: {100 * sum(limits) / max(1e-9, sum(epoch.seconds for epoch in epochs)):.2f}% of the epochs"


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
