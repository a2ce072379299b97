"""DataLoaders of the splits, with settings that cannot contradict each other."""

from __future__ import annotations

import os
from typing import Any, Literal

import cv2
import pytorch_lightning as pl
import torch
from pydantic import Field, field_validator
from torch.utils.data import DataLoader

from ocr.datasets.base import OCRDataset
from ocr.datasets.collate import collate
from ocr.datasets.schemas import ConfigError, Sample, StrictConfig


class LoaderConfig(StrictConfig):
    """DataLoader settings. With 0 workers the settings that need workers are cleared."""

    num_workers: int | Literal["auto"] = Field(
        0, description="worker processes per loader; 0: load in the main process; auto: what suits the device"
    )
    persistent_workers: bool = Field(False, description="keep the workers between epochs")
    prefetch_factor: int | None = Field(None, ge=1, description="batches prepared ahead per worker")
    pin_memory: bool = Field(False, description="page-locked batches, for copies to a GPU")

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
        return {**self.model_dump(), "num_workers": workers}


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
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> None:
        """`train` is None where nothing is trained; `on_gpu` decides what `num_workers: auto` means.

        Raises:
            ConfigError: the batch size is below 1, or a split has no image.
        """
        super().__init__()
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}; it must be a whole number of at least 1")
        for split in (train, val):
            if split is not None and not len(split):
                raise ConfigError(f"{split.config.annotation_path} names no usable image; point it to a file that does")
        self.train, self.val, self.batch_size = train, val, batch_size
        self.workers = loader.workers(on_gpu)
        self._arguments: dict[str, Any] = {
            **loader.arguments(on_gpu),
            "collate_fn": collate,
            "worker_init_fn": _one_thread_per_worker,
            "batch_size": batch_size,
        }
        self._val_loader: DataLoader[Sample] = DataLoader(val, shuffle=False, **self._arguments)

    def prepare(self) -> None:
        """Preload what the configuration asks for."""
        for split in (self.train, self.val):
            if split is not None:
                split.prepare()

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled batches; the last one may be smaller, and an epoch visits every image once."""
        if self.train is None:
            raise ConfigError("this run was built without a training split; use `ocr train`")
        return DataLoader(self.train, shuffle=True, **self._arguments)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Batches in the order of the annotation file."""
        return self._val_loader


def _one_thread_per_worker(worker: int) -> None:  # noqa: ARG001
    # torch limits itself to one thread in a worker; OpenCV's pool would still take every core in each of them.
    cv2.setNumThreads(0)
