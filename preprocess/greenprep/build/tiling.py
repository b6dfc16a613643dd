"""Which tiles a source gives: from sizes alone, so that ids are known before a pixel is read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from greenschemas.choices import Edge
from greenschemas.recipe import TileRules

__all__ = ["starts", "stride_of", "tiles_of", "tiles_starting_in"]


def stride_of(rules: TileRules) -> int:
    """Pixels from one tile to the next: the tile's size unless the rules say otherwise."""
    return rules.stride or rules.size


def starts(length: int, size: int, stride: int, edge: Edge) -> NDArray[np.int64]:
    """Offsets of the tiles along one axis of `length` pixels, ascending.

    The row of tiles ends with the first that reaches the end of the source, so that an overlapping stride adds no
    tile whose pixels all stand in the one before. `shift` moves that last tile back to end with the source.
    """
    if edge is Edge.DROP:
        return np.arange(0, length - size + 1, stride, dtype=np.int64)
    needed = 1 + max(0, -(-(length - size) // stride))
    offsets = np.arange(needed, dtype=np.int64) * stride
    offsets = offsets[offsets < length]
    if edge is Edge.SHIFT:
        offsets = np.unique(np.minimum(offsets, max(0, length - size)))
    return offsets


def tiles_of(height: int, width: int, rules: TileRules) -> NDArray[np.int64]:
    """(n, 2) rows and columns of the upper left pixel of each tile of a (height, width) source, row by row.

    Tiles of which less than `rules.min_cover` lies inside the source are left out.
    """
    stride = stride_of(rules)
    rows = starts(height, rules.size, stride, rules.edge)
    cols = starts(width, rules.size, stride, rules.edge)
    inside = np.minimum(height - rows, rules.size)[:, None] * np.minimum(width - cols, rules.size)[None, :]
    chosen = np.argwhere(inside >= rules.min_cover * rules.size**2)
    return np.stack([rows[chosen[:, 0]], cols[chosen[:, 1]]], axis=1)


def tiles_starting_in(tiles: NDArray[np.int64], row: int, height: int) -> NDArray[np.int64]:
    """Those of `tiles` whose first row lies in the strip of `height` rows from `row`: each tile has one strip."""
    return tiles[(tiles[:, 0] >= row) & (tiles[:, 0] < row + height)]
