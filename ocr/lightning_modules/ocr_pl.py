"""The detector as a LightningModule: normalise on the device, forward, loss, post-processing, pooled metrics."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ocr.datasets.collate import Batch
from ocr.datasets.schemas import ConfigError
from ocr.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD
from ocr.lightning_modules.compiled_forward import CompiledForward
from ocr.lightning_modules.post_threads import PostThreads, count_post_workers
from ocr.lightning_modules.replay import StageReplay
from ocr.lightning_modules.stage_clock import StageClock
from ocr.metrics.cleval import Cleval, ClevalCounts
from ocr.metrics.icdar import IcdarCounts, icdar_counts
from ocr.models.postprocess import Detections

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
ImageCounts = dict[str, tuple[IcdarCounts, ClevalCounts]]
"""Image name -> its counts by both metrics."""
Measure = Callable[[str], AbstractContextManager[None]]
"""How a stage is timed: by the main thread or by one beside it."""


class PostProcessor(Protocol):
    """What the module needs of `ocr/models/postprocess.py`."""

    def __call__(self, probability: np.ndarray, matrix: np.ndarray, original_size: tuple[int, int]) -> Detections:
        """Turn one (H, W) float32 probability map into polygons in original displayed pixels."""
        ...


def of_all_ranks(scores: ImageCounts) -> ImageCounts:
    """Return the counts of all ranks together; keyed by image, so that no image counts twice."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return scores
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, scores)
    return {name: counts for part in parts for name, counts in part.items()}


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
        compile_mode: str | None,
        post_workers: int | Literal["auto"],
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
            compile_mode: None, or how `torch.compile` treats the network (`COMPILE_MODES`).
            post_workers: threads that post-process and score while the next forward runs; 0: none; auto: idle cores.
            preprocessing: what a checkpoint must agree on (`shrink_ratio`, ...); stored in it and compared on load.

        Raises:
            ConfigError: an unknown memory format or compile mode, or an impossible number of threads.
        """
        super().__init__()
        count_post_workers(post_workers, on_gpu=False)
        if memory_format not in MEMORY_FORMATS:
            raise ConfigError(f"model.memory_format={memory_format!r} is unknown; allowed: {', '.join(MEMORY_FORMATS)}")
        self.network = network.to(memory_format=MEMORY_FORMATS[memory_format])  # type: ignore[call-overload]
        self.loss, self.postprocess, self.cleval = loss, postprocess, cleval
        self._make_optimizer, self.warmup_fraction = optimizer, warmup_fraction
        self.memory_format, self.val_loss = memory_format, val_loss
        self.preprocessing = {**preprocessing, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
        self.clock = StageClock()
        self.replay = StageReplay()
        self.compiled = None if compile_mode is None else CompiledForward(self.network, compile_mode)
        self._asked_post_workers = post_workers
        self._post_threads: PostThreads[ImageCounts] | None = None
        self.batches_beside_main_thread = 0
        self.seen_dtype = ""
        self.scores: ImageCounts = {}
        self._losses: list[float] = []
        scale = torch.tensor([1 / (255 * std) for std in IMAGENET_STD])
        shift = torch.tensor([-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])
        self._scale: Tensor
        self._shift: Tensor
        self.register_buffer("_scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_shift", shift.view(1, 3, 1, 1), persistent=False)
        self._dtype_hook = self._first_convolution().register_forward_hook(self._note_dtype)

    @property
    def post_workers(self) -> int:
        """Number of threads that post-process beside the main one, on the device the module is on now."""
        return count_post_workers(self._asked_post_workers, on_gpu=self.device.type == "cuda")

    @property
    def weight_format(self) -> str:
        """Memory format of the first convolution's weight, read from its strides."""
        weight = self._first_convolution().weight
        return "channels_last" if weight.is_contiguous(memory_format=torch.channels_last) else "contiguous"

    def _first_convolution(self) -> nn.Conv2d:
        return next(module for module in self.network.modules() if isinstance(module, nn.Conv2d))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Copy the batch's tensors (uint8: a quarter of the bytes)."""
        self.clock.end_wait()
        self.clock.device = device
        with self.clock.measure("copy"):
            on_device = self.replay.run("copy", self._replay_key(batch), lambda: batch.to(device))
            # A replayed batch of training holds other images: what describes the batch stays the loader's.
            return replace(batch, images=on_device.images, targets=on_device.targets)

    def _replay_key(self, batch: Batch) -> Hashable:
        """Validation repeats its batches; training shuffles: there, the place in the epoch stands for a batch."""
        if self.training:
            return "train", self.clock.batch, tuple(batch.images.shape)
        return "val", *batch.indices

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> float32, normalised and in the module's memory format; float32 passes as it is."""
        images = images.contiguous(memory_format=MEMORY_FORMATS[self.memory_format])
        if images.dtype == torch.uint8:
            images = images.float().mul_(self._scale).add_(self._shift)
        return images

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch and log its parts."""
        with self.clock.measure("normalise"):
            images = self.replay.run("normalise", self._replay_key(batch), lambda: self.normalise(batch.images))
        if self._replays_step():
            return self._replayed_loss(len(batch))
        with self.clock.measure("forward"):
            outputs = self._logits(images, with_threshold=True)
        with self.clock.measure("loss"):
            losses = self.loss(outputs, batch.targets)
        parts = {f"train/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(parts, batch_size=len(batch), prog_bar=False)
        self.log("loss", losses["loss"].detach(), batch_size=len(batch), prog_bar=True, logger=False)
        self.replay.run("step", self.clock.batch, lambda: losses["loss"].detach().clone())
        loss: Tensor = losses["loss"]
        return loss

    def _replays_step(self) -> bool:
        return self.replay.has("step", self.clock.batch)

    def _replayed_loss(self, images: int) -> Tensor:
        """The stored loss as a constant that a backward pass can start from, and that moves no weight."""
        loss: Tensor = self.replay.recall("step", self.clock.batch).clone().requires_grad_()
        self.log("loss", loss.detach(), batch_size=images, prog_bar=True, logger=False)
        return loss

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, timed from the end of the backward pass; a replayed step only goes through the motions."""
        closure = optimizer_closure or (lambda: None)
        if self._replays_step():
            closure()
            return
        began = [self.clock.start()]

        def forward_and_backward() -> Any:
            loss = closure()
            began.append(self.clock.start())
            return loss

        super().optimizer_step(epoch, batch_idx, optimizer, forward_and_backward)
        self.clock.stop("optimizer", began[-1])

    def on_validation_epoch_start(self) -> None:
        """Start the counts of an epoch at zero, with fresh threads where post-processing overlaps."""
        self.scores, self._losses = {}, []
        self._post_threads = PostThreads(self.post_workers, self.clock) if self.post_workers else None

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Detect and score one batch; counts are kept per image."""
        maps = self._probability_maps(batch)
        if self._post_threads is None:
            self.scores |= self._score(batch, maps, self.clock.measure)
        else:
            measure = partial(self.clock.measure_in_thread, batch=self.clock.batch)
            self._post_threads.submit(partial(self._score, batch, maps, measure))

    def detect(self, batch: Batch) -> list[Detections]:
        """Return the detections of each image of a batch, in original displayed pixels."""
        return self._detections(batch, self._probability_maps(batch), self.clock.measure)

    def _probability_maps(self, batch: Batch) -> np.ndarray:
        """Return (N, H, W) float32 in 0..1 on the host; keeps the loss where one is asked for."""
        key = self._replay_key(batch)
        with self.clock.measure("normalise"):
            images = self.replay.run("normalise", key, lambda: self.normalise(batch.images))
        with self.clock.measure("forward"):
            outputs = self.replay.run("forward", key, lambda: self._predict(images))
        with self.clock.measure("to_host"):
            maps = self.replay.run("forward", ("maps", key), lambda: outputs["probability"].cpu().numpy())
        if self.val_loss:
            with self.clock.measure("loss"):
                loss = self.replay.run("loss", key, lambda: float(self.loss(outputs, batch.targets)["loss"]))
                self._losses.append(loss)
        return maps

    def _predict(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits and `probability` (N, H, W) float32."""
        outputs = self._logits(images, with_threshold=self.val_loss)
        if "forward" in self.replay.stages:
            # Outputs of a graph captured on a GPU live until its next run.
            outputs = {name: logits.clone() for name, logits in outputs.items()}
        return {**outputs, "probability": outputs["probability_logits"].sigmoid().squeeze(1).float()}

    def _logits(self, images: Tensor, with_threshold: bool) -> dict[str, Tensor]:
        if self.compiled is None:
            logits: dict[str, Tensor] = self.network(images, with_threshold=with_threshold)
            return logits
        if not self.seen_dtype:
            # A hook would cut a compiled graph in two: the dtype is seen on a corner of one image, then the hook goes.
            self._first_convolution()(images[:1, :, :32, :32])
            self._dtype_hook.remove()
        return self.compiled(images, with_threshold)

    def _detections(self, batch: Batch, maps: np.ndarray, measure: Measure) -> list[Detections]:
        with measure("post"):
            return self.replay.run(
                "post",
                self._replay_key(batch),
                lambda: [
                    self.postprocess(probability, matrix, size)
                    for probability, matrix, size in zip(maps, batch.matrices, batch.original_sizes, strict=True)
                ],
            )

    def _score(self, batch: Batch, maps: np.ndarray, measure: Measure) -> ImageCounts:
        found = self._detections(batch, maps, measure)
        with measure("score"):
            return self.replay.run("score", self._replay_key(batch), lambda: self.counts_of(batch, found))

    def counts_of(self, batch: Batch, found: Sequence[Detections]) -> ImageCounts:
        """Return the counts of each image of a batch with these detections, by both metrics."""
        images = zip(batch.names, found, batch.truth, batch.truth_ignore, strict=True)
        return {
            name: (icdar_counts(truth, item.polygons, ignore), self.cleval(truth, item.polygons, ignore))
            for name, item, truth, ignore in images
        }

    def end_post_threads(self) -> None:
        """End the threads of an epoch that was cut short."""
        if self._post_threads is not None:
            self._post_threads.close()
            self._post_threads = None

    def on_validation_epoch_end(self) -> None:
        """Collect what the threads found, pool the counts of all ranks by image and log the scores."""
        if self._post_threads is not None:
            for counts in self._post_threads.collect():
                self.scores |= counts
                self.batches_beside_main_thread += 1
            self._post_threads = None
        self.scores = of_all_ranks(self.scores)
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
