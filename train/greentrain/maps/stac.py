"""A map as a STAC item: what stands in its files, where and of when, for catalogues. Pure, but for writing it.

STAC 1.1 with the extensions projection 2.0, raster 2.0 and classification 2.0. A map's bands are classes and no
spectrum, so that the extension eo has nothing to say of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from greenschemas.colours import as_hex
from greenschemas.files import write_whole
from greenschemas.grid import Grid
from greentrain.maps.raster import Layer
from greentrain.maps.warp import authority_code, longitude_latitude, pixel_metres

__all__ = ["item_of", "time_in", "write_item"]

_EXTENSIONS = {
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
}
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d{1,5}(?:\D|$))")
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
_PIECES = 8
"""Straight pieces that a side of the footprint is drawn of: it is bent in longitude and latitude."""


def write_item(
    out: Path, grid: Grid, layers: Mapping[Path, Layer], classes: Sequence[str], scene: str, before: str | None = None
) -> None:
    """Write `MAP.stac.json` beside the map; arguments as of `item_of`."""
    item = item_of(out, grid, layers, classes, scene, datetime.now(UTC), before)
    write_whole(out.with_suffix(".stac.json"), json.dumps(item, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def item_of(
    out: Path,
    grid: Grid,
    layers: Mapping[Path, Layer],
    classes: Sequence[str],
    scene: str,
    now: datetime,
    before: str | None = None,
) -> dict[str, Any]:
    """The item of the map `out` and of the maps of the same grid beside it.

    layers: what each file holds. scene: name of the file that it is a map of, which may say when that was taken; else
    the time is `now`, which the description says. before: name of the earlier of two maps, where `out` says what
    changed from that to `scene`; the time is then all that lies between.
    """
    geometry, bbox = _footprint(grid)
    code = authority_code(grid)
    time = time_in(scene) if before is None else _between(time_in(before), time_in(scene))
    title, made = f"Classes of {scene}", f"predict of {scene}"
    if before is not None:
        title, made = f"Change from {before} to {scene}", f"change of {before} and {scene}"
    known = {"proj:code": code} if code or not grid.crs else {"proj:code": None, "proj:wkt2": grid.crs}
    unknown = "" if time else " The scene's name tells no date: the time is that at which the map was made."
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS.values()),
        "id": out.stem,
        "geometry": geometry,
        **({} if bbox is None else {"bbox": bbox}),
        "properties": {
            **(time or {"datetime": _stamp(now)}),
            "created": _stamp(now),
            "title": title,
            "description": f"Map of {', '.join(classes)}, drawn by greentrain {made}.{unknown}",
            **known,
            "proj:shape": [grid.height, grid.width],
            **({"proj:transform": list(grid.transform)} if grid.placed else {}),
        },
        "links": [],
        "assets": {
            "map" if path == out else path.stem.removeprefix(f"{out.stem}_"): _asset(path, layer, grid, classes)
            for path, layer in layers.items()
        },
    }


def time_in(name: str) -> dict[str, str | None] | None:
    """The `datetime`, or the year's first and last second, that a file's name tells; None where it tells none."""
    for found in _DAY.finditer(name):
        year, _, month, day = found.groups()
        try:
            return {"datetime": _stamp(datetime(int(year), int(month), int(day), tzinfo=UTC))}
        except ValueError:  # the 31st of June
            continue
    if (year_only := _YEAR.search(name)) is None:
        return None
    first = datetime(int(year_only[1]), 1, 1, tzinfo=UTC)
    last = first.replace(year=first.year + 1) - timedelta(seconds=1)
    return {"datetime": None, "start_datetime": _stamp(first), "end_datetime": _stamp(last)}


def _between(first: dict[str, str | None] | None, last: dict[str, str | None] | None) -> dict[str, str | None] | None:
    """From the beginning of one time to the end of another, as `time_in` gives them."""
    if first is None or last is None:
        return None
    begin, end = first["datetime"] or first["start_datetime"], last["datetime"] or last["end_datetime"]
    return {"datetime": None, "start_datetime": begin, "end_datetime": end}


def _asset(path: Path, layer: Layer, grid: Grid, classes: Sequence[str]) -> dict[str, Any]:
    labels = [
        {"value": value, "name": re.sub(r"[^0-9A-Za-z_-]", "_", name), "description": name, "color_hint": hint}
        for value, name, hint in zip(range(len(classes)), classes, map(_hint, layer.colours), strict=False)
    ]
    metres = pixel_metres(grid)
    shared = {
        "data_type": layer.dtype,
        "nodata": "nan" if np.isnan(layer.nodata) else layer.nodata,
        "raster:sampling": "area",
        **({} if metres is None else {"raster:spatial_resolution": metres}),
    }
    return {
        "href": f"./{path.name}",
        "type": _COG,
        "roles": ["data"],
        "bands": [
            {"name": name, **shared} | ({"classification:classes": labels} if labels else {}) for name in layer.bands
        ],
    }


def _hint(colour: tuple[int, int, int]) -> str:
    return as_hex(colour)[1:].upper()


def _footprint(grid: Grid) -> tuple[dict[str, Any] | None, list[float] | None]:
    """The map's outline in longitude and latitude, and its box (west, south, east, north); None without a CRS.

    What crosses the 180th meridian is cut there, and its box has a west larger than its east (RFC 7946, 3.1.9, 5.2).
    """
    if not grid.crs:
        return None, None
    side = np.linspace(0, 1, _PIECES, endpoint=False)
    across = np.concatenate([side, np.ones(_PIECES), 1 - side, np.zeros(_PIECES)]) * grid.width
    down = np.concatenate([np.zeros(_PIECES), side, np.ones(_PIECES), 1 - side]) * grid.height
    a, b, c, d, e, f = grid.transform
    found = longitude_latitude(grid, (a * across + b * down + c).tolist(), (d * across + e * down + f).tolist())
    longitude, latitude = (np.array(each, float) for each in found)
    crosses = np.ptp(longitude) > 180
    east_of = np.where(crosses & (longitude < 0), longitude + 360, longitude)
    shape = shapely.orient_polygons(shapely.Polygon(np.stack([east_of, latitude], 1)))
    west, south, east, north = shapely.bounds(shape).tolist()
    if crosses:
        half = shapely.intersection(shape, shapely.box(180, -90, 360, 90))
        parts = [
            shapely.intersection(shape, shapely.box(0, -90, 180, 90)),
            shapely.transform(half, lambda xy: xy - (360, 0)),
        ]
        shape, east = shapely.multipolygons(parts), east - 360
    return json.loads(shapely.to_geojson(shape)), [west, south, east, north]


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
