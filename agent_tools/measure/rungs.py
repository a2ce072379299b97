"""What is measured, as data: the arms of every ladder and other design, and the trainer's keys that make them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import Arm, Design


class LadderError(WorkbenchError):
    """A benchmark that cannot start, or one of whose samples failed."""


@dataclass(frozen=True)
class Rung:
    """One step of a ladder. `overrides` is what this rung adds; a key set before is replaced."""

    name: str
    title: str
    overrides: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Pairing:
    """Two arms whose times are divided: that of `above` by that of `below`."""

    name: str
    above: str
    below: str


@dataclass(frozen=True)
class ArmsDesign:
    """Arms that are measured in one interleaved run, what they are to each other, and which ratios are asked for."""

    name: str
    design: Design
    arms: tuple[Arm, ...]
    pairings: tuple[Pairing, ...] = ()


VAL = "datasets.val_dataset.config"
TRAIN = "datasets.train_dataset.config"

SWITCHES: dict[str, tuple[str, ...]] = {
    "naive": ("preset=naive",),
    "turbojpeg": (f"{VAL}.image_loading_config.use_turbojpeg=true", "datasets.val_dataset.loader=null"),
    "image_cache": (f"{VAL}.cache_config.cache_images=true", f"{VAL}.preload_images=true"),
    "own_warp_uint8": ("transforms=base",),
    "metric_only": ("val_loss=false",),
    "vectorised_tails": (
        "model.postprocess._target_=ocr.models.postprocess.DBPostProcessor",
        "model.cleval.implementation=vectorised",
        "model.post_workers=auto",
    ),
    "channels_last": ("model.memory_format=channels_last",),
    "bf16": ("trainer.precision=bf16-mixed",),
    "allocator": ("allocator=keep_pages",),
    "tensor_cache": (f"{VAL}.cache_config.cache_transformed_tensors=true",),
    "buckets": ("aspect_buckets=4",),
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
            "Closed-form unclip and a gated, vectorised CLEval instead of pyclipper, shapely and loops; on idle cores.",
        ),
        _rung("channels_last", "channels_last", "Convolutions read memory in the order in which it lies."),
        _rung("bf16", "bf16", "Half the bytes, and matrix units where the processor has them."),
        ALLOCATOR,
        TENSOR_CACHE,
        _rung(
            "aspect_buckets",
            "aspect buckets",
            "Receipts are tall: batches of one aspect are not padded to a square.",
            "buckets",
        ),
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
        raise _unknown("ladder", name, LADDERS)
    rungs = LADDERS[name]
    return [_arm(rung.name, rung.title, _merged(rungs[: index + 1])) for index, rung in enumerate(rungs)]


def _unknown(what: str, name: str, known: Iterable[str]) -> LadderError:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    return LadderError(f"There is no {what} '{name}'{hint}; choose one of {', '.join(known)}.")


def _merged(rungs: Iterable[Rung]) -> list[str]:
    return merged_overrides(override for rung in rungs for override in rung.overrides)


def merged_overrides(overrides: Iterable[str]) -> list[str]:
    """Return overrides with each key once: the last value of a key stands where the key stood first."""
    return list({override.partition("=")[0].lstrip("+"): override for override in overrides}.values())


def _arm(name: str, title: str, overrides: Iterable[str]) -> Arm:
    return Arm(name=name, title=title, overrides=list(overrides), precision="", decoder="")


# --- other designs: what each one gives, settings, the limit ------------------------------------------------------


REPLAYED = "replay=[loader]"
"""Batches that were really loaded once, given again at no cost: the epoch without its input."""


def changed_one_at_a_time(name: str, design: Design, base: Arm, changed: Iterable[Arm]) -> ArmsDesign:
    """Return a design in which each arm changes one thing of the base; above 1, the change is faster."""
    others = tuple(changed)
    return ArmsDesign(name, design, (base, *others), tuple(Pairing(arm.name, base.name, arm.name) for arm in others))


def _leave_one_out() -> ArmsDesign:
    rungs = LADDERS["main"]
    switched = rungs[1:]
    without = [
        _arm(rung.name, f"without {rung.title}", _merged(other for other in rungs if other is not rung))
        for rung in switched
    ]
    pairings = tuple(Pairing(rung.name, rung.name, "all") for rung in switched)
    return ArmsDesign("leave_one_out", "leave-one-out", (_arm("all", "all", _merged(rungs)), *without), pairings)


def _caches() -> ArmsDesign:
    changed = (
        _arm("prenormalised", "pre-normalised float32 tensors", [f"{VAL}.prenormalize_images=true"]),
        _arm(
            "no_image_cache",
            "image cache off",
            [f"{VAL}.cache_config.cache_images=false", f"{VAL}.preload_images=false"],
        ),
        _arm("resident", "all tensors resident", ["dataloaders.resident=true"]),
    )
    return changed_one_at_a_time("caches", "settings", _arm("defaults", "the defaults", []), changed)


def _map_keys(cached: bool, preloaded: bool) -> list[str]:
    flags = {"cache_config.cache_maps": cached, "load_maps": cached, "preload_maps": preloaded}
    return ["val_loss=true", *(f"{VAL}.{key}={str(value).lower()}" for key, value in flags.items())]


def _maps() -> ArmsDesign:
    arms = (
        _arm("built", "maps built each time", _map_keys(cached=False, preloaded=False)),
        _arm("load_maps", "maps from the cache", _map_keys(cached=True, preloaded=False)),
        _arm("preload_maps", "maps preloaded", _map_keys(cached=True, preloaded=True)),
    )
    pairings = (
        Pairing("load_maps", "built", "load_maps"),
        Pairing("preload_maps", "built", "preload_maps"),
        Pairing("preloading", "load_maps", "preload_maps"),
    )
    return ArmsDesign("maps", "settings", arms, pairings)


def _gates() -> ArmsDesign:
    rungs = LADDERS["main"]
    arms = (
        _arm("naive", "naive", _merged(rungs[:1])),
        _arm("fast_square", "all switches, square input", _merged(rungs[:-1])),
        _arm("fast", "all switches, aspect buckets", _merged(rungs)),
        _arm("replayed", "the same, batches replayed", [*_merged(rungs), REPLAYED]),
    )
    pairings = (
        Pairing("square", "naive", "fast_square"),
        Pairing("buckets", "naive", "fast"),
        Pairing("limit", "replayed", "fast"),
    )
    return ArmsDesign("gates", "settings", arms, pairings)


def _pipeline_history() -> ArmsDesign:
    naive = list(SWITCHES["naive"])
    changes = {
        "image_cache": ("naive, images in RAM", SWITCHES["image_cache"]),
        "tensor_cache": ("naive, tensor cache", SWITCHES["tensor_cache"]),
        "preload_maps": ("naive, maps preloaded", tuple(_map_keys(cached=True, preloaded=True))),
        "amp": ("naive, mixed precision", SWITCHES["bf16"]),
        "batch_32": ("naive, batches of 32", ("batch_size=32",)),
        "workers_2": ("naive, 2 workers", ("dataloaders.num_workers=2", "dataloaders.prefetch_factor=4")),
        "compile": ("naive, compiled", ("model.compile_mode=default",)),
    }
    changed = [
        _arm(name, title, merged_overrides([*naive, *overrides])) for name, (title, overrides) in changes.items()
    ]
    return changed_one_at_a_time("pipeline_history", "settings", _arm("naive", "naive", naive), changed)


DESIGNS: dict[str, Callable[[], ArmsDesign]] = {
    "leave_one_out": _leave_one_out,
    "caches": _caches,
    "maps": _maps,
    "gates": _gates,
    "pipeline_history": _pipeline_history,
}
"""The designs that are no ladders, by name; each is made from the ladders and switches as they are when it is asked."""


def benchmark_names() -> list[str]:
    """Return the names of all ladders and other designs."""
    return [*LADDERS, *DESIGNS]


def arms_design(name: str) -> ArmsDesign:
    """Return what is measured under a name: a ladder, or another design.

    Raises:
        LadderError: no such ladder or design.
    """
    if name in DESIGNS:
        return DESIGNS[name]()
    if name not in LADDERS:
        raise _unknown("ladder or design", name, benchmark_names())
    return ArmsDesign(name, "ladder", tuple(ladder_arms(name)))


def replays(arm: Arm) -> bool:
    """Say whether an arm uses stored outputs of a stage again, so that its scores prove nothing."""
    return any(override.startswith("replay=") and override != "replay=[]" for override in arm.overrides)
