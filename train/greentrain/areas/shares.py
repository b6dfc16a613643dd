"""The mean of a share over a map of shares, put right by a sample of points.

Särndal, Swensson, Wretman: Model Assisted Survey Sampling (1992). Letters: S strata.

The map's own mean is known of every pixel, and wrong by the map's mean error; the sample says how large that is. Both
estimators are nearly free of bias however bad the map is, and the better the map, the smaller their errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from greentrain.areas.estimate import Estimate, mean_of_strata, quotient

__all__ = ["difference", "regression"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def difference(weight: Floats, mapped_mean: float, stratum: Counts, mapped: Floats, found: Floats) -> Estimate:
    """The map's mean and the mean of (found - mapped) over the sample: section 6.3 of the book.

    weight: (S,) share of the pixels in each stratum; mapped_mean: over all pixels of the map; stratum, mapped, found:
    (points,) stratum, share on the map and in the reference.
    """
    error = mean_of_strata(weight, stratum, found - mapped)
    return Estimate(mapped_mean + error.value, error.error)


def regression(weight: Floats, mapped_mean: float, stratum: Counts, mapped: Floats, found: Floats) -> Estimate:
    """As `difference`, with b times what is mapped: the b of the least error (Cochran 1977, section 7.10, combined).

    That is the regression estimator of section 6.4 of the book with the slope fitted inside the strata: where the map
    is wrong by a factor it is better than `difference`, which has b = 1. Where every stratum has one mapped share, b
    is 0.
    """
    points = np.bincount(stratum, minlength=len(weight))
    each = (weight**2 / np.maximum(points * (points - 1), 1))[stratum]
    mean = quotient(np.bincount(stratum, mapped, len(weight)).astype(np.float64), points.astype(np.float64), 0.0)
    aside = mapped - mean[stratum]
    aside[np.abs(aside) < 1e-9] = 0  # or the mean's own rounding would pass for a spread
    moment = each @ aside**2
    slope = float(each @ (aside * found) / moment) if moment > 0 else 0.0
    return difference(weight, slope * mapped_mean, stratum, slope * mapped, found)
