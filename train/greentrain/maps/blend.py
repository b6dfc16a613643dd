"""Windows over a scene, and the weights that join their predictions without a seam.

Predictions of a net are worst at the edge of its window, where half of what it should see is missing. Windows overlap,
and each pixel's prediction is the mean over its windows, weighed by a raised cosine (Hann) that is least at the edges.
Rows and columns are alike and independent, so the weight of a window is the outer product of two vectors, and the sum
of the weights over all windows is exactly 1 when it is 1 along each axis.

Letters: H rows, W columns, K classes, N windows along one axis, S pixels a side of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "Block", "blend", "blocks", "cut"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """One axis of a scene, cut into windows; made by `cut`."""

    length: int
    """Pixels of the scene along this axis."""
    size: int
    """Pixels of a window; may exceed `length`, then the one window is padded at its end."""
    starts: tuple[int, ...]
    """First pixel of each window, ascending."""
    weights: NDArray[np.float64]
    """(N, S): the weight of each pixel of each window; at every pixel of the scene they sum to 1."""

    def touching(self, low: int, high: int) -> range:
        """Indices of the windows with a pixel in [low, high)."""
        first = next(i for i, start in enumerate(self.starts) if start + self.size > low)
        last = max(i for i, start in enumerate(self.starts) if start < high)
        return range(first, last + 1)

    def span(self, low: int, high: int) -> tuple[int, int]:
        """First and one past the last pixel of the scene that windows with a pixel in [low, high) see."""
        windows = self.touching(low, high)
        return self.starts[windows[0]], min(self.starts[windows[-1]] + self.size, self.length)


@dataclass(frozen=True)
class Block:
    """A rectangle of a scene that is predicted and kept as one piece."""

    index: int
    """Its place in reading order."""
    row: int
    col: int
    height: int
    width: int


def cut(length: int, size: int, step: int) -> Axis:
    """Windows of `size` pixels, `step` apart, that cover `length` pixels; the last one is moved back to fit.

    Raises ValueError unless length >= 1 and 1 <= step <= size.
    """
    if length < 1 or not 1 <= step <= size:
        raise ValueError(f"length {length}, size {size}, step {step}: wanted length >= 1 and 1 <= step <= size")
    last = max(length - size, 0)
    starts = tuple(sorted({*range(0, last, step), last}))
    # Half a pixel in, so that no weight is 0 and a pixel under one window only still has its value.
    hann = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    total = np.zeros(max(length, size))
    for start in starts:
        total[start : start + size] += hann
    weights = np.stack([hann / total[start : start + size] for start in starts])
    return Axis(length, size, starts, weights)


def blocks(height: int, width: int, side: int) -> Iterator[Block]:
    """The scene in rectangles of at most `side` x `side` pixels, in reading order."""
    corners = ((row, col) for row in range(0, height, side) for col in range(0, width, side))
    for index, (row, col) in enumerate(corners):
        yield Block(index, row, col, min(side, height - row), min(side, width - col))


def blend(block: Block, rows: Axis, cols: Axis, predictions: Iterable[tuple[int, int, Floats]]) -> Floats:
    """The blended prediction (K, H, W) of a block.

    predictions: (window along rows, window along columns, its prediction (K, S, S)) of every window that touches the
    block, in any order; what reaches beyond the block is cut off. A block's result does not depend on how the
    scene was cut into blocks.
    """
    out: Floats | None = None
    for i, j, values in predictions:
        top, left = rows.starts[i], cols.starts[j]
        here_r, there_r = _overlap(top, rows.size, block.row, block.height)
        here_c, there_c = _overlap(left, cols.size, block.col, block.width)
        weight = np.outer(rows.weights[i, here_r], cols.weights[j, here_c]).astype(np.float32)
        if out is None:
            out = np.zeros((len(values), block.height, block.width), np.float32)
        out[:, there_r, there_c] += values[:, here_r, here_c] * weight
    if out is None:
        raise ValueError(f"no prediction for {block}")
    return out


def _overlap(start: int, size: int, low: int, length: int) -> tuple[slice, slice]:
    """Where a window and a block meet along one axis: (within the window, within the block)."""
    first, last = max(start, low), min(start + size, low + length)
    return slice(first - start, last - start), slice(first - low, last - low)
