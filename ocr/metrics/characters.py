"""Where CLEval puts characters: how many a polygon holds, and the centre of each, for many polygons at once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ocr.metrics.cleval_rules import EPSILON, MAX_ASPECT, MAX_WORD_CHARACTERS, hull_order
from ocr.metrics.matching import Bools, Floats, Indices, PolygonBatch, following

Float32s = NDArray[np.float32]
CharacterRule = Callable[[Float32s], Indices]


def word_lengths(batch: PolygonBatch) -> Indices:
    """Characters (K,) of each word: the longer side in units of the shorter, half up."""

    def characters(aspect: Float32s) -> Indices:
        longest = np.maximum(aspect, np.float32(1.0) / (aspect + EPSILON))
        return np.minimum(np.rint(np.float32(0.5) + longest), MAX_WORD_CHARACTERS).astype(np.intp)

    return _settled(batch, np.arange(len(batch)), characters)


def false_characters(batch: PolygonBatch, indices: Indices, fp_cap: int) -> Indices:
    """Characters that the chosen detections invent."""

    def characters(aspect: Float32s) -> Indices:
        count = np.rint(np.float32(0.5) + np.float32(1.0) / (EPSILON + aspect))
        return np.minimum(count, fp_cap).astype(np.intp)

    return _settled(batch, indices, characters)


def _settled(batch: PolygonBatch, indices: Indices, characters: CharacterRule) -> Indices:
    """Character counts of the chosen polygons: by bounds where rounding cannot matter, else by the exact order."""
    counts, certain = _bounded_characters(batch, indices, characters)
    open_ones = np.flatnonzero(~certain)
    if len(open_ones):
        counts[open_ones] = characters(_exact_aspects(batch, indices[open_ones]))
    return counts


def _bounded_characters(batch: PolygonBatch, indices: Indices, characters: CharacterRule) -> tuple[Indices, Bools]:
    """Counts, and whether every rectangle that may be the smallest gives the same one, for convex quads."""
    points = batch.points[indices, :4]
    edges = following(points) - points
    lengths = np.hypot(edges[..., 0], edges[..., 1])
    after = following(edges)
    turns = edges[..., 0] * after[..., 1] - edges[..., 1] * after[..., 0]
    # Flatter corners might not be corners of the hull in float32.
    sharp = (np.abs(turns) > 1e-3 * lengths * following(lengths)).all(axis=1) & batch.convex[indices]
    unit = edges / np.where(lengths > 0.0, lengths, 1.0)[..., None]
    along, across = _extent(unit, points), _extent(np.stack([-unit[..., 1], unit[..., 0]], axis=-1), points)
    slack = 8.0 * float(EPSILON) * np.abs(points).max(axis=(1, 2))[:, None]
    area = along * across
    smallest = area <= (area + 2.0 * slack * (along + across)).min(axis=1, keepdims=True)
    lowest = np.maximum(across - slack, 0.0) / np.maximum(along + slack, 1e-9)
    highest = (across + slack) / np.maximum(along - slack, 1e-9)
    bounds = np.stack([lowest, highest], axis=-1)
    several = characters(np.minimum(bounds, MAX_ASPECT).astype(np.float32))
    chosen = smallest[..., None]
    least = np.where(chosen, several, np.iinfo(np.intp).max).min(axis=(1, 2))
    most = np.where(chosen, several, -1).max(axis=(1, 2))
    return least, sharp & (least == most)


def _extent(directions: Floats, points: Floats) -> Floats:
    """Extent (K, E) of polygons (K, M, 2) along unit directions (K, E, 2)."""
    projected = directions @ points.transpose(0, 2, 1)
    return projected.max(axis=2) - projected.min(axis=2)


def _exact_aspects(batch: PolygonBatch, indices: Indices) -> Float32s:
    """Height over width of the smallest rectangles, the first in Qhull's order where several are equally small."""
    points = batch.points[indices].astype(np.float32)
    hulls = np.zeros_like(points)
    flat = np.zeros(len(indices), dtype=bool)
    for row, (polygon, count) in enumerate(zip(points, batch.counts[indices].tolist(), strict=True)):
        order = hull_order(polygon[:count])
        flat[row] = not order
        hulls[row] = polygon[order + order[-1:] * (len(polygon) - len(order))] if order else polygon
    edges = following(hulls) - hulls
    lengths = np.sqrt(edges[..., 0] * edges[..., 0] + edges[..., 1] * edges[..., 1])[..., None]
    unit = np.divide(edges, np.where(lengths > 0.0, lengths, 1.0), dtype=np.float32)
    along = _float32_extent(unit, hulls)
    across = _float32_extent(np.stack([-unit[..., 1], unit[..., 0]], axis=-1), hulls)
    first = np.where(lengths[..., 0] > 0.0, along * across, np.inf).argmin(axis=1)
    rows = np.arange(len(indices))
    aspects = np.minimum(across[rows, first] / (along[rows, first] + EPSILON), MAX_ASPECT)
    return np.where(flat, np.float32(0.0), aspects)


def _float32_extent(directions: Float32s, points: Float32s) -> Float32s:
    """As `_extent`, every step rounded to float32 in the reference's order (a matrix product would round once)."""
    x = directions[..., 0, None] * points[:, None, :, 0]
    y = directions[..., 1, None] * points[:, None, :, 1]
    projected = x + y
    return projected.max(axis=2) - projected.min(axis=2)


def character_centres(batch: PolygonBatch, lengths: Indices) -> tuple[Indices, Floats]:
    """Centres (C, 2) of all characters in the order of the words, and the word (C,) that each belongs to.

    A word's top and bottom edge run through the first and second half of its points. Each of their S sections is cut
    into as many steps as the word has characters, inner cuts at whole pixels; a character takes S steps of both edges.
    """
    word = np.repeat(np.arange(len(batch)), lengths + 1)
    cut = np.arange(len(word)) - np.repeat(np.cumsum(lengths + 1) - (lengths + 1), lengths + 1)
    count = batch.counts[word]
    steps, sections = lengths[word], count // 2 - 1
    section, step = np.divmod(cut * sections, steps)
    end = cut == steps
    following = np.where(end, section, section + 1)
    # With an odd number of points, the bottom edge ends at the first point that the top edge leaves out.
    bottom = np.where(end, count // 2, count - 1 - section)
    bottom_following = np.where(end, bottom, bottom - 1)
    top_cuts = _cuts(batch.points, word, (section, following), step, steps)
    bottom_cuts = _cuts(batch.points, word, (bottom, bottom_following), step, steps)
    starts = np.flatnonzero(~end)
    corners = (top_cuts[starts], top_cuts[starts + 1], bottom_cuts[starts], bottom_cuts[starts + 1])
    return word[starts], (((corners[0] + corners[1]) + corners[2]) + corners[3]) / 4.0


def _cuts(points: Floats, word: Indices, ends: tuple[Indices, Indices], step: Indices, steps: Indices) -> Floats:
    start, stop = points[word, ends[0]], points[word, ends[1]]
    inner = np.trunc(start + ((stop - start) / steps[:, None]) * step[:, None])
    return np.where(step[:, None] == 0, start, inner)
