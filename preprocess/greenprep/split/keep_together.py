"""What must stay together in a split: groups, or something coarser, from names and footprints. Pure.

Letters: F sources, G groups, U units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import ConfigError
from greenschemas.recipe import Pairing

__all__ = ["block_keys", "joined", "name_keys"]


def name_keys(paths: Sequence[str], groups: Sequence[str], by: str, pairing: Pairing) -> list[str]:
    """The key of each of F sources: sources of one key stay together.

    paths, groups: (F,) image path and name of the group of each source. by: `group`; a named part of the file name, as
    the pairing finds it; or a regular expression for some part of the path, whose first parenthesis (or else the whole
    match) is the key.
    Raises ConfigError where a name has no such part.
    """
    if by == "group":
        return list(groups)
    if by in pairing.parts:
        found = [pairing.match_image(path) for path in paths]
        keys = [match[by] if match else None for match in found]
    else:
        keys = [_key(match) for match in map(_pattern(by).search, paths)]
    for path, key in zip(paths, keys, strict=True):
        if key is None:
            known = ", ".join(["group", *pairing.parts])
            raise ConfigError(
                f"--by {by}",
                f"it finds nothing in {path}",
                f"give one of {known}, or a regular expression that fits every path",
            )
    return [key for key in keys if key is not None]


def _pattern(by: str) -> re.Pattern[str]:
    try:
        return re.compile(by)
    except re.error as problem:
        raise ConfigError(f"--by {by}", f"not a regular expression ({problem})", "mend it") from None


def _key(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    return str(match[1]) if match.re.groups else match[0]


def block_keys(centres: NDArray[np.float64], size: float) -> list[str]:
    """The square of `size` metres in which each of (F, 2) `centres` (metres, one system for all) lies."""
    squares = np.floor(centres / size).astype(np.int64)
    return [f"{x},{y}" for x, y in squares]


def joined(group_index: NDArray[np.int64], keys: Sequence[str], groups: int) -> NDArray[np.int64]:
    """(G,) unit of each group, numbered in the order of the groups.

    Groups that have a key in common are one unit, and so is whatever hangs together through others: a unit is never
    finer than a group, whatever the keys are.
    """
    parent = list(range(groups))

    def root(group: int) -> int:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    first: dict[str, int] = {}
    for group, key in zip(group_index.tolist(), keys, strict=True):
        a, b = root(first.setdefault(key, group)), root(group)
        parent[max(a, b)] = min(a, b)
    _, unit = np.unique([root(group) for group in range(groups)], return_inverse=True)
    return unit.astype(np.int64)
