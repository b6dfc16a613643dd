"""Polygons on the ground, for `greentrain area`: read from GeoJSON, and laid over the pixels of a map.

Letters: H rows, W columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.errors import RasterioError
from rasterio.warp import transform_geom

from greenschemas.crs import check_crs
from greenschemas.errors import SourceError
from greenschemas.grid import Grid

__all__ = ["Zone", "read_zones"]


@dataclass(frozen=True)
class Zone:
    """A polygon on the ground, in the coordinates of a grid."""

    name: str
    geometry: Mapping[str, Any]

    def window(self, grid: Grid) -> tuple[int, int, int, int]:
        """(row, column, height, width) of the part of the grid that it may touch; height 0 where it lies outside."""
        inverse = ~Affine(*grid.transform)
        west, south, east, north = rasterio.features.bounds(self.geometry)
        corners = [inverse @ (x, y) for x in (west, east) for y in (south, north)]
        (left, right), (top, bottom) = ((min(c[i] for c in corners), max(c[i] for c in corners)) for i in (0, 1))
        row, col = max(0, int(np.floor(top))), max(0, int(np.floor(left)))
        height, width = min(grid.height, int(np.ceil(bottom))) - row, min(grid.width, int(np.ceil(right))) - col
        return (row, col, height, width) if height > 0 and width > 0 else (0, 0, 0, 0)

    def inside(self, grid: Grid, row: int, col: int, height: int, width: int) -> NDArray[np.bool_]:
        """(H, W) True where the centre of the pixel lies in the polygon."""
        shifted = Affine(*grid.transform) @ Affine.translation(col, row)
        outside: NDArray[np.bool_] = rasterio.features.geometry_mask([self.geometry], (height, width), shifted)
        return ~outside


def read_zones(path: Path, grid: Grid) -> tuple[Zone, ...]:
    """The polygons of a GeoJSON file, in longitude and latitude (RFC 7946), brought to the coordinates of `grid`.

    Raises SourceError where the file is no GeoJSON with polygons, or where the grid has no CRS.
    """
    if not grid.crs:
        raise SourceError(
            path,
            "the map has no CRS, so nothing says where the zones lie on it",
            "give the scene its CRS (`rio edit-info --crs`) and predict again",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        features = data["features"] if data["type"] == "FeatureCollection" else [data]
        system = data.get("crs", {}).get("properties", {}).get("name", "OGC:CRS84")  # of 2008; RFC 7946 dropped it
        check_crs(str(system))
        found = [(feature.get("properties") or {}, feature.get("geometry", feature)) for feature in features]
        polygons = [(about, shape) for about, shape in found if shape["type"] in ("Polygon", "MultiPolygon")]
        zones = tuple(
            Zone(_zone_name(about, index), transform_geom(system, grid.crs, dict(shape)))
            for index, (about, shape) in enumerate(polygons, 1)
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, RasterioError) as problem:
        raise SourceError(
            path,
            f"no GeoJSON that can be used ({type(problem).__name__}: {problem})",
            "give a FeatureCollection of polygons; `ogr2ogr zones.geojson` writes one",
        ) from None
    if not zones:
        raise SourceError(path, f"no polygon among {len(found)} features", "give a FeatureCollection of polygons")
    return zones


def _zone_name(about: Mapping[str, Any], index: int) -> str:
    """What the feature calls itself, whatever the case of the key; its number where it has no name."""
    return next(
        (str(value) for key, value in about.items() if key.casefold() in ("name", "id") and value is not None),
        f"zone {index}",
    )
