"""Class maps of one small city at two dates, each wrong in its own way, and what is true of either."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import shapely
from scipy.ndimage import gaussian_filter

from greenschemas.colours import class_colours
from greenschemas.grid import Grid
from greentrain.maps.raster import Layer, write_map

__all__ = ["CLASSES", "answer", "write_quarters", "write_two_maps"]

CLASSES = ("impervious", "low_vegetation", "trees", "water")
_GRID = Grid(240, 320, (10.0, 0.0, 4e5, 0.0, -10.0, 5.8e6), rasterio.CRS.from_epsg(32633).to_wkt())


def write_two_maps(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write map_2016.tif and map_2023.tif, and two districts; gives the true classes (H, W) of both dates."""
    shape = _GRID.height, _GRID.width
    rng = np.random.default_rng(2016)
    green = gaussian_filter(rng.standard_normal(shape), 9)
    before = np.digitize(green, np.quantile(green, (0.5, 0.8))).astype(np.uint8)
    row, col = np.indices(shape)
    before[np.abs(row - 90 - 25 * np.sin(col / 40)) < 6] = 3
    after = before.copy()
    for top, left, height, width, became in ((130, 40, 45, 60, 0), (20, 230, 30, 50, 0), (170, 180, 40, 70, 2)):
        block = after[top : top + height, left : left + width]
        block[block != 3] = became
    for name, truth, seed in (("map_2016.tif", before, 1), ("map_2023.tif", after, 2)):
        _write(folder / name, _mapped(truth, seed))
    (folder / "districts.geojson").write_text(json.dumps(_districts()))
    return before, after


def write_quarters(path: Path) -> None:
    """Thirteen quarters that fill the city, each with its name in the field `quarter`, as GeoPackage."""
    names = ["Ash", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Larch", "Lime", "Maple", "Oak", "Pine", "Rowan", "Yew"]
    west, north, width, height = 4e5, 5.8e6, 10 * _GRID.width, 10 * _GRID.height
    ground = shapely.box(west, north - height, west + width, north)
    places = np.random.default_rng(7).uniform((west, north - height), (west + width, north), (len(names), 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(places), extend_to=ground))
    shapes = shapely.to_wkb(shapely.intersection(cells, ground))
    columns = [np.array(names, object)]
    pyogrio.raw.write(path, shapes, columns, ["quarter"], geometry_type="Polygon", crs="EPSG:32633")


def answer(table: Path, names: tuple[str, ...], *truth: np.ndarray) -> None:
    """Fill in the column `reference` of a sample's CSV, as a person would who knows the ground.

    names: of every answer; truth: the true classes, or those of both dates.
    """
    lines = table.read_text(encoding="utf-8").splitlines()
    head = lines[0].split(",")
    for number, line in enumerate(lines[1:], 1):
        cells = dict(zip(head, line.split(","), strict=True))
        at = int((5.8e6 - float(cells["y"])) // 10), int((float(cells["x"]) - 4e5) // 10)
        index = 0
        for label in truth:
            index = index * len(CLASSES) + int(label[at])
        lines[number] = line + names[index]
    table.write_text("\n".join(lines), encoding="utf-8")


def _mapped(truth: np.ndarray, seed: int) -> np.ndarray:
    """What a net makes of it: edges that wander, low vegetation that is taken for trees, and single pixels."""
    rng = np.random.default_rng(seed)
    drift = [gaussian_filter(rng.standard_normal(truth.shape), 2) * 6 for _ in range(2)]
    row, col = (
        np.clip(np.rint(at + d), 0, size - 1).astype(int)
        for at, d, size in zip(np.indices(truth.shape), drift, truth.shape, strict=True)
    )
    found = truth[row, col]
    found[(found == 1) & (gaussian_filter(rng.standard_normal(truth.shape), 2) > 0.2)] = 2
    return np.where(rng.random(truth.shape) < 0.02, rng.integers(0, 4, truth.shape), found).astype(np.uint8)


def _write(path: Path, label: np.ndarray) -> None:
    tags = {"GREENSPACE_CLASS_NAMES": json.dumps(CLASSES), "GREENSPACE_KEY": path.name}
    write_map(path, _GRID, Layer(("class",), "uint8", 255, class_colours(CLASSES)), [(0, 0, label[None])], tags)


def _districts() -> dict[str, object]:
    """Two halves, west and east."""
    features = []
    for name, west, east in (("Altstadt", 4e5, 4e5 + 1600), ("Neustadt", 4e5 + 1600, 4e5 + 3200)):
        ring = [[west, 5.7976e6], [east, 5.7976e6], [east, 5.8e6], [west, 5.8e6], [west, 5.7976e6]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {"name": name}, "geometry": shape})
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    return {"type": "FeatureCollection", "crs": crs, "features": features}
