"""What a comparison of models can say, and what it cannot. Pure: confusion matrices in, sentences out.

Two things can make a difference of scores mean nothing: another choice of places would have turned it round, or another
seed would have. So a difference counts only if the interval over groups, drawn anew for both models alike (paired
bootstrap; Efron 1979), does not hold 0, and, where a model has several seeds, if it lies outside their spread. With one
seed each the verdict is on these very nets; it says nothing of what training them again would give.

Letters: S seeds, G groups, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from greentrain.scores.metrics import class_scores, mean_scores

__all__ = ["PairComparison", "compare_pairs", "difference", "mean_iou"]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairComparison:
    """One pair of models."""

    better: str
    worse: str
    difference: float
    """Mean IoU of the better less that of the worse, each the mean over its seeds."""
    interval: tuple[float, float] | None
    """95 % of the differences over groups drawn anew; None for fewer than two groups."""
    sure: bool
    """Whether it may be said that one is better."""
    text: str
    """The sentence, with the reason."""


def mean_iou(counts: Counts) -> Floats:
    """Mean IoU (…) of confusion matrices (…, K, K), over the classes that the truth holds."""
    found: Floats = mean_scores(class_scores(counts))["iou"]
    return found


def difference(a: Counts, b: Counts, *, draws: int = 1000, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the difference of mean IoU over groups drawn anew; a and b are (S, G, K, K), of the same groups.

    Of each draw of groups the mean over the seeds is taken. None for fewer than two groups: one place says nothing
    about another.
    """
    groups = a.shape[1]
    if groups < 2:
        return None
    times = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=draws)
    scores = [np.stack([mean_iou(np.tensordot(times, one, axes=1)) for one in model]).mean(0) for model in (a, b)]
    low, high = np.nanquantile(scores[0] - scores[1], (0.025, 0.975))
    return float(low), float(high)


def compare_pairs(models: Mapping[str, Counts]) -> tuple[PairComparison, ...]:
    """A verdict on every pair, the largest differences first; matrices (S, G, K, K) by model, S may differ."""
    found = [_compare_pair(*pair, models) for pair in combinations(models, 2)]
    return tuple(sorted(found, key=lambda verdict: -verdict.difference))


def _compare_pair(first: str, second: str, models: Mapping[str, Counts]) -> PairComparison:
    by_seed = {name: mean_iou(models[name].sum(1)) for name in (first, second)}
    better, worse = sorted((first, second), key=lambda name: -float(by_seed[name].mean()))
    gap = float(by_seed[better].mean() - by_seed[worse].mean())
    interval = difference(models[better], models[worse])
    reasons = tuple(_doubts(by_seed[better], by_seed[worse], interval))
    size = f"{gap:+.3f} mean IoU"
    if interval is not None:
        size += f" (over groups {interval[0]:+.3f} to {interval[1]:+.3f})"
    seeds = ", every seed above every seed" if max(map(len, by_seed.values())) > 1 else ""
    if reasons:
        text = f"It cannot be said that {better} beats {worse}: {size}, but {' and '.join(reasons)}."
    else:
        text = f"{better} beats {worse}: {size}{seeds}."
    return PairComparison(better, worse, gap, interval, not reasons, text)


def _doubts(better: Floats, worse: Floats, interval: tuple[float, float] | None) -> Sequence[str]:
    """Why the difference may mean nothing."""
    found = []
    if max(len(better), len(worse)) > 1 and better.min() <= worse.max():
        found.append("it lies inside the seeds' spread")
    if interval is None:
        found.append("one group says nothing about other places")
    elif interval[0] <= 0:
        found.append("other places might turn it round (the interval holds 0)")
    return found
