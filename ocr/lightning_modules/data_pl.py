"""DataLoaders of the splits, with settings that cannot contradict each other."""

from __future__ import annotations

from typing import Any

import cv2
import pytorch_lightning as pl
from pydantic import Field
from torch.utils.data import DataLoader

from ocr.datasets.base import OCRDataset
from ocr.datasets.collate import collate
from ocr.datasets.schemas import ConfigError, Sample, StrictConfig


class LoaderConfig(StrictConfig):
    """DataLoader settings. With 0 workers the settings that need workers are cleared."""

    num_workers: int = Field(0, ge=0, description="worker processes per loader; 0: load in the main process")
    persistent_workers: bool = Field(False, description="keep the workers between epochs")
    prefetch_factor: int | None = Field(None, ge=1, description="batches prepared ahead per worker")
    pin_memory: bool = Field(False, description="page-locked batches, for copies to a GPU")

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for a DataLoader."""
        if self.num_workers == 0:
            return {"num_workers": 0, "pin_memory": self.pin_memory}
        return self.model_dump()


class OCRDataModule(pl.LightningDataModule):
    """Holds the datasets and one loader each, so that persistent workers survive from epoch to epoch."""

    def __init__(self, train: OCRDataset | None, val: OCRDataset, batch_size: int, loader: LoaderConfig) -> None:
        """`train` is None where nothing is trained.

        Raises:
            ConfigError: the batch size is below 1, or a split has no image.
        """
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}; it must be at least 1")
        for split in (train, val):
            if split is not None and not len(split):
                raise ConfigError(f"{split.config.annotation_path} names no usable image; point it to a file that does")
        self.train, self.val, self.batch_size = train, val, batch_size
        self._arguments: dict[str, Any] = {
            **loader.arguments(),
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
