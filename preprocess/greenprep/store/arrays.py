"""Writing the small arrays and the contract of a store into a local folder; shards come from `greenprep.store.codec`.

Whatever the place of the store, its metadata is made in a folder of this machine and moved or copied from there, the
group's own file with the contract last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from greenprep.store.codec import CLEVEL
from greenprep.store.moments import Moments
from greenschemas.contract import Contract
from greenschemas.layout import ARRAYS, FRACTION_SCALE, NO_SPLIT, TILED, UNLABELLED
from greenschemas.store import Store

__all__ = [
    "FILLS",
    "SourceTable",
    "TileTable",
    "has_checksums",
    "shard_count",
    "shard_key",
    "shard_tiles",
    "tile_shapes",
    "write_store",
]

FILLS = {"image": 0, "fraction": UNLABELLED, "valid": 0}
"""Value of the chunks that are not stored."""
_LOST: dict[str, Any] = {
    "string": "",
    "uint8": NO_SPLIT,
    "int64": -1,
    "uint64": np.iinfo(np.uint64).max,
    "float32": np.nan,
    "float64": np.nan,
}
"""Fill value of the small arrays by their type."""
_SHARD_BYTES = 64 << 20
_MOST_TILES = 64
_CHUNK_ROWS = 65536
_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, eq=False)
class SourceTable:
    """Provenance of the F sources, in the order of the `source` axis."""

    path: NDArray[Any]
    """(F,) text: image path below the raw folder."""
    checksum: NDArray[Any]
    """(F,) text."""
    crs: NDArray[Any]
    """(F,) text, empty where unknown."""
    transform: NDArray[np.float64]
    """(F, 6) affine coefficients, pixel to map."""
    group: NDArray[Any]
    """(F,) text: name of the group."""
    time: NDArray[Any]
    """(F,) text."""
    extent: NDArray[np.int64]
    """(F, 2) rows and columns of the source."""


@dataclass(frozen=True, eq=False)
class TileTable:
    """Where the T tiles come from, in the order of the `tile` axis."""

    source_index: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    valid_share: NDArray[np.float32]
    fingerprint: NDArray[np.uint64]

    def chosen(self, index: NDArray[Any]) -> TileTable:
        """The rows `index`."""
        return TileTable(*(getattr(self, field.name)[index] for field in fields(self)))


def shard_tiles(bands: int, size: int, dtype: np.dtype[Any]) -> int:
    """Tiles in a shard: 64, or as many as make 64 MiB of pixels."""
    return int(np.clip(_SHARD_BYTES // (bands * size**2 * dtype.itemsize), 1, _MOST_TILES))


def shard_count(contract: Contract) -> int:
    """Shards of each tiled array."""
    return -(-contract.tiles // contract.shard_tiles)


def shard_key(name: str, shard: int) -> str:
    """Name of a shard's file below the store."""
    return f"{name}/c/{shard}" + "/0" * (len(ARRAYS[name].axes) - 1)


def has_checksums(store: Store) -> bool:
    """Whether each chunk of pixels carries its CRC32C, as from version 0.2 on."""
    image = store.group["image"]
    return isinstance(image, zarr.Array) and any(isinstance(codec, Crc32cCodec) for codec in image.compressors)


def tile_shapes(contract: Contract) -> dict[str, tuple[int, ...]]:
    """Shape of one tile in each tiled array."""
    side = contract.tile_size
    return {
        "image": (len(contract.bands), side, side),
        "fraction": (len(contract.classes), side, side),
        "valid": (side, side),
    }


def write_store(
    folder: Path,
    contract: Contract,
    sources: SourceTable,
    tiles: TileTable,
    moments: Iterable[Moments],
    codes: NDArray[np.int64],
    digests: Sequence[tuple[str, ...]],
) -> None:
    """Write the metadata of all arrays, and all but the tiled ones, into an empty `folder`; the contract is left out.

    moments: of each group, in the order of the sorted group names; read once. codes: (N,) histogram bins that occur.
    digests: SHA-256 of the shards of `image`, `fraction` and `valid`, for each shard.
    """
    group = zarr.create_group(str(folder), zarr_format=3)
    _create_tiled(group, contract)
    names, index = np.unique(sources.group, return_inverse=True)
    small = {
        "path": sources.path,
        "checksum": sources.checksum,
        "crs": sources.crs,
        "transform": sources.transform,
        "group_index": index.astype(np.int64),
        "time": sources.time,
        "extent": sources.extent,
        "group_name": names,
        "split": np.full(len(names), NO_SPLIT, np.uint8),
        "bin_code": codes,
        "shard_digest": np.array(list(digests), dtype=object).reshape(-1, len(TILED)),
        **{field.name: getattr(tiles, field.name) for field in fields(tiles)},
    }
    for name, data in small.items():
        write_array(group, name, data)
    _write_moments(group, contract, len(names), moments, codes)


def write_array(group: zarr.Group, name: str, data: NDArray[Any]) -> None:
    """Write one small array whole, in place of one that is there."""
    if ARRAYS[name].dtype == "string":
        data = data.astype(np.dtypes.StringDType())
    chunks = (max(1, min(len(data), _CHUNK_ROWS)), *(max(1, n) for n in data.shape[1:]))
    array = _create_small(group, name, data.shape, chunks)
    if data.size:
        array[...] = data


def _create_small(group: zarr.Group, name: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> zarr.Array[Any]:
    """An array all of whose chunks are stored, so that one that is not there is one that was lost.

    Its fill value means nothing: whoever reads on without looking gets no train split, no source, no mean.
    """
    kind = str(ARRAYS[name].dtype)
    return group.create_array(
        name,
        shape=shape,
        dtype=kind,
        chunks=chunks,
        fill_value=_LOST[kind],
        dimension_names=ARRAYS[name].axes,
        config={"write_empty_chunks": True},
        overwrite=True,
    )


def _create_tiled(group: zarr.Group, contract: Contract) -> None:
    types = {"image": contract.dtype, "fraction": "uint8", "valid": "uint8"}
    for name, shape in tile_shapes(contract).items():
        dtype = np.dtype(types[name])
        codec = BloscCodec(typesize=dtype.itemsize, cname="lz4", clevel=CLEVEL, shuffle="bitshuffle")
        # CF packing: with both the fill value and `_FillValue`, xarray decodes fractions to 0..1 and NaN.
        packing: dict[str, Any] | None = (
            {"scale_factor": 1 / FRACTION_SCALE, "_FillValue": UNLABELLED} if name == "fraction" else None
        )
        group.create_array(
            name,
            shape=(contract.tiles, *shape),
            dtype=dtype,
            chunks=(1, *shape),
            shards=(contract.shard_tiles, *shape),
            compressors=[codec, Crc32cCodec()],
            fill_value=FILLS[name],
            dimension_names=ARRAYS[name].axes,
            attributes=packing,
            overwrite=False,
        )


def _write_moments(
    group: zarr.Group, contract: Contract, groups: int, moments: Iterable[Moments], codes: NDArray[np.int64]
) -> None:
    """Group by group, some groups at a time: what is in memory does not grow with their number."""
    c, k, n = len(contract.bands), len(contract.classes), len(codes)
    shapes: dict[str, tuple[int, ...]] = {
        "count": (c,),
        "mean": (c,),
        "comoment": (c, c),
        "minimum": (c,),
        "maximum": (c,),
        "class_sum": (k,),
        "class_count": (k,),
        "histogram": (c, n),
    }
    rows = {
        name: max(1, min(groups, _CHUNK_BYTES // max(8, 8 * int(np.prod(shape))))) for name, shape in shapes.items()
    }
    arrays = {
        name: _create_small(group, name, (groups, *shape), (rows[name], *(max(1, s) for s in shape)))
        for name, shape in shapes.items()
    }
    waiting: dict[str, list[NDArray[Any]]] = {name: [] for name in shapes}
    at = 0
    for at, one in enumerate(moments, 1):
        for name, kept in waiting.items():
            kept.append(one.histogram.on(codes) if name == "histogram" else getattr(one, name))
            if len(kept) == rows[name] or at == groups:
                arrays[name][at - len(kept) : at] = np.stack(kept)
                kept.clear()
