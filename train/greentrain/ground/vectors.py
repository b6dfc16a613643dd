"""Shapes out, as GeoPackage. Memory stays at one batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from greenschemas.errors import ConfigError
from greenschemas.files import beside, whole

__all__ = ["Batch", "spare_foreign", "write_gpkg"]

_MAKER = {"SOFTWARE": "greenspace"}

Batch = tuple[Sequence[shapely.Geometry] | NDArray[np.object_], Mapping[str, Sequence[Any] | NDArray[Any]]]
"""(shapes, values of each field in the same order): texts, or numbers with None or NaN where there is none."""


def write_gpkg(path: Path, crs: str, batches: Iterable[Batch], kind: str = "MultiPolygon") -> int:
    """Write shapes of a kind with their fields, one layer named after the file; how many there were.

    `path` appears whole or not at all. Every batch has the fields of the first one. Raises ConfigError where something
    else than a file of ours lies there.
    """
    spare_foreign(path)
    draft = beside(path, ".draft.gpkg")  # GDAL wants the ending
    draft.unlink(missing_ok=True)
    count = 0
    try:
        with whole(path) as done, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # the map has none, and that was said of it
            for shapes, fields in batches:
                pyogrio.raw.write(
                    draft,
                    shapely.to_wkb(_many(shapes) if kind == "MultiPolygon" else np.asarray(shapes, object)),
                    [_column(values) for values in fields.values()],
                    list(fields),
                    layer=path.stem,
                    driver="GPKG",
                    geometry_type=kind,
                    crs=crs or None,
                    append=draft.exists(),
                    layer_metadata=_MAKER,
                    dataset_options={"VERSION": "1.2"},  # which the QGIS of a stable Debian knows without a warning
                )
                count += len(shapes)
            draft.replace(done)
    finally:
        draft.unlink(missing_ok=True)
    return count


def spare_foreign(path: Path) -> None:
    """Raise ConfigError where something else than a GeoPackage of ours lies."""
    if path.exists() and not _is_ours(path):
        raise ConfigError(path, "a file that is no GeoPackage of ours", "give another name, or move that file away")


def _many(shapes: Sequence[shapely.Geometry] | NDArray[np.object_]) -> NDArray[np.object_]:
    """Multipolygons of polygons and multipolygons."""
    parts, index = shapely.get_parts(np.asarray(shapes, object), return_index=True)
    many: NDArray[np.object_] = shapely.multipolygons(parts, indices=index) if len(parts) else parts
    return many


def _column(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    if any(isinstance(value, str) for value in values):
        return np.array(values, object)
    return np.array([np.nan if value is None else value for value in values])


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            return False
    try:
        said = pyogrio.read_info(path)["layer_metadata"] or {}
    except (DataSourceError, DataLayerError):
        return False
    return _MAKER.items() <= said.items()
