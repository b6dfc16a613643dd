"""Opening a store, reading its small arrays, writing and checking its contract.

Nothing here reads `image`, `fraction` or `valid` but at the request of a notebook: greenprep writes them, greentrain
streams them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.group import ConsolidatedMetadata, GroupMetadata
from zarr.errors import GroupNotFoundError

from greenschemas.contract import ATTRIBUTE, SEAL, Contract
from greenschemas.errors import StoreError
from greenschemas.frozen import digest
from greenschemas.integrity import digests_of, is_heavy, unlike, write_file
from greenschemas.layout import ARRAYS, SPLITS

if TYPE_CHECKING:
    import xarray

__all__ = ["Store", "check_layout", "open_store", "write_contract"]

_ATTEMPTS = 5
_AGAIN = "run `greenprep tile` again: the store was changed by hand"


@dataclass(frozen=True)
class Store:
    """An open store whose contract was read and whose arrays fit it."""

    location: str
    """Path or URL that it was opened from."""
    group: zarr.Group
    contract: Contract
    _unverified: set[str] = field(default_factory=set, repr=False, compare=False)
    """Arrays too large to be verified before they are read."""

    def read(self, name: str, rows: slice | int = slice(None)) -> NDArray[Any]:
        """A small array whole, or some rows of any; raises StoreError where there is none or it is damaged."""
        array = self.group.get(name)
        if not isinstance(array, zarr.Array):
            raise StoreError(self.location, f"no array `{name}`", "run `greenprep tile` again")
        if name in self._unverified:
            _verify(self.location, self.group, {name: array}, self.contract)
            self._unverified.discard(name)
        try:
            return np.asarray(array[rows])
        except (RuntimeError, ValueError, OSError) as problem:  # What codecs and file systems raise.
            raise StoreError(self.location, f"`{name}` cannot be read ({problem})", _AGAIN) from None

    def texts(self, name: str) -> NDArray[Any]:
        """A small array of text whole, as Python strings in an object array."""
        return self.read(name).astype(object)

    def usable_tiles(self, split: str | None = None) -> NDArray[np.int64]:
        """Ids, ascending, of the tiles with any usable pixel, in one split or (None) in all.

        Raises StoreError for a split that does not exist or is not set.
        """
        usable = self.read("valid_share") > 0
        if split is not None:
            usable &= self.splits()[self.tile_group()] == _split_code(self.location, split)
        return np.flatnonzero(usable)

    def tile_group(self) -> NDArray[np.int64]:
        """(T,) index of the group of each tile."""
        groups: NDArray[np.int64] = self.read("group_index")[self.read("source_index")]
        return groups

    def groups_of(self, split: str | None) -> NDArray[np.bool_]:
        """(G,) whether a group is in a split, or (None) in the store at all.

        Raises StoreError for a split that does not exist or is not set.
        """
        if split is None:
            return np.ones(self.contract.groups, bool)
        code = _split_code(self.location, split)
        return np.equal(self.splits(), code)

    def splits(self) -> NDArray[np.uint8]:
        """(G,) code of the split of each group; raises StoreError where the store has no split."""
        if self.contract.split is None:
            raise StoreError(self.location, "it has no split", "run `greenprep split` on it")
        return self.read("split")

    def to_xarray(self) -> xarray.Dataset:
        """All arrays of the store, lazily: nothing but metadata is read until values are asked for.

        `image` (tile, band, y, x) as stored; `fraction` (tile, class, y, x) 0..1, NaN where there is no label; names of
        bands and classes as coordinates, so that `store.to_xarray().sel(band="red")` works, and the bands' common names
        as the coordinate `common`. Tiles are on Dask, whole shards at a time. Raises ConfigError where xarray
        is missing.
        """
        from greenschemas.labelled import dataset_of

        return dataset_of(self)

    def source(
        self, name: str, array: Literal["image", "fraction"] = "image", *, masked: bool = True
    ) -> xarray.DataArray:
        """One source put together from its tiles, on the ground: (band or class, y, x) with CRS and transform.

        name: its path, its file's name, or the beginning of that, such as `VBWVA_2016_208_2`; in a store that was split
        by blocks all of the file, or one of its cells, such as `scene.tif#2,3`.
        masked: floats, NaN where the image may not be used (clouds, nodata, what no tile covers) or no label is, and
        fractions 0..1; False for the values and the type of the store.
        With rioxarray's accessor: `.rio.crs`, `.rio.to_raster(…)`. Raises StoreError for a name that no source has, or
        several have, ConfigError where xarray or rioxarray is missing.
        """
        from greenschemas.labelled import source_of

        return source_of(self, name, array, masked=masked)


def open_store(location: str | Path) -> Store:
    """The store at a path or fsspec URL, read-only, its small arrays verified.

    Raises StoreError if there is none, if its contract is missing or of another version, if an array is missing or of
    another shape than the contract says, or if a file of a small array is not the one that was written.
    """
    where = str(location)
    for attempt in range(1, _ATTEMPTS + 1):
        group, raw = _opened(where)
        try:
            return _verified(where, group, Contract.parse(where, raw, StoreError))
        except StoreError:
            # Another contract by now: a split was written between the reading of the contract and that of the arrays.
            if attempt == _ATTEMPTS or _opened(where)[1] == raw:
                raise
    raise AssertionError("every turn of the loop returns, raises or goes on")


def _seal(raw: object) -> str:
    """Digest of a contract as it stands in the attributes; empty, which fits none, for text that is no Unicode."""
    try:
        return digest(raw)
    except UnicodeEncodeError:
        return ""


def _verified(where: str, group: zarr.Group, contract: Contract) -> Store:
    arrays = _arrays(where, group)
    check_layout(where, arrays, contract)
    if lost := contract.digests.keys() - arrays.keys():
        raise _no_array(where, min(lost))
    heavy = {name for name in contract.digests if is_heavy(arrays[name])}
    _verify(where, group, {name: arrays[name] for name in contract.digests if name not in heavy}, contract)
    return Store(where, group, contract, heavy)


def _opened(where: str) -> tuple[zarr.Group, Any]:
    """The group, and its contract as JSON."""
    try:
        group = zarr.open_group(where, mode="r")
    except (GroupNotFoundError, FileNotFoundError, NotADirectoryError):
        raise StoreError(where, "no Zarr group there", "give the path of a store that `greenprep tile` wrote") from None
    except (ValueError, KeyError, TypeError, RecursionError) as problem:  # Not JSON, or not what the format says.
        raise StoreError(where, f"its metadata cannot be read ({problem})", _AGAIN) from None
    attributes = group.attrs.asdict()
    raw = attributes.get(ATTRIBUTE)
    if raw is None:
        raise StoreError(
            where,
            "a Zarr group without a contract: another program's, or a build that was stopped",
            "run `greenprep tile` again; it goes on where it stopped",
        )
    if SEAL in attributes and attributes[SEAL] != _seal(raw):
        raise StoreError(where, "its contract is not the one that was written", _AGAIN)
    return group, raw


def check_layout(where: str, arrays: Mapping[str, zarr.Array[Any]], contract: Contract) -> None:
    """Raise StoreError unless every array is there with the axes, the shape and the type that the contract says."""
    sizes = {
        "tile": contract.tiles,
        "band": len(contract.bands),
        "band2": len(contract.bands),
        "class": len(contract.classes),
        "y": contract.tile_size,
        "x": contract.tile_size,
        "source": contract.sources,
        "group": contract.groups,
        "coefficient": 6,
    }
    for name, spec in ARRAYS.items():
        array = arrays.get(name)
        if array is None:
            if spec.optional:
                continue
            raise _no_array(where, name)
        if len(array.shape) != len(spec.axes):
            raise StoreError(where, f"`{name}` has {len(array.shape)} axes, the contract {len(spec.axes)}", _AGAIN)
        for axis, size in zip(spec.axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise StoreError(where, f"{sizes[axis]} along `{axis}` in the contract, {size} in `{name}`", _AGAIN)
        due = contract.dtype if name == "image" else spec.dtype
        if due != "string" and array.dtype != np.dtype(due):
            raise StoreError(where, f"`{name}` is {array.dtype}, the contract says {due}", _AGAIN)


def write_contract(group: zarr.Group, contract: Contract, *, unset: Collection[str] = ()) -> Contract:
    """Write the metadata of a group whole, in one go: the contract, and that of all arrays. The last act of a build.

    unset: arrays that are about to be written, of which there is no digest yet. Returns the contract with its digests.
    """
    fresh = zarr.open_group(group.store, path=group.path, mode="r", zarr_format=3, use_consolidated=False)
    arrays = dict(sorted(fresh.arrays()))
    known = {name: array for name, array in arrays.items() if name in ARRAYS and name not in unset}
    contract = contract.model_copy(update={"digests": digests_of(fresh, known)})
    raw = contract.model_dump(mode="json")
    metadata = GroupMetadata(
        attributes={**fresh.attrs.asdict(), ATTRIBUTE: raw, SEAL: digest(raw)},
        consolidated_metadata=ConsolidatedMetadata({name: array.metadata for name, array in arrays.items()}),
    )
    data = metadata.to_buffer_dict(default_buffer_prototype())["zarr.json"].to_bytes()
    write_file(group, "zarr.json", data)
    return contract


def _arrays(where: str, group: zarr.Group) -> dict[str, zarr.Array[Any]]:
    if group.metadata.zarr_format != 3:
        raise StoreError(where, f"Zarr format {group.metadata.zarr_format}", _AGAIN)
    try:
        return dict(group.arrays())
    except (ValueError, KeyError, TypeError) as problem:  # A type or codec that zarr-python does not know.
        raise StoreError(where, f"its metadata cannot be read ({problem})", _AGAIN) from None


def _verify(where: str, group: zarr.Group, arrays: Mapping[str, zarr.Array[Any]], contract: Contract) -> None:
    for _, found in unlike(group, arrays, contract.digests):
        raise StoreError(where, found, "copy the store again, or build it anew: a file of it was lost or changed")


def _no_array(where: str, name: str) -> StoreError:
    return StoreError(where, f"no array `{name}`", _AGAIN)


def _split_code(where: str, split: str) -> int:
    if split not in SPLITS:
        raise StoreError(where, f"no split `{split}`", f"choose one of {', '.join(SPLITS)}")
    return SPLITS.index(split)
