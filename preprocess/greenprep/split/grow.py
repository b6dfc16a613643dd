"""Groups that come to a store later get a place beside those that were dealt out before. Pure: no store, no file.

Letters: G groups, K classes, S places (splits or folds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.split.deal import deal_more
from greenschemas.layout import NO_SPLIT

__all__ = ["NEW", "Dealt", "place_new"]

NEW = -1
"""In the place of a group that was not there before."""


@dataclass(frozen=True)
class Dealt:
    """How a store was split before more groups came."""

    recipe: dict[str, Any]
    """As the contract has it."""
    places: Mapping[str, tuple[int, int]]
    """(split, fold) of each group that had a usable tile, by name."""
    deal_new: bool = True
    """Whether new groups are dealt out, too, or stay in no split."""

    def before(self, names: list[str], *, folds: bool) -> NDArray[np.int64]:
        """(G,) split, or fold, of each group of `names`; NEW for one that has none yet."""
        return np.array([self.places[name][folds] if name in self.places else NEW for name in names], np.int64)


def place_new(
    before: NDArray[np.int64],
    units: NDArray[np.int64],
    sums: NDArray[np.float64],
    shares: NDArray[np.float64],
    seed: int,
) -> NDArray[np.int64]:
    """(G,) place of each group: what was dealt before stays; a new group follows the ground that it belongs to.

    before: (G,) place, NO_SPLIT for a group that was left out on purpose, NEW. units: (G,) what must stay together, -1
    for groups that are not dealt. sums: (G, K). shares: (S,) as `deal` takes them.
    A new group goes where the others of its unit are. Where those stand in several places, or in none on purpose, it
    goes nowhere. Units that are new as a whole are dealt out by what each place lacks.
    """
    place = np.where(before == NEW, NO_SPLIT, before)
    new = (before == NEW) & (units >= 0)
    some, unit = np.unique(units[new], return_inverse=True)
    if not len(some):
        return place
    old = (before != NEW) & np.isin(units, some)
    of_old = np.searchsorted(some, units[old])
    # Where the others of each unit are: one place, several, or none.
    known = old & (before != NO_SPLIT)
    of_known = np.searchsorted(some, units[known])
    first, last = np.full(len(some), len(shares)), np.full(len(some), -1)
    np.minimum.at(first, of_known, before[known])
    np.maximum.at(last, of_known, before[known])
    to = np.where(first == last, first, NO_SPLIT)
    free = np.bincount(of_old, minlength=len(some)) == 0
    if free.any():
        held = np.zeros((len(shares), sums.shape[1]))
        dealt = (before != NEW) & (before != NO_SPLIT)
        np.add.at(held, before[dealt], sums[dealt])
        of_unit = np.zeros((len(some), sums.shape[1]))
        np.add.at(of_unit, unit, sums[new])
        to[free] = deal_more(held, of_unit[free], shares, seed)
    place[new] = to[unit]
    return place
