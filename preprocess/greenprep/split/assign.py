"""`greenprep split`: deals the groups of a store out, audits the result, writes it with the statistics of train."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from greenprep.split.audit import Audit, audit_store
from greenprep.split.cells import block_of_cells, cut_into_cells, without_cell, without_seams
from greenprep.split.deal import deal
from greenprep.split.footprints import footprints, gaps, near_pairs
from greenprep.split.keep_together import block_keys, joined, name_keys
from greenprep.store.arrays import write_array
from greenprep.store.statistics import levels, merged, statistics
from greenschemas.contract import Contract, Split
from greenschemas.errors import ConfigError
from greenschemas.files import sync_tree
from greenschemas.layout import NO_SPLIT, SPLITS
from greenschemas.lock import only_writer
from greenschemas.recipe import Recipe, SplitRules
from greenschemas.store import Store, open_store, write_contract

__all__ = ["SplitPlan", "rules_of", "split", "split_store", "write_split"]

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

    def as_json(self) -> dict[str, Any]:
        """For the contract: what the split depends on, without paths."""
        more = {
            "folds": self.folds,
            "fold": self.fold if self.folds else None,
            "block": self.block,
            "buffer": self.buffer or None,
            "given": True if self.given else None,
            "exclude": True if self.exclude else None,
        }
        return {**self.rules.model_dump(), **{key: value for key, value in more.items() if value is not None}}


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
    if plan.given is not None:
        split = _from_file(store, plan.given)
    else:
        units = _units(store, plan, boxes)
        split, fold = _dealt(store, plan, units)
        if plan.rules.by == "blocks" and plan.block is None:
            split = without_seams(store.texts("group_name").tolist(), split)
    if plan.buffer > 0:
        split = _buffered(store, split, plan.buffer, boxes)
    if plan.exclude is not None:
        split[_excluded(store, plan.exclude)] = NO_SPLIT
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
    class_sum = store.read("class_sum")[used]
    if class_sum.sum() == 0:
        class_sum = store.read("count")[used].max(axis=1, keepdims=True).astype(np.float64)
    sums = np.zeros((unit.max() + 1, class_sum.shape[1]))
    np.add.at(sums, unit, class_sum)
    rules = plan.rules
    split = np.full(len(units), NO_SPLIT, np.uint8)
    if plan.folds is None:
        shares = np.array([1 - rules.val - rules.test, rules.val, rules.test])
        split[used] = deal(sums, shares, rules.seed)[unit]
        return split, None
    if plan.folds < 2 or not 0 <= plan.fold < plan.folds:
        raise ConfigError("--folds", f"{plan.folds} folds, fold {plan.fold}", "give 2 folds or more, and one of them")
    fold = np.full(len(units), NO_SPLIT, np.uint8)
    fold[used] = deal(sums, np.full(plan.folds, 1 / plan.folds), rules.seed)[unit]
    split[used] = np.where(fold[used] == plan.fold, 1, 0)
    return split, fold


def _buffered(store: Store, split: NDArray[np.uint8], buffer: float, boxes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """`split` without the groups of train, and then of val, that come too near to another split."""
    split = split.copy()
    index = store.read("group_index")
    if not np.isfinite(boxes).all():
        raise ConfigError("--buffer", "some sources have no coordinate system", "leave the buffer out")
    for weaker in (0, 1):
        for i, j in near_pairs(boxes, buffer):
            near = gaps(boxes, i, j) < buffer
            a, b = index[i[near]], index[j[near]]
            apart = (split[a] != split[b]) & (split[a] != NO_SPLIT) & (split[b] != NO_SPLIT)
            for side in (a[apart], b[apart]):
                split[side[split[side] == weaker]] = NO_SPLIT
    return split


def _rows(path: Path, columns: Sequence[str]) -> tuple[str, list[dict[str, str]]]:
    """The first of `columns` that the CSV has, and its rows."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise ConfigError(path, f"cannot be read ({problem})", "give a CSV file") from None
    for column in columns:
        if column in header:
            return column, rows
    raise ConfigError(path, f"columns {', '.join(header) or 'none'}", f"it needs one of {', '.join(columns)}")


def _from_file(store: Store, path: Path) -> NDArray[np.uint8]:
    column, rows = _rows(path, ("group",))
    index_of = {name: g for g, name in enumerate(store.texts("group_name"))}
    split = np.full(len(index_of), NO_SPLIT, np.uint8)
    for row in rows:
        name, said = row[column], (row.get("split") or "").strip()
        if name not in index_of:
            raise ConfigError(path, f"group `{name}`", "the store has no such group: see `greenprep stats --by group`")
        if said not in (*SPLITS, "none"):
            raise ConfigError(path, f"split `{said}` for `{name}`", f"write one of {', '.join(SPLITS)}, none")
        code = SPLITS.index(said) if said in SPLITS else NO_SPLIT
        if split[index_of[name]] not in (NO_SPLIT, code):
            raise ConfigError(path, f"group `{name}` in two splits", "give each group one line")
        split[index_of[name]] = code
    return split


def _excluded(store: Store, path: Path) -> NDArray[np.int64]:
    """Groups that a CSV names, directly, by a source, or by a tile."""
    column, rows = _rows(path, ("group", "path", "tile"))
    said = [row[column].strip() for row in rows]
    if column == "tile":
        tiles = [int(text) for text in said if re.fullmatch(r"\d+", text)]
        if len(tiles) != len(said) or max(tiles, default=0) >= store.contract.tiles:
            raise ConfigError(path, "a tile that the store does not have", f"ids go to {store.contract.tiles - 1}")
        return np.unique(store.tile_group()[tiles])
    known = store.texts("group_name" if column == "group" else "path").tolist()
    index_of = {name: i for i, name in enumerate(known)}
    unknown = [name for name in said if name not in index_of]
    if unknown:
        raise ConfigError(path, f"{column} `{unknown[0]}`", "the store has none of that name")
    index = np.array([index_of[name] for name in said], np.int64)
    return index if column == "group" else np.unique(store.read("group_index")[index])


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
