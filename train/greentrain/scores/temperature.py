"""How sure a net should be: one number that its logits are divided by (Guo et al.: On calibration, 2017).

Letters: P pixels, K classes; B batch, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from greentrain.scores.metrics import sum_over_ranks

__all__ = ["best_temperature", "thinned"]

_LEAST, _MOST = 0.2, 5.0
"""A temperature further from 1 says that the net has learnt nothing, or that the pixels are too few."""


def best_temperature(logits: Tensor, fraction: Tensor) -> float:
    """The number T for which softmax(logits / T) has the least cross-entropy to the fractions, over all ranks.

    logits, fraction: (P, K) of the pixels that this rank has seen. No largest class changes. The cross-entropy is
    convex in 1 / T: Newton's steps on its slope, between bounds that close in. 1 where there is no pixel; held within
    0.2 and 5.
    """
    logits, fraction = logits.double(), fraction.double()
    if not bool(sum_over_ranks(torch.tensor(len(logits), device=logits.device))):
        return 1.0
    low, high, inverse = 1 / _MOST, 1 / _LEAST, 1.0
    for _ in range(60):
        slope, bend = _slope(logits, fraction, inverse)
        if slope > 0:
            high = inverse
        else:
            low = inverse
        step = inverse - slope / bend if bend > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) < 1e-9:
            break
        inverse = following
    return 1 / inverse


def thinned(maps: Tensor, counted: Tensor, every: int) -> Tensor:
    """(N, P, K): one in `every` of the pixels that count, of N maps (N, B, K, H, W), counted (B, H, W)."""
    return maps.movedim(2, -1).flatten(1, -2)[:, counted.flatten().nonzero()[::every, 0]]


def _slope(logits: Tensor, fraction: Tensor, inverse: float) -> tuple[float, float]:
    """First and second derivative of the cross-entropy by the inverse temperature, over all ranks."""
    probability = log_softmax(inverse * logits, 1).exp()
    total = fraction.sum(1)
    mean = (probability * logits).sum(1)
    bend = total * ((probability * logits.square()).sum(1) - mean.square())
    slope = total * mean - (fraction * logits).sum(1)
    first, second = sum_over_ranks(torch.stack([slope.sum(), bend.sum()])).tolist()
    return first, second
