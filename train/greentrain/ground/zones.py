"""Polygons on the ground, for `area` and `change`: GeoJSON, GeoPackage or Shapefile, laid over the pixels of a map.

Letters: H rows, W columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio import CRS, Affine
from rasterio._err import CPLE_BaseError  # what warp raises: no other name leads to it
from rasterio.errors import RasterioError
from rasterio.warp import transform
from shapely.errors import ShapelyError

from greenschemas.console import say
from greenschemas.crs import check_crs
from greenschemas.errors import ConfigError, SourceError
from greenschemas.grid import Grid
from greentrain.ground.coverage import cover, trace
from greentrain.maps.blend import Block, blocks

__all__ = ["Zone", "overlaps", "read_zones", "remarks"]

Feature = tuple[Mapping[str, Any], shapely.Geometry | None]
"""(what it says of itself, its shape)."""
_POLYGONS = ("Polygon", "MultiPolygon")
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}
"""How files of these names begin."""
_LIBRARIES = (RasterioError, CPLE_BaseError, ShapelyError, DataSourceError, DataLayerError)
_STEP = 1000.0
"""Metres after which an edge gets a corner before it is brought to another CRS, in which it would be bent: over so
many metres by a few centimetres at most."""
_SIDE = 1024


@dataclass(frozen=True)
class Zone:
    """A polygon on the ground."""

    name: str
    shape: shapely.Geometry
    """Valid polygon or multipolygon in pixels of the map: x columns from its left edge, y rows from its top."""
    source: shapely.Geometry
    """As the file has it."""
    crs: str
    """That of `source`."""

    def outside(self, grid: Grid) -> float:
        """Pixels, or what would be such, that it covers beyond the edge of the grid."""
        return float(shapely.difference(self.shape, _frame(grid)).area)

    def blocks(self, grid: Grid) -> Iterator[tuple[Block, NDArray[np.float64]]]:
        """The part of the grid that it touches, piece by piece, and (H, W) the share of each pixel that it covers."""
        inside = shapely.intersection(self.shape, _frame(grid))
        if inside.area == 0:
            return
        west, north, east, south = shapely.bounds(inside)
        row, col = int(north), int(west)
        outline = trace(_only_polygons(inside))
        for b in blocks(int(np.ceil(south)) - row, int(np.ceil(east)) - col, _SIDE):
            here = Block(b.index, b.row + row, b.col + col, b.height, b.width)
            share = cover(outline, here.row, here.col, here.height, here.width)
            if share.any():
                yield here, share


def read_zones(path: Path, grid: Grid, name: str | None = None) -> tuple[Zone, ...]:
    """The polygons of a GeoJSON, GeoPackage or Shapefile, laid over the pixels of `grid`.

    GeoJSON is in longitude and latitude (RFC 7946) unless it says otherwise, as it might before. Features that hold no
    ground are left out, polygons that cross themselves are mended, and either is said, as is what lies outside the
    grid or counts twice.

    name: the field that names them; None: a field called name or id. Raises SourceError where the file has no polygons
    or cannot be read, where nothing says where they lie, or where the grid has no CRS; ConfigError where no feature has
    that field.
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
        polygons = [(about, shape) for about, shape in features if shape is not None and shape.geom_type in _POLYGONS]
        found = [(about, shape, _over(grid, system, shape)) for about, shape in polygons]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, *_LIBRARIES) as problem:
        raise SourceError(
            path,
            f"no {kind} that can be used ({type(problem).__name__}: {problem})",
            "give polygons as GeoJSON, GeoPackage (.gpkg) or Shapefile (.shp); `ogr2ogr zones.geojson` writes one",
        ) from None
    if not any(laid.area > 0 for _, _, laid in found):
        raise SourceError(path, f"no polygon among {len(features)} features", "give a file of polygons")
    fields = {str(key): None for about, _, _ in found for key in about}
    if name is not None and name.casefold() not in map(str.casefold, fields):
        raise ConfigError("--name", f"no field {name} in {path}", f"its fields are: {', '.join(fields) or 'none'}")
    zones = tuple(
        Zone(_zone_name(about, index, name), laid, shape, system)
        for index, (about, shape, laid) in enumerate(found, 1)
        if laid.area > 0
    )
    if len(zones) < len(features):
        say(f"{path}: {len(features) - len(zones)} of {len(features)} features are no polygons, and are left out.")
    for remark in remarks(zones, grid):
        say(f"{path}: {remark}")
    return zones


def overlaps(zones: Sequence[Zone]) -> list[tuple[str, str, float]]:
    """(name, name, pixels) of zones that share more than a pixel, and a thousandth of the smaller; largest first."""
    shapes = np.array([zone.shape for zone in zones], object)
    pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects").T
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    area = shapely.area(shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]]))
    least = np.maximum(1, 0.001 * np.minimum(*shapely.area(shapes)[pairs].T))
    order = [int(i) for i in np.argsort(-area, kind="stable") if area[i] > least[i]]
    return [(zones[pairs[i, 0]].name, zones[pairs[i, 1]].name, float(area[i])) for i in order]


def remarks(zones: Sequence[Zone], grid: Grid) -> list[str]:
    """What a reader of the numbers would not expect."""
    found = []
    if bent := [zone.name for zone in zones if not zone.source.is_valid]:
        found.append(f"{_some(bent)}: the outline crosses itself, and was mended for the counting.")
    if outside := [zone.name for zone in zones if shapely.intersection(zone.shape, _frame(grid)).area == 0]:
        found.append(f"{_some(outside)}: outside the map, which says nothing of it.")
    if twice := overlaps(zones):
        one, other, area = twice[0]
        found.append(
            f"Zones that overlap count the same ground twice: {len(twice)} pair{'s' * (len(twice) > 1)}, "
            f"most of all {one} and {other}, by {area:.0f} pixels."
        )
    return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _frame(grid: Grid) -> shapely.Geometry:
    return shapely.box(0, 0, grid.width, grid.height)


def _over(grid: Grid, system: str, shape: shapely.Geometry) -> shapely.Geometry:
    """A shape in pixels of the grid, mended where its outline crosses itself."""
    there, here = CRS.from_user_input(system), CRS.from_user_input(grid.crs)
    inverse = ~Affine(*grid.transform)

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = xy.T if there == here else np.array(transform(there, here, *xy.T))
        moved = np.stack(inverse @ (x, y), 1)
        if not np.isfinite(moved).all():
            raise ValueError(
                f"a corner at {tuple(xy[~np.isfinite(moved).all(1)][0])} is nowhere on the map's projection"
            )
        return moved

    if there != here:
        shape = shapely.segmentize(shape, _STEP / (111_000.0 if there.is_geographic else there.linear_units_factor[1]))
    moved = shapely.transform(shape, move)
    return moved if moved.is_valid else _only_polygons(shapely.make_valid(moved))


def _only_polygons(shape: shapely.Geometry) -> shapely.Geometry:
    """As a multipolygon, without the lines and points that mending and cutting leave over."""
    parts = shapely.get_parts(shapely.get_parts(shape))  # a collection may hold multipolygons
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])


def _from_json(path: Path) -> tuple[str, list[Feature]]:
    """Read by ourselves: GDAL would fetch a coordinate system that the file only links to."""
    data = json.loads(path.read_text(encoding="utf-8"))
    features = data["features"] if data["type"] == "FeatureCollection" else [data]
    system = (data.get("crs") or {}).get("properties", {}).get("name", "OGC:CRS84")  # of 2008; RFC 7946 dropped it
    return str(system), [(one.get("properties") or {}, _shape(one.get("geometry", one))) for one in features]


def _shape(geometry: Mapping[str, Any] | None) -> shapely.Geometry | None:
    return None if geometry is None else shapely.force_2d(shapely.from_geojson(json.dumps(geometry)))


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
    found = [None if wkb is None else shapely.from_wkb(wkb) for wkb in shapes]
    return str(meta["crs"]), list(zip(about or [{}] * len(found), found, strict=True))


def _zone_name(about: Mapping[str, Any], index: int, field: str | None) -> str:
    """What the feature calls itself, whatever the case of the key; its number where it has no name."""
    wanted = {"name", "id"} if field is None else {field.casefold()}
    return next(
        (str(value) for key, value in about.items() if key.casefold() in wanted and value is not None), f"zone {index}"
    )
