"""A mergeable histogram for percentiles of any number: bins whose width grows with the value.

A bin holds the values that share their sign, their power of two and the next four binary digits, as in HdrHistogram
(Tene 2014); so the middle of a bin is within 1/32 of any value in it. A bin is named by a code, the same for every
type of data: 0 for zero and what is smaller than 2**-10, codes from 1 upwards for positive values, from -1
downwards for negative ones, in the order of the values. Only codes that occur are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["RELATIVE_ERROR", "SMALLEST", "Histogram", "bounds_of", "codes_of", "middle_of"]

RELATIVE_ERROR = 1 / 32
"""Greatest distance of a percentile from the true one, as a share of the true one."""
SMALLEST = 2.0**-10
"""Smaller magnitudes count as zero."""
_LOWEST, _HIGHEST = -10, 31
_TOP = (_HIGHEST - _LOWEST + 1) * 16
_BASE = (127 + _LOWEST) << 4


def codes_of(values: NDArray[Any]) -> NDArray[np.intp]:
    """Code of the bin of each value, in the shape of `values`; values must be finite."""
    if values.dtype in (np.uint8, np.uint16):
        table: NDArray[np.intp] = _table()[values]
        return table
    return _codes(values)


def bounds_of(code: int, integer: bool) -> tuple[float, float]:
    """Where a bin begins and ends; for whole numbers, half a one beyond the outermost in it."""
    if code == 0:
        return (-0.5, 0.5) if integer else (-SMALLEST, SMALLEST)
    power, step = divmod(abs(code) - 1, 16)
    unit = 2.0 ** (power + _LOWEST)
    low, high = unit * (1 + step / 16), unit * (1 + (step + 1) / 16)
    if integer:
        low, high = float(np.ceil(low)) - 0.5, float(np.ceil(high)) - 0.5
    return (low, high) if code > 0 else (-high, -low)


def middle_of(code: int, integer: bool) -> float:
    """The value that stands for a bin: its middle, or for whole numbers that of the whole numbers in it."""
    low, high = bounds_of(code, integer)
    return (low + high) / 2


def _codes(values: NDArray[Any]) -> NDArray[np.intp]:
    single = values.astype(np.float32)
    magnitude = np.abs(single).view(np.int32) >> 19
    code: NDArray[np.intp] = np.clip(magnitude - (_BASE - 1), 0, _TOP).astype(np.intp)
    np.negative(code, out=code, where=single < 0)
    return code


@cache
def _table() -> NDArray[np.intp]:
    return _codes(np.arange(65536))


@cache
def _firsts() -> NDArray[np.intp]:
    """Least whole number of each bin that holds one, up to 65535."""
    return np.flatnonzero(np.diff(_table(), prepend=-1))


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts by band and bin; C bands, N bins that occur."""

    code: NDArray[np.int64]
    """(N,) codes, ascending."""
    count: NDArray[np.int64]
    """(C, N) pixels."""

    @classmethod
    def empty(cls, bands: int) -> Self:
        """No pixel of `bands` bands."""
        return cls(np.zeros(0, np.int64), np.zeros((bands, 0), np.int64))

    @classmethod
    def of(cls, values: NDArray[Any]) -> Self:
        """Of (C, n) finite values."""
        dense = np.zeros((len(values), 2 * _TOP + 1), np.int64)
        for band, row in enumerate(values):
            if row.size and row[0] == row[-1] and (row == row[0]).all():
                dense[band, codes_of(row[:1])[0] + _TOP] = row.size
            elif row.size and row.dtype in (np.uint8, np.uint16):
                each = np.bincount(row)
                first = _firsts()[: np.searchsorted(_firsts(), len(each))]
                dense[band, _TOP + _table()[first]] = np.add.reduceat(each, first)
            elif row.size:
                dense[band] = np.bincount(codes_of(row) + _TOP, minlength=2 * _TOP + 1)
        used = np.flatnonzero(dense.any(axis=0))
        return cls(used - _TOP, dense[:, used])

    def __add__(self, other: Histogram) -> Histogram:
        """Of both sets of pixels."""
        if np.array_equal(self.code, other.code):
            return Histogram(self.code, self.count + other.count)
        code = np.union1d(self.code, other.code)
        return Histogram(code, self.on(code) + other.on(code))

    def on(self, code: NDArray[np.int64]) -> NDArray[np.int64]:
        """(C, len(code)) counts by the ascending codes `code`, which hold all of ours."""
        count = np.zeros((len(self.count), len(code)), np.int64)
        count[:, np.searchsorted(code, self.code)] = self.count
        return count

    def percentiles(self, share: float, *, integer: bool) -> NDArray[np.float64]:
        """(C,) least values that at least `share` (0 to 1) of the pixels do not exceed; NaN for a band without pixels.

        Within RELATIVE_ERROR of numpy's `inverted_cdf`, or within SMALLEST of zero.
        """
        total = self.count.sum(axis=1)
        upto = self.count.cumsum(axis=1)
        due = np.maximum(1, np.ceil(share * total - 1e-9))
        middles = np.array([middle_of(int(code), integer) for code in self.code])
        return np.array(
            [
                middles[np.searchsorted(row, need)] if n else np.nan
                for row, need, n in zip(upto, due, total, strict=True)
            ]
        )
