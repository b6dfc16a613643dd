"""Moments of many groups of pixels as one. Pure.

Letters: G groups, C bands.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["pooled"]

Floats = NDArray[np.float64]


def pooled(
    count: NDArray[np.int64], mean: Floats, comoments: Iterable[Floats]
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Pixels (C,), mean (C,) and co-moment (C, C) of all groups together.

    count, mean: (G, C); comoments: (g, C, C) of the groups in their order, some at a time.
    The parallel formula of Chan, Golub, LeVeque (1983) for many parts at once: the deviations of the groups' means from
    the common mean enter squared, so nothing cancels.
    """
    total = count.sum(axis=0)
    centre = (count / np.maximum(total, 1) * mean).sum(axis=0)
    apart = mean - centre
    whole = np.zeros((mean.shape[1], mean.shape[1]))
    at = 0
    for block in comoments:
        away = apart[at : at + len(block)]
        weighed = away * count[at : at + len(block)]
        whole += (block + weighed[:, :, None] * away[:, None, :]).sum(axis=0)
        at += len(block)
    return total, centre, whole
