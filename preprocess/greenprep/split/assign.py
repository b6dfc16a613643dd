"""`greenprep split`: deals the groups of a store out, audits the result, writes it with the statistics of train."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from greenprep.split.audit import Audit, audit_store
from greenprep.split.cells import block_of_cells, cut_into_cells, without_seams
from greenprep.split.deal import deal
from greenprep.split.footprints import footprints, gaps, near_pairs
from greenprep.split.given import groups_from, splits_from
from greenprep.split.grow import NEW, Dealt, place_new
from greenprep.split.keep_together import block_keys, joined, name_keys
from greenprep.store.arrays import write_array
from greenprep.store.statistics import levels, merged, statistics
from greenschemas.contract import Contract, Split
from greenschemas.errors import ConfigError, StoreError
from greenschemas.files import sync_tree
from greenschemas.layout import NO_SPLIT, SPLITS, without_cell
from greenschemas.lock import only_writer
from greenschemas.recipe import Recipe, SplitRules
from greenschemas.store import Store, open_store, write_contract

__all__ = ["SplitPlan", "leave_out", "places_of", "rules_of", "split", "split_store", "write_split"]

_LISTED = 5
"""Leaks that the contract lists."""


@dataclass(frozen=True)
class SplitPlan:
    """How to split, beyond the recipe's rules."""

    rules: SplitRules
    folds: int | None = None
    """Deal out to that many folds instead; fold 0, or `fold`, is then val, the rest train."""
    fold: int = 0
    block: float | None = None
    """Metres: what lies in one square of this side stays together, instead of `rules.by`."""
    buffer: float = 0.0
    """Metres: groups of train nearer than this to another split are left out of all."""
    given: Path | None = None
    """CSV with the columns `group` and `split`: nothing is dealt out."""
    exclude: Path | None = None
    """CSV with a column `group`, `path` or `tile`: groups to be left out of all splits."""
    without: frozenset[str] = frozenset()
    """Groups, by name, to be left out of all splits, too."""
    dealt: Dealt | None = None
    """What stays as it was, of a store that grew."""

    @classmethod
    def around(cls, dealt: Dealt) -> SplitPlan:
        """For a store that grew: new groups by the rules that the others were dealt out by."""
        said = dealt.recipe
        rules = SplitRules.parse("split", {key: said[key] for key in SplitRules.model_fields if key in said})
        return cls(
            rules, said.get("folds"), said.get("fold") or 0, said.get("block"), said.get("buffer") or 0.0, dealt=dealt
        )

    def as_json(self) -> dict[str, Any]:
        """For the contract: what the split depends on, without paths."""
        if self.dealt is not None:
            return {**self.dealt.recipe, "grown": True}
        more = {
            "folds": self.folds,
            "fold": self.fold if self.folds else None,
            "block": self.block,
            "buffer": self.buffer or None,
            "given": True if self.given else None,
            "exclude": True if self.exclude or self.without else None,
        }
        return {**self.rules.model_dump(), **{key: value for key, value in more.items() if value is not None}}


def places_of(store: Store) -> dict[str, tuple[int, int]]:
    """(split, fold) of each group that has a usable tile, by name; fold is NO_SPLIT where there are none."""
    used = np.unique(store.tile_group()[store.usable_tiles()]).tolist()
    folds = store.read("fold") if "fold" in store.group else np.full(store.contract.groups, NO_SPLIT)
    names, splits = store.texts("group_name"), store.splits()
    return {str(names[g]): (int(splits[g]), int(folds[g])) for g in used}


def leave_out(location: str | Path, groups: Iterable[str]) -> tuple[Contract, Audit]:
    """Take some groups of a store out of all splits; the others stay where they are. Raises as `split_store` does."""
    store = open_store(location)
    if store.contract.split is None:
        raise StoreError(location, "it has no split that anything could be left out of", "run `greenprep split` first")
    plan = SplitPlan.around(Dealt(store.contract.split.recipe, places_of(store)))
    return split_store(location, replace(plan, without=frozenset(groups)))


def split(
    store: str | Path | Store,
    *,
    val: float | None = None,
    test: float | None = None,
    seed: int | None = None,
    by: str | None = None,
    block: float | None = None,
    buffer: float = 0.0,
    folds: int | None = None,
    fold: int = 0,
    file: str | Path | None = None,
    exclude: str | Path | None = None,
) -> tuple[Contract, Audit]:
    """Deal the groups of a store out to train, val and test, audit the result, and write it with train's statistics.

    val, test: shares of the labelled pixels; by: what stays together (`group`, a named part of the file name, a regular
    expression). What is None comes from the store's own recipe. The rest is as `SplitPlan` says; file is its `given`.
    Returns the new contract and the audit; a store that was open before must be opened again. Raises StoreError or
    ConfigError for what cannot be.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    given, left_out = (None if path is None else Path(path) for path in (file, exclude))
    plan = SplitPlan(rules_of(opened, val, test, seed, by), folds, fold, block, buffer, given, left_out)
    return split_store(opened.location, plan)


def rules_of(store: Store, val: float | None, test: float | None, seed: int | None, by: str | None) -> SplitRules:
    """The rules of the store's own recipe, with what the command line says instead."""
    own = Recipe.parse(store.location, store.contract.recipe).split
    said = {"val": val, "test": test, "seed": seed, "by": by}
    return SplitRules.parse("split", {**own.model_dump(), **{k: v for k, v in said.items() if v is not None}})


def split_store(location: str | Path, plan: SplitPlan) -> tuple[Contract, Audit]:
    """Split the store at `location`, audit the result, and write both with the statistics of its train split.

    Until the last write the store has no split at all, so that no reader sees an old one with new statistics. Raises
    StoreError or ConfigError for what cannot be, LockedError where another process writes the store.
    """
    with only_writer(location, "greenprep split"):
        return write_split(location, plan)


def write_split(location: str | Path, plan: SplitPlan) -> tuple[Contract, Audit]:
    """As `split_store`, for whoever holds the lock of the store already."""
    blocks = plan.rules.by == "blocks" and plan.given is None and plan.block is None
    store = cut_into_cells(str(location)) if blocks else open_store(location)
    boxes = footprints(store)
    split, fold = _choose(store, plan, boxes)
    audit = audit_store(store, split, boxes=boxes)
    contract = _with_split(store, split, plan, audit)
    group = zarr.open_group(str(location), mode="r+")
    bare = store.contract.model_copy(update={"split": None, "statistics": None})
    write_contract(group, bare, unset=("split", "fold"))
    write_array(group, "split", split)
    if fold is not None:
        write_array(group, "fold", fold)
    if "://" not in str(location):
        sync_tree(Path(location))
    return write_contract(group, contract), audit


def _choose(
    store: Store, plan: SplitPlan, boxes: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """(G,) split of each group, and (G,) its fold if there are folds."""
    fold = None
    if plan.dealt is not None:
        split, fold = _around(store, plan, plan.dealt, boxes)
    elif plan.given is not None:
        split = splits_from(store, plan.given)
    else:
        units = _units(store, plan, boxes)
        split, fold = _dealt(store, plan, units)
        if plan.rules.by == "blocks" and plan.block is None:
            split = without_seams(store.texts("group_name").tolist(), split)
    if plan.buffer > 0:
        split = _buffered(store, split, plan, boxes)
    if plan.exclude is not None:
        split[groups_from(store, plan.exclude)] = NO_SPLIT
    if plan.without:
        split[np.isin(store.texts("group_name").astype(str), sorted(plan.without))] = NO_SPLIT
    if not (split == 0).any():
        raise ConfigError("split", "no group is left for train", "ask for a smaller buffer, or exclude less")
    return split, fold


def _units(store: Store, plan: SplitPlan, boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """(G,) unit of each group, -1 for a group without tiles that can be used."""
    index = store.read("group_index")
    if plan.block is not None:
        if not np.isfinite(boxes).all():
            raise ConfigError("--block", "some sources have no coordinate system", "split by group or by name instead")
        keys = block_keys((boxes[:, :2] + boxes[:, 2:]) / 2, plan.block)
    else:
        recipe = Recipe.parse(store.location, store.contract.recipe)
        names = store.texts("group_name")[index]
        if plan.rules.by == "blocks":
            rules = plan.rules
            shares = (1 / plan.folds,) if plan.folds else (1 - rules.val - rules.test, rules.val, rules.test)
            keys = block_of_cells(names.tolist(), min(share for share in shares if share > 0))
        else:
            paths, bases = ([without_cell(name) for name in some] for some in (store.texts("path"), names))
            keys = name_keys(paths, bases, plan.rules.by, recipe.pairing)
    units = joined(index, keys, store.contract.groups)
    used = np.zeros(store.contract.groups, bool)
    used[store.tile_group()[store.usable_tiles()]] = True
    units[~used] = -1
    return units


def _dealt(
    store: Store, plan: SplitPlan, units: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    used = units >= 0
    _, unit = np.unique(units[used], return_inverse=True)
    if not len(unit):
        raise ConfigError(
            store.location,
            "no tile has a usable pixel",
            "see the reasons in the manifest of the clean folder, and `greenprep inspect`",
        )
    class_sum = _class_sums(store)[used]
    sums = np.zeros((unit.max() + 1, class_sum.shape[1]))
    np.add.at(sums, unit, class_sum)
    place = np.full(len(units), NO_SPLIT, np.uint8)
    place[used] = deal(sums, _shares(plan), plan.rules.seed)[unit]
    return _of_place(place, plan)


def _class_sums(store: Store) -> NDArray[np.float64]:
    """(G, K) labelled pixels of each class; (G, 1) usable pixels where nothing has a label."""
    sums: NDArray[np.float64] = store.read("class_sum")
    return sums if sums.sum() > 0 else store.read("count").max(axis=1, keepdims=True).astype(np.float64)


def _shares(plan: SplitPlan) -> NDArray[np.float64]:
    """Of the splits, or of the folds, if there are any."""
    if plan.folds is None:
        return np.array([1 - plan.rules.val - plan.rules.test, plan.rules.val, plan.rules.test])
    if plan.folds < 2 or not 0 <= plan.fold < plan.folds:
        raise ConfigError("--folds", f"{plan.folds} folds, fold {plan.fold}", "give 2 folds or more, and one of them")
    return np.full(plan.folds, 1 / plan.folds)


def _of_place(place: NDArray[np.uint8], plan: SplitPlan) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """(split, fold) of groups that were dealt out to splits, or to folds."""
    if plan.folds is None:
        return place, None
    return np.where(place == NO_SPLIT, NO_SPLIT, place == plan.fold).astype(np.uint8), place


def _around(
    store: Store, plan: SplitPlan, dealt: Dealt, boxes: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """As `_choose`, of a store that grew: what was dealt before stays."""
    names = store.texts("group_name").tolist()
    before = dealt.before(names, folds=plan.folds is not None)
    new = before == NEW
    place = np.where(new, NO_SPLIT, before)
    if dealt.deal_new and not dealt.recipe.get("given"):
        place = place_new(before, _units(store, plan, boxes), _class_sums(store), _shares(plan), plan.rules.seed)
    split, fold = _of_place(place.astype(np.uint8), plan)
    kept = dealt.before(names, folds=False)[~new]
    split[~new] = kept  # A buffer, or an exclusion, took some out of their split that have a fold.
    return split, fold


def _buffered(store: Store, split: NDArray[np.uint8], plan: SplitPlan, boxes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """`split` without the groups of train, and then of val, that come too near to another split.

    Of a store that grew only groups that are new go.
    """
    split, buffer = split.copy(), plan.buffer
    may_go = np.ones(len(split), bool)
    if plan.dealt is not None:
        may_go = plan.dealt.before(store.texts("group_name").tolist(), folds=False) == NEW
    index = store.read("group_index")
    if not np.isfinite(boxes).all():
        raise ConfigError("--buffer", "some sources have no coordinate system", "leave the buffer out")
    for weaker in (0, 1) if plan.dealt is None else (0, 1, 2):
        for i, j in near_pairs(boxes, buffer):
            near = gaps(boxes, i, j) < buffer
            a, b = index[i[near]], index[j[near]]
            apart = (split[a] != split[b]) & (split[a] != NO_SPLIT) & (split[b] != NO_SPLIT)
            for side in (a[apart], b[apart]):
                split[side[(split[side] == weaker) & may_go[side]]] = NO_SPLIT
    return split


def _with_split(store: Store, split: NDArray[np.uint8], plan: SplitPlan, audit: Audit) -> Contract:
    usable = split[store.tile_group()[store.usable_tiles()]]
    outcome = Split(
        recipe=plan.as_json(),
        groups={name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        tiles={name: int((usable == code).sum()) for code, name in enumerate(SPLITS)},
        audit="passed" if audit.passed else "failed",
        leaks=tuple(str(leak) for leak in audit.leaks[:_LISTED]),
    )
    train = merged(store, split == 0, histogram=False)
    whole = statistics(store.contract, train, store.read("class_sum")[split == 0])
    values = store.contract.values
    if values is not None:
        values = values.model_copy(update={"levels": levels(store, split == 0)})
    return store.contract.model_copy(update={"split": outcome, "statistics": whole, "values": values})
