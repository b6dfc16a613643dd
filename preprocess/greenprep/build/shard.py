"""From spilled tiles to whole shards: each task owns a shard of every tiled array, and writes nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.build.ledger import Ledger
from greenprep.store.arrays import FILLS, shard_key
from greenprep.store.codec import decode_chunk, digest_of, encode_chunk, is_whole, shard_bytes, shard_chunks
from greenprep.store.location import Location
from greenschemas.errors import StoreError
from greenschemas.layout import TILED

__all__ = ["Digests", "ShardJob", "TileSpans", "common_type", "recalled", "write_shard"]

Digests = tuple[str, ...]
"""SHA-256 of the shard's file of each of TILED, in their order; empty for a shard of fill alone, which has none."""


@dataclass(frozen=True)
class TileSpans:
    """Where some tiles, one after the other in the shard, were spilled."""

    spill: Location
    """The file, or a shard of a store whose tiles go on before ours."""
    spans: NDArray[np.int64]
    """(n, 3, 2) offsets and lengths of the chunks of TILED."""
    dtype: str
    """Type of the pixels as spilled."""


@dataclass(frozen=True)
class ShardJob:
    """All that one shard is made of."""

    key: str
    """Digest of all that its bytes depend on."""
    shard: int
    places: int
    """Tiles that a full shard has."""
    before: int
    """Tiles at its start that the store had before: taken from `old`, the store's own shard."""
    old: Location | None
    spilled: tuple[TileSpans, ...]
    dtype: str
    """Type of the store."""
    shape: tuple[int, int, int]
    """Of a tile's image, for tiles of another type."""
    target: Location
    """The store."""
    build: Location


def write_shard(job: ShardJob) -> tuple[int, Digests]:
    """Write a shard of each tiled array, read it back, record it; returns (shard, digests)."""
    chunks: list[list[bytes]] = [[] for _ in TILED]
    if job.old is not None:
        for kept, name in zip(chunks, TILED, strict=True):
            kept.extend(_old_chunks(job.old / shard_key(name, job.shard), job))
    for tiles in job.spilled:
        for kept, more in zip(chunks, _spilled(tiles, job), strict=True):
            kept.extend(more)
    digests = []
    for name, kept in zip(TILED, chunks, strict=True):
        data = shard_bytes(kept, job.places)
        file = job.target / shard_key(name, job.shard)
        if data:
            file.write(data)
        else:
            file.remove()  # What a stopped build of other tiles may have left there.
        digests.append(_verified(file, data))
    Ledger(job.build / "ledger").record(job.key, tuple(digests))
    return job.shard, tuple(digests)


def recalled(ledger: Ledger, job: ShardJob) -> Digests | None:
    """The digests of a shard that a stopped build wrote; None unless its files are still those."""
    digests: Digests | None = ledger.recall(job.key)
    if digests is None:
        return None
    files = (job.target / shard_key(name, job.shard) for name in TILED)
    return digests if tuple(digest_of(_bytes_of(file)) for file in files) == digests else None


def _verified(file: Location, data: bytes) -> str:
    """Digest of a shard that was just written, from what can be read back."""
    if data and file.read() != data:
        raise StoreError(file.url, "what was written reads back otherwise", "check the disk, and run it again")
    return digest_of(data)


def _old_chunks(file: Location, job: ShardJob) -> list[bytes]:
    return shard_chunks(_bytes_of(file), job.places)[: job.before]


def _bytes_of(file: Location) -> bytes:
    """Of a shard's file; none where there is none."""
    try:
        return file.read()
    except FileNotFoundError:
        return b""


def _spilled(tiles: TileSpans, job: ShardJob) -> list[list[bytes]]:
    """Chunks of each tiled array, read from the spill file in one go."""
    spans = tiles.spans
    stored = spans[spans[:, :, 1] > 0]
    start = int(stored[:, 0].min(initial=np.iinfo(np.int64).max)) if len(stored) else 0
    end = int(stored.sum(axis=1).max(initial=0))
    data = tiles.spill.read(start, end) if end > start else b""
    chunks = [
        [data[at - start : at - start + n] if n else b"" for at, n in spans[:, i].tolist()] for i in range(len(TILED))
    ]
    if not all(is_whole(chunk) for kept in chunks for chunk in kept):
        raise StoreError(tiles.spill.url, "tiles in it are not those that were written", "run the same command again")
    if tiles.dtype != job.dtype:
        chunks[0] = [_as(chunk, tiles.dtype, job) for chunk in chunks[0]]
    return chunks


def _as(chunk: bytes, dtype: str, job: ShardJob) -> bytes:
    """An image chunk in the type of the store, which holds every value of it."""
    values = decode_chunk(chunk, np.dtype(dtype), job.shape, FILLS["image"])
    return encode_chunk(values.astype(job.dtype), FILLS["image"])


def common_type(found: Sequence[tuple[str, float, float]]) -> np.dtype[Any]:
    """The type of a store, from (type, least value, greatest value) of each source.

    The narrowest of the sources' own types that holds every value of all of them; where none does, NumPy's common one.
    """
    kinds = sorted({np.dtype(name) for name, _, _ in found}, key=lambda kind: (kind.itemsize, kind.str))
    if all(kind.kind in "iu" for kind in kinds):
        low = min((low for _, low, _ in found), default=0)
        high = max((high for _, _, high in found), default=0)
        for kind in kinds:
            info = np.iinfo(kind)
            if info.min <= low and high <= info.max:
                return kind
    return np.result_type(*kinds)
