"""Loops that put a batch together out of raw tiles: each value is fetched, computed and put in its place in one pass.

Compiled by numba and run without Python's one lock: by the calling thread, so that several batches are put together at
the same time, or `parallel`, several threads on one batch. The code is kept on the disk for the next process. The
results are those of NumPy's float32 arithmetic, bit for bit.

Letters: N tiles of a block of memory, n those asked for, B tiles of the batch, C bands, K classes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from greenschemas.decoding import Decoding, decoded
from greenschemas.layout import FRACTION_SCALE, UNLABELLED
from greentrain.threads import forked, on_threads

__all__ = ["gather_fractions", "gather_normalised", "gather_pixels"]

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


MOST_THREADS = 4
"""On one batch: they share the way to the memory, which a few of them fill."""


def compiled(function: Callable[..., None], *, parallel: bool = False) -> Callable[..., None]:
    """The function in machine code, made at its first call with arguments of some types."""
    try:
        kept: Callable[..., None] = njit(nogil=True, cache=True, parallel=parallel)(function)
        return kept
    except RuntimeError:  # no folder that can be written to: compiled by every process anew
        anew: Callable[..., None] = njit(nogil=True, parallel=parallel)(function)
        return anew


def gather_pixels(block: NDArray[Any], rows: Ids, places: Ids, out: NDArray[Any], *, parallel: bool = False) -> None:
    """Rows (n,) of block (N, …) to the places (n,) of out (B, …) of the same type; both C-contiguous."""
    source, target = block.reshape(len(block), -1).view(np.uint8), out.reshape(len(out), -1).view(np.uint8)
    _run(parallel, _copy_parallel, _copy, source, rows, places, target)


def gather_normalised(
    image: NDArray[Any],
    valid: NDArray[np.uint8],
    rows: Ids,
    places: Ids,
    mean: Floats,
    scale: Floats,
    clip: float | None,
    out: Floats,
    *,
    how: Sequence[Decoding | None] = (),
    parallel: bool = False,
) -> None:
    """(image - mean) * scale, clipped, and 0 where invalid: rows of image (N, C, H, W) to places of out (B, C, H, W).

    valid: (N, H, W), 0 where a pixel may not be used. mean, scale: (C,). how: (C,) what makes values of the numbers of
    each band first; empty: nothing.
    """
    if any(how):
        values = decoded(image[rows].swapaxes(0, 1), how).swapaxes(0, 1)
        image, valid, rows = np.ascontiguousarray(values), valid[rows], np.arange(len(rows))
    if image.dtype == np.float16:  # which numba does not know
        image, valid, rows = image[rows].astype(np.float32), valid[rows], np.arange(len(rows))
    most = np.float32(np.inf if clip is None else clip)
    _run(parallel, _normalise_parallel, _normalise, image, valid, rows, places, mean, scale, most, out)


def gather_fractions(
    fraction: NDArray[np.uint8],
    valid: NDArray[np.uint8],
    rows: Ids,
    places: Ids,
    share: Floats,
    usable: NDArray[np.bool_],
    *,
    parallel: bool = False,
) -> None:
    """Labels as a net learns them: rows of fraction (N, K, H, W) and valid (N, H, W) to places of share and usable.

    share: (B, K, H, W) 0..1, NaN where unlabelled. usable: (B, H, W).
    """
    _run(parallel, _decode_parallel, _decode, fraction, valid, rows, places, share, usable)


def _run(parallel: bool, by_many: Callable[..., None], by_one: Callable[..., None], *arguments: Any) -> None:
    if parallel and not forked():
        on_threads(MOST_THREADS, by_many, *arguments)
    else:
        by_one(*arguments)


@compiled
def _copy(source: NDArray[np.uint8], rows: Ids, places: Ids, target: NDArray[np.uint8]) -> None:
    for i in range(len(rows)):
        row, place = rows[i], places[i]
        for at in range(source.shape[1]):
            target[place, at] = source[row, at]


@compiled
def _normalise(
    image: NDArray[Any],
    valid: NDArray[np.uint8],
    rows: Ids,
    places: Ids,
    mean: Floats,
    scale: Floats,
    clip: np.float32,
    out: Floats,
) -> None:
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
def _decode(
    fraction: NDArray[np.uint8],
    valid: NDArray[np.uint8],
    rows: Ids,
    places: Ids,
    share: Floats,
    usable: NDArray[np.bool_],
) -> None:
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


# A tile a turn. Two functions of each kind, because numba keeps what it compiled under a function's name.


@partial(compiled, parallel=True)
def _copy_parallel(source: NDArray[np.uint8], rows: Ids, places: Ids, target: NDArray[np.uint8]) -> None:
    for i in prange(len(rows)):
        _copy(source, rows[i : i + 1], places[i : i + 1], target)


@partial(compiled, parallel=True)
def _normalise_parallel(
    image: NDArray[Any],
    valid: NDArray[np.uint8],
    rows: Ids,
    places: Ids,
    mean: Floats,
    scale: Floats,
    clip: np.float32,
    out: Floats,
) -> None:
    for i in prange(len(rows)):
        _normalise(image, valid, rows[i : i + 1], places[i : i + 1], mean, scale, clip, out)


@partial(compiled, parallel=True)
def _decode_parallel(
    fraction: NDArray[np.uint8],
    valid: NDArray[np.uint8],
    rows: Ids,
    places: Ids,
    share: Floats,
    usable: NDArray[np.bool_],
) -> None:
    for i in prange(len(rows)):
        _decode(fraction, valid, rows[i : i + 1], places[i : i + 1], share, usable)
