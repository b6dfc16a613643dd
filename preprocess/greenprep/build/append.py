"""`--append`: a finished store as the start of a larger one, whose full shards are linked, not written again.

The larger store is made beside the old one and takes its name in one step, so that a reader sees either. Tile ids,
and so the shards that were full, stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.split.cells import without_cell
from greenprep.store.arrays import SourceTable, TileTable, has_checksums, shard_key
from greenprep.store.histogram import Histogram
from greenprep.store.location import Location
from greenprep.store.moments import Moments
from greenschemas.contract import Contract
from greenschemas.errors import StoreError
from greenschemas.layout import TILED
from greenschemas.recipe import Recipe
from greenschemas.store import Store, open_store

__all__ = ["ExistingStore", "open_existing"]

_ALIKE = ("pairing", "bands", "mask", "tile")
"""Parts of the recipe that must not differ between what is there and what is added."""


def open_existing(location: Location, recipe: dict[str, object]) -> ExistingStore:
    """The store that sources are added to; `recipe` as `Recipe.about_data` gives it.

    Raises StoreError where it is not a local one, or was made of another recipe.
    """
    if not location.local:
        raise StoreError(
            location.url,
            "a store that is no local folder cannot grow in one step",
            "build it anew, or append to a local copy",
        )
    store = open_store(location.url)
    # Whole, so that a store whose recipe lacks keys that were added since has their defaults.
    theirs = Recipe.parse(store.location, store.contract.recipe).about_data()
    for part in _ALIKE:
        if theirs.get(part) != recipe[part]:
            raise StoreError(
                location.url,
                f"`{part}` of its recipe is not that of what is to be added",
                "append with the recipe that made it, or build another store",
            )
    if any(without_cell(path) != path for path in store.texts("path")):
        raise StoreError(location.url, "its scenes are cut into blocks (`split --by blocks`)", "build it anew from all")
    if not has_checksums(store):
        raise StoreError(location.url, "its tiles have no checksums: an older version wrote it", "build it anew")
    return ExistingStore(store)


@dataclass(frozen=True)
class ExistingStore:
    """An open store that grows."""

    store: Store

    @property
    def contract(self) -> Contract:
        """As it was."""
        return self.store.contract

    @cached_property
    def identity(self) -> str:
        """Changes when the store does."""
        return self.contract.identity()

    @cached_property
    def groups(self) -> set[str]:
        """Names of its groups."""
        return set(self._group_index)

    @cached_property
    def paths(self) -> dict[str, str]:
        """Checksum of each of its sources by path."""
        paths, checksums = self.store.texts("path"), self.store.texts("checksum")
        return dict(zip(paths.tolist(), checksums.tolist(), strict=True))

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Its histogram bins."""
        return self.store.read("bin_code")

    @cached_property
    def _group_index(self) -> dict[str, int]:
        return {name: g for g, name in enumerate(self.store.texts("group_name").tolist())}

    def types(self) -> list[tuple[str, float, float]]:
        """For `common_type`: what it holds fits its own type."""
        return [(self.contract.dtype, 0.0, 0.0)]

    def moments_of(self, group: str) -> Moments:
        """The record of one of its groups."""
        g = self._group_index[group]
        row = {field.name: self._row(field.name, g) for field in fields(Moments)}
        histogram = Histogram(self.codes, row.pop("histogram"))
        return Moments(**row, histogram=histogram)

    def _row(self, name: str, group: int) -> Any:
        return self.store.read(name, group)

    def with_sources(self, more: SourceTable) -> SourceTable:
        """Its sources, then `more`."""
        names = self.store.read("group_name")[self.store.read("group_index")]
        return SourceTable(
            **{
                field.name: np.concatenate(
                    [names if field.name == "group" else self.store.read(field.name), getattr(more, field.name)]
                )
                for field in fields(SourceTable)
            }
        )

    def with_tiles(self, more: TileTable) -> TileTable:
        """Its tiles, then `more`."""
        moved = TileTable(
            more.source_index + self.contract.sources, more.row, more.col, more.valid_share, more.fingerprint
        )
        return TileTable(
            *(np.concatenate([self.store.read(field.name), getattr(moved, field.name)]) for field in fields(TileTable))
        )

    def full_digests(self, contract: Contract) -> Iterator[tuple[int, tuple[str, ...]]]:
        """(shard, digests) of the shards that stay."""
        digests = self.store.texts("shard_digest")
        for shard in range(self.contract.tiles // contract.shard_tiles):
            yield shard, tuple(digests[shard].tolist())

    def link_full_shards(self, target: Location, contract: Contract) -> None:
        """Hard links to the shards that stay, in the folder of the larger store."""
        for shard in range(self.contract.tiles // contract.shard_tiles):
            for name in TILED:
                old = Path(self.store.location) / shard_key(name, shard)
                new = target.path / shard_key(name, shard)
                new.unlink(missing_ok=True)  # Of another build that was stopped, it may be.
                if old.exists():
                    new.parent.mkdir(parents=True, exist_ok=True)
                    os.link(old, new)
