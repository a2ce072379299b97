"""The feature check: what the configuration asked for against what was active, each verified by something observed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ocr.datasets.base import OCRDataset
from ocr.datasets.buckets import tight_canvas
from ocr.lightning_modules.ocr_pl import OCRPLModule
from ocr.lightning_modules.run_file import EpochFigures, FeatureRow
from ocr.utils.errors import OCRError

logger = logging.getLogger(__name__)

PRECISION_DTYPES = {"bf16-mixed": "bfloat16", "16-mixed": "float16", "32-true": "float32"}


class FeatureError(OCRError):
    """A feature was asked for, stayed inactive, and nothing declined it for a stated reason."""


def _row(  # one place decides what "active", "declined" and "not asked for" mean
    names: tuple[str, str, str], asked: bool, expected: str, seen: str, active: bool, declined: str = ""
) -> FeatureRow:
    feature, criterion, verified_by = names
    if not asked:
        status, reason = "n/a", "not asked for"
    elif active:
        status, reason = "pass", ""
    else:
        status, reason = ("declined", declined) if declined else ("fail", "inactive without a stated reason")
    return FeatureRow(
        feature=feature,
        criterion=criterion,
        verified_by=verified_by,
        expected=expected,
        seen=seen,
        status=status,
        reason=reason,
    )


def check_features(
    dataset: OCRDataset,
    module: OCRPLModule,
    epochs: Sequence[EpochFigures],
    precision: Mapping[str, str],
    allocator: Mapping[str, str],
    *,
    epoch_ratio: float,
    shapes: Mapping[str, int],
    resident: bool,
) -> list[FeatureRow]:
    """Return the table of a run's end, for its validation split; what had no epoch to show itself in is `n/a`.

    Args:
        dataset: the validation split.
        module: the module after at least one forward.
        epochs: all epochs so far; validation epochs are judged.
        precision: `asked`, `used`, `reason`.
        allocator: `asked`, `used`, `reason`.
        epoch_ratio: how much faster than epoch 0 each later validation epoch is expected to be.
        shapes: "HxW" -> images of that shape in the last validation epoch, as the batches showed.
        resident: whether the loader was asked to keep batches on the device.
    """
    config, report, tiers = dataset.config, dataset.report, dataset.config.cache_config
    validations = [epoch for epoch in epochs if epoch.phase == "val"]
    expected_dtype = PRECISION_DTYPES[precision["used"]]
    memory_format = module.memory_format
    return [
        _row(
            ("precision", "mixed precision enabled", "dtype of the first convolution's output"),
            precision["used"] != "32-true" and bool(module.seen_dtype),
            expected_dtype,
            module.seen_dtype or "no forward",
            module.seen_dtype == expected_dtype,
        ),
        _row(
            ("preload_images", "image preloading works", "images counted after their pages were read"),
            config.preload_images,
            f"{len(dataset)}/{len(dataset)} images",
            f"{report.preloaded}/{len(dataset)} images",
            report.preloaded == len(dataset),
            report.declined.get("images tier", ""),
        ),
        _row(
            ("cache_transformed_tensors", "tensor caching enabled", "accesses to the tensor tier"),
            tiers.cache_transformed_tensors and bool(validations),
            "accesses > 0",
            f"{_served(validations)[1]} accesses",
            _served(validations)[1] > 0,
            report.declined.get("tensors tier", ""),
        ),
        _hits_row(validations, tiers.cache_transformed_tensors, report.declined.get("tensors tier", "")),
        _ratio_row(validations, tiers.cache_transformed_tensors, epoch_ratio),
        _row(
            ("load_maps", "map tier serves targets", "accesses to the map tier"),
            config.load_maps and bool(validations),
            "accesses > 0",
            f"{_accesses(validations, 'maps')} accesses",
            _accesses(validations, "maps") > 0,
            report.declined.get("map tier", report.declined.get("maps tier", "")),
        ),
        _row(
            ("use_turbojpeg", "TurboJPEG decodes", "the decoder the dataset opened"),
            config.image_loading_config.use_turbojpeg,
            "turbojpeg",
            report.decoder,
            report.decoder.startswith("turbojpeg"),
            report.declined.get("turbojpeg", ""),
        ),
        _row(
            ("memory_format", "channels_last weights", "strides of the first convolution's weight"),
            memory_format == "channels_last",
            "channels_last",
            module.weight_format,
            module.weight_format == "channels_last",
        ),
        _row(
            ("allocator", "the allocator keeps its pages", "mallopt's answer"),
            allocator["asked"] == "keep_pages",
            "keep_pages",
            allocator["used"],
            allocator["used"] == "keep_pages",
            allocator["reason"],
        ),
        _compile_row(module),
        _row(
            ("post_workers", "post-processing overlaps the forward", "batches collected from the threads"),
            module.post_workers > 0 and bool(validations),
            "batches > 0",
            f"{module.batches_beside_main_thread} batches",
            module.batches_beside_main_thread > 0,
        ),
        _buckets_row(dataset, shapes),
        _resident_row(validations, resident, report.declined.get("resident", "")),
    ]


def _compile_row(module: OCRPLModule) -> FeatureRow:
    compiled = module.compiled
    graphs = 0 if compiled is None else compiled.graphs
    return _row(
        ("compile", "the network runs compiled", "graphs that torch counted"),
        compiled is not None and bool(module.seen_dtype),
        "graphs > 0",
        f"{graphs} graphs",
        graphs > 0,
        "" if compiled is None else compiled.declined,
    )


def _buckets_row(dataset: OCRDataset, shapes: Mapping[str, int]) -> FeatureRow:
    """Several shapes are expected where the images need several, were all seen, and one bucket was not asked for."""
    buckets, planned = dataset.config.aspect_buckets, dataset.shape_counts()
    needed = {tight_canvas(height, width, dataset.transform.size) for height, width in dataset.loaded_sizes}
    several = buckets > 1 and len(needed) > 1 and sum(shapes.values()) == len(dataset)
    return _row(
        ("aspect_buckets", "batches follow the aspects of the images", "shapes of an epoch's batches"),
        buckets > 0 and bool(shapes),
        f"{'2 shapes or more' if several else '1 shape or more'} of {', '.join(sorted(planned))}",
        ", ".join(sorted(shapes)),
        set(shapes) <= set(planned) and (len(shapes) > 1 or not several),
    )


def _resident_row(epochs: Sequence[EpochFigures], asked: bool, declined: str) -> FeatureRow:
    later = epochs[1:]
    hits, images = _hits(later, "resident"), sum(epoch.images for epoch in later)
    return _row(
        ("resident", "batches stay on the device", "batches served from its memory from epoch 1 on"),
        asked and bool(later),
        "all images",
        f"{hits}/{images} images",
        hits == images,
        declined,
    )


def _accesses(epochs: Sequence[EpochFigures], tier: str) -> int:
    return sum(epoch.cache[tier].hits + epoch.cache[tier].misses for epoch in epochs if tier in epoch.cache)


def _hits(epochs: Sequence[EpochFigures], tier: str) -> int:
    return sum(epoch.cache[tier].hits for epoch in epochs if tier in epoch.cache)


def _served(epochs: Sequence[EpochFigures]) -> tuple[int, int]:
    """Return hits and accesses of the tensor tier; an image that is resident on the device counts as served by it."""
    resident = _hits(epochs, "resident")
    return _hits(epochs, "tensors") + resident, _accesses(epochs, "tensors") + resident


def _hits_row(epochs: Sequence[EpochFigures], asked: bool, declined: str) -> FeatureRow:
    hits, total = _served(epochs[1:])
    row = _row(
        ("cache hits", "cache hits occurring", "hits of the tensor tier from epoch 1 on"),
        asked,
        "all accesses",
        f"{hits}/{total} hits",
        total > 0 and hits == total,
        declined,
    )
    if asked and not declined and len(epochs) < 2:
        return row.model_copy(update={"status": "n/a", "reason": "only one validation epoch ran"})
    return row


def _ratio_row(epochs: Sequence[EpochFigures], asked: bool, ratio: float) -> FeatureRow:
    names = ("epoch ratio", "epoch 1+ faster than epoch 0 by the stated ratio", "seconds of the validation epochs")
    later = sorted(epoch.seconds for epoch in epochs[1:])
    cold = epochs[0].cache.get("tensors") if epochs else None
    if not asked or not later or cold is None or cold.misses <= cold.hits:
        row = _row(names, False, f">= {ratio:.2f}x", "", False)
        return row.model_copy(update={"reason": "epoch 0 was already served from the cache, or no later epoch ran"})
    seen = epochs[0].seconds / later[len(later) // 2]
    row = _row(names, True, f">= {ratio:.2f}x", f"{seen:.2f}x", seen >= ratio)
    return row if row.status == "pass" else row.model_copy(update={"reason": "slower than stated"})


def enforce(rows: Sequence[FeatureRow], strict: bool) -> None:
    """Log the table; with `strict`, stop on a feature that was asked for and stayed inactive.

    Raises:
        FeatureError: names every inactive feature, what was expected and what was seen.
    """
    for row in rows:
        detail = f" ({row.reason})" if row.reason else ""
        logger.info(
            "feature %-26s %-8s expected %s, seen %s%s", row.feature, row.status, row.expected, row.seen, detail
        )
    # A ratio of times is noisy: it is reported, and never stops a run.
    failed = [
        f"{row.feature}: expected {row.expected}, seen {row.seen}"
        for row in rows
        if row.status == "fail" and row.feature != "epoch ratio"
    ]
    if failed and strict:
        raise FeatureError(
            f"{len(failed)} requested features stayed inactive: {'; '.join(failed)}; "
            "find out why, switch them off, or set features.strict=false to go on"
        )
