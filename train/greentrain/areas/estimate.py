"""Accuracy and area from a stratified random sample of a class map: Olofsson and others, "Good practices for estimating
area and assessing accuracy of land change", Remote Sensing of Environment 148 (2014), 42-57. Numbers in brackets are
its equations.

The strata are the classes of the map. Letters: K classes, S strata.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Accuracy", "Estimate", "Z", "accuracy", "mean_of_strata", "put_right", "quotient"]

Z = 1.96
"""Standard errors on either side of an estimate that make its interval of 95 percent."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """Numbers, or arrays of them, with their standard errors; NaN where there is no such number."""

    value: Floats
    error: Floats

    def times(self, scale: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.value * scale, self.error * abs(scale))

    def rows(self, z: float = Z) -> list[dict[str, Any]]:
        """Each number with its interval, ready for JSON; None where there is none."""
        value, error = np.atleast_1d(self.value), np.atleast_1d(self.error)
        columns = {"value": value, "standard_error": error, "low": value - z * error, "high": value + z * error}
        return [
            {name: float(column[i]) if np.isfinite(column[i]) else None for name, column in columns.items()}
            for i in range(len(value))
        ]


@dataclass(frozen=True)
class Accuracy:
    """What a sample says of a map of K classes."""

    matrix: Floats
    """(K, K) share of the mapped ground by class on the map (rows) and in the reference (columns); sums to 1 (4)."""
    overall: Estimate
    """Share of the ground that is right (1), (5)."""
    users: Estimate
    """(K,) of what the map calls a class, the share that is it (2), (6)."""
    producers: Estimate
    """(K,) of what is a class, the share that the map calls so (3), (7)."""
    share: Estimate
    """(K,) share of the ground that is each class, by the sample: not what the map's pixels add up to (9), (10)."""


def accuracy(weight: Floats, counts: Counts) -> Accuracy:
    """Equations 1 to 10 for an error matrix of sampled points.

    weight: (K,) share of the mapped ground in each stratum, summing to 1. counts: (K, K) points by class on the map
    (rows, the strata) and in the reference (columns). A class that is not on the map has an empty row.
    Where a stratum has one point, it must be the stratum's only pixel, whose class has no sampling error.
    """
    points = counts.sum(1)
    rows = quotient(counts.astype(np.float64), points[:, None].astype(np.float64), 0.0)
    matrix = weight[:, None] * rows
    spread = rows * (1 - rows) / np.maximum(points - 1, 1)[:, None]
    right, users = np.diagonal(matrix), quotient(np.diagonal(counts).astype(np.float64), points.astype(np.float64))
    share = matrix.sum(0)
    producers = quotient(right, share)
    of_row = weight[:, None] ** 2 * spread  # variance that each stratum gives to each column
    own = np.diagonal(of_row)
    others = of_row.sum(0) - own
    missed = (np.nan_to_num(1 - producers) ** 2 * own + np.nan_to_num(producers) ** 2 * others) / np.where(
        share > 0, share, np.nan
    ) ** 2
    return Accuracy(
        matrix,
        Estimate(right.sum(), np.sqrt(own.sum())),
        Estimate(users, np.sqrt(np.where(points > 0, np.diagonal(spread), np.nan))),
        Estimate(producers, np.sqrt(missed)),
        Estimate(share, np.sqrt(of_row.sum(0))),
    )


def mean_of_strata(weight: Floats, stratum: Counts, values: Floats) -> Estimate:
    """Mean over the ground of values known at sampled points: sum of W mean, variance sum of W^2 s^2 / n.

    Cochran: Sampling Techniques (1977), eq. 5.1 and 5.13 without the finite population's correction, as Olofsson and
    others have it: (9) and (10) are this for values that are 0 or 1.
    weight: (S,); stratum: (points,) 0 to S - 1; values: (points,) or (points, columns).
    """
    strata = len(weight)
    points = np.bincount(stratum, minlength=strata).astype(np.float64)
    columns = values.reshape(len(values), -1).astype(np.float64)

    def sums(each: Floats) -> Floats:
        return np.stack([np.bincount(stratum, column, strata) for column in each.T], 1)

    mean = quotient(sums(columns), points[:, None], 0.0)
    squares = sums((columns - mean[stratum]) ** 2)
    variance = (weight**2 / np.maximum(points * (points - 1), 1)) @ squares
    shape = values.shape[1:]
    return Estimate((weight @ mean).reshape(shape), np.sqrt(variance).reshape(shape))


def put_right(weight: Floats, stratum: Counts, wrong: Floats, mapped: Floats, total: float) -> Estimate:
    """(C,) totals that a map gives, less what it is wrong by at the sampled points: the difference estimator.

    Särndal, Swensson, Wretman: Model Assisted Survey Sampling (1992), sections 6.3 and 10.5. Where the strata are
    the classes of a map it gives their areas as equations 9 and 10 do. Of a part of the map, such as a zone, what lies
    outside counts as right: it moves nothing there.
    wrong: (points, C) found less mapped, times the share of the pixel in that part; mapped: (C,) in units of which the
    whole map has `total`.
    """
    error = mean_of_strata(weight, stratum, wrong).times(total)
    return Estimate(mapped + error.value, error.error)


def quotient(above: Floats, below: Floats, without: float = np.nan) -> Floats:
    """above / below, `without` where below is 0."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    result = np.full(shape, without)
    np.divide(above, below, out=result, where=np.broadcast_to(below != 0, shape))
    return result
