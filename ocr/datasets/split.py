"""One split as it is on disk: which images belong to it, their truth, and whether each can be decoded."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from ocr.datasets.annotations import AnnotationSet, load_annotations, to_displayed
from ocr.datasets.schemas import DatasetConfig
from ocr.utils.content_hash import ContentHashes, sha256_of_file, sha256_of_json, write_atomically
from ocr.utils.errors import OCRError, nearest
from ocr.utils.image_loading import ImageHeader, ImageLoader, check_image, probe_image
from ocr.utils.orientation import displayed_size
from ocr.utils.polygons import Polygon

logger = logging.getLogger(__name__)


class DatasetError(OCRError):
    """Images or annotations that do not fit together; lists every offender."""


FileState = tuple[int, int, int, int]
"""Size, mtime, ctime and inode: one of them changes with the bytes of a file."""


@dataclass(frozen=True)
class Split:
    """The usable images of a split, in the order of the annotation file.

    Attributes:
        sizes: (height, width) after the EXIF orientation.
        hashes: SHA-256 of each file's bytes.
        states: of each file just before it was hashed.
        truth: polygons per image in displayed pixels; aligned with `ignore`.
        dropped: name -> why it cannot be decoded (`on_bad_image=drop`).
        warnings: name -> what the decoder said of a file that it could decode.
        content_hash: digest of every image's bytes and of the annotations.
    """

    names: list[str]
    paths: list[Path]
    sizes: list[tuple[int, int]]
    hashes: list[str]
    states: list[FileState]
    truth: list[list[Polygon]]
    ignore: list[list[bool]]
    dropped: dict[str, str]
    warnings: dict[str, str]
    content_hash: str

    def refuse_changed(self, index: int) -> None:
        """Refuse an image whose bytes are not those that were hashed; a file copied anew with the same bytes passes.

        Raises:
            DatasetError: it changed: the caches and the run's record would name other pixels than were used.
        """
        path = self.paths[index]
        state = _state_of(path)
        if state == self.states[index]:
            return
        if sha256_of_file(path) != self.hashes[index]:
            raise _changed(path, "after this run began")
        self.states[index] = state


def read_split(config: DatasetConfig) -> Split:
    """Read annotations and headers, and check every image once.

    Raises:
        DatasetError: an image is absent or cannot be decoded; all offenders are listed.
    """
    annotations = load_annotations(config.annotation_path, image_dir=config.image_path)
    paths = {name: config.image_path / name for name in annotations}
    _refuse_absent(paths, config)
    states = {name: _state_of(path) for name, path in paths.items()}
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
        states=[states[name] for name in names],
        truth=truth,
        ignore=ignore,
        dropped=bad,
        warnings=warnings,
        content_hash=f"sha256:{digest}",
    )


def _state_of(path: Path) -> FileState:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _changed(path: Path, when: str) -> DatasetError:
    return DatasetError(f"{path} changed {when}; wait until it is no longer written to, and start the run again")


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

    The verdict is remembered in `cache_dir` by content hash and decoder, so an unchanged file is decoded for it once.

    Raises:
        DatasetError: a file changes while it is looked at.
    """
    memo = cache_dir / "decode_reports.json"
    known = _remembered(memo)
    decoder = f"{ImageLoader().decoder_name}, opencv {cv2.__version__}"
    keys = {name: f"{hashes[name]} {decoder}" for name in paths}
    fresh = {}
    for name, path in paths.items():
        if keys[name] not in known:
            report = check_image(path)
            # The verdict must be about the bytes that were hashed, or it would brand them for ever.
            if sha256_of_file(path) != hashes[name]:
                raise _changed(path, "while it was being checked")
            fresh[keys[name]] = [report.warning, report.error]
    if fresh:
        try:
            write_atomically(memo, json.dumps(known | fresh).encode())
        except OSError as error:
            logger.info("Decode checks are not remembered: %s", error)
    verdicts = {name: (known | fresh)[keys[name]] for name in paths}
    warnings = {name: verdict[0] for name, verdict in verdicts.items() if verdict[0]}
    errors = {name: verdict[1] for name, verdict in verdicts.items() if verdict[1]}
    return warnings, errors


def _remembered(memo: Path) -> dict[str, list[str | None]]:
    try:
        found = json.loads(memo.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
