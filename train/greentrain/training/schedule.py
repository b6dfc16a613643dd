"""The rate of a step: a pure function of where the run stands, so that there is no state to save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

__all__ = ["best_since", "rate_share"]


def rate_share(
    step: int,
    steps: int,
    *,
    warmup: float,
    kind: Literal["cosine", "constant", "plateau"],
    floor: float,
    scores: Sequence[float] = (),
    patience: int = 5,
    divisor: float = 3.0,
) -> float:
    """Share of the highest rate at `step` (0 the first) of `steps`.

    It rises linearly from above 0 over the first `warmup` of the steps. Then `cosine` falls to `floor` (Loshchilov,
    Hutter 2017, without restarts), `constant` stays, and `plateau` is divided by `divisor` each time that `patience`
    validations have brought no better one of `scores`.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if kind == "cosine":
        done = (step - rising) / max(steps - rising - 1, 1)
        return floor + (1 - floor) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    if kind == "plateau":
        return max(divisor ** -_drops(scores, patience), floor)
    return 1.0


def _drops(scores: Sequence[float], patience: int) -> int:
    """How often the rate has gone down."""
    best, waited, drops = -math.inf, 0, 0
    for score in scores:
        if score > best:
            best, waited = score, 0
        else:
            waited += 1
        if waited == patience:
            waited, drops = 0, drops + 1
    return drops


def best_since(scores: Sequence[float]) -> int:
    """Validations since the first best one; 0 if the last is better than all before, or there is none."""
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0
