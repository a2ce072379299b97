"""The trainer as a target: a validation (warm epochs after a cold one) or a training, each from its side's own tree."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from agent_tools.measure.arms_samples import cold_seconds
from agent_tools.measure.comparability import NotComparable
from agent_tools.measure.data_subset import data_overrides, relative_to_root, subset_annotations
from agent_tools.measure.statistics import median
from agent_tools.measure.targets import Answer, Call, Place, TargetError, TargetRequest
from agent_tools.measure.trainer import FinishedRun, hydra_value, resolve_config, run_trainer
from agent_tools.measure.verdict import direction
from agent_tools.records.compared import Target
from agent_tools.records.fingerprints import canonical_hash, file_sha256
from agent_tools.records.importers import check_finished, judged_dataset
from agent_tools.records.schema import EpochFigures
from agent_tools.records.store import new_id

OWN_KEYS = (
    *("run_id", "output_dir", "cache_dir", "checkpoint", "seed", "passes", "image_size", "hydra", "data"),
    *("dataset_base_path", "datasets.val_dataset.config.image_path", "datasets.val_dataset.config.annotation_path"),
)
"""Keys that a target gives to all sides alike; a side cannot set them."""


class TrainerRunner:
    """Evaluation (warm epochs after a cold one) or training of one side's own trainer."""

    def __init__(self, request: TargetRequest, folder: Path) -> None:
        if request.name == "evaluate" and request.passes < 2:
            raise TargetError(f"passes is {request.passes}; take at least 2: epoch 0 is cold, the later ones are warm.")
        self.request, self.folder = request, folder
        self.paired_seeds = request.name == "train"
        self.checkpoint = Path(request.checkpoint) if request.checkpoint else None
        if self.checkpoint is not None and not self.checkpoint.is_file():
            raise TargetError(f"The checkpoint {self.checkpoint.name} does not exist; give the path of a .ckpt file.")
        primary = request.metric or ("warm_seconds" if request.name == "evaluate" else "train_seconds")
        self.annotation = folder / f"{request.split}.json"
        subset_annotations(Path(request.data), request.split, request.images, self.annotation)
        self.target = Target(
            name=request.name,
            command=["ocr", request.name, *request.overrides],
            primary=primary,
            better=request.better or direction(primary),
            accuracy=request.accuracy or ["icdar_hmean", "cleval_hmean"],
            gate=request.gate,
            margin=request.margin,
            checkpoint_sha256=file_sha256(self.checkpoint) if self.checkpoint else "",
        )

    def resolved(self, place: Place) -> dict[str, Any]:
        """Compose the configuration of a side with the side's own code.

        Raises:
            NotComparable: the side sets a key that the target gives to both alike.
            TrainerError: the side's trainer refuses an override.
        """
        for override in place.side.overrides:
            key = override.lstrip("+~").partition("=")[0]
            if key in OWN_KEYS or key.startswith("hydra."):
                raise NotComparable(
                    f"{key}: side {place.side.name} sets it, but both sides must see the same; give it as an option of "
                    "the comparison, or leave it out."
                )
        given = [*place.side.overrides, *self._common_overrides(place.tree), *self.request.overrides]
        return anyio.run(resolve_config, place.tree, given, place.python).data

    def run(self, call: Call) -> Answer:
        """Run one process and read its run file.

        Raises:
            TrainerError: it failed, or left no run file.
            TrainerCancelled: the call's event was set.
            TargetError: it left out an epoch or a score.
        """
        run_id = new_id(self.request.name)
        cache = call.folder / "cache" / run_id
        try:
            finished = run_trainer(
                call.place.tree,
                "train" if self.request.name == "train" else "evaluate",
                self._overrides(call, cache),
                run_id=run_id,
                output_dir=str(call.folder / "runs"),
                log=call.folder / "logs" / f"{call.name}.log",
                cancel=call.cancel,
                limit_seconds=self.request.limit_seconds,
                python=call.place.python,
            )
            check_finished(finished.run)
        finally:
            shutil.rmtree(cache, ignore_errors=True)
        self._check_weights(finished, call)
        return self._answer(finished, call)

    def _overrides(self, call: Call, cache: Path) -> list[str]:
        request = self.request
        passes = [f"passes={request.passes}"] if request.name == "evaluate" else [f"seed={call.seed}"]
        return [
            *call.place.side.overrides,
            *self._common_overrides(call.place.tree),
            *passes,
            *request.overrides,
            f"cache_dir={hydra_value(cache)}",
        ]

    def _common_overrides(self, tree: Path) -> list[str]:
        size = self.request.size
        weights = [f"checkpoint={hydra_value(relative_to_root(self.checkpoint, tree))}"] if self.checkpoint else []
        return [
            *data_overrides(tree, Path(self.request.data), self.request.split, self.annotation),
            f"image_size=[{size},{size}]",
            *weights,
        ]

    def _check_weights(self, finished: FinishedRun, call: Call) -> None:
        loaded = finished.run.checkpoints.get("loaded", {}).get("sha256", "")
        if self.target.checkpoint_sha256 and loaded != self.target.checkpoint_sha256:
            raise NotComparable(
                f"checkpoint: side {call.place.side.name} loaded weights with hash {loaded[:12] or '(none)'}, not "
                f"{self.target.checkpoint_sha256[:12]}; both sides must load the same."
            )

    def _answer(self, finished: FinishedRun, call: Call) -> Answer:
        run = finished.run
        phase = "train" if self.request.name == "train" else "val"
        epochs = [epoch for epoch in run.epochs if epoch.phase == phase]
        scored = [epoch for epoch in run.epochs if epoch.phase == "val"]
        if len(epochs) < (2 if phase == "val" else 1) or not scored:
            raise TargetError(f"Side {call.place.side.name} ran too few epochs ({len(run.epochs)}); look at its log.")
        last = scored[-1]
        missing = [name for name in self.target.accuracy if name not in last.metrics]
        if missing:
            raise TargetError(f"Side {call.place.side.name} reports no {missing[0]}; every sample is scored.")
        times = {"train_seconds": median([epoch.seconds for epoch in epochs[1:] or epochs])}
        if phase == "val":
            times = _evaluation_times(epochs, run.setup_seconds)
        stages = {f"stage.{name}": seconds for name, seconds in epochs[-1].stages.items()}
        return Answer(
            metrics=times | stages | last.metrics,
            outputs=canonical_hash(last.counts) if last.counts else "",
            dataset=judged_dataset(run.datasets),
            run_id=run.id,
            config=run.config,
            environment=run.environment | {"precision": run.precision.get("used", "")},
            work={"images in an epoch": str(epochs[-1].images), "images scored": str(last.images)}
            | {f"datasets.{name}.content_hash": data.content_hash for name, data in run.datasets.items()},
        )


def _evaluation_times(epochs: Sequence[EpochFigures], setup: dict[str, float]) -> dict[str, float]:
    warm = median([epoch.seconds for epoch in epochs[1:]])
    return {
        "warm_seconds": warm,
        "cold_seconds": cold_seconds(epochs[0], setup),
        "images_per_second": epochs[-1].images / warm,
    }
