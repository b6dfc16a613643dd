"""The second half of a build: accepted sources, read and spilled, become a store beside its final name.

Letters: F sources, G groups, T tiles.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from greenprep.build.append import ExistingStore
from greenprep.build.ledger import Ledger
from greenprep.build.read import BuildInputs, SourcePart, load_parts, spill_of
from greenprep.build.shard import Digests, ShardJob, TileSpans, common_type, recalled, write_shard
from greenprep.build.sources import Source
from greenprep.build.tiling import stride_of
from greenprep.engine.job import Engine, KilledJob
from greenprep.store.arrays import SourceTable, TileTable, shard_count, shard_key, shard_tiles, write_store
from greenprep.store.location import Location, swap_into_place
from greenprep.store.moments import Moments, merge_all
from greenschemas.console import progress
from greenschemas.contract import Contract, adopt_dead
from greenschemas.errors import StoreError
from greenschemas.files import sync_folder, sync_tree
from greenschemas.frozen import digest
from greenschemas.grid import IDENTITY
from greenschemas.layout import TILED
from greenschemas.machine import installed_version
from greenschemas.manifest import Entry
from greenschemas.store import write_contract
from greenschemas.values import BandValues, Values, quality_of

__all__ = ["Accepted", "assemble", "build_location", "finish", "target_of"]

Text = np.dtypes.StringDType()


@dataclass(frozen=True)
class Accepted:
    """A source that belongs in the store."""

    source: Source
    entry: Entry

    @property
    def group(self) -> str:
        """The ground that it shows; where its name does not say, it is its own."""
        return self.entry.group or self.source.candidate.name

    @property
    def tiles(self) -> int:
        """How many tiles it has."""
        return sum(len(part.tiles) for part in self.source.parts if part.tiles is not None)


def build_location(store: Location) -> Location:
    """The scratch folder of a build: beside the store, so that a rename makes it real."""
    return store.beside(".partial")


def target_of(store: Location) -> Location:
    """Where shards are written: for a local store beside its name, otherwise at its name, without a contract."""
    return build_location(store) / "store" if store.local else store


def assemble(
    engine: Engine,
    inputs: BuildInputs,
    store: Location,
    accepted: Sequence[Accepted],
    existing: ExistingStore | None = None,
    founders: int | None = None,
) -> Contract:
    """Write the whole store, contract included, into `target_of(store)`.

    accepted: in the order of the store. existing: the store that these are added to. founders: how many of the first of
    them say what the stored numbers mean, None for all. Raises StoreError where no tile is left.
    """
    contract = _contract(inputs, accepted, existing)
    target, ledger = target_of(store), Ledger(inputs.build / "ledger")
    if existing is not None:
        existing.link_full_shards(target, contract)
    digests = _shards(engine, ledger, list(_jobs(inputs, target, accepted, contract, existing)), existing, contract)
    sources, tiles = _source_table(accepted), _tile_table(accepted)
    moments = _group_moments(ledger, accepted, contract, existing)
    if existing is not None:
        sources, tiles = existing.with_sources(sources), existing.with_tiles(tiles)
    watched = _Extremes(moments, len(contract.bands))
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder) / "s", contract, sources, tiles, watched, _codes(accepted, existing), digests)
        values = _values(accepted[:founders], contract, existing, watched)
        bands = adopt_dead(contract.bands, watched.constant)
        contract = contract.model_copy(update={"bands": bands, "values": values})
        contract = write_contract(zarr.open_group(f"{folder}/s", mode="r+"), contract)
        _prune(target, contract)
        target.upload(Path(folder) / "s", last="zarr.json")
    return contract


def finish(store: Location) -> None:
    """Give a local store its final name, in one step, and remove the scratch folder."""
    if store.local:
        target = target_of(store).path
        sync_tree(target)  # The old store goes only when all of the new one, names and all, is on the disk.
        if store.path.exists():
            swap_into_place(target, store.path)
        else:
            store.path.parent.mkdir(parents=True, exist_ok=True)
            os.rename(target, store.path)
            sync_folder(store.path.parent)
    build_location(store).remove()


def _contract(inputs: BuildInputs, accepted: Sequence[Accepted], existing: ExistingStore | None) -> Contract:
    found = [
        (part.header.dtype, part.low, part.high)
        for one in accepted
        for part in one.source.parts
        if part.header.dtype and part.tiles is not None and len(part.tiles)
    ]
    tiles = sum(one.tiles for one in accepted) + (existing.contract.tiles if existing else 0)
    if not tiles:
        raise StoreError(
            "tile",
            f"no tile in {len(accepted)} accepted pairs",
            "see the reasons in the clean folder's manifest, or lower --size or --min-cover",
        )
    dtype = common_type([*found, *(existing.types() if existing else ())])
    if existing is not None and dtype != np.dtype(existing.contract.dtype):
        raise StoreError(
            existing.store.location,
            f"it holds {existing.contract.dtype}, the new sources need {dtype}",
            "build the store anew from all sources",
        )
    groups = {one.group for one in accepted} | (existing.groups if existing else set())
    rules = inputs.tile
    return Contract(
        bands=inputs.bands,
        classes=inputs.rules.names,
        tile_size=rules.size,
        stride=stride_of(rules),
        dtype=dtype.name,
        tiles=tiles,
        sources=len(accepted) + (existing.contract.sources if existing else 0),
        groups=len(groups),
        shard_tiles=shard_tiles(len(inputs.bands), rules.size, dtype),
        recipe=inputs.recipe,
        recipe_hash=digest(inputs.recipe),
        versions={"greenspace": installed_version("greenspace")},
    )


def _values(
    accepted: Sequence[Accepted], contract: Contract, existing: ExistingStore | None, extremes: _Extremes
) -> Values | None:
    """What the stored numbers mean; None for a store that grows and does not say so of its first sources.

    Scale and offset are those of most sources: files that disagree were named when they were judged.
    """
    known = existing.contract.values if existing is not None else None
    if existing is not None and known is None:
        return None
    headers = [one.source.parts[0].header for one in accepted if one.source.parts]
    told = Counter(header.scaling for header in headers if header.scaling)
    plain = ((1.0, 0.0),) * len(contract.bands)
    scaling = told.most_common(1)[0][0] if told else plain
    metres = [header.pixel_metres for header in headers if header.pixel_metres is not None]
    side = float(f"{np.median(metres):.6g}") if metres else None
    if known is not None:
        scaling, side = tuple((band.scale, band.offset) for band in known.bands), known.pixel_metres
    return Values(
        bands=tuple(
            BandValues(scale=scale, offset=offset, low=low, high=high)
            for (scale, offset), (low, high) in zip(scaling, extremes.ranges, strict=True)
        ),
        quality=quality_of(contract.bands),
        pixel_metres=side,
    )


def _parts(accepted: Iterable[Accepted]) -> Iterator[tuple[int, SourcePart]]:
    """(index of the source, part) of all parts with tiles, in the order of the tile ids."""
    for index, one in enumerate(accepted):
        for part in one.source.parts:
            if part.tiles is not None and len(part.tiles):
                yield index, part


def _jobs(
    inputs: BuildInputs,
    target: Location,
    accepted: Sequence[Accepted],
    contract: Contract,
    existing: ExistingStore | None,
) -> Iterator[ShardJob]:
    places, size = contract.shard_tiles, contract.tile_size
    at = existing.contract.tiles if existing else 0
    kept = at % places
    spilled: list[TileSpans] = []
    filled = kept

    def job(shard: int) -> ShardJob:
        before = kept if existing is not None and shard == at // places else 0
        what = [
            (tiles.spill.url.rsplit("/", 1)[-1], hashlib.sha256(tiles.spans.tobytes()).hexdigest(), tiles.dtype)
            for tiles in spilled
        ]
        grown = existing.identity if existing else None
        key = digest(["shard", 1, shard, before, places, contract.dtype, size, what, grown])
        return ShardJob(
            key,
            shard,
            places,
            before,
            Location(existing.store.location) if existing and before else None,
            tuple(spilled),
            contract.dtype,
            (len(contract.bands), size, size),
            target,
            inputs.build,
        )

    shard = at // places
    for _, part in _parts(accepted):
        spans = part.spans if part.spans is not None else np.zeros((0, len(TILED), 2), np.int64)
        while len(spans):
            taken, spans = spans[: places - filled], spans[places - filled :]
            spilled.append(TileSpans(spill_of(inputs.build, part.key), taken, str(part.header.dtype)))
            filled += len(taken)
            if filled == places:
                yield job(shard)
                spilled, shard, filled = [], shard + 1, 0
    if spilled:
        yield job(shard)


def _shards(
    engine: Engine, ledger: Ledger, jobs: Sequence[ShardJob], existing: ExistingStore | None, contract: Contract
) -> list[Digests]:
    known = ledger.keys()
    found: dict[int, Digests] = dict(existing.full_digests(contract)) if existing else {}
    for job in jobs:
        if job.key in known and (digests := recalled(ledger, job)) is not None:
            found[job.shard] = digests
    left = [job for job in jobs if job.shard not in found]
    with progress("writing shards", len(left)) as ticker:
        for job, result in engine.run(write_shard, left):
            if isinstance(result, KilledJob):
                raise StoreError(
                    job.target.url,
                    f"the workers that wrote shard {job.shard} died",
                    "see whether the machine has memory and disk left; the same command goes on from here",
                )
            found[result[0]] = result[1]
            ticker.advance()
    return [found[shard] for shard in range(shard_count(contract))]


def _source_table(accepted: Sequence[Accepted]) -> SourceTable:
    def text(values: Iterable[str]) -> NDArray[Any]:
        return np.array(list(values), dtype=object).astype(Text)

    entries = [one.entry for one in accepted]
    return SourceTable(
        path=text(entry.image or "" for entry in entries),
        checksum=text(entry.checksum or "" for entry in entries),
        crs=text(entry.crs or "" for entry in entries),
        transform=np.array([entry.transform or IDENTITY for entry in entries], np.float64).reshape(-1, 6),
        group=text(one.group for one in accepted),
        time=text(entry.time or "" for entry in entries),
        extent=np.array([entry.shape[1:] if entry.shape else (0, 0) for entry in entries], np.int64).reshape(-1, 2),
    )


def _tile_table(accepted: Sequence[Accepted]) -> TileTable:
    rows = list(_parts(accepted))
    source = [np.full(len(part.tiles), index) for index, part in rows if part.tiles is not None]
    tiles = [part.tiles for _, part in rows if part.tiles is not None]
    share = [part.share for _, part in rows if part.share is not None]
    prints = [part.prints for _, part in rows if part.prints is not None]
    where = np.concatenate(tiles) if tiles else np.zeros((0, 2), np.int64)
    return TileTable(
        np.concatenate([np.zeros(0, np.int64), *source]).astype(np.int64),
        where[:, 0],
        where[:, 1],
        np.concatenate([np.zeros(0, np.float32), *share]),
        np.concatenate([np.zeros(0, np.uint64), *prints]),
    )


def _codes(accepted: Sequence[Accepted], existing: ExistingStore | None) -> NDArray[np.int64]:
    """Histogram bins that occur in the store."""
    seen: set[int] = set() if existing is None else set(existing.codes.tolist())
    for _, part in _parts(accepted):
        seen.update(part.codes.tolist() if part.codes is not None else ())
    return np.array(sorted(seen), np.int64)


def _group_moments(
    ledger: Ledger, accepted: Sequence[Accepted], contract: Contract, existing: ExistingStore | None
) -> Iterator[Moments]:
    """Of each group in the order of the sorted names; its sources are merged in the order of their paths."""

    @lru_cache(maxsize=64)
    def parts_of(key: str) -> dict[tuple[str, int], SourcePart]:
        return {(part.source, part.row): part for part in load_parts(ledger, key)}

    before = existing.moments() if existing else iter(())
    members: dict[str, list[Accepted]] = {name: [] for name in (existing.groups if existing else ())}
    for one in accepted:
        members.setdefault(one.group, []).append(one)
    for group in sorted(members):
        pieces = [next(before)] if existing and group in existing.groups else []
        for one in members[group]:
            of_source = (
                moments for part in one.source.parts for moments in parts_of(part.key)[part.source, part.row].moments
            )
            pieces.append(merge_all(of_source, len(contract.bands), len(contract.classes)))
        yield merge_all(pieces, len(contract.bands), len(contract.classes))


class _Extremes:
    """Passes moments through and remembers the extremes of them all."""

    def __init__(self, moments: Iterator[Moments], bands: int) -> None:
        self._moments = moments
        self._low, self._high = np.full(bands, np.inf), np.full(bands, -np.inf)

    def __iter__(self) -> Iterator[Moments]:
        for one in self._moments:
            self._low, self._high = np.minimum(self._low, one.minimum), np.maximum(self._high, one.maximum)
            yield one

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """(least, greatest) value of each band in all valid pixels; zeros where there is none."""
        bounds = zip(self._low.tolist(), self._high.tolist(), strict=True)
        return [(low, high) if low <= high else (0.0, 0.0) for low, high in bounds]

    @property
    def constant(self) -> list[bool]:
        """Bands that have one value in all valid pixels."""
        return [bool(same) for same in self._low == self._high]


def _prune(target: Location, contract: Contract) -> None:
    """Remove what an earlier, stopped build of other sources may have left."""
    for name in target.names():
        if name not in TILED:
            (target / name).remove()
    for name in TILED:
        due = {shard_key("valid", shard).split("/")[2] for shard in range(shard_count(contract))}
        for shard in (target / f"{name}/c").names():
            if shard not in due:
                (target / f"{name}/c/{shard}").remove()
