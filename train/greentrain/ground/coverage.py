"""The share of each pixel that a polygon covers, exact up to rounding. Pure.

By Green's theorem an area is a sum over the edges of its outline. Cut at every line between pixels, an edge falls into
pieces of one pixel each; a piece covers what lies to its right, in its own pixel in part and in all further pixels of
its row in full. So outlines cost their length and the inside a running sum, as in the scan conversion of fonts
(FreeType's smooth rasteriser; R. Levien, font-rs, 2016), but without rounding coordinates.

Coordinates are pixels: x columns from the left edge of the raster, y rows from its top. Letters: N pieces, H rows,
W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Outline", "cover", "trace"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """The pieces of a polygon's edges, by row of pixels."""

    row: NDArray[np.int64]
    """(N,) ascending."""
    col: NDArray[np.int64]
    """(N,)"""
    drop: Floats
    """(N,) rows that the piece goes down, negative where it goes up: -1 to 1."""
    right: Floats
    """(N,) share of the pixel's width that lies right of the piece's middle."""


def trace(shape: shapely.Geometry) -> Outline:
    """The outline of a valid polygon or multipolygon; holes are left out of its area."""
    rings = shapely.get_rings(shapely.get_parts(shapely.orient_polygons(shape, exterior_cw=True)))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    edge = np.flatnonzero(ring[1:] == ring[:-1])
    start, end = xy[edge], xy[edge + 1]
    which, at = _cuts(start, end)
    here = start[which] + at[:, None] * (end - start)[which]
    piece = np.flatnonzero(which[1:] == which[:-1])
    middle, drop = (here[piece] + here[piece + 1]) / 2, here[piece + 1, 1] - here[piece, 1]
    cell = np.floor(middle).astype(np.int64)
    order = np.argsort(cell[:, 1], kind="stable")
    right = 1 - (middle[:, 0] - cell[:, 0])
    return Outline(cell[order, 1], cell[order, 0], drop[order], right[order])


def cover(outline: Outline, row: int, col: int, height: int, width: int) -> Floats:
    """(H, W) share of each pixel of a window that the polygon covers, 0 to 1."""
    first, last = np.searchsorted(outline.row, (row, row + height))
    here = np.flatnonzero(outline.col[first:last] < col + width) + first
    at = outline.col[here] - col
    left = at < 0  # all of the window's row lies right of these
    own = outline.drop[here] * np.where(left, 1, outline.right[here])
    index = (outline.row[here] - row) * (width + 1) + np.maximum(at, 0)
    size = height * (width + 1)
    step = np.bincount(index, own, size)
    step += np.bincount(index + 1, outline.drop[here] - own, size + 1)[:size]
    shares: Floats = step.reshape(height, width + 1).cumsum(1)[:, :width].clip(0, 1)
    return shares


def _cuts(start: Floats, end: Floats) -> tuple[NDArray[np.int64], Floats]:
    """(edge, how far along it from 0 to 1) of both ends of each edge and of its crossings, in the order of the edge."""
    count = len(start)
    edges, places = [np.arange(count), np.arange(count)], [np.zeros(count), np.ones(count)]
    for axis in (0, 1):
        low, high = np.minimum(start, end)[:, axis], np.maximum(start, end)[:, axis]
        first = np.floor(low).astype(np.int64) + 1
        many = np.maximum(np.ceil(high).astype(np.int64) - first, 0)
        which = np.repeat(np.arange(count), many)
        line = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(many) - many, many)
        edges.append(which)
        places.append((line - start[which, axis]) / (end - start)[which, axis])
    edge, at = np.concatenate(edges), np.concatenate(places)
    order = np.lexsort((at, edge))
    return edge[order], at[order]
