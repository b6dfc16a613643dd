"""`CLEAN/batches.jsonl`: in which order a store grew, and how its groups were dealt out meanwhile.

A store that `greenprep watch` fed batch by batch can be built anew from this in one go, byte for byte: sources stand in
it by batch, then by path, and a group stays in the split that it once had. Everything here can be read off the store,
so a record that lags behind, because its writer was killed, is filled up from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenprep.split.assign import SplitPlan, places_of
from greenprep.split.grow import Dealt
from greenschemas.errors import SourceError
from greenschemas.files import write_whole
from greenschemas.frozen import Frozen
from greenschemas.store import Store

__all__ = ["BATCHES_NAME", "Batch", "Record", "read_record"]

BATCHES_NAME = "batches.jsonl"


class Batch(Frozen):
    """One line: what came into the store at once."""

    sources: tuple[str, ...]
    """Paths, in the order in which they stand in the store."""
    split: dict[str, Any] | None
    """How the store was split from then on, as its contract says; None: it was not."""
    places: dict[str, tuple[int, int]]
    """(split, fold) of each group that had none before, or another."""


@dataclass(frozen=True)
class Record:
    """All batches of a store, from the first."""

    path: Path
    batches: tuple[Batch, ...] = ()
    torn: bool = False
    """Whether its writer was killed in the middle of a line, which is not among them."""
    _rank: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rank = {path: number for number, batch in enumerate(self.batches) for path in batch.sources}
        object.__setattr__(self, "_rank", rank)

    @property
    def sources(self) -> list[str]:
        """Of all batches, in the order of the store."""
        return [path for batch in self.batches for path in batch.sources]

    def order(self, path: str) -> tuple[int, str]:
        """What sources are sorted by: their batch, those of none last, then their path."""
        return self._rank.get(path, len(self.batches)), path

    def founders(self, paths: Iterable[str]) -> int | None:
        """How many of `paths` are of the first batch, which says what the numbers mean; None without a record."""
        return sum(self._rank.get(path) == 0 for path in paths) if self.batches else None

    def plan(self, rules: SplitPlan) -> SplitPlan | None:
        """How to split a store that is built anew: as it was; None where it was not; `rules` for one batch."""
        last = self.batches[-1].split if self.batches else None
        if last is None:
            return None
        return (
            rules if len(self.batches) == 1 and last == rules.as_json() else SplitPlan.around(Dealt(last, self._places))
        )

    @property
    def _places(self) -> dict[str, tuple[int, int]]:
        return {group: place for batch in self.batches for group, place in batch.places.items()}

    def follow(self, store: Store) -> Record:
        """The record that says what `store` holds, written down where it is not this one.

        A store of another order than the record's was built anew by somebody: its record begins anew, with one batch.
        """
        paths, known = store.texts("path").tolist(), self.sources
        before = self if paths[: len(known)] == known else Record(self.path)
        new = paths[len(before.sources) :]
        split = store.contract.split
        said, places = None if split is None else split.recipe, {} if split is None else places_of(store)
        changed = {group: place for group, place in places.items() if before._places.get(group) != place}
        if before.batches and not new and not changed and before.batches[-1].split == said:
            return before
        batch = Batch(sources=tuple(new), split=said, places=changed)
        grown = Record(self.path, (*before.batches, batch))
        if before.batches and not self.torn:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{batch.to_json()}\n")
        else:
            write_whole(self.path, "".join(f"{batch.to_json()}\n" for batch in grown.batches))
        return grown


def read_record(clean: Path) -> Record:
    """The record of the store that a clean folder's pairs went to; empty where there is none.

    Raises SourceError for a file that is no record.
    """
    path = clean / BATCHES_NAME
    if not path.is_file():
        return Record(path)
    *lines, rest = path.read_bytes().split(b"\n")
    try:
        batches = tuple(Batch.parse(path, json.loads(line), SourceError) for line in lines)
    except ValueError:
        raise SourceError(
            path, "not the record of a store's batches", "remove it: the next batch writes it from the store"
        ) from None
    return Record(path, batches, torn=bool(rest))
