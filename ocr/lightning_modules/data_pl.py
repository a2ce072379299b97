"""DataLoaders of the splits, with settings that cannot contradict each other."""

from __future__ import annotations

import logging
import os
from typing import Any, Literal

import cv2
import pytorch_lightning as pl
import torch
from pydantic import Field, field_validator
from torch.utils.data import DataLoader

from ocr.datasets.base import OCRDataset
from ocr.datasets.buckets import BucketBatchSampler
from ocr.datasets.collate import Batch
from ocr.datasets.schemas import ConfigError, Sample, StrictConfig
from ocr.lightning_modules.resident_loader import BatchLoader, ResidentLoader

logger = logging.getLogger(__name__)

SHARE_OF_FREE_MEMORY = 0.5
"""Most of a GPU's free memory that a resident split may take: activations need the rest."""


class LoaderConfig(StrictConfig):
    """DataLoader settings. With 0 workers the settings that need workers are cleared."""

    num_workers: int | Literal["auto"] = Field(
        0, description="worker processes per loader; 0: load in the main process; auto: what suits the device"
    )
    persistent_workers: bool = Field(False, description="keep the workers between epochs")
    prefetch_factor: int | None = Field(None, ge=1, description="batches prepared ahead per worker")
    pin_memory: bool = Field(False, description="page-locked batches, for copies to a GPU")
    multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = Field(
        None, description="how workers start; null: the platform's way"
    )
    resident: bool = Field(
        False, description="keep the validation batches in the device's memory after their first pass"
    )

    @field_validator("num_workers")
    @classmethod
    def _not_negative(cls, workers: int | str) -> int | str:
        if isinstance(workers, int) and workers < 0:
            raise ConfigError(f"dataloaders.num_workers={workers}; it is auto, 0 or a positive number")
        return workers

    def workers(self, on_gpu: bool) -> int:
        """Return the number of workers; `auto` is one for each core but one beside a GPU (at most 8), else 0.

        On a CPU the stages share the cores, so overlap gains nothing, and each fork of a worker makes the pages that
        the allocator kept copy-on-write, to be faulted in again one by one.
        """
        if self.num_workers != "auto":
            return self.num_workers
        return max(1, min(8, len(os.sched_getaffinity(0)) - 1)) if on_gpu else 0

    def arguments(self, on_gpu: bool) -> dict[str, Any]:
        """Return the keyword arguments for a DataLoader."""
        workers = self.workers(on_gpu)
        if workers == 0:
            return {"num_workers": 0, "pin_memory": self.pin_memory}
        return {**self.model_dump(exclude={"resident"}), "num_workers": workers}


class OCRDataModule(pl.LightningDataModule):
    """Holds the datasets and the loaders; persistent workers live as long as one call of fit or validate."""

    def __init__(
        self,
        train: OCRDataset | None,
        val: OCRDataset,
        batch_size: int,
        loader: LoaderConfig,
        on_gpu: bool,
        replay: frozenset[str] = frozenset(),
        device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
    ) -> None:
        """Build the loaders.

        Args:
            train: None where nothing is trained.
            val: the validation split.
            batch_size: images per batch; the last batch of a shape may be smaller.
            loader: settings of both loaders.
            on_gpu: decides what `num_workers: auto` means.
            replay: stages whose first outputs are replayed: `loader` (whole batches), `decode`, `transform`, `targets`.
            device: where a resident split is kept.

        Raises:
            ConfigError: the batch size is below 1, or a split has no image.
        """
        super().__init__()
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}; it must be a whole number of at least 1")
        for split in (train, val):
            if split is not None and not len(split):
                raise ConfigError(f"{split.config.annotation_path} names no usable image; point it to a file that does")
            if split is not None:
                split.replay = replay
        self.train, self.val, self.batch_size = train, val, batch_size
        self.workers = loader.workers(on_gpu)
        self._replays_batches, self._device = "loader" in replay, device
        self._arguments = {
            **loader.arguments(on_gpu),
            "collate_fn": _as_it_is,
            "worker_init_fn": _one_thread_per_worker,
        }
        self._val_loader: BatchLoader = self._loader(val, shuffle=False)
        if self._replays_batches or (loader.resident and self._fits(val)):
            self._val_loader = ResidentLoader(self._val_loader, device)

    def _loader(self, split: OCRDataset, shuffle: bool) -> BatchLoader:
        sampler = BucketBatchSampler(split.shapes, self.batch_size, shuffle)
        made: DataLoader[Sample] = DataLoader(split, batch_sampler=sampler, **self._arguments)
        return made

    def _fits(self, split: OCRDataset) -> bool:
        if self._device.type != "cuda":
            return True
        needed, (free, _) = split.image_bytes, torch.cuda.mem_get_info(self._device)
        if needed <= SHARE_OF_FREE_MEMORY * free:
            return True
        split.report.declined["resident"] = (
            f"{needed / 2**20:,.0f} MiB of images, but {free / 2**20:,.0f} MiB are free on {self._device}, of which "
            "half may be taken"
        )
        logger.warning("Going on without resident batches: %s", split.report.declined["resident"])
        return False

    def prepare(self) -> None:
        """Preload what the configuration asks for."""
        for split in (self.train, self.val):
            if split is not None:
                split.prepare()

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches of one shape each; an epoch visits every image once."""
        if self.train is None:
            raise ConfigError("this run was built without a training split; use `ocr train`")
        loader = self._loader(self.train, shuffle=True)
        return ResidentLoader(loader, self._device) if self._replays_batches else loader

    def val_dataloader(self) -> BatchLoader:
        """Batches of one shape each, in the order of the annotation file within a shape."""
        return self._val_loader


def _as_it_is(batch: Batch) -> Batch:
    # The dataset makes the batch itself (`__getitems__`).
    return batch


def _one_thread_per_worker(worker: int) -> None:  # noqa: ARG001
    # torch limits itself to one thread in a worker; OpenCV's pool would still take every core in each of them.
    cv2.setNumThreads(0)
