"""A store as labelled arrays, for notebooks: all of it as an xarray Dataset, one source as a DataArray on the ground.

xarray and rioxarray are asked for here alone, and only when somebody calls: neither preparing nor training needs them.
Letters: T tiles, C bands, K classes, S pixels a side of a tile; H rows, W columns of a source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import ConfigError, StoreError, nearest
from greenschemas.grid import Grid, Transform
from greenschemas.layout import FRACTION_SCALE, TILED, UNLABELLED, without_cell

if TYPE_CHECKING:
    import xarray

    from greenschemas.store import Store

__all__ = ["dataset_of", "source_of"]

_SHOWN = 5
"""Sources that a message names."""


def dataset_of(store: Store) -> xarray.Dataset:
    """See `Store.to_xarray`."""
    xr, _ = _library("xarray"), _library("dask")
    contract = store.contract
    data = xr.open_zarr(store.group.store, group=store.group.path or None, chunks=None)
    # Small arrays have other chunks: on Dask are those alone that may not fit into memory.
    data = data.assign({name: data[name].chunk(tile=contract.shard_tiles) for name in TILED})
    names = [band.name for band in contract.bands]
    labels = {
        "band": names,
        "band2": names,
        "class": list(contract.classes),
        "common": ("band", [band.common or "" for band in contract.bands]),
    }
    labelled: xarray.Dataset = data.assign_coords(labels)
    return labelled


def source_of(store: Store, name: str, array: Literal["image", "fraction"], *, masked: bool) -> xarray.DataArray:
    """See `Store.source`."""
    if array not in ("image", "fraction"):
        raise ConfigError("array", f"`{array}`", nearest(array, ["image", "fraction"]))
    xr, _ = _library("xarray"), _library("rioxarray")
    cells, path = _find(store, name)
    at = _places(store, cells)
    values, usable = _assembled(store, cells, at, array)
    contract = store.contract
    if array == "image":
        axis, labels = "band", [band.name for band in contract.bands]
        if masked:
            values = np.where(usable, values, np.nan).astype(np.result_type(values.dtype, np.float32), copy=False)
    else:
        axis, labels = "class", list(contract.classes)
        if masked:
            values = np.where(values == UNLABELLED, np.nan, values / np.float32(FRACTION_SCALE)).astype(np.float32)
    found = xr.DataArray(values, dims=(axis, "y", "x"), coords={axis: labels}, name=array, attrs={"path": path})
    first = Grid(1, 1, tuple(store.read("transform", cells[0]).tolist())).cropped(-at[0][0], -at[0][1], 1, 1)
    return _on_the_ground(found, first.transform, str(store.texts("crs")[cells[0]]))


def _find(store: Store, name: str) -> tuple[list[int], str]:
    """(indices, path) of the source of that path, file name, or beginning of a file name up to a sign between words.

    In a store that was split by blocks, a file is all of its cells, and `scene.tif#2,3` one of them.
    """
    paths = [str(path) for path in store.texts("path")]
    files: dict[str, list[int]] = {}
    for i, path in enumerate(paths):
        files.setdefault(without_cell(path), []).append(i)
    begins = re.compile(re.escape(name) + r"(?![A-Za-z0-9])")
    cells = {path: [i] for i, path in enumerate(paths) if name in (path, PurePosixPath(path).name)}
    for matches in (
        {path: of for path, of in files.items() if name in (path, PurePosixPath(path).name)} or cells,
        {path: of for path, of in files.items() if PurePosixPath(path).stem == name},
        {path: of for path, of in files.items() if begins.match(PurePosixPath(path).stem)},
    ):
        if len(matches) == 1:
            [(path, of)] = matches.items()
            return of, path
        if matches:
            shown = ", ".join(list(matches)[:_SHOWN]) + (" and more" if len(matches) > _SHOWN else "")
            raise StoreError(
                store.location, f"{len(matches)} sources called `{name}`: {shown}", "give one path in full"
            )
    stems = [PurePosixPath(path).stem for path in files]
    raise StoreError(store.location, f"no source `{name}` among {len(files)}", nearest(name, stems[:1000]))


def _places(store: Store, cells: Sequence[int]) -> list[tuple[int, int]]:
    """(row, column) where each of a file's cells begins, from the first row and column that any of them has."""
    grids = [Grid(1, 1, tuple(transform)) for transform in store.read("transform")[cells].tolist()]
    at = (
        [tuple(round(place) for place in grid.pixel_in(grids[0], 0, 0)) for grid in grids]
        if len(grids) > 1
        else [(0, 0)]
    )
    top, left = (min(place[axis] for place in at) for axis in (0, 1))
    return [(row - top, col - left) for row, col in at]


def _assembled(
    store: Store, cells: Sequence[int], at: Sequence[tuple[int, int]], array: str
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(C or K, H, W) stored values of a source and (H, W) where the image may be used.

    Between tiles stand 0 and, of fractions, no label.
    """
    extents = store.read("extent")[cells]
    height, width = (int(side) for side in (extents + np.array(at)).max(axis=0))
    shape, dtype = store.group[array].shape, store.group[array].dtype  # type: ignore[union-attr]
    values = np.full((shape[1], height, width), UNLABELLED if array == "fraction" else 0, dtype)
    usable = np.zeros((height, width), bool)
    source, rows, cols = (store.read(name) for name in ("source_index", "row", "col"))
    for cell, (top, left), (high, wide) in zip(cells, at, extents.tolist(), strict=True):
        part = np.s_[top : top + high, left : left + wide]
        tiles = np.flatnonzero(source == cell)
        _fill(store, array, tiles, rows[tiles], cols[tiles], values[:, *part], usable[part])
    return values, usable


def _fill(
    store: Store,
    array: str,
    tiles: NDArray[np.int64],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    values: NDArray[Any],
    usable: NDArray[np.bool_],
) -> None:
    """Put the tiles of one source, which begin at these rows and columns, into (C or K, H, W) values and (H, W)."""
    size = store.contract.tile_size
    places = zip(rows.tolist(), cols.tolist(), strict=True)
    for run in _runs(tiles, store.contract.shard_tiles):
        for tile, valid in zip(store.read(array, run), store.read("valid", run), strict=True):
            row, col = next(places)
            here = np.s_[row : row + size, col : col + size]  # numpy cuts it off at the edge of the source
            inside = usable[here].shape
            values[:, *here] = tile[:, : inside[0], : inside[1]]
            usable[here] |= valid[: inside[0], : inside[1]] > 0


def _runs(tiles: NDArray[np.int64], longest: int) -> list[slice]:
    """Ascending ids as slices without a gap, none longer than a shard: memory stays at the source and one shard."""
    breaks = np.flatnonzero(np.diff(tiles) != 1) + 1
    whole = [(int(part[0]), int(part[-1]) + 1) for part in np.split(tiles, breaks) if len(part)]
    return [slice(at, min(at + longest, stop)) for start, stop in whole for at in range(start, stop, longest)]


def _on_the_ground(found: xarray.DataArray, transform: Transform, crs: str) -> xarray.DataArray:
    """With the coordinates of pixel centres, the transform, and the CRS if there is one."""
    a, b, c, d, e, f = transform
    if b == d == 0:  # else x and y are no axes of the array, and the transform alone says where a pixel lies
        height, width = found.shape[1:]
        found = found.assign_coords(y=f + e * (np.arange(height) + 0.5), x=c + a * (np.arange(width) + 0.5))
    found = found.rio.write_transform(_library("affine").Affine(a, b, c, d, e, f))
    return found.rio.write_crs(crs) if crs else found


def _library(name: str) -> Any:
    """A library that only notebooks need; raises ConfigError with the remedy where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        raise ConfigError(
            "xarray",
            f"no module `{missing.name}`: labelled arrays need it",
            'install it: pip install "greenspace[prep]"',
        ) from None
