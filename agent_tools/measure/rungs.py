"""The ladders as data: which optimisation each rung switches on, and by which of the trainer's keys."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import Arm


class LadderError(WorkbenchError):
    """A ladder that cannot start, or one of whose samples failed."""


@dataclass(frozen=True)
class Rung:
    """One step of a ladder. `overrides` is what this rung adds; a key set before is replaced."""

    name: str
    title: str
    overrides: tuple[str, ...]
    why: str


VAL = "datasets.val_dataset.config"

SWITCHES: dict[str, tuple[str, ...]] = {
    "naive": ("preset=naive",),
    "turbojpeg": (f"{VAL}.image_loading_config.use_turbojpeg=true", "datasets.val_dataset.loader=null"),
    "image_cache": (f"{VAL}.cache_config.cache_images=true", f"{VAL}.preload_images=true"),
    "own_warp_uint8": ("transforms=base",),
    "metric_only": ("val_loss=false",),
    "vectorised_tails": (
        "model.postprocess._target_=ocr.models.postprocess.DBPostProcessor",
        "model.cleval.implementation=vectorised",
    ),
    "channels_last": ("model.memory_format=channels_last",),
    "bf16": ("trainer.precision=bf16-mixed",),
    "allocator": ("allocator=keep_pages",),
    "tensor_cache": (f"{VAL}.cache_config.cache_transformed_tensors=true",),
}
"""The overrides of every optimisation, in one place: the only lines that know the trainer's keys."""


def _rung(name: str, title: str, why: str, *switches: str) -> Rung:
    overrides = tuple(override for switch in (switches or (name,)) for override in SWITCHES[switch])
    return Rung(name, title, overrides, why)


NAIVE = _rung(
    "naive",
    "naive",
    "The plain pipeline: PIL, albumentations in float32, maps in the collate, both branches, fp32, no cache.",
)
IMAGE_CACHE = _rung("image_cache", "image cache", "A decoded image never changes: decode once, keep it packed in RAM.")
ALLOCATOR = _rung(
    "allocator", "allocator keeps pages", "glibc returns freed pages to the kernel and pays for them again each batch."
)
TENSOR_CACHE = _rung(
    "tensor_cache", "tensor cache", "Validation transforms are deterministic: epoch 1 on reads finished uint8 tensors."
)

LADDERS: dict[str, tuple[Rung, ...]] = {
    "main": (
        NAIVE,
        _rung("turbojpeg", "TurboJPEG", "libjpeg-turbo decodes the same pixels in half of PIL's time."),
        IMAGE_CACHE,
        _rung(
            "own_warp_uint8",
            "own resize, uint8",
            "One resize in uint8 with its exact matrix; normalising on the device moves a quarter.",
        ),
        _rung("metric_only", "metric-only validation", "No loss is read, so no maps and no threshold branch are made."),
        _rung(
            "vectorised_tails",
            "vectorised tails",
            "Closed-form unclip and a gated, vectorised CLEval in place of pyclipper, shapely and loops.",
        ),
        _rung("channels_last", "channels_last", "Convolutions read memory in the order in which it lies."),
        _rung("bf16", "bf16", "Half the bytes, and matrix units where the processor has them."),
        ALLOCATOR,
        TENSOR_CACHE,
    ),
    "demo": (
        NAIVE,
        IMAGE_CACHE,
        _rung(
            "lean_validation",
            "metric-only, vectorised",
            "Only what the metric needs: uint8 input, no maps, no threshold branch, closed forms in the tails.",
            "own_warp_uint8",
            "metric_only",
            "vectorised_tails",
        ),
        _rung(
            "channels_last_bf16",
            "channels_last + bf16",
            "Convolutions in the order of memory, at half the bytes.",
            "channels_last",
            "bf16",
        ),
        ALLOCATOR,
        TENSOR_CACHE,
    ),
}
"""The ladders by name; each rung keeps what the rungs before it switched on."""


def ladder_arms(name: str) -> list[Arm]:
    """Return the arms of a ladder with their cumulative overrides; precision and decoder are filled when measured.

    Raises:
        LadderError: no such ladder.
    """
    if name not in LADDERS:
        near = difflib.get_close_matches(name, list(LADDERS), n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise LadderError(f"There is no ladder '{name}'{hint}; choose one of {', '.join(LADDERS)}.")
    arms, overrides = [], dict[str, str]()
    for rung in LADDERS[name]:
        overrides |= {override.partition("=")[0].lstrip("+"): override for override in rung.overrides}
        arms.append(Arm(name=rung.name, title=rung.title, overrides=list(overrides.values()), precision="", decoder=""))
    return arms
