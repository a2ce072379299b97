"""The detector as a LightningModule: normalise on the device, forward, loss, post-processing, pooled metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ocr.datasets.collate import Batch
from ocr.datasets.schemas import ConfigError
from ocr.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD
from ocr.lightning_modules.stage_clock import StageClock
from ocr.metrics.cleval import Cleval, ClevalCounts
from ocr.metrics.icdar import IcdarCounts, icdar_counts
from ocr.models.postprocess import Detections

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class PostProcessor(Protocol):
    """What the module needs of `ocr/models/postprocess.py`."""

    def __call__(self, probability: np.ndarray, matrix: np.ndarray, original_size: tuple[int, int]) -> Detections:
        """Turn one (H, W) float32 probability map into polygons in original displayed pixels."""
        ...


class OCRPLModule(pl.LightningModule):
    """Trains a DB detector and scores it by ICDAR IoU hmean and CLEval, pooled over images and exact under sharding."""

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        postprocess: PostProcessor,
        cleval: Cleval,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        warmup_fraction: float,
        memory_format: Literal["channels_last", "contiguous"],
        val_loss: bool,
        preprocessing: dict[str, Any],
    ) -> None:
        """Take built parts.

        Args:
            network: gives logits (`ocr/models/architecture.py`).
            loss: combines logits and targets.
            postprocess: maps to polygons in the original image.
            cleval: the CLEval implementation.
            optimizer: called with the parameters.
            warmup_fraction: share of all steps in which the learning rate rises linearly; a cosine follows.
            memory_format: of weights and activations.
            val_loss: also compute the loss in validation (needs targets and the threshold branch).
            preprocessing: what a checkpoint must agree on (`shrink_ratio`, ...); stored in it and compared on load.

        Raises:
            ConfigError: an unknown memory format.
        """
        super().__init__()
        if memory_format not in MEMORY_FORMATS:
            raise ConfigError(f"model.memory_format={memory_format!r} is unknown; allowed: {', '.join(MEMORY_FORMATS)}")
        self.network = network.to(memory_format=MEMORY_FORMATS[memory_format])  # type: ignore[call-overload]
        self.loss, self.postprocess, self.cleval = loss, postprocess, cleval
        self._make_optimizer, self.warmup_fraction = optimizer, warmup_fraction
        self.memory_format, self.val_loss = memory_format, val_loss
        self.preprocessing = {**preprocessing, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
        self.clock = StageClock()
        self.seen_dtype = ""
        self.scores: dict[str, tuple[IcdarCounts, ClevalCounts]] = {}
        self._losses: list[float] = []
        scale = torch.tensor([1 / (255 * std) for std in IMAGENET_STD])
        shift = torch.tensor([-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])
        self._scale: Tensor
        self._shift: Tensor
        self.register_buffer("_scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_shift", shift.view(1, 3, 1, 1), persistent=False)
        self._first_convolution().register_forward_hook(self._note_dtype)

    @property
    def weight_format(self) -> str:
        """Memory format of the first convolution's weight, read from its strides."""
        weight = self._first_convolution().weight
        return "channels_last" if weight.is_contiguous(memory_format=torch.channels_last) else "contiguous"

    def _first_convolution(self) -> nn.Conv2d:
        return next(module for module in self.network.modules() if isinstance(module, nn.Conv2d))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Copy the batch's tensors (uint8: a quarter of the bytes)."""
        self.clock.device = device
        with self.clock.measure("copy"):
            return batch.to(device)

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> float32, normalised and in the module's memory format; float32 passes as it is."""
        images = images.contiguous(memory_format=MEMORY_FORMATS[self.memory_format])
        if images.dtype == torch.uint8:
            images = images.float().mul_(self._scale).add_(self._shift)
        return images

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch and log its parts."""
        with self.clock.measure("normalise"):
            images = self.normalise(batch.images)
        with self.clock.measure("forward"):
            outputs = self.network(images, with_threshold=True)
        with self.clock.measure("loss"):
            losses = self.loss(outputs, batch.targets)
        parts = {f"train/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(parts, batch_size=len(batch), prog_bar=False)
        self.log("loss", losses["loss"].detach(), batch_size=len(batch), prog_bar=True, logger=False)
        return losses["loss"]

    def on_validation_epoch_start(self) -> None:
        """Start the counts of an epoch at zero."""
        self.scores, self._losses = {}, []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Detect and score one batch; counts are kept per image."""
        for detections, name, truth, ignore in zip(
            self.detect(batch), batch.names, batch.truth, batch.truth_ignore, strict=True
        ):
            with self.clock.measure("metric"):
                polygons = detections.polygons
                self.scores[name] = (icdar_counts(truth, polygons, ignore), self.cleval(truth, polygons, ignore))

    def detect(self, batch: Batch) -> list[Detections]:
        """Return the detections of each image of a batch, in original displayed pixels."""
        with self.clock.measure("normalise"):
            images = self.normalise(batch.images)
        with self.clock.measure("forward"):
            outputs = self.network(images, with_threshold=self.val_loss)
            maps = outputs["probability_logits"].sigmoid().squeeze(1).float().cpu().numpy()
        if self.val_loss:
            with self.clock.measure("loss"):
                self._losses.append(float(self.loss(outputs, batch.targets)["loss"]))
        with self.clock.measure("post"):
            return [
                self.postprocess(probability, matrix, size)
                for probability, matrix, size in zip(maps, batch.matrices, batch.original_sizes, strict=True)
            ]

    def on_validation_epoch_end(self) -> None:
        """Pool the counts of all ranks by image and log the scores."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(parts, self.scores)
            # Keyed by image: a sampler that pads the last batch cannot count an image twice.
            self.scores = {name: counts for part in parts for name, counts in part.items()}
        self.log_dict({f"val/{name}": value for name, value in self.metrics().items()}, prog_bar=False)
        self.log("hmean", self.metrics()["icdar_hmean"], prog_bar=True, logger=False)

    def counts(self) -> dict[str, dict[str, float]]:
        """Return the pooled counts of the last validation epoch by metric."""
        icdar, cleval = self._pooled()
        return {"icdar": icdar.as_dict(), "cleval": cleval.as_dict()}

    def metrics(self) -> dict[str, float]:
        """Return hmean, precision and recall of the last validation epoch; `cleval_mean` averages per-image hmeans."""
        icdar, cleval = self._pooled()
        values = {
            f"{metric}_{name}": float(getattr(counts, name))
            for metric, counts in (("icdar", icdar), ("cleval", cleval))
            for name in ("hmean", "precision", "recall")
        }
        per_image = [score.hmean for _, score in self.scores.values()]
        values["cleval_mean"] = float(np.mean(per_image)) if per_image else 0.0
        return values | ({"loss": float(np.mean(self._losses))} if self._losses else {})

    def _pooled(self) -> tuple[IcdarCounts, ClevalCounts]:
        return (
            sum((icdar for icdar, _ in self.scores.values()), IcdarCounts()),
            sum((cleval for _, cleval in self.scores.values()), ClevalCounts()),
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer; its rate rises linearly, then falls by a cosine to a hundredth, step by step."""
        optimizer = self._make_optimizer(self.parameters())
        total = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = max(1, round(self.warmup_fraction * total))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = (step - warmup) / max(1, total - warmup)
            return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * min(1.0, progress))))

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the preprocessing contract beside the weights."""
        checkpoint["preprocessing"] = self.preprocessing

    def load_weights(self, checkpoint: dict[str, Any], source: str) -> None:
        """Take the network's weights from a checkpoint of this project.

        Raises:
            ConfigError: the checkpoint was made with other preprocessing, or for another network.
        """
        self.check_preprocessing(checkpoint, source)
        weights = {name: value for name, value in checkpoint["state_dict"].items() if name.startswith("network.")}
        own = {name: value for name, value in self.state_dict().items() if name.startswith("network.")}
        different = sorted(set(weights) ^ set(own)) or [name for name in own if weights[name].shape != own[name].shape]
        if different:
            raise ConfigError(
                f"{source} holds another network: {len(different)} weights differ, first {different[0]!r}; "
                "choose the model that it was trained with (model=resnet18, model=tiny, ...)"
            )
        self.load_state_dict(weights)

    def check_preprocessing(self, checkpoint: dict[str, Any], source: str) -> None:
        """Compare a checkpoint's preprocessing with this module's.

        Raises:
            ConfigError: a value differs.
        """
        stored = checkpoint.get("preprocessing", {})
        for key, value in self.preprocessing.items():
            if key in stored and stored[key] != value:
                raise ConfigError(
                    f"{source} was trained with {key}={stored[key]}, the configuration says {value}; "
                    f"set {key}={stored[key]} or choose another checkpoint"
                )

    def _note_dtype(self, module: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> None:
        if not self.seen_dtype:
            self.seen_dtype = str(output.dtype).removeprefix("torch.")
