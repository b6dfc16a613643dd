"""The estimate of `estimate` from whole groups of labelled pixels, as the validation tiles of a run are.

Pixels of one group resemble each other, so that the groups are what was drawn: of each the sums count, and the
variance is that between groups. Letters: G groups, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from greentrain.areas.estimate import Accuracy, Estimate, quotient

__all__ = ["accuracy_of_groups", "quantile"]

Floats = NDArray[np.float64]


def accuracy_of_groups(weight: Floats, counts: NDArray[np.int64]) -> Accuracy:
    """Accuracy and shares of a map whose classes take `weight` (K,) of the ground, from groups (G, K, K), rows the map.

    The shares of the reference in each class of the map are quotients of sums over groups. Errors are by
    linearisation (Cochran: Sampling Techniques (1977), eq. 6.13; Särndal, Swensson, Wretman (1992), section 5.5):
    each number is a smooth function of the sums, and a group's part in it is how far that group alone moves it.
    A class of the map without a labelled pixel has a row of NaN where the map has some of it. Needs G >= 2.
    """
    each = counts.astype(np.float64)
    total, mapped = each.sum(0), each.sum((0, 2))
    rows = quotient(total, mapped[:, None])
    on_map = weight > 0
    rows[~on_map] = 0.0
    # (G, K, K) how each group moves the shares of each row
    moves = np.nan_to_num(quotient(each - rows * each.sum(2)[:, :, None], mapped[None, :, None]))
    matrix, moved = weight[:, None] * rows, weight[:, None] * moves
    right, share = np.diagonal(matrix), matrix.sum(0)
    right_moved, share_moved = np.diagonal(moved, axis1=1, axis2=2), moved.sum(1)
    producers = quotient(right, share)
    producers_moved = quotient(right_moved - producers * share_moved, share[None])
    users = np.where(on_map, np.diagonal(rows), np.nan)
    return Accuracy(
        matrix,
        Estimate(right.sum(), _error(right_moved.sum(1))),
        Estimate(users, np.where(on_map, _error(np.diagonal(moves, axis1=1, axis2=2)), np.nan)),
        Estimate(producers, _error(producers_moved)),
        Estimate(share, _error(share_moved)),
    )


def quantile(groups: int) -> float:
    """Standard errors on either side of an interval of 95 percent: of Student's t for so few groups."""
    return float(t.ppf(0.975, groups - 1))


def _error(moved: Floats) -> Floats:
    groups = len(moved)
    error: Floats = np.sqrt(groups / (groups - 1) * (moved**2).sum(0))
    return error
