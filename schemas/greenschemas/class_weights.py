"""Class weights from class sums, by the schemes that the field uses; each sums to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_weights"]


def class_weights(class_sum: NDArray[np.float64]) -> dict[str, tuple[float, ...]]:
    """Weights by scheme from the (G, K) sums of class fractions of G groups; a class that never occurs weighs 0.

    - `inverse`: 1 / n.
    - `sqrt`: 1 / sqrt(n).
    - `effective`: (1 - b) / (1 - b**n), the effective number of samples (Cui et al. 2019), with b = (N - 1) / N and
      N the labelled pixels: at the usual 0.9999 all classes of an image collection weigh the same.
    - `median`: median frequency (Eigen and Fergus 2015), a class's frequency being its share of the groups that have
      it.
    """
    total = class_sum.sum(axis=0)
    labelled = total.sum()
    here = total > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = -np.expm1(total * np.log1p(-1 / max(labelled, 2.0)))
        with_it = (class_sum.sum(axis=1)[:, None] * (class_sum > 0)).sum(axis=0)
        frequency = total / with_it
    schemes = {"inverse": total, "sqrt": np.sqrt(total), "effective": effective, "median": frequency}
    return {name: _to_one(rarity, here) for name, rarity in schemes.items()}


def _to_one(commonness: NDArray[np.float64], here: NDArray[np.bool_]) -> tuple[float, ...]:
    # In single precision, as training uses them and as the field's printed tables were computed: in double precision
    # the eighth digit of a table comes out otherwise.
    weight = np.zeros(len(commonness), np.float32)
    weight[here] = 1 / commonness[here].astype(np.float32)
    whole = weight.sum(dtype=np.float32)
    return tuple(float(w) for w in (weight / whole if whole > 0 else weight))
