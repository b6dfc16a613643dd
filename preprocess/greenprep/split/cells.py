"""`split --by blocks`: a store's sources and groups cut into cells of ground, so that one scene can be dealt out.

The pixels stay where they are. Each source becomes one source for each cell that its tiles begin in, `scene.tif#2,3`,
each group a group of the same cell at all its times, `city#2,3`. Blocks are squares of cells; what lies between blocks
of different splits is in none.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from greenprep.store.arrays import SourceTable, TileTable, write_store
from greenprep.store.location import Location, link_or_copy, swap_into_place
from greenprep.store.moments import Moments, merge_all
from greenschemas.bands import decodings
from greenschemas.layout import CELL, NO_SPLIT, TILED
from greenschemas.store import Store, open_store, write_contract

__all__ = ["block_of_cells", "cut_into_cells", "without_seams"]

_MOST_CELLS = 2000
"""Cells of a store, about: each has statistics of its own."""


def cut_into_cells(location: str) -> Store:
    """The store at `location` with cells for sources and groups; as it is where that was done before.

    Its statistics are taken anew from its pixels. It has no split afterwards.
    """
    store = open_store(location)
    if any(CELL.search(path) for path in store.texts("path")):
        return store
    sources, tiles = _tables(store)
    contract = store.contract.model_copy(
        update={
            "sources": len(sources.path),
            "groups": len(set(sources.group.tolist())),
            "split": None,
            "statistics": None,
        }
    )
    digests = [tuple(row) for row in store.texts("shard_digest").tolist()]
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "s"
        write_store(there, contract, sources, tiles, _moments(store, sources, tiles), store.read("bin_code"), digests)
        write_contract(zarr.open_group(str(there), mode="r+"), contract)
        _replace(Location.at(location), there)
    return open_store(location)


def _replace(store: Location, small: Path) -> None:
    """Put the files of a local folder in place of all of a store's but its shards; of a local store in one step."""
    if not store.local:
        store.upload(small, last="zarr.json")
        return
    whole = store.beside(".cells").path
    shutil.rmtree(whole, ignore_errors=True)
    for name in TILED:
        shutil.copytree(store.path / name / "c", whole / name / "c", copy_function=link_or_copy)
    Location.at(whole).upload(small, last="zarr.json")
    swap_into_place(whole, store.path)


def _tables(store: Store) -> tuple[SourceTable, TileTable]:
    contract = store.contract
    size, index = contract.tile_size, store.read("source_index")
    at = np.stack([store.read("row"), store.read("col")], axis=1)
    side = contract.stride * int(np.ceil(np.sqrt(max(1, contract.tiles / _MOST_CELLS))))
    side = max(side, -(-size // contract.stride) * contract.stride)  # Tiles of cells that do not touch never overlap.
    cells, of_tile = np.unique(np.column_stack([index, at // side]), axis=0, return_inverse=True)
    of_tile = of_tile.reshape(-1)
    begin = np.full((len(cells), 2), np.iinfo(np.int64).max)
    end = np.zeros((len(cells), 2), np.int64)
    np.minimum.at(begin, of_tile, at)
    np.maximum.at(end, of_tile, np.minimum(at + size, store.read("extent")[index]))
    source = cells[:, 0]
    suffix = [f"#{row},{col}" for row, col in cells[:, 1:].tolist()]
    transform = store.read("transform")[source]
    a, b, c, d, e, f = transform.T
    moved = np.stack([a, b, a * begin[:, 1] + b * begin[:, 0] + c, d, e, d * begin[:, 1] + e * begin[:, 0] + f], axis=1)
    crs = store.texts("crs")[source]
    groups = store.texts("group_name")[store.read("group_index")][source]
    table = SourceTable(
        path=_text(store.texts("path")[source], suffix),
        checksum=_text(store.texts("checksum")[source], suffix),
        crs=_text(crs),
        transform=moved,
        group=_text(groups, suffix),
        time=_text(store.texts("time")[source]),
        extent=end - begin,
    )
    row, col = (at - begin[of_tile]).T
    tiles = TileTable(of_tile.astype(np.int64), row, col, store.read("valid_share"), store.read("fingerprint"))
    return table, tiles


def _text(values: NDArray[Any], suffix: Sequence[str] | None = None) -> NDArray[Any]:
    words = [f"{value}{end}" for value, end in zip(values, suffix or [""] * len(values), strict=True)]
    return np.array(words, dtype=object).astype(np.dtypes.StringDType())


def _moments(store: Store, sources: SourceTable, tiles: TileTable) -> Iterator[Moments]:
    """Of each cell at all its times, in the order of the sorted names."""
    group = sources.group.astype(object)[tiles.source_index]
    how, classes = decodings(store.contract.bands), len(store.contract.classes)
    for name in sorted(set(group.tolist())):
        parts = (
            Moments.of(store.read("image", tile), store.read("valid", tile) > 0, store.read("fraction", tile), how)
            for tile in np.flatnonzero(group == name).tolist()
        )
        yield merge_all(parts, len(how), classes)


def block_of_cells(groups: Sequence[str], smallest: float) -> list[str]:
    """(G,) the block that each group's cell is in: about as many in a scene as give the smallest split one of them."""
    side = max(2, int(np.sqrt(1 / smallest)))
    cells = [_cell(name) for name in groups]
    ends: dict[str, tuple[int, int]] = {}
    for base, row, col in cells:
        rows, cols = ends.get(base, (1, 1))
        ends[base] = max(rows, row + 1), max(cols, col + 1)
    return [f"{base}#{row * side // ends[base][0]},{col * side // ends[base][1]}" for base, row, col in cells]


def without_seams(groups: Sequence[str], split: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(G,) `split` without the cells of train, and then of val, that touch a cell of another split."""
    split = split.copy()
    at = {_cell(name): g for g, name in enumerate(groups)}
    for weaker in (0, 1):
        before = split.copy()
        for (base, row, col), g in at.items():
            if before[g] != weaker:
                continue
            near = [at.get((base, row + i, col + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            if any(h is not None and before[h] not in (NO_SPLIT, weaker) for h in near):
                split[g] = NO_SPLIT
    return split


def _cell(name: str) -> tuple[str, int, int]:
    found = CELL.search(name)
    return (name[: found.start()], int(found[1]), int(found[2])) if found else (name, 0, 0)
