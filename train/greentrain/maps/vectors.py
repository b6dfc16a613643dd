"""Shapes out, as GeoPackage. Memory stays at one batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely

from greenschemas.files import beside, whole

__all__ = ["Batch", "write_gpkg"]

Batch = tuple[list[shapely.Geometry], Mapping[str, list[Any]]]
"""(shapes, values of each field in the order of the shapes); numbers are float or int, None where there is none."""


def write_gpkg(path: Path, crs: str, batches: Iterable[Batch], kind: str = "MultiPolygon") -> None:
    """Write shapes of a kind with their fields, one layer named after the file; `path` appears whole or not at all.

    Every batch has the fields of the first one, and a batch without shapes writes the fields alone.
    """
    draft = beside(path, ".draft.gpkg")  # GDAL wants the ending
    draft.unlink(missing_ok=True)
    try:
        with whole(path) as done, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # the map has none, and that was said of it
            for shapes, fields in batches:
                pyogrio.raw.write(
                    draft,
                    np.array([shapely.to_wkb(_many(shape)) for shape in shapes], object),
                    [_column(values) for values in fields.values()],
                    list(fields),
                    layer=path.stem,
                    driver="GPKG",
                    geometry_type=kind,
                    crs=crs or None,
                    append=draft.exists(),
                    dataset_options={"VERSION": "1.2"},  # which the QGIS of a stable Debian knows without a warning
                )
            draft.replace(done)
    finally:
        draft.unlink(missing_ok=True)


def _many(shape: shapely.Geometry) -> shapely.Geometry:
    return shapely.multipolygons([shape]) if shape.geom_type == "Polygon" else shape


def _column(values: list[Any]) -> np.ndarray[Any, Any]:
    numbers = [np.nan if value is None else value for value in values]
    return np.array(values, object) if any(isinstance(value, str) for value in values) else np.array(numbers)
