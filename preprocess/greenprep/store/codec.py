"""Chunks and shards as bytes: Zarr v3's sharding codec over blosc (lz4, bitshuffle) and CRC32C, one chunk a tile.

Workers encode each tile once; a shard is put together from encoded chunks without decoding them. zarr-python reads
back what is written here, and tests hold us to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numcodecs.blosc
import numpy as np
from numcodecs.blosc import Blosc
from numpy.typing import NDArray

__all__ = ["CLEVEL", "decode_chunk", "digest_of", "encode_chunk", "is_whole", "shard_bytes", "shard_chunks"]

CLEVEL = 3
"""Of blosc: what more would save is not worth the time."""
_ABSENT = np.uint64(2**64 - 1)

# Blosc's own threads would finish blocks in any order, and the bytes would differ from run to run.
numcodecs.blosc.use_threads = False
# At the first encoding the library makes a lock, although it takes it for threads alone. Made here it is the server's,
# from which workers are forked: a worker that is ended leaves nothing behind that Python would warn of.
Blosc(cname="lz4").encode(b"\0")


def encode_chunk(values: NDArray[Any], fill: int) -> bytes:
    """`values` as one encoded chunk, its CRC32C at the end; no bytes at all where every value is `fill`."""
    if values.flat[0] == fill and not (values != fill).any():
        return b""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    chunk = bytes(Blosc(cname="lz4", clevel=CLEVEL, shuffle=Blosc.BITSHUFFLE).encode(little))
    return chunk + _check(chunk)


def decode_chunk(
    chunk: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], fill: int, *, checked: bool = True
) -> NDArray[Any]:
    """The values of an encoded chunk; raises ValueError where its checksum does not fit.

    checked: whether it has one; those of stores that version 0.1 wrote have none.
    """
    if not chunk:
        return np.full(shape, fill, dtype)
    if checked:
        if not is_whole(chunk):
            raise ValueError("a chunk does not match its checksum")
        chunk = chunk[:-4]
    return np.frombuffer(Blosc().decode(chunk), dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)


def is_whole(chunk: bytes) -> bool:
    """Whether an encoded chunk matches its checksum; no bytes at all, a chunk of fill, always do."""
    return not chunk or _check(chunk[:-4]) == chunk[-4:]


def shard_bytes(chunks: Sequence[bytes], places: int) -> bytes:
    """A shard of `places` chunks of which the first are `chunks`, the rest empty; no bytes at all if all are empty.

    Chunks in order, then the index (offset and length of each as uint64, little-endian), then its CRC32C.
    """
    if not any(chunks):
        return b""
    index = np.full((places, 2), _ABSENT, "<u8")
    at = 0
    for position, chunk in enumerate(chunks):
        if chunk:
            index[position] = at, len(chunk)
            at += len(chunk)
    table = index.tobytes()
    return b"".join([*chunks, table, _check(table)])


def shard_chunks(shard: bytes, places: int) -> list[bytes]:
    """The encoded chunks of a shard, empty ones as no bytes; raises ValueError where its index does not hold."""
    if not shard:
        return [b""] * places
    size = 16 * places
    table, check = shard[-size - 4 : -4], shard[-4:]
    if len(table) != size or _check(table) != check:
        raise ValueError("the index of the shard does not match its checksum")
    index = np.frombuffer(table, "<u8").reshape(places, 2)
    return [b"" if at == _ABSENT else shard[int(at) : int(at) + int(n)] for at, n in index]


def _check(data: bytes) -> bytes:
    """CRC32C, as Zarr's codec of that name writes it."""
    check: int = google_crc32c.value(data)
    return check.to_bytes(4, "little")


def digest_of(data: bytes) -> str:
    """SHA-256 (hex) of a shard's file, empty for no bytes."""
    return hashlib.sha256(data).hexdigest() if data else ""
