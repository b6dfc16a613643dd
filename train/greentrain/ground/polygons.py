"""A class map as polygons: a GeoPackage with the class and the hectares of each patch.

Memory: what `find_patches` says, and what GDAL's sieve remembers of each patch; the map itself lies in files that are
mapped into memory, three bytes a pixel, beside the output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.features import sieve

from greenschemas.colours import class_colours
from greenschemas.console import Ticker
from greenschemas.errors import ConfigError, SourceError
from greentrain.ground.area import Ground, class_names, pixel_hectares
from greentrain.ground.patches import find_joints, find_patches, smoothed, weighed
from greentrain.ground.vectors import Batch, spare_foreign, write_gpkg
from greentrain.maps.blend import Block, blocks
from greentrain.maps.outputs import NO_CLASS
from greentrain.maps.raster import Raster, open_raster
from greentrain.maps.style import polygon_style, write_style

__all__ = ["write_polygons"]

_STRIP = 1 << 21
"""Pixels of a strip: where a map is all noise, its patches take some hundred megabytes as GDAL hands them over."""
_ROWS = 512
_ROUNDS = 8
"""Sieving makes patches part of others that are too small themselves, so it is done again, at most so often."""


def write_polygons(map: Path, out: Path, least: float = 0.0, tick: Ticker | None = None) -> int:
    """Write the patches of a class map, in its CRS, with a style for QGIS; how many there are.

    least: hectares; smaller patches become part of the largest patch beside them, and those that stand alone in ground
    without data are left out. Hectares are those of the pixels, before corners were cut. Raises SourceError for what
    is no class map, or has no CRS, ConfigError where a file of somebody else's lies at `out`.
    """
    if not (math.isfinite(least) and least >= 0):
        raise ConfigError("--min-area", f"{least:g} hectares", "give a number of hectares, 0 for all patches")
    spare_foreign(out)  # before minutes of work
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_raster(map) as raster, TemporaryDirectory(prefix=".polygons", dir=out.parent) as folder:
        if raster.count != 1 or raster.dtype != "uint8":
            found = f"{raster.count} bands of {raster.dtype}"
            raise SourceError(map, found, "give a class map of one uint8 band, as `greentrain predict` writes")
        if not raster.grid.crs:
            raise SourceError(map, "no CRS, so nothing says where its polygons lie", "give the scene its CRS")
        classes = class_names(raster.tags, raster.names, False)
        ground = Ground.of(raster)
        middle = Block(0, 0, raster.grid.width // 2, raster.grid.height, 1)
        hectares = pixel_hectares(ground, middle)[:, 0]
        size = max(1, math.ceil(least / float(hectares.mean()) - 1e-9))
        labels = _sieved(raster, len(classes), size, Path(folder))
        count = write_gpkg(out, raster.grid.crs, _batches(labels, raster, classes, hectares, size, tick))
    write_style(out, polygon_style("class", classes, class_colours(classes)))
    return count


def _sieved(raster: Raster, classes: int, size: int, folder: Path) -> NDArray[np.uint8]:
    """(H, W) classes, where patches of fewer than `size` pixels are part of others."""
    shape = raster.grid.height, raster.grid.width
    labels, other, known = (np.memmap(folder / str(each), np.uint8, "w+", shape=shape) for each in range(3))
    for b in blocks(*shape, _ROWS):
        values, usable = raster.read(b.row, b.col, b.height, b.width)
        here = np.s_[b.row : b.row + b.height, b.col : b.col + b.width]
        known[here] = usable & (values[0] < classes)
        labels[here] = np.where(known[here], values[0], NO_CLASS)
    for _ in range(_ROUNDS if size > 1 else 0):
        sieve(labels, size, out=other, mask=known, connectivity=4)
        settled = all(
            (labels[top : top + _ROWS] == other[top : top + _ROWS]).all() for top in range(0, shape[0], _ROWS)
        )
        labels, other = other, labels
        if settled:
            break
    return labels


def _batches(
    labels: NDArray[np.uint8],
    raster: Raster,
    classes: Sequence[str],
    hectares: NDArray[np.float64],
    size: int,
    tick: Ticker | None,
) -> Iterator[Batch]:
    joints, place = find_joints(labels), Affine(*raster.grid.transform)
    rows = max(64, _STRIP // labels.shape[1])
    if tick is not None:
        tick.total(-(-len(labels) // rows))
    for kinds, found in find_patches(labels, NO_CLASS, rows):
        large = shapely.area(found) >= size
        kinds, found = kinds[large], found[large]
        placed = shapely.transform(smoothed(found, joints), lambda xy: np.stack(place @ tuple(xy.T), 1))
        yield placed, {"class": np.array(classes, object)[kinds], "hectares": weighed(found, hectares)}
        if tick is not None:
            tick.advance()
