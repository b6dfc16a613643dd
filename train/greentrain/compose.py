"""Loops that put a batch together out of raw tiles: each value is fetched, computed and put in its place in one pass.

Compiled by numba and run without Python's one lock, so that two batches are put together at the same time; the code is
kept on the disk for the next process. The results are those of NumPy's float32 arithmetic, to the bit.

Letters: N tiles of a block of memory, n those asked for, B tiles of the batch, C bands, K classes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from greenschemas.layout import FRACTION_SCALE, UNLABELLED

__all__ = ["copy", "decode", "normalise"]

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The function in machine code, made at its first call with arguments of some types."""
    try:
        kept: Callable[..., None] = njit(nogil=True, cache=True)(function)
        return kept
    except RuntimeError:  # no folder that can be written to: compiled by every process anew
        anew: Callable[..., None] = njit(nogil=True)(function)
        return anew


def copy(block: NDArray[Any], rows: Ids, places: Ids, out: NDArray[Any]) -> None:
    """Rows (n,) of block (N, …) to the places (n,) of out (B, …) of the same type."""
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        out[place] = block[row]  # NumPy's copy of a tile runs without the lock too


def normalise(image: NDArray[Any], valid: NDArray[np.uint8], rows: Ids, places: Ids, mean: Floats, scale: Floats,
              clip: float | None, out: Floats) -> None:
    """(image - mean) * scale, clipped, and 0 where invalid: rows of image (N, C, H, W) to places of out (B, C, H, W).

    valid: (N, H, W), 0 where a pixel may not be used. mean, scale: (C,).
    """
    if image.dtype == np.float16:  # which numba does not know
        image, valid, rows = image[rows].astype(np.float32), valid[rows], np.arange(len(rows))
    _normalise(image, valid, rows, places, mean, scale, np.float32(np.inf if clip is None else clip), out)


def decode(fraction: NDArray[np.uint8], valid: NDArray[np.uint8], rows: Ids, places: Ids, share: Floats,
           usable: NDArray[np.bool_]) -> None:
    """Labels as a net learns them: rows of fraction (N, K, H, W) and valid (N, H, W) to places of share and usable.

    share: (B, K, H, W) 0..1, NaN where unlabelled. usable: (B, H, W).
    """
    _decode(fraction, valid, rows, places, share, usable)


@compiled
def _normalise(image: NDArray[Any], valid: NDArray[np.uint8], rows: Ids, places: Ids, mean: Floats, scale: Floats,
               clip: np.float32, out: Floats) -> None:
    for i in range(len(rows)):
        row, place = rows[i], places[i]
        for c in range(image.shape[1]):
            middle, factor = mean[c], scale[c]
            for y in range(image.shape[2]):
                for x in range(image.shape[3]):
                    value = (np.float32(image[row, c, y, x]) - middle) * factor
                    value = clip if value > clip else value  # NaN passes both
                    value = -clip if value < -clip else value
                    out[place, c, y, x] = value if valid[row, y, x] != 0 else np.float32(0)


@compiled
def _decode(fraction: NDArray[np.uint8], valid: NDArray[np.uint8], rows: Ids, places: Ids, share: Floats,
            usable: NDArray[np.bool_]) -> None:
    for i in range(len(rows)):
        row, place = rows[i], places[i]
        for k in range(fraction.shape[1]):
            for y in range(fraction.shape[2]):
                for x in range(fraction.shape[3]):
                    code = fraction[row, k, y, x]
                    value = np.float32(code) / np.float32(FRACTION_SCALE)
                    share[place, k, y, x] = np.float32(np.nan) if code == UNLABELLED else value
        for y in range(valid.shape[1]):
            for x in range(valid.shape[2]):
                usable[place, y, x] = valid[row, y, x] != 0
