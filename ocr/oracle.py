"""The ceiling of a configuration: ground truth -> maps -> polygons -> metrics, without any network.

No training can pass the score of perfect maps; maps with the errors that a network makes show how much of it survives,
and choose shrink ratio and resolution.
"""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ocr.datasets.annotations import AnnotationError, load_annotations, to_displayed
from ocr.datasets.targets import TargetBuilder, fill_polygon
from ocr.datasets.transforms import letterbox_matrix
from ocr.metrics.cleval import Cleval, ClevalCounts
from ocr.metrics.icdar import IcdarCounts, icdar_counts
from ocr.models.postprocess import PostProcessor
from ocr.utils.image_loading import probe_image
from ocr.utils.polygons import Polygon, transform_points

Noise = Literal["none", "dilated", "jittered"]

DILATION_PX = 1
JITTER_SD_PX = 1.0
# Below this sine two neighbouring edges are one line, and their intersection is anywhere.
MIN_SINE = 1e-3


@dataclass(frozen=True)
class OracleImage:
    """Truth of one image in displayed original pixels; `size` is (height, width)."""

    name: str
    polygons: Sequence[Polygon]
    ignore: Sequence[bool]
    size: tuple[int, int]


@dataclass(frozen=True)
class OracleResult:
    """Counts pooled over `images` images."""

    icdar: IcdarCounts
    cleval: ClevalCounts
    images: int

    def as_dict(self) -> dict[str, Any]:
        """`{"icdar": {...}, "cleval": {...}, "images": n}` with counts, precision, recall and hmean."""
        return {"icdar": self.icdar.as_dict(), "cleval": self.cleval.as_dict(), "images": self.images}


def load_oracle_images(
    annotation_path: str | Path,
    image_folder: str | Path,
    polygon_frame: Literal["raw", "displayed", "auto"] = "auto",
) -> list[OracleImage]:
    """Read the truth of a dataset; of the images only the headers are read.

    Raises:
        AnnotationError: the annotation is absent or malformed.
        ImageDecodeError: an annotated image is absent or its header is unreadable.
    """
    images = []
    for name, annotation in load_annotations(annotation_path, image_dir=Path(image_folder)).items():
        header = probe_image(Path(image_folder) / name)
        shown = to_displayed(annotation, header.orientation, header.raw_height, header.raw_width, polygon_frame)
        images.append(OracleImage(name, shown.polygons, shown.ignore, (header.height, header.width)))
    if not images:
        raise AnnotationError(f"{annotation_path} names no image; the oracle needs at least one.")
    return images


def oracle(
    images: Iterable[OracleImage],
    size: tuple[int, int],
    targets: TargetBuilder,
    postprocess: PostProcessor,
    noise: Noise = "none",
    cleval: Cleval | None = None,
    seed: int = 0,
) -> OracleResult:
    """Score what post-processing makes of ideal or disturbed shrink maps.

    Args:
        images: truth with image sizes.
        size: (height, width) of the network's square or rectangle; images are fitted into its top left corner.
        targets: draws the maps.
        postprocess: reads them.
        noise: "none"; "dilated" grows every map by 1 px in all eight directions; "jittered" moves every edge of every
            shrunk polygon by its own normal deviate of 1 px, along its normal.
        cleval: the CLEval to count with, the competition's when None.
        seed: of the jitter.

    Raises:
        ValueError: no image, an unknown noise, or an exact expansion with another shrink ratio than the targets'.
    """
    _check(targets, postprocess, noise)
    generator = np.random.default_rng(seed)
    count_cleval = cleval or Cleval()
    counts = [_score(image, size, targets, postprocess, noise, count_cleval, generator) for image in images]
    if not counts:
        raise ValueError("The oracle got no image; give at least one.")
    icdar, clevals = zip(*counts, strict=True)
    return OracleResult(reduce(operator.add, icdar), reduce(operator.add, clevals), len(counts))


def _check(targets: TargetBuilder, postprocess: PostProcessor, noise: Noise) -> None:
    if noise not in get_args(Noise):
        raise ValueError(f"The oracle's noise is {noise!r}; allowed are {', '.join(get_args(Noise))}.")
    if postprocess.unclip == "exact" and postprocess.shrink_ratio != targets.shrink_ratio:
        raise ValueError(
            f"Targets shrink by {targets.shrink_ratio} and post-processing undoes {postprocess.shrink_ratio}; "
            "give both the same shrink_ratio."
        )


def _score(
    image: OracleImage,
    size: tuple[int, int],
    targets: TargetBuilder,
    postprocess: PostProcessor,
    noise: Noise,
    cleval: Cleval,
    generator: np.random.Generator,
) -> tuple[IcdarCounts, ClevalCounts]:
    matrix = letterbox_matrix(*image.size, size)
    polygons = [transform_points(matrix, polygon) for polygon in image.polygons]
    if noise == "jittered":
        shrink = _jittered_map(polygons, targets.distances(polygons, image.ignore), size, generator)
    else:
        shrink = targets(polygons, image.ignore, size).shrink
    if noise == "dilated":
        shrink = np.asarray(cv2.dilate(shrink, np.ones((2 * DILATION_PX + 1,) * 2, np.uint8)), np.uint8)
    found = postprocess(shrink.astype(np.float32), matrix, image.size).polygons
    return icdar_counts(image.polygons, found, image.ignore), cleval(image.polygons, found, image.ignore)


def _jittered_map(
    polygons: Sequence[Polygon],
    distances: Sequence[float | None],
    size: tuple[int, int],
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    shrink = np.zeros(size, np.uint8)
    for polygon, distance in zip(polygons, distances, strict=True):
        if distance is None:
            continue
        moved = move_edges(polygon, generator.normal(-distance, JITTER_SD_PX, len(polygon)))
        if moved is not None:
            fill_polygon(shrink, moved)
    return shrink


def move_edges(polygon: Polygon, offsets: NDArray[np.float64]) -> Polygon | None:
    """Move edge i, from point i to the next, outwards by `offsets[i]` pixels; None when edges pass each other.

    Corners are where the moved lines of neighbouring edges meet.
    """
    edges = np.roll(polygon, -1, axis=0) - polygon
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    if not (lengths > 0).all():
        return None
    directions = edges / lengths[:, None]
    winding = np.sign((polygon[:, 0] * np.roll(polygon[:, 1], -1) - polygon[:, 1] * np.roll(polygon[:, 0], -1)).sum())
    normals = winding * np.stack([directions[:, 1], -directions[:, 0]], axis=1)
    before, shifts = np.roll(normals, 1, axis=0), np.roll(offsets, 1)
    sine = before[:, 0] * normals[:, 1] - before[:, 1] * normals[:, 0]
    # Each corner moves by v with v . normal = offset for both of its edges.
    safe = np.where(np.abs(sine) < MIN_SINE, 1.0, sine)
    x = (shifts * normals[:, 1] - offsets * before[:, 1]) / safe
    y = (offsets * before[:, 0] - shifts * normals[:, 0]) / safe
    straight = normals * ((shifts + offsets) / 2)[:, None]
    moved = polygon + np.where(np.abs(sine)[:, None] < MIN_SINE, straight, np.stack([x, y], axis=1))
    reversed_edges = ((np.roll(moved, -1, axis=0) - moved) * directions).sum(axis=1) <= 0
    return None if reversed_edges.any() else moved
