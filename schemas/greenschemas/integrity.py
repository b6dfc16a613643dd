"""Damage that reading does not see: digests of the files of a store's small arrays, kept in its contract.

A chunk that is gone reads as the fill value, and a flipped byte may read as another number. So whoever opens a store
looks at the bytes first. The pixels are not among them: each of their chunks carries a checksum of its own, which
whoever decodes it verifies.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from greenschemas.files import write_whole
from greenschemas.layout import ARRAYS, TILED

__all__ = ["digests_of", "is_heavy", "missing_shards", "read_files", "unlike", "write_file"]

_HEAVY_BYTES = 4 << 20


def is_heavy(array: zarr.Array[Any]) -> bool:
    """Whether an array is verified when it is first read, and not at the opening of its store: that takes no time."""
    return bool(array.nbytes > _HEAVY_BYTES) and array.basename not in TILED


def digests_of(group: zarr.Group, arrays: Mapping[str, zarr.Array[Any]]) -> dict[str, str]:
    """Digest of each array, from its files as they are now; of the tiled ones from their metadata alone."""
    return {name: digest for name, digest, _ in _digests(group, arrays)}


def unlike(
    group: zarr.Group, arrays: Mapping[str, zarr.Array[Any]], digests: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """(array, what is wrong with it) for each of these whose files are not those that `digests` were taken of."""
    for name, digest, missing in _digests(group, arrays):
        if digest != digests[name]:
            found = f"{missing[0]} is missing" if missing else f"the files of `{name}` are not those that were written"
            yield name, found


def read_files(group: zarr.Group, names: Sequence[str]) -> dict[str, bytes]:
    """The files of these names below a group that are there; those of an object store all at once."""
    store, prefix = group.store, f"{group.path}/" if group.path else ""
    if isinstance(store, LocalStore):
        return dict(_local(store, prefix, names))

    async def fetch(name: str) -> tuple[str, bytes | None]:
        data = await store.get(prefix + name, default_buffer_prototype())
        return name, None if data is None else data.to_bytes()

    async def fetch_all() -> list[tuple[str, bytes | None]]:
        return await asyncio.gather(*(fetch(name) for name in names))

    return {name: data for name, data in sync(fetch_all()) if data is not None}


def write_file(group: zarr.Group, name: str, data: bytes) -> None:
    """Write one file below a group, whole; a local one is on the disk when this returns."""
    store, path = group.store, f"{group.path}/{name}" if group.path else name
    if isinstance(store, LocalStore):
        write_whole(store.root / path, data)
    else:
        sync(store.set(path, default_buffer_prototype().buffer.from_bytes(data)))


def missing_shards(group: zarr.Group, digests: NDArray[Any], shards: Iterable[int] | None = None) -> Iterator[str]:
    """Names of the shards' files that should be there and are not: they would read as tiles without a usable pixel.

    digests: (shards, 3) text, empty for a shard that has no file, as `shard_digest` holds them. shards: which to look
    for; None for all.
    """
    chosen = range(len(digests)) if shards is None else shards
    for column, name in enumerate(TILED):
        due = [f"{name}/c/{shard}" + "/0" * (len(ARRAYS[name].axes) - 1) for shard in chosen if digests[shard, column]]
        there = _present(group, f"{name}/c", due)
        yield from (key for key in due if key not in there)


def _present(group: zarr.Group, folder: str, names: Sequence[str]) -> set[str]:
    """Those of `names`, below the group, that are there; of an object store by one listing of the folder."""
    store, prefix = group.store, f"{group.path}/" if group.path else ""
    if isinstance(store, LocalStore):
        return {name for name in names if (store.root / prefix / name).is_file()}

    async def listed() -> set[str]:
        return {each async for each in store.list_prefix(f"{prefix}{folder}/")}

    there = sync(listed())
    return {name for name in names if prefix + name in there}


def _local(store: LocalStore, prefix: str, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        try:
            yield name, (store.root / prefix / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue


def _digests(group: zarr.Group, arrays: Mapping[str, zarr.Array[Any]]) -> Iterator[tuple[str, str, list[str]]]:
    """(array, digest, files that are missing)."""
    files = {name: _files(name, array) for name, array in arrays.items()}
    held = read_files(group, [file for wanted in files.values() for file in wanted])
    for name, wanted in files.items():
        seen = hashlib.sha256()
        for file in wanted:
            data = held.get(file)
            seen.update(f"{file}\0{-1 if data is None else len(data)}\0".encode())
            seen.update(data or b"")
        yield name, seen.hexdigest()[:32], [file for file in wanted if file not in held]


def _files(name: str, array: zarr.Array[Any]) -> list[str]:
    """Names, below the group, of the files that an array must have: of a tiled one its metadata alone."""
    files = [f"{name}/zarr.json"]
    if name not in TILED:
        grid = (range(-(-size // chunk)) for size, chunk in zip(array.shape, array.chunks, strict=True))
        files += [f"{name}/{array.metadata.encode_chunk_key(place)}" for place in itertools.product(*grid)]
    return files
