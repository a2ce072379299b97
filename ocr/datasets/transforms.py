"""From a decoded image to the network's input, with the geometry as one 3x3 matrix per sample.

The matrix is applied to pixels (one warp) and to polygons alike and inverted exactly; albumentations does photometric
work, and the whole transform in the naive variant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import albumentations as A
import cv2
import numpy as np

from ocr.utils.polygons import Polygon, transform_points

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Transformed:
    """`image` (H, W, 3) uint8 or normalised float32; `matrix` (3, 3); `polygons` in network pixels, in source order."""

    image: np.ndarray
    matrix: np.ndarray
    polygons: list[Polygon]


class Transform(Protocol):
    """What a dataset needs of a transform.

    `size` (height, width) sets the scale; `deterministic` decides whether the output may be cached.
    """

    size: tuple[int, int]
    deterministic: bool

    def __call__(
        self,
        image: np.ndarray,
        polygons: Sequence[Polygon],
        rng: np.random.Generator,
        canvas: tuple[int, int] | None = None,
    ) -> Transformed:
        """Transform one (h, w, 3) uint8 image and its polygons into `canvas`, by default `size`; arguments stay."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that the output depends on, as JSON-ready values (part of the cache key)."""
        ...


def letterbox_size(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) of an image fitted into `size` with its aspect kept, rounded to whole pixels."""
    scale = min(size[0] / height, size[1] / width)
    return max(1, min(size[0], round(height * scale))), max(1, min(size[1], round(width * scale)))


def letterbox_matrix(height: int, width: int, size: tuple[int, int]) -> np.ndarray:
    """Return the (3, 3) matrix that fits an image into the top left of `size`; each axis scales by its rounded size."""
    fitted = letterbox_size(height, width, size)
    return np.diag([fitted[1] / width, fitted[0] / height, 1.0])


def shrunk_size(size: tuple[int, int], long_side: int | None) -> tuple[int, int]:
    """Return the (height, width) of an image whose longer side is at most `long_side` pixels, its aspect kept."""
    factor = 1.0 if long_side is None else min(1.0, long_side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def shrink_to(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink (h, w, 3) uint8 by area to (height, width); an image of that size is returned as it is."""
    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)


def transform_loaded(
    transform: Transform,
    image: np.ndarray,
    original_size: tuple[int, int],
    polygons: Sequence[Polygon],
    rng: np.random.Generator,
    canvas: tuple[int, int],
) -> Transformed:
    """Transform a loaded image, which `image_long_side` may have shrunk; polygons and matrix start at the original.

    Args:
        transform: takes the loaded image to the network's input.
        image: (h, w, 3) uint8.
        original_size: (height, width) of the original displayed image, in pixels.
        polygons: in original pixels; not changed.
        rng: for random transforms.
        canvas: (height, width) of the result.
    """
    loaded = np.diag([image.shape[1] / original_size[1], image.shape[0] / original_size[0], 1.0])
    done = transform(image, [transform_points(loaded, polygon) for polygon in polygons], rng, canvas)
    return Transformed(done.image, done.matrix @ loaded, done.polygons)


def shrink_before_warp(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve (or third, ...) an image by area where the warp would skip pixels, and give the matrix for the smaller one.

    A bilinear warp reads four pixels; below half size it would alias thin strokes away.
    """
    factor = math.floor(1.0 / max(1e-6, math.sqrt(abs(np.linalg.det(matrix[:2, :2])))))
    if factor < 2:
        return image, matrix
    height, width = image.shape[:2]
    smaller = cv2.resize(image, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
    restore = np.diag([width / smaller.shape[1], height / smaller.shape[0], 1.0])
    return smaller, matrix @ restore


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp (h, w, 3) uint8 to (H, W, 3) by a matrix in corner-origin coordinates; outside pixels are 0."""
    image, matrix = shrink_before_warp(image, matrix)
    # OpenCV puts the origin at the centre of the first pixel, ours is at its corner.
    to_corner, to_centre = np.eye(3), np.eye(3)
    to_corner[:2, 2], to_centre[:2, 2] = 0.5, -0.5
    affine = (to_centre @ matrix @ to_corner)[:2]
    return cv2.warpAffine(image, affine, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))


class ConditionalNormalize:
    """Normalise uint8 pixels by ImageNet's mean and deviation; what is float32 already passes as it is.

    The same constants and order of operations as on the device, so that both give the same bits.
    """

    def __init__(self) -> None:
        self._scale = np.array([1 / (255 * std) for std in IMAGENET_STD], np.float32)
        self._shift = np.array([-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)], np.float32)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 0..255 -> (H, W, 3) float32."""
        if image.dtype != np.uint8:
            return image
        normalised = image.astype(np.float32)
        normalised *= self._scale
        normalised += self._shift
        return normalised


class LetterboxTransform:
    """Fit the image into the top left of `size`, pad with 0; uint8 out. The validation transform."""

    deterministic = True

    def __init__(self, size: Sequence[int]) -> None:
        """`size` is (height, width) in network pixels."""
        self.size = (int(size[0]), int(size[1]))

    def __call__(
        self,
        image: np.ndarray,
        polygons: Sequence[Polygon],
        rng: np.random.Generator,  # noqa: ARG002
        canvas: tuple[int, int] | None = None,
    ) -> Transformed:
        """Resize by area into a zero canvas, at the scale of `size`; polygons follow the matrix."""
        height, width = image.shape[:2]
        rows, columns = letterbox_size(height, width, self.size)
        padded = np.zeros((*(canvas or self.size), 3), np.uint8)
        shrinking = rows < height
        padded[:rows, :columns] = cv2.resize(
            image, (columns, rows), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        )
        matrix = letterbox_matrix(height, width, self.size)
        return Transformed(padded, matrix, [transform_points(matrix, polygon) for polygon in polygons])

    def fingerprint(self) -> dict[str, Any]:
        """See `Transform.fingerprint`."""
        return {"transform": "letterbox", "size": self.size, "dtype": "uint8", "opencv": cv2.__version__}


class AugmentTransform:
    """The training transform: one random affine (scale, stretch, rotation, shift), one warp, photometric changes.

    Args:
        size: (height, width) of the output in network pixels.
        scale: range of the factor on top of the letterbox scale, drawn log-uniformly.
        stretch: largest factor by which the width is stretched or shrunk against the height, drawn log-uniformly.
        rotation: largest rotation in degrees, either way.
        photometric: strength 0..1 of brightness, contrast, blur and noise; 0 switches them off.
    """

    deterministic = False

    def __init__(
        self, size: Sequence[int], scale: Sequence[float], stretch: float, rotation: float, photometric: float
    ) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.scale = (float(scale[0]), float(scale[1]))
        self.stretch, self.rotation, self.photometric = float(stretch), float(rotation), float(photometric)
        self._photometric = A.Compose(
            [
                A.RandomBrightnessContrast(0.3 * photometric, 0.3 * photometric, p=0.5),
                A.OneOf([A.GaussianBlur((3, 3), p=1), A.GaussNoise((0.01, 0.05), per_channel=False, p=1)], p=0.2),
                A.ToGray(p=0.1),
            ]
        )

    def __call__(
        self,
        image: np.ndarray,
        polygons: Sequence[Polygon],
        rng: np.random.Generator,
        canvas: tuple[int, int] | None = None,
    ) -> Transformed:
        """Draw a matrix, warp once, then change the pixels."""
        window = canvas or self.size
        matrix = self._draw_matrix(image.shape[0], image.shape[1], window, rng)
        warped = warp(image, matrix, window)
        if self.photometric:
            self._photometric.set_random_seed(int(rng.integers(2**31)))
            warped = self._photometric(image=warped)["image"]
        return Transformed(warped, matrix, [transform_points(matrix, polygon) for polygon in polygons])

    def _draw_matrix(self, height: int, width: int, window: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        fit = min(self.size[0] / height, self.size[1] / width)
        scale = fit * math.exp(rng.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        stretch = math.exp(rng.uniform(-1, 1) * math.log(self.stretch) / 2)
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        cosine, sine = math.cos(angle), math.sin(angle)
        linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([scale * stretch, scale / stretch])
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ linear.T
        low, high = corners.min(0), corners.max(0)
        room = np.array([window[1], window[0]]) - (high - low)
        # Where the image is larger than the window it is a crop, where smaller a shift: the same draw serves both.
        shift = rng.uniform(0, 1, 2) * room - low
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, shift
        return matrix

    def fingerprint(self) -> dict[str, Any]:
        """See `Transform.fingerprint`; never used as a key, since the output is random."""
        return {"transform": "augment", "size": self.size}


class NaiveTransform:
    """The whole transform in albumentations and float32, as pipelines are usually written: the ladder's baseline."""

    deterministic = True

    def __init__(self, size: Sequence[int]) -> None:
        """`size` is (height, width) in network pixels."""
        self.size = (int(size[0]), int(size[1]))
        self._compositions: dict[tuple[int, int], A.Compose] = {}

    def composition(self, canvas: tuple[int, int]) -> A.Compose:
        """Return the albumentations pipeline that fills a canvas (height, width)."""
        if canvas not in self._compositions:
            self._compositions[canvas] = A.Compose(
                [
                    A.LongestMaxSize(max_size_hw=self.size, interpolation=cv2.INTER_LINEAR, area_for_downscale="image"),
                    A.PadIfNeeded(*canvas, position="top_left", border_mode=cv2.BORDER_CONSTANT, fill=0),
                    A.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                ],
                keypoint_params=A.KeypointParams("xy", remove_invisible=False, label_fields=["polygon_id"]),
            )
        return self._compositions[canvas]

    def __call__(
        self,
        image: np.ndarray,
        polygons: Sequence[Polygon],
        rng: np.random.Generator,  # noqa: ARG002
        canvas: tuple[int, int] | None = None,
    ) -> Transformed:
        """Resize, pad, normalise and move keypoints by albumentations; keypoints carry their polygon's id."""
        points = np.concatenate([*polygons, np.zeros((0, 2))])
        ids = np.repeat(np.arange(len(polygons)), [len(polygon) for polygon in polygons])
        out = self.composition(canvas or self.size)(image=image, keypoints=points, polygon_id=ids)
        moved, moved_ids = np.asarray(out["keypoints"], float).reshape(-1, 2), np.asarray(out["polygon_id"])
        return Transformed(
            out["image"],
            letterbox_matrix(image.shape[0], image.shape[1], self.size),
            [moved[moved_ids == polygon_id] for polygon_id in range(len(polygons))],
        )

    def fingerprint(self) -> dict[str, Any]:
        """See `Transform.fingerprint`."""
        return {"transform": "naive", "size": self.size, "dtype": "float32", "albumentations": A.__version__}
