"""Raw tiles of a store, read with tensorstore and kept in memory where they fit.

Letters: B tiles asked for, C bands read, K classes, S pixels a side.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import tensorstore as ts
from numpy.typing import NDArray

from greenschemas.errors import StoreError
from greenschemas.integrity import missing_shards
from greenschemas.store import Store
from greentrain.data.buffers import Buffers

__all__ = ["Budget", "TileBlock", "TileReader", "available_memory", "forget_tiles"]

Budget = Literal["auto", "none"] | float
"""Memory for raw tiles: half of what is free, none, or so many GB (1e9 bytes)."""

_ARRAYS = ("image", "fraction", "valid")
_LABEL_POOL = 64_000_000
"""Bytes that tensorstore may keep of `fraction`, and of `valid`."""


@dataclass(frozen=True)
class TileBlock:
    """Tiles of a batch that lie in one block of memory, as stored. Nobody may write there."""

    image: NDArray[Any]
    """(N, C, S, S) in the store's type."""
    fraction: NDArray[np.uint8]
    """(N, K, S, S) in 1/200; 255 unlabelled."""
    valid: NDArray[np.uint8]
    """(N, S, S): 1 where the image may be used."""
    rows: NDArray[np.int64]
    """Where they lie in the block."""
    places: NDArray[np.int64]
    """Where they stand in the batch; the pieces together fill it."""


class TileReader:
    """Reads any tiles of one store; safe to call from several threads at once.

    With a cache each tile is decoded once a process: readers of the same store and bands share it.
    """

    def __init__(
        self, store: Store, bands: Sequence[int], tiles: NDArray[np.int64], budget: Budget, buffers: Buffers
    ) -> None:
        """bands: positions on the `band` axis; tiles: the ids that will be asked for, which the budget must hold."""
        _check_shards(store, tiles)
        self._location = store.location
        self._arrays = [_open(store.location, name) for name in _ARRAYS]
        self._bands = _as_slice(bands)
        size, classes = store.contract.tile_size, len(store.contract.classes)
        self._shapes = ((len(bands), size, size), (classes, size, size), (size, size))
        self._types = (np.dtype(store.contract.dtype), np.dtype(np.uint8), np.dtype(np.uint8))
        self.tile_bytes = sum(int(np.prod(s)) * t.itemsize for s, t in zip(self._shapes, self._types, strict=True))
        """Bytes of a raw tile."""
        self.image_shape, self.fraction_shape, self.dtype = self._shapes[0], self._shapes[1], self._types[0]
        """Of a tile: (C, S, S), (K, S, S), and the type of the image."""
        self._buffers = buffers
        self._cache = self._shared_cache(store, tuple(bands), tiles, budget)

    @property
    def cached(self) -> bool:
        """Whether tiles are kept in memory."""
        return self._cache is not None

    def holds(self, tiles: NDArray[np.int64]) -> bool:
        """Whether all of these are in memory already."""
        return self._cache is not None and self._cache.holds(tiles)

    def read(self, tiles: NDArray[np.int64], image: NDArray[Any] | None = None) -> list[TileBlock]:
        """The tiles of these ids: where they lie in memory if they are kept there, else read into one piece.

        image: (B, C, S, S) in the store's type, where images that are not kept go; None for any place.
        """
        if self._cache is not None:
            return self._cache.look(tiles, self._read_into)
        if image is None:
            image = self._lend(0, len(tiles))
        fraction, valid = self._lend(1, len(tiles)), self._lend(2, len(tiles))
        self._read_into(tiles, (image, fraction, valid), slice(None))
        return [TileBlock(image, fraction, valid, np.arange(len(tiles)), np.arange(len(tiles)))]

    def _lend(self, array: int, count: int) -> NDArray[Any]:
        return self._buffers.lend((count, *self._shapes[array]), self._types[array])

    def _read_into(self, tiles: NDArray[np.int64], out: Sequence[NDArray[Any]], rows: Any) -> None:
        """Decode `tiles` into the rows of `out`: one asynchronous request an array, all under way at once."""
        with ts.Batch() as batch:
            futures = []
            for array, target in zip(self._arrays, out, strict=True):
                source = (
                    array.oindex[tiles, self._bands]
                    if array.rank == 4 and array is self._arrays[0]
                    else array.oindex[tiles]
                )
                destination = ts.array(target, copy=False, write=True).oindex[rows]
                futures.append(destination.write(source[ts.d[:].translate_to[0]], batch=batch))
        for future in futures:
            try:
                future.result()
            except (ValueError, RuntimeError) as problem:  # As tensorstore puts it: a checksum, a cut file, a disk.
                raise StoreError(
                    self._location,
                    f"tiles cannot be read ({_in_short(problem)})",
                    "run `greenprep check --deep` on it, and copy it again or build it anew",
                ) from None

    def _shared_cache(
        self, store: Store, bands: tuple[int, ...], tiles: NDArray[np.int64], budget: Budget
    ) -> _Cache | None:
        key = (_absolute(store.location), store.contract.identity(), bands)
        with _shelf_lock:
            cache = _shelf.get(key)
            if cache is None:
                cache = _Cache(store.contract.tiles, self._shapes, self._types)
            need = cache.missing(tiles) * self.tile_bytes
            free = available_memory() / 2 if budget == "auto" else 0.0 if budget == "none" else budget * 1e9
            if budget == "none" or need > free:
                return None
            cache.reserve(tiles)
            _shelf[key] = cache
            return cache


class _Cache:
    """Raw tiles by id, filled as they are first asked for. Rows are set aside by `reserve`, in blocks of memory that
    the system fills with pages only as they are written."""

    def __init__(self, total: int, shapes: Sequence[tuple[int, ...]], types: Sequence[np.dtype[Any]]) -> None:
        self._shapes, self._types = shapes, types
        self._block = np.full(total, -1, np.int32)
        self._row = np.zeros(total, np.int64)
        self._filled = np.zeros(total, np.bool_)
        self._blocks: list[tuple[NDArray[Any], ...]] = []
        self._lock = threading.Lock()

    def missing(self, tiles: NDArray[np.int64]) -> int:
        """How many of these have no row yet."""
        return int((self._block[tiles] < 0).sum())

    def reserve(self, tiles: NDArray[np.int64]) -> None:
        """Set rows aside for those that have none."""
        new = np.unique(tiles[self._block[tiles] < 0])
        if len(new) == 0:
            return
        self._row[new] = np.arange(len(new))
        self._block[new] = len(self._blocks)
        self._blocks.append(tuple(np.empty((len(new), *s), t) for s, t in zip(self._shapes, self._types, strict=True)))

    def holds(self, tiles: NDArray[np.int64]) -> bool:
        """Whether all of these have been read."""
        return bool(self._filled[tiles].all())

    def look(self, tiles: NDArray[np.int64], read_into: Any) -> list[TileBlock]:
        """These tiles where they lie, those not there yet read first. Two threads may read the same one: same bytes."""
        absent = tiles[~self._filled[tiles]]
        for block in set(self._block[absent].tolist()):
            ids = np.unique(absent[self._block[absent] == block])
            read_into(ids, self._blocks[block], self._row[ids])
            self._filled[ids] = True
        pieces, blocks, rows = [], self._block[tiles], self._row[tiles]
        for block in set(blocks.tolist()):
            image, fraction, valid = self._blocks[block]
            places = np.flatnonzero(blocks == block)
            pieces.append(TileBlock(image, fraction, valid, rows[places], places))
        return pieces


_shelf: dict[tuple[str, str, tuple[int, ...]], _Cache] = {}
_shelf_lock = threading.Lock()


def forget_tiles() -> None:
    """Give the memory of all cached tiles back."""
    with _shelf_lock:
        _shelf.clear()


def available_memory() -> float:
    """Bytes that this process may still take: the system's free memory, or what its control group leaves if less."""
    free = float(psutil.virtual_memory().available)
    limit, used = _text("/sys/fs/cgroup/memory.max"), _text("/sys/fs/cgroup/memory.current")
    if limit.isdigit() and used.isdigit():
        free = min(free, max(float(limit) - float(used), 0.0))
    return free


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _as_slice(bands: Sequence[int]) -> slice | list[int]:
    """Neighbouring bands as a slice, which tensorstore copies in one piece."""
    if list(bands) == list(range(bands[0], bands[0] + len(bands))):
        return slice(bands[0], bands[0] + len(bands))
    return list(bands)


def _absolute(location: str) -> str:
    return location if "://" in location else str(Path(location).resolve())


def kvstore(location: str, name: str, environment: Mapping[str, str]) -> Any:
    """Where an array lies, as tensorstore has it.

    For `s3://` the variables that fsspec goes by hold here, too: tensorstore itself knows no `AWS_ENDPOINT_URL`, asks
    Amazon instead, and tries for a quarter of an hour.
    """
    where = f"{_absolute(location).rstrip('/')}/{name}/"
    if not where.startswith("s3://"):
        return where if "://" in where else {"driver": "file", "path": where}
    bucket, _, path = where.removeprefix("s3://").partition("/")
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket, "path": path}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if endpoint := environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL"):
        spec["endpoint"] = endpoint
        region = region or "us-east-1"  # which tensorstore wants to be told, and few servers look at
    if region:
        spec["aws_region"] = region
    if "AWS_ACCESS_KEY_ID" in environment:
        spec["aws_credentials"] = {"type": "environment"}  # else it complains of files that nobody needs
    return spec


def _open(location: str, name: str) -> Any:
    where = kvstore(location, name, os.environ)
    try:
        # Tiles come in random order, and those worth keeping are kept here. Of the small arrays the indices of shards
        # are worth it: reading them costs as much as the tile.
        pool = {"total_bytes_limit": 0 if name == "image" else _LABEL_POOL}
        return ts.open(
            {"driver": "zarr3", "kvstore": where, "recheck_cached_data": False, "recheck_cached_metadata": False},
            read=True,
            context=ts.Context({"cache_pool": pool}),
        ).result()
    except (ValueError, RuntimeError) as problem:
        raise StoreError(
            location,
            f"`{name}` cannot be opened ({_in_short(problem)})",
            "run `greenprep check` on it, and copy it again or build it anew",
        ) from None


def _check_shards(store: Store, tiles: NDArray[np.int64]) -> None:
    """Raise StoreError where a shard that holds any of these tiles is gone."""
    shards = np.unique(tiles // store.contract.shard_tiles)
    for name in missing_shards(store.group, store.texts("shard_digest"), shards.tolist()):
        raise StoreError(store.location, f"{name} is missing", "copy the store again, or build it anew")


def _in_short(problem: Exception) -> str:
    """The part of tensorstore's message that says something of the file, without its own source lines and specs."""
    return str(problem).splitlines()[0].partition(" [")[0][:200]
