"""Moments of pixels that can be merged: counts, means, co-moments, extremes, histograms, class sums.

Computed tile by tile on workers, merged by source, by group and by split; a split's statistics need no pixel again.
Letters: C bands, K classes, h rows, w columns, N histogram bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from greenprep.store.histogram import Histogram
from greenschemas.decoding import Decoding, decoded
from greenschemas.layout import FRACTION_SCALE, UNLABELLED

__all__ = ["Moments", "class_sums", "merge", "merge_all"]

_BLOCK = 1 << 16
"""Pixels taken at a time: their float64 copy stays small, and sums of 16-bit products stay exact."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Of a set of valid pixels; sums over no pixel at all are 0, extremes then infinite."""

    count: NDArray[np.int64]
    """(C,) valid pixels."""
    mean: NDArray[np.float64]
    """(C,)"""
    comoment: NDArray[np.float64]
    """(C, C) sums of products of the deviations from the means."""
    minimum: NDArray[np.float64]
    """(C,)"""
    maximum: NDArray[np.float64]
    """(C,)"""
    class_sum: NDArray[np.float64]
    """(K,) sums of the fractions of pixels that are valid and labelled."""
    class_count: NDArray[np.int64]
    """(K,) valid and labelled pixels whose greatest fraction is this class's (the first of equals)."""
    histogram: Histogram
    """(C, N)"""

    @classmethod
    def empty(cls, bands: int, classes: int) -> Self:
        """Of no pixel."""
        return cls(
            np.zeros(bands, np.int64),
            np.zeros(bands),
            np.zeros((bands, bands)),
            np.full(bands, np.inf),
            np.full(bands, -np.inf),
            np.zeros(classes),
            np.zeros(classes, np.int64),
            Histogram.empty(bands),
        )

    @classmethod
    def of(
        cls,
        image: NDArray[Any],
        valid: NDArray[np.bool_],
        fraction: NDArray[np.uint8],
        how: Sequence[Decoding | None] = (),
    ) -> Moments:
        """Of the pixels of (C, h, w) `image` where (h, w) `valid` is true, and of the coded (K, h, w) `fraction`.

        how: (C,) the decoding of each band, whose values are measured in place of its numbers; empty: none has one.
        """
        bands = len(image)
        pixels = image.reshape(bands, -1) if valid.all() else image[:, valid]
        pixels = decoded(pixels, how)
        blocks = (_of_pixels(pixels[:, at : at + _BLOCK], len(fraction)) for at in range(0, pixels.shape[1], _BLOCK))
        whole = merge_all(blocks, bands, len(fraction))
        class_sum, class_count = class_sums(fraction, valid)
        return cls(
            whole.count,
            whole.mean,
            whole.comoment,
            whole.minimum,
            whole.maximum,
            class_sum,
            class_count,
            Histogram.of(pixels),
        )

    @property
    def variance(self) -> NDArray[np.float64]:
        """(C,) population variances; 0 where there is no pixel."""
        spread: NDArray[np.float64] = np.diagonal(self.comoment) / np.maximum(self.count, 1)
        return np.maximum(spread, 0.0)


def _of_pixels(pixels: NDArray[Any], classes: int) -> Moments:
    """Of (C, n) pixels, n > 0, without classes and histogram: two passes about a mean that is known beforehand.

    Deviations from a whole number near the mean are exact for integer data, and so are the sums of their products:
    the result does not depend on the order in which a library adds them up.
    """
    bands, n = pixels.shape
    low, high = pixels.min(axis=1).astype(np.float64), pixels.max(axis=1).astype(np.float64)
    moving = low != high
    near = low.copy()
    # The mean of a sixteenth of the pixels is within four deviations of the mean of all: near enough.
    near[moving] = pixels[:, ::16].mean(axis=1, dtype=np.float64)[moving]
    if pixels.dtype.kind != "f":
        near = np.rint(near)
    apart = np.subtract(pixels if moving.all() else pixels[moving], near[moving, None], dtype=np.float64)
    total = apart.sum(axis=1)
    comoment = np.zeros((bands, bands))
    comoment[np.ix_(moving, moving)] = apart @ apart.T - np.outer(total, total) / n
    mean = near
    mean[moving] += total / n
    return Moments(
        np.full(bands, n, np.int64),
        mean,
        comoment,
        low,
        high,
        np.zeros(classes),
        np.zeros(classes, np.int64),
        Histogram.empty(bands),
    )


def class_sums(fraction: NDArray[np.uint8], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(K,) sums of fractions and (K,) pixels by greatest fraction, over pixels both valid and labelled.

    fraction: (K, h, w), coded; 255 in every class where there is no label. Sums of coded values are whole numbers, so
    the result is exact.
    """
    use = valid & (fraction[0] != UNLABELLED)
    coded = fraction.reshape(len(fraction), -1) if use.all() else fraction[:, use]
    best = coded[0].copy()
    lead = np.zeros(best.shape, np.uint8)
    for k in range(1, len(coded)):
        np.copyto(lead, np.uint8(k), where=coded[k] > best)
        np.maximum(best, coded[k], out=best)
    sums = coded.sum(axis=1, dtype=np.int64) / FRACTION_SCALE
    return sums, np.bincount(lead.ravel(), minlength=len(fraction)).astype(np.int64)


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two disjoint sets of pixels, exact up to rounding.

    Chan, Golub, LeVeque: Algorithms for computing the sample variance (1983), eq. 2.1.
    """
    if not a.count.any():  # No pixel: no class and no bin either.
        return b
    if not b.count.any():
        return a
    count = a.count + b.count
    share = b.count / count
    apart = b.mean - a.mean
    both = np.sqrt(a.count * share)
    return Moments(
        count,
        a.mean + apart * share,
        a.comoment + b.comoment + np.outer(apart * both, apart * both),
        np.minimum(a.minimum, b.minimum),
        np.maximum(a.maximum, b.maximum),
        a.class_sum + b.class_sum,
        a.class_count + b.class_count,
        a.histogram + b.histogram,
    )


def merge_all(parts: Iterable[Moments], bands: int, classes: int) -> Moments:
    """Moments of all parts, merged from the first to the last: the order decides the last bits."""
    each = iter(parts)
    first = next(each, None)
    return Moments.empty(bands, classes) if first is None else reduce(merge, each, first)
