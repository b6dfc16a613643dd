"""`greenprep check`: is a store what its contract says, down to the last pixel if asked?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.metadata import ArrayV3Metadata

from greenprep.store.arrays import FILLS, has_checksums, shard_count, shard_key, tile_shapes
from greenprep.store.codec import decode_chunk, digest_of, shard_chunks
from greenprep.store.location import Location
from greenprep.store.moments import Moments, merge
from greenschemas.bands import decodings
from greenschemas.errors import StoreError
from greenschemas.integrity import missing_shards, read_files
from greenschemas.layout import SPLITS, TILED
from greenschemas.store import Store, open_store

__all__ = ["lacking", "verify"]

_CLOSE = 1e-9
"""Relative difference that another order of summing may make."""


def verify(location: str, *, deep: bool) -> list[str]:
    """What is wrong with the store at `location`, in words; empty where nothing is.

    Shallow: the contract, the digests of the small arrays, the shapes and types of all arrays as any reader finds them,
    indices within their ranges, which shards exist, the sums of the split. deep: every shard's checksum, and the
    moments recomputed from its pixels.
    """
    try:
        store = open_store(location)
    except StoreError as problem:
        return [str(problem)]
    return (
        [*_metadata(store), *_damaged(store)]
        or [*_indices(store)]
        or [*_split(store), *(_pixels(store) if deep else _shards(store))]
    )


def lacking(location: str) -> list[str]:
    """What a store that is in order lacks, because an older version wrote it, and how it gets it."""
    store = open_store(location)
    lacks = []
    if not store.contract.digests:
        lacks.append("digests of its small arrays, by which damage to them is noticed: `greenprep split` writes them")
    if not has_checksums(store):
        lacks.append("checksums of its tiles, by which damage is noticed when they are read: build it anew")
    values = store.contract.values
    if values is None:
        lacks.append(
            "what its numbers mean (scale, offset and range of each band, pixel size, levels of the train split), so "
            "that `greentrain predict` compares scenes with its means alone: build it anew"
        )
    elif store.contract.split is not None and not values.levels:
        lacks.append("the levels of its train split, which scenes are compared with: `greenprep split` writes them")
    return lacks


def _metadata(store: Store) -> Iterator[str]:
    """Where the metadata of an array is not what the group's own says of it: readers go by the one or the other."""
    told = {name: array.metadata.to_dict() for name, array in store.group.members() if isinstance(array, zarr.Array)}
    files = read_files(store.group, [f"{name}/zarr.json" for name in told])
    for name in sorted(told):
        try:
            own = ArrayV3Metadata.from_dict(json.loads(files[f"{name}/zarr.json"])).to_dict()
        except (KeyError, ValueError, TypeError) as problem:
            yield f"{name}/zarr.json: {'missing' if isinstance(problem, KeyError) else 'cannot be read'}"
            continue
        if json.dumps(own, default=str) != json.dumps(told[name], default=str):
            yield f"{name}/zarr.json: not what the group says of the array"


def _damaged(store: Store) -> Iterator[str]:
    """Small arrays that cannot be decoded, without what is in them."""
    for name, array in sorted(store.group.arrays()):
        if name in TILED:
            continue
        step = array.chunks[0]
        try:
            for start in range(0, array.shape[0], step):
                store.read(name, slice(start, start + step))
        except StoreError as problem:
            yield str(problem)


def _indices(store: Store) -> Iterator[str]:
    contract = store.contract
    for name, most in (("source_index", contract.sources), ("group_index", contract.groups)):
        index = store.read(name)
        if index.size and (index.min() < 0 or index.max() >= most):
            yield f"{name}: values from {index.min()} to {index.max()}, there are {most}"
    for name in ("path", "group_name"):
        if len(set(store.texts(name))) != len(store.texts(name)):
            yield f"{name}: some are there twice"
    share = store.read("valid_share")
    if share.size and not ((share >= 0) & (share <= 1)).all():
        yield "valid_share: values beyond 0 to 1"


def _split(store: Store) -> Iterator[str]:
    split = store.contract.split
    if split is None:
        return
    codes = store.splits()
    usable = codes[store.tile_group()[store.usable_tiles()]]
    for code, name in enumerate(SPLITS):
        groups, tiles = int((codes == code).sum()), int((usable == code).sum())
        if split.groups.get(name, 0) != groups or split.tiles.get(name, 0) != tiles:
            yield (
                f"split {name}: {groups} groups and {tiles} usable tiles, the contract says "
                f"{split.groups.get(name, 0)} and {split.tiles.get(name, 0)}"
            )


def _shards(store: Store) -> Iterator[str]:
    """Shards that should be there and are not, by their names alone."""
    for name in missing_shards(store.group, store.texts("shard_digest")):
        yield f"{name}: missing"


def _pixels(store: Store) -> Iterator[str]:
    """Checksums of all shards, and the moments of all groups from their pixels."""
    contract = store.contract
    groups = [Moments.empty(len(contract.bands), len(contract.classes)) for _ in range(contract.groups)]
    owner, share, how = store.tile_group(), store.read("valid_share"), decodings(contract.bands)
    digests = store.texts("shard_digest")
    for shard in range(shard_count(contract)):
        data = [_file(store, name, shard) for name in TILED]
        wrong = [
            f"{shard_key(name, shard)}: its checksum is not the one it was written with"
            for i, name in enumerate(TILED)
            if digest_of(data[i]) != digests[shard, i]
        ]
        if wrong:
            yield from wrong
            return
        for tile, image, fraction, valid in _tiles(store, shard, data):
            if abs(float(valid.mean()) - float(share[tile])) > 1e-6:
                yield f"tile {tile}: valid_share {share[tile]}, its pixels say {valid.mean()}"
            at = int(owner[tile])
            groups[at] = merge(groups[at], Moments.of(image, valid.astype(bool), fraction, how))
    yield from _moments(store, groups)


def _file(store: Store, name: str, shard: int) -> bytes:
    try:
        return (Location.at(store.location) / shard_key(name, shard)).read()
    except FileNotFoundError:
        return b""


def _tiles(
    store: Store, shard: int, data: list[bytes]
) -> Iterator[tuple[int, NDArray[np.generic], NDArray[np.uint8], NDArray[np.uint8]]]:
    contract = store.contract
    shapes, checked = tile_shapes(contract), has_checksums(store)
    chunks = [shard_chunks(each, contract.shard_tiles) for each in data]
    first = shard * contract.shard_tiles
    for position in range(min(contract.shard_tiles, contract.tiles - first)):
        image, fraction, valid = (
            decode_chunk(
                chunks[i][position],
                np.dtype(contract.dtype if name == "image" else "uint8"),
                shapes[name],
                FILLS[name],
                checked=checked,
            )
            for i, name in enumerate(TILED)
        )
        yield first + position, image, fraction, valid


def _moments(store: Store, groups: list[Moments]) -> Iterator[str]:
    names = store.texts("group_name")
    for field in ("count", "mean", "comoment", "minimum", "maximum", "class_sum", "class_count"):
        kept = store.read(field)
        for g, one in enumerate(groups):
            due = getattr(one, field)
            scale = np.sqrt(np.outer(one.variance, one.variance)) * one.count.max() if field == "comoment" else 1.0
            if not np.allclose(kept[g], due, rtol=_CLOSE, atol=_CLOSE * np.max(scale)):
                yield f"{field} of group {names[g]}: not that of its pixels"
