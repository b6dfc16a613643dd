"""`--append`: a finished store as the start of a larger one, whose full shards are linked, not written again.

The larger store, its split among the rest, is made beside the old one and takes its name in one step, so that a reader
sees either. Tile ids, and so the shards that were full, stay as they are, and no group changes its split. An object
store can rename nothing, so a store there does not grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.split.assign import places_of
from greenprep.split.grow import Dealt
from greenprep.store.arrays import SourceTable, TileTable, has_checksums, shard_key
from greenprep.store.histogram import Histogram
from greenprep.store.location import Location, link_or_copy
from greenprep.store.moments import Moments
from greenschemas.contract import Contract
from greenschemas.errors import StoreError
from greenschemas.layout import TILED, without_cell
from greenschemas.recipe import Recipe
from greenschemas.store import Store, open_store

__all__ = ["ExistingStore", "open_existing"]

_ALIKE = ("pairing", "bands", "mask", "tile")
"""Parts of the recipe that must not differ between what is there and what is added."""
_GROUPS = 256
"""Groups whose records are read at a time."""


def open_existing(location: Location, recipe: dict[str, object], *, deal_new: bool = True) -> ExistingStore:
    """The store that sources are added to; `recipe` as `Recipe.about_data` gives it.

    deal_new: whether groups that are new are dealt out, by the rules of the store's split.

    Raises StoreError where it is not a local one, or was made of another recipe.
    """
    if not location.local:
        raise StoreError(
            location.url,
            "a store on an object store cannot grow in one step, which a rename is on a disk",
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
    return ExistingStore(store, deal_new)


@dataclass(frozen=True)
class ExistingStore:
    """An open store that grows."""

    store: Store
    deal_new: bool = True

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
        return set(self.store.texts("group_name").tolist())

    @cached_property
    def paths(self) -> dict[str, str]:
        """Checksum of each of its sources by path."""
        paths, checksums = self.store.texts("path"), self.store.texts("checksum")
        return dict(zip(paths.tolist(), checksums.tolist(), strict=True))

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Its histogram bins."""
        return self.store.read("bin_code")

    def types(self) -> list[tuple[str, float, float]]:
        """For `common_type`: what it holds fits its own type."""
        return [(self.contract.dtype, 0.0, 0.0)]

    def moments(self) -> Iterator[Moments]:
        """The records of its groups, in the order of their names; those of some groups are in memory at a time."""
        names = [field.name for field in fields(Moments)]
        for start in range(0, self.contract.groups, _GROUPS):
            rows = [self.store.read(name, slice(start, start + _GROUPS)) for name in names]
            for of_group in zip(*rows, strict=True):
                one: dict[str, Any] = dict(zip(names, of_group, strict=True))
                yield Moments(**one | {"histogram": Histogram(self.codes, one["histogram"])})

    @cached_property
    def dealt(self) -> Dealt | None:
        """How its groups were dealt out; None for a store without a split."""
        if self.contract.split is None:
            return None
        return Dealt(self.contract.split.recipe, places_of(self.store), self.deal_new)

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
        """The shards that stay, in the folder of the larger store: the same files by a second name."""
        for shard in range(self.contract.tiles // contract.shard_tiles):
            for name in TILED:
                old = Path(self.store.location) / shard_key(name, shard)
                new = target.path / shard_key(name, shard)
                new.unlink(missing_ok=True)  # Of another build that was stopped, it may be.
                if old.exists():
                    new.parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(old, new)
