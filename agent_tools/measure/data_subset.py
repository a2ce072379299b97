"""Which images are measured on: a fixed part of one split, as an annotation file and the overrides that point to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent_tools.measure.rungs import TRAIN, VAL
from agent_tools.measure.trainer import hydra_value
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import write_atomically


class DataError(WorkbenchError):
    """Data that is not there, could not be rendered, or is not in the form that a measurement can cut."""


def subset_annotations(data: Path, split: str, images: int, target: Path) -> list[str]:
    """Write the annotations of the first `images` file names (sorted) of a split to `target`; return the names.

    Args:
        data: a data folder with `images/SPLIT/` and `jsons/SPLIT.json`.
        split: train, val or test.
        images: how many images; all of them where the split has fewer.
        target: the JSON file to write.

    Raises:
        DataError: no such folder or split, or a file that is not in the own annotation format.
    """
    if images < 1:
        raise DataError(f"images is {images}; a measurement needs at least 1 image.")
    source = data / "jsons" / f"{split}.json"
    entries = _annotated_images(source)
    names = sorted(entries)[:images]
    write_atomically(target, json.dumps({"images": {name: entries[name] for name in names}}))
    return names


def _annotated_images(source: Path) -> dict[str, Any]:
    if not source.is_file():
        present = sorted(path.stem for path in source.parent.glob("*.json"))
        hint = f"splits there: {', '.join(present)}" if present else "the data folder needs jsons/ and images/"
        raise DataError(f"There is no {source.parent.name}/{source.name} in {source.parent.parent}; {hint}.")
    try:
        entries = json.loads(source.read_text(encoding="utf-8"))["images"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{source} is not in the own format {{"images": {{FILE: ...}}}}; convert it first.') from error
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{source} names no images; choose another split.")
    return entries


def data_overrides(root: Path, data: Path, split: str, annotation: Path, dataset: str = VAL) -> list[str]:
    """Return the overrides that point a dataset of the trainer at a split of `data` with the given annotation file.

    Args:
        root: the repository.
        data: the data folder.
        split: which of its image folders.
        annotation: the annotation file of the subset.
        dataset: key of the dataset's configuration; validation's by default.
    """
    return [
        f"dataset_base_path={hydra_value(relative_to_root(data, root) + '/')}",
        f"{dataset}.image_path={hydra_value(relative_to_root(data / 'images' / split, root))}",
        f"{dataset}.annotation_path={hydra_value(relative_to_root(annotation, root))}",
    ]


def training_overrides(root: Path, data: Path, split: str, annotation: Path, epochs: int) -> list[str]:
    """Return the overrides of a training on a subset whose epochs are timed: nothing is validated or kept."""
    validated = data_overrides(root, data, split, annotation)[1:]
    return [
        *data_overrides(root, data, split, annotation, TRAIN),
        *validated,
        f"trainer.max_epochs={epochs}",
        "trainer.limit_val_batches=0",
        "trainer.num_sanity_val_steps=0",
        "callbacks.best=null",
        "callbacks.last=null",
    ]


def relative_to_root(path: Path, root: Path) -> str:
    """Return a path relative to the root or its neighbours, where processes run; absolute anywhere else."""
    resolved, base = path.resolve(), root.resolve()
    if resolved.is_relative_to(base):
        return resolved.relative_to(base).as_posix()
    if resolved.is_relative_to(base.parent) and base.parent != base.parent.parent:
        return "../" + resolved.relative_to(base.parent).as_posix()
    return str(resolved)
