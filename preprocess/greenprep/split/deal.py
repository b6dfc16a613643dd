"""Dealing units of ground out to splits so that every split looks like the whole. Pure: no store, no file.

Letters: U units (groups that must stay together), S splits, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import ConfigError

__all__ = ["deal", "deal_more", "imbalance"]

_RESTARTS = 8
"""Starts from other orders, for collections small enough that it matters."""
_SMALL = 400
"""Units up to which exchanges of two are tried, and all restarts made."""


def deal(sums: NDArray[np.float64], shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """(U,) split of each unit, the same for the same seed.

    sums: (U, K) class sums of each unit. shares: (S,) shares of the pixels, summing to 1; a split of share 0 gets
    nothing, every other at least one unit. The splits come as close as was found to having the wanted sizes and the
    class shares of the whole, by `imbalance`: units are dealt out from the largest, each to where it serves best,
    then moved and exchanged as long as that helps.

    Raises ConfigError where there are fewer units than splits.
    """
    wanted = np.flatnonzero(shares > 0)
    if len(sums) < len(wanted):
        raise ConfigError(
            "split",
            f"{len(sums)} units of ground for {len(wanted)} splits that share none",
            "add areas, deal blocks within scenes (`--by blocks`, `split: {by: blocks}`), or set val or test to 0",
        )
    if len(wanted) == 1:
        return np.full(len(sums), wanted[0])
    target = shares[wanted]
    parts = _proportions(sums)
    rng = np.random.default_rng(seed)
    tries = (
        _improved(parts, target, _dealt(parts, target, rng)) for _ in range(_RESTARTS if len(sums) <= _SMALL else 1)
    )
    best = min(tries, key=lambda choice: imbalance(sums, target, choice))
    return wanted[best]


def deal_more(
    held: NDArray[np.float64], sums: NDArray[np.float64], shares: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """(U,) split of each of some units that come later: what was dealt before stays where it is.

    held: (S, K) class sums of what each split holds already. sums, shares, seed: as `deal`. Each unit, from the
    largest, goes to where it serves best; so single units, one after the other, come to the wanted shares as well.
    """
    wanted = np.flatnonzero(shares > 0)
    parts = _proportions(np.concatenate([held[wanted], sums]))
    here, parts = parts[: len(wanted)], parts[len(wanted) :]
    return wanted[_dealt(parts, shares[wanted], np.random.default_rng(seed), here)]


def imbalance(sums: NDArray[np.float64], shares: NDArray[np.float64], choice: NDArray[np.int64]) -> float:
    """Pearson's chi-square distance of the splits' sizes and class sums from proportional ones; 0 is perfect.

    sums: (U, K); shares: (S,) all above 0; choice: (U,) indices into shares.
    """
    return _loss(_held(_proportions(sums), choice, len(shares)), shares)


def _proportions(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(U, K + 1): each unit's share of all pixels, and of each class times the root of the class's own share.

    Squares of these, over the wanted share, are the terms of the chi-square.
    """
    total = sums.sum()
    if total <= 0:
        return np.full((len(sums), 1), 1 / len(sums))
    by_class = sums.sum(axis=0)
    here = by_class > 0
    weighted = sums[:, here] / by_class[here] * np.sqrt(by_class[here] / total)
    return np.column_stack([sums.sum(axis=1) / total, weighted])


def _held(parts: NDArray[np.float64], choice: NDArray[np.int64], splits: int) -> NDArray[np.float64]:
    held = np.zeros((splits, parts.shape[1]))
    np.add.at(held, choice, parts)
    return held


def _loss(held: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    return float((_missing(held, target) ** 2 / target[:, None]).sum())


def _missing(held: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S, K + 1) what each split holds beyond its due."""
    over: NDArray[np.float64] = held - target[:, None] * held.sum(axis=0)
    return over


def _dealt(
    parts: NDArray[np.float64],
    target: NDArray[np.float64],
    rng: np.random.Generator,
    here: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """A first choice: large units first (nearly equal ones in random order), each to the split that lacks it most.

    here: (S, K + 1) what each split holds before; None for nothing.
    """
    size = parts[:, 0] * rng.uniform(0.5, 1.5, len(parts))
    choice = np.zeros(len(parts), np.int64)
    here = np.zeros((len(target), parts.shape[1])) if here is None else here
    held = here - target[:, None] * (here.sum(axis=0) + parts.sum(axis=0))
    empty = np.array([not row.any() for row in here])
    order = np.argsort(-size, kind="stable")
    for left, unit in zip(range(len(order), 0, -1), order, strict=True):
        # (|held + part|² − |held|²) / target: what giving the unit to each split would add to the distance.
        cost = (parts[unit] * (2 * held + parts[unit])).sum(axis=1) / target
        if left <= empty.sum():
            cost[~empty] = np.inf
        to = int(np.argmin(cost))
        choice[unit] = to
        held[to] += parts[unit]
        empty[to] = False
    return choice


def _improved(parts: NDArray[np.float64], target: NDArray[np.float64], choice: NDArray[np.int64]) -> NDArray[np.int64]:
    """`choice` after moves of one unit, and exchanges of two where there are few, until none helps."""
    choice = choice.copy()
    small = len(parts) <= _SMALL
    for _ in range(500 if small else 40):
        if not (_move(parts, target, choice) or (small and _exchange(parts, target, choice))):
            break
    return choice


def _costs(
    parts: NDArray[np.float64], target: NDArray[np.float64], choice: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """((S, K+1) surplus over its due, (U,) change of loss on taking a unit out, (U, S) on putting it in)."""
    over = _missing(_held(parts, choice, len(target)), target)
    square = (parts**2).sum(axis=1)
    along = 2 * parts @ over.T
    into = (along + square[:, None]) / target
    out = (square - along[np.arange(len(parts)), choice]) / target[choice]
    return over, out, into


def _move(parts: NDArray[np.float64], target: NDArray[np.float64], choice: NDArray[np.int64]) -> bool:
    """Move the one unit whose move helps most; False if none does. No split is emptied."""
    _, out, into = _costs(parts, target, choice)
    gain = out[:, None] + into
    gain[np.arange(len(parts)), choice] = 0
    gain[(np.bincount(choice, minlength=len(target)) == 1)[choice]] = 0
    unit, to = np.unravel_index(np.argmin(gain), gain.shape)
    if gain[unit, to] > -1e-12:
        return False
    choice[unit] = to
    return True


def _exchange(parts: NDArray[np.float64], target: NDArray[np.float64], choice: NDArray[np.int64]) -> bool:
    """Exchange the two units of different splits whose exchange helps most; False if none does."""
    _, out, into = _costs(parts, target, choice)
    # Unit i goes to the split of j and j to that of i; each split's loss then lacks or has the cross term 2 p_i p_j.
    gain = out[:, None] + into[:, choice]
    gain = gain + gain.T - 2 * (parts @ parts.T) * (1 / target[choice][:, None] + 1 / target[choice][None, :])
    gain[choice[:, None] == choice[None, :]] = 0
    i, j = np.unravel_index(np.argmin(gain), gain.shape)
    if gain[i, j] > -1e-12:
        return False
    choice[i], choice[j] = choice[j], choice[i]
    return True
