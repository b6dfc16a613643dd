"""Polygons on the ground, for `greentrain area`: read from GeoJSON, GeoPackage or Shapefile, laid over a map's pixels.

Letters: H rows, W columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio.features
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio import Affine
from rasterio._err import CPLE_BaseError  # what warp raises: no other name leads to it
from rasterio.errors import RasterioError
from rasterio.warp import transform_geom
from shapely import from_wkb
from shapely.errors import ShapelyError
from shapely.geometry import mapping

from greenschemas.console import say
from greenschemas.crs import check_crs
from greenschemas.errors import SourceError
from greenschemas.grid import Grid

__all__ = ["Zone", "read_zones"]

Feature = tuple[Mapping[str, Any], Mapping[str, Any] | None]
"""(what it says of itself, its shape as GeoJSON)."""
_POLYGONS = ("Polygon", "MultiPolygon")
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}
"""How files of these names begin."""
_LIBRARIES = (RasterioError, CPLE_BaseError, ShapelyError, DataSourceError, DataLayerError)


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
    """The polygons of a GeoJSON, GeoPackage or Shapefile, brought to the coordinates of `grid`.

    GeoJSON is in longitude and latitude (RFC 7946) unless it says otherwise, as it might before. Features that are no
    polygons are left out, and that is said. Raises SourceError where the file has no polygons or cannot be read, where
    nothing says where they lie, or where the grid has no CRS.
    """
    if not grid.crs:
        raise SourceError(
            path,
            "the map has no CRS, so nothing says where the zones lie on it",
            "give the scene its CRS (`rio edit-info --crs`) and predict again",
        )
    read, kind = (_from_ogr, "GeoPackage or Shapefile") if path.suffix.lower() in _MAGIC else (_from_json, "GeoJSON")
    try:
        system, features = read(path)
        check_crs(system)
        polygons = [(about, shape) for about, shape in features if shape and shape["type"] in _POLYGONS]
        zones = tuple(
            Zone(_zone_name(about, index), transform_geom(system, grid.crs, dict(shape)))
            for index, (about, shape) in enumerate(polygons, 1)
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, *_LIBRARIES) as problem:
        raise SourceError(
            path,
            f"no {kind} that can be used ({type(problem).__name__}: {problem})",
            "give polygons as GeoJSON, GeoPackage (.gpkg) or Shapefile (.shp); `ogr2ogr zones.geojson` writes one",
        ) from None
    if not zones:
        raise SourceError(path, f"no polygon among {len(features)} features", "give a file of polygons")
    if len(zones) < len(features):
        say(f"{path}: {len(features) - len(zones)} of {len(features)} features are no polygons, and are left out.")
    return zones


def _from_json(path: Path) -> tuple[str, list[Feature]]:
    """Read by ourselves: GDAL would fetch a coordinate system that the file only links to."""
    data = json.loads(path.read_text(encoding="utf-8"))
    features = data["features"] if data["type"] == "FeatureCollection" else [data]
    system = (data.get("crs") or {}).get("properties", {}).get("name", "OGC:CRS84")  # of 2008; RFC 7946 dropped it
    return str(system), [(one.get("properties") or {}, one.get("geometry", one)) for one in features]


def _from_ogr(path: Path) -> tuple[str, list[Feature]]:
    with path.open("rb") as file:
        if not file.read(16).startswith(_MAGIC[path.suffix.lower()]):  # else GDAL would try what else it could be
            raise ValueError("it is something else")
    layers = [str(name) for name, shape in pyogrio.list_layers(path) if shape is not None]
    if len(layers) != 1:
        raise ValueError(f"{len(layers)} layers of shapes ({', '.join(layers)}), and not one")
    meta, _, shapes, columns = pyogrio.raw.read(path, layer=layers[0], force_2d=True)
    if not meta["crs"]:
        raise ValueError("it says no coordinate system; a Shapefile has it in a .prj file")
    about = [dict(zip(meta["fields"], values, strict=True)) for values in zip(*columns, strict=True)]
    found = [None if wkb is None else mapping(from_wkb(wkb)) for wkb in shapes]
    return str(meta["crs"]), list(zip(about or [{}] * len(found), found, strict=True))


def _zone_name(about: Mapping[str, Any], index: int) -> str:
    """What the feature calls itself, whatever the case of the key; its number where it has no name."""
    return next(
        (str(value) for key, value in about.items() if key.casefold() in ("name", "id") and value is not None),
        f"zone {index}",
    )
