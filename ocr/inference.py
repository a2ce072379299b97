"""What is done with a model or with label files outside training: evaluate, predict, score, fill caches."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

# Unless told not to, albumentations looks for updates online when imported, and Hydra hides the cause of an error.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

import numpy as np
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ocr.datasets.annotations import (
    AnnotationError,
    AnnotationSet,
    Predictions,
    load_annotations,
    read_predictions,
    write_predictions_json,
    write_submission_csv,
)
from ocr.datasets.base import OCRDataset
from ocr.datasets.buckets import BucketBatchSampler, assign_canvases, tight_canvas
from ocr.datasets.collate import collate
from ocr.datasets.schemas import ConfigError, Sample
from ocr.datasets.transforms import Transform, shrink_to, shrunk_size, transform_loaded
from ocr.lightning_modules.assembly import load_checkpoint, open_run, prepare_data_folder
from ocr.lightning_modules.ocr_pl import OCRPLModule
from ocr.lightning_modules.precision import choose_precision
from ocr.metrics.cleval import Cleval, ClevalCounts
from ocr.metrics.icdar import IcdarCounts, icdar_counts
from ocr.models.postprocess import Detections
from ocr.oracle import Noise, load_oracle_images, oracle
from ocr.utils.config_errors import explain
from ocr.utils.errors import nearest
from ocr.utils.image_loading import ImageLoader, probe_image

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose `configs/NAME.yaml` with overrides, as the command line does.

    Raises:
        HydraException: an override names no key, or a config group has no such member.
    """
    with initialize_config_module("configs", version_base=None):
        return compose(name, list(overrides))


@contextmanager
def sentence_for_errors() -> Iterator[None]:
    """Turn an expected error of the block into one sentence on stderr and exit code 2; others pass."""
    try:
        yield
    except Exception as error:  # the process boundary: what nobody expected is raised again
        sentence = explain(error, _known_keys())
        if sentence is None:
            raise
        sys.stderr.write(f"error: {sentence}\n")
        raise SystemExit(2) from None


def _known_keys() -> Mapping[str, Any]:
    container: dict[str, Any] = OmegaConf.to_container(compose_config("evaluate", []))  # type: ignore[assignment]
    return container


def evaluate(overrides: Sequence[str]) -> Path:
    """Validate `checkpoint` on the validation split `passes` times in this process; return the run file's path.

    Raises:
        OCRError: the configuration or the data cannot work.
    """
    config = compose_config("evaluate", overrides)
    if not config.checkpoint:
        logger.warning("No checkpoint=PATH was given: the weights are random, and the scores mean nothing")
    with open_run(config, "evaluate", overrides) as run:
        run.prepare_data()
        for _ in range(config.passes):
            run.validate()
        run.keep_worst_images()
    return run.folder / "run.json"


def score(truth: Path, predictions: Path, fp_cap: int) -> dict[str, dict[str, float]]:
    """Score a prediction file against a label file, pooled over all images of the truth.

    Returns:
        `icdar` and `cleval`: hmean, precision, recall and every count; `cleval_mean`: the mean of per-image hmeans.

    Raises:
        AnnotationError: a file cannot be read, or predictions name an image that the truth does not have.
    """
    labels = load_annotations(truth)
    found = read_predictions(predictions)
    unknown = sorted(set(found) - set(labels))
    if unknown:
        raise AnnotationError(
            f"{predictions} has predictions for {len(unknown)} images that {truth} does not have, first "
            f"{unknown[0]!r}{nearest(unknown[0], labels)}; remove them, or name the images as the truth does"
        )
    return pooled_scores(labels, found, Cleval(fp_cap=fp_cap, implementation="vectorised"))


def pooled_scores(labels: AnnotationSet, found: Predictions, cleval: Cleval) -> dict[str, dict[str, float]]:
    """Pool the counts of all images of `labels`; an image without predictions counts as one with none."""
    icdar, characters, means = IcdarCounts(), ClevalCounts(), []
    for name in labels:
        image, polygons = labels[name], [detection.polygon for detection in found.get(name, [])]
        icdar += icdar_counts(image.polygons, polygons, image.ignore)
        counts = cleval(image.polygons, polygons, image.ignore)
        characters += counts
        means.append(counts.hmean)
    return {
        "icdar": _with_scores(icdar),
        "cleval": _with_scores(characters),
        "cleval_mean": {"hmean": sum(means) / max(1, len(means))},
    }


def _with_scores(counts: IcdarCounts | ClevalCounts) -> dict[str, float]:
    return {**counts.as_dict(), "precision": counts.precision, "recall": counts.recall, "hmean": counts.hmean}


def fill_caches(overrides: Sequence[str]) -> int:
    """Fill every lazy tier that the configuration asks for, without training; return how many samples were visited.

    Raises:
        ConfigError: a tier could not be had, for the reason that is given; the others are filled.
    """
    config = compose_config("evaluate", overrides)
    prepare_data_folder(config)
    targets = instantiate(config.targets)
    visited, declined = 0, dict[str, str]()
    for key in ("train_dataset", "val_dataset"):
        split: OCRDataset = instantiate(config.datasets[key], targets=targets)
        split.prepare()
        visited += split.cache_prepare()
        tiers = {name: why for name, why in split.report.declined.items() if name.endswith(" tier")}
        declined |= {f"{key}, {name}": why for name, why in tiers.items()}
    if declined:
        said = "; ".join(f"{name}: {why}" for name, why in declined.items())
        raise ConfigError(f"{visited} samples were visited, but not all is cached: {said}")
    return visited


def predict_images(images: Path, output: Path, overrides: Sequence[str]) -> int:
    """Detect text in an image or a folder and write polygons in original displayed pixels; return the number of images.

    Raises:
        ConfigError: no checkpoint, no image, or an output that is neither .json nor .csv.
    """
    config = compose_config("evaluate", overrides)
    names = (
        sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if images.is_dir()
        else [images]
    )
    if not config.checkpoint:
        raise ConfigError(
            "predict needs weights; give checkpoint=PATH, for instance one of outputs/*/checkpoints/best.ckpt"
        )
    if output.suffix not in (".json", ".csv"):
        raise ConfigError(f"--output {output} ends in {output.suffix!r}; allowed: .json, .csv")
    if not names:
        raise ConfigError(f"{images} holds no image ({', '.join(IMAGE_SUFFIXES)}); point it to a folder that does")
    module: OCRPLModule = instantiate(config.model, val_loss=False)
    load_checkpoint(module, Path(config.checkpoint))
    module.eval()
    found = _detect(module, names, config)
    write = write_predictions_json if output.suffix == ".json" else write_submission_csv
    write(output, {name: list(zip(item.polygons, item.scores, strict=True)) for name, item in found.items()})
    return len(found)


def _detect(module: OCRPLModule, paths: Sequence[Path], config: DictConfig) -> dict[str, Detections]:
    """Detect by batches of one shape, as the validation split is read."""
    split = config.datasets.val_dataset
    loading = instantiate(split.config.image_loading_config)
    load = ImageLoader(loading.use_turbojpeg, loading.turbojpeg_fallback)
    transform: Transform = instantiate(split.transform)
    headers = [probe_image(path) for path in paths]
    loaded = [shrunk_size((header.height, header.width), split.config.image_long_side) for header in headers]
    shapes = [transform.size] * len(paths)
    if config.aspect_buckets:
        shapes = assign_canvases([tight_canvas(*size, transform.size) for size in loaded], config.aspect_buckets)

    def sample(index: int) -> Sample:
        original = (headers[index].height, headers[index].width)
        image = shrink_to(load(paths[index]), loaded[index])
        done = transform_loaded(transform, image, original, [], np.random.default_rng(0), shapes[index])
        return Sample(index, paths[index].name, done.image, [], [], [], [], done.matrix, original)

    precision = choose_precision(config.trainer.precision, on_gpu=False)
    found: dict[int, Detections] = {}
    for indices in BucketBatchSampler(shapes, config.batch_size, shuffle=False):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision.used == "bf16-mixed"):
            found |= zip(indices, module.detect(collate([sample(index) for index in indices])), strict=True)
    return {paths[index].name: found[index] for index in sorted(found)}


def oracle_report(data: Path, split: str, size: int, shrink_ratio: float, unclip: float | None) -> dict[str, Any]:
    """Return the ceiling of a split: `icdar` and `cleval` of perfect maps, and both hmeans of disturbed ones.

    Args:
        data: folder with `images/SPLIT` and `jsons/SPLIT.json`.
        split: train, val or test.
        size: side of the square network input, in pixels.
        shrink_ratio: r of targets and post-processing.
        unclip: a constant expansion ratio, or None for the exact inverse of the shrink.

    Raises:
        AnnotationError: the split is absent or malformed.
    """
    images = load_oracle_images(data / "jsons" / f"{split}.json", data / "images" / split)
    config = compose_config("train", [f"shrink_ratio={shrink_ratio}", f"model.postprocess.unclip={unclip or 'exact'}"])
    targets, postprocess = instantiate(config.targets), instantiate(config.model.postprocess)
    results = {noise: oracle(images, (size, size), targets, postprocess, noise) for noise in get_args(Noise)}
    perfect = results.pop("none")
    noisy = {
        noise: {"icdar_hmean": result.icdar.hmean, "cleval_hmean": result.cleval.hmean}
        for noise, result in results.items()
    }
    return {
        "icdar": _with_scores(perfect.icdar),
        "cleval": _with_scores(perfect.cleval),
        "images": len(images),
        **noisy,
    }
