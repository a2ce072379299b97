"""One split as it is on disk: which images belong to it, their truth, and whether each can be decoded."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ocr.datasets.annotations import AnnotationSet, load_annotations, to_displayed
from ocr.datasets.schemas import DatasetConfig
from ocr.utils.content_hash import ContentHashes, sha256_of_json, write_atomically
from ocr.utils.errors import OCRError, nearest
from ocr.utils.image_loading import ImageHeader, check_image, probe_image
from ocr.utils.orientation import displayed_size
from ocr.utils.polygons import Polygon

logger = logging.getLogger(__name__)


class DatasetError(OCRError):
    """Images or annotations that do not fit together; lists every offender."""


@dataclass(frozen=True)
class Split:
    """The usable images of a split, in the order of the annotation file.

    Attributes:
        sizes: (height, width) after the EXIF orientation.
        hashes: SHA-256 of each file's bytes.
        truth: polygons per image in displayed pixels; aligned with `ignore`.
        dropped: name -> why it cannot be decoded (`on_bad_image=drop`).
        warnings: name -> what the decoder said of a file that it could decode.
        content_hash: digest of every image's bytes and of the annotations.
    """

    names: list[str]
    paths: list[Path]
    sizes: list[tuple[int, int]]
    hashes: list[str]
    truth: list[list[Polygon]]
    ignore: list[list[bool]]
    dropped: dict[str, str]
    warnings: dict[str, str]
    content_hash: str


def read_split(config: DatasetConfig) -> Split:
    """Read annotations and headers, and check every image once.

    Raises:
        DatasetError: an image is absent or cannot be decoded; all offenders are listed.
    """
    annotations = load_annotations(config.annotation_path, image_dir=config.image_path)
    paths = {name: config.image_path / name for name in annotations}
    _refuse_absent(paths, config)
    hashes = dict(
        zip(paths, ContentHashes(config.cache_dir / "content_hashes.json").of([*paths.values()]), strict=True)
    )
    warnings, bad = check_images(paths, hashes, config.cache_dir)
    _refuse_bad(bad, len(paths), config)
    names = [name for name in paths if name not in bad]
    headers = [probe_image(paths[name]) for name in names]
    truth, ignore = _displayed_truth(names, annotations, headers, config)
    digest = sha256_of_json([annotations.content_digest(), [(name, hashes[name]) for name in names]])
    return Split(
        names=names,
        paths=[paths[name] for name in names],
        sizes=[(header.height, header.width) for header in headers],
        hashes=[hashes[name] for name in names],
        truth=truth,
        ignore=ignore,
        dropped=bad,
        warnings=warnings,
        content_hash=f"sha256:{digest}",
    )


def _displayed_truth(
    names: Sequence[str], annotations: AnnotationSet, headers: Sequence[ImageHeader], config: DatasetConfig
) -> tuple[list[list[Polygon]], list[list[bool]]]:
    truth, ignore = [], []
    for name, header in zip(names, headers, strict=True):
        # The orientations that swap the sides swap them back when applied to a displayed size.
        raw_height, raw_width = displayed_size(header.orientation, header.height, header.width)
        shown = to_displayed(annotations[name], header.orientation, raw_height, raw_width, config.polygon_frame)
        truth.append(list(shown.polygons))
        ignore.append(list(shown.ignore))
    return truth, ignore


def _refuse_bad(bad: dict[str, str], total: int, config: DatasetConfig) -> None:
    if bad and config.on_bad_image == "error":
        listed = "; ".join(f"{name}: {why}" for name, why in bad.items())
        raise DatasetError(
            f"{len(bad)} of {total} images in {config.image_path} cannot be decoded ({listed}); "
            "mend or remove them, or set on_bad_image=drop to leave them out and have them counted"
        )
    for name, why in bad.items():
        logger.warning("Dropped %s (on_bad_image=drop): %s", name, why)


def _refuse_absent(paths: dict[str, Path], config: DatasetConfig) -> None:
    absent = [name for name, path in paths.items() if not path.is_file()]
    if not absent:
        return
    present = [path.name for path in config.image_path.iterdir()] if config.image_path.is_dir() else []
    hint = nearest(absent[0], present) if present else f"; the folder {config.image_path} does not exist"
    raise DatasetError(
        f"{len(absent)} of {len(paths)} images named in {config.annotation_path} are absent from {config.image_path}: "
        f"{', '.join(absent[:5])}{hint}; correct the annotation file or set image_path to the right folder"
    )


def check_images(
    paths: dict[str, Path], hashes: dict[str, str], cache_dir: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Decide once per content whether each image decodes; return (warnings, errors) by name.

    The verdict is remembered by content hash in `cache_dir`, so an unchanged file is decoded for it once.
    """
    memo = cache_dir / "decode_reports.json"
    try:
        known: dict[str, list[str | None]] = json.loads(memo.read_text())
    except (OSError, ValueError):
        known = {}
    fresh = {}
    for name, path in paths.items():
        if hashes[name] not in known:
            report = check_image(path)
            fresh[hashes[name]] = [report.warning, report.error]
    if fresh:
        try:
            write_atomically(memo, json.dumps(known | fresh).encode())
        except OSError as error:
            logger.info("Decode checks are not remembered: %s", error)
    verdicts = {name: (known | fresh)[hashes[name]] for name in paths}
    warnings = {name: verdict[0] for name, verdict in verdicts.items() if verdict[0]}
    errors = {name: verdict[1] for name, verdict in verdicts.items() if verdict[1]}
    return warnings, errors
