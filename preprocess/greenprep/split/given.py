"""Splits and exclusions that a CSV says, in place of dealing groups out."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import ConfigError
from greenschemas.layout import NO_SPLIT, SPLITS
from greenschemas.store import Store

__all__ = ["groups_from", "splits_from"]


def splits_from(store: Store, path: Path) -> NDArray[np.uint8]:
    """(G,) split of each group of the store; ConfigError where the CSV has no such columns, groups or splits."""
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


def groups_from(store: Store, path: Path) -> NDArray[np.int64]:
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
