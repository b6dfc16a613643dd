"""How a sample of a map is dealt to its strata, and which pixels are drawn.

Every pixel has a key: its class, or the step of 1/200 nearest to its share; a stratum is one key, or a range of them.
Letters: S strata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEPS", "Draw", "allocate", "expected_error", "needed", "share_edges"]

STEPS = 200
"""Steps of a share, as in the store."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def allocate(pixels: Counts, spread: Floats, n: int, least: int) -> Counts:
    """(S,) points of each stratum, n in all, or every pixel where there are fewer.

    In proportion to W S (Neyman 1934), but none below `least`, as Olofsson and others (2014, section 5.1.2) advise,
    and none above its number of pixels. pixels: (S,) of each stratum; spread: (S,) expected standard deviation of a
    pixel's error in it.
    """
    n = min(n, int(pixels.sum()))
    low = np.minimum(least, pixels)
    if low.sum() > n:
        raise ValueError(f"{len(pixels)} strata of at least {least} points need more than {n}")
    demand = pixels * spread
    fixed = np.zeros(len(pixels), bool)
    points = low.astype(np.float64)
    while not fixed.all():
        rest = n - points[fixed].sum()
        free = demand * ~fixed
        wanted = rest * free / free.sum() if free.sum() > 0 else np.where(fixed, 0.0, rest / (~fixed).sum())
        short, over = ~fixed & (wanted < low), ~fixed & (wanted > pixels)
        # Those beyond their pixels go first: what they leave to the others may lift these above the least number.
        caught, bound = (over, pixels) if over.any() else (short, low)
        points[~fixed] = wanted[~fixed]
        if not caught.any():
            break
        points[caught] = bound[caught]
        fixed |= caught
    return _whole(points, pixels, n)


def _whole(points: Floats, pixels: Counts, n: int) -> Counts:
    """Whole numbers that sum to n: the largest remainders are rounded up."""
    found = np.floor(points + 1e-9).astype(np.int64)
    order = np.argsort(-(points - found), kind="stable")
    for at in order[found[order] < pixels[order]][: n - int(found.sum())]:
        found[at] += 1
    return found


def expected_error(weight: Floats, spread: Floats, points: Counts) -> float:
    """Expected standard error of the mean, or of overall accuracy, for so many points of each stratum (5)."""
    return float(np.sqrt((weight**2 * spread**2 / np.maximum(points, 1)).sum()))


def needed(weight: Floats, spread: Floats, error: float) -> int:
    """Points that an expected standard error of overall accuracy takes: Olofsson and others (2014), eq. 13."""
    return int(np.ceil((weight @ spread / error) ** 2))


def share_edges(pixels: Counts, strata: int) -> tuple[int, ...]:
    """First step of each stratum of a share, ascending from 0: Dalenius and Hodges (1959), equal cumulated sqrt(f).

    pixels: (STEPS + 1,) how many there are of each step. Fewer strata where fewer steps hold pixels.
    """
    root = np.sqrt(pixels.astype(np.float64))
    share = (np.cumsum(root) - root / 2) / root.sum()
    stratum = np.minimum((share * strata).astype(np.int64), strata - 1)
    held = np.flatnonzero(pixels)
    first = held[np.unique(stratum[held], return_index=True)[1]]
    return (0, *(int(at) for at in first[1:]))


class Draw:
    """Draws pixels of each stratum by their rank in the order in which blocks are read, each with equal probability."""

    def __init__(self, pixels: Sequence[int], points: Sequence[int], seed: int) -> None:
        """pixels, points: of each stratum."""
        rng = np.random.default_rng(seed)
        self._ranks = [
            np.sort(rng.choice(int(there), int(wanted), replace=False))
            for there, wanted in zip(pixels, points, strict=True)
        ]
        self._passed = np.zeros(len(self._ranks), np.int64)

    def of_block(self, stratum: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """(place in the block, stratum) of the drawn pixels of the next block; stratum: (pixels,), -1 for none."""
        counts = np.bincount(stratum + 1, minlength=len(self._ranks) + 1)[1:]
        for index, ranks in enumerate(self._ranks):
            before = self._passed[index]
            low, high = np.searchsorted(ranks, (before, before + counts[index]))
            if high > low:
                places = np.flatnonzero(stratum == index)
                yield from ((int(place), index) for place in places[ranks[low:high] - before])
        self._passed += counts
