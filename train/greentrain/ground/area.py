"""Ground covered by each class: hectares and shares, whole map or zone by zone.

From a map of fractions it adds up the shares of the pixels, so that half a pixel of lawn counts as half; from a class
map it counts pixels. At the edge of a zone a pixel counts by the share of it that the zone covers.

Letters: K classes, H rows, W columns, all of one block.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import SourceError
from greenschemas.grid import Grid
from greentrain.ground.zones import Zone
from greentrain.maps.blend import Block, blocks
from greentrain.maps.outputs import KEY, NO_CLASS
from greentrain.maps.raster import Raster

__all__ = ["Cover", "Ground", "class_names", "measure", "must_be_map", "pixel_hectares", "summary"]

_MAJOR, _FLATTENING = 6378137.0, 1 / 298.257223563  # WGS 84
_SIDE = 1024
_SHARES_WITHIN = 0.05
"""Of 1: shares may be rounded, to percent for one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """How a map's pixels lie on the ground."""

    grid: Grid
    kind: str
    """`none`, `geographic`, `web_mercator` or `projected`, as `Raster.crs_kind` says."""
    unit: float
    """Metres in a unit of a projected CRS."""

    @classmethod
    def of(cls, raster: Raster) -> Ground:
        """Of an open map."""
        return cls(raster.grid, raster.crs_kind, raster.linear_unit)


@dataclass
class Cover:
    """What was added up over a map or a zone."""

    name: str
    pixels: Floats
    """(K,) pixels of each class; fractions of pixels where the map holds fractions."""
    hectares: Floats
    """(K,) the same in hectares; NaN where the map has no CRS."""
    empty: float = 0
    """Pixels without data."""
    outside: float = 0
    """Pixels of the zone, or what would be such, beyond the map's edge."""

    def add(self, values: NDArray[Any], usable: NDArray[np.bool_], part: Floats, size: Floats) -> None:
        """Add a map's values where `usable` (H, W): shares (K, H, W), or classes (1, H, W), each a whole pixel.

        part: (H, W) share of each pixel that counts. size: (H, W) hectares a pixel.
        """
        k, counts = len(self.pixels), part[usable]
        here = size[usable] * counts
        if len(values) > 1:
            share = values[:, usable].astype(np.float64)
            self.pixels += share @ counts
            self.hectares += share @ here
        else:
            label = values[0][usable].astype(np.int64)
            self.pixels += np.bincount(label, counts, k)
            self.hectares += np.bincount(label, here, k)
        self.empty += float(part[~usable].sum())


def pixel_hectares(ground: Ground, block: Block) -> Floats:
    """(H, W) hectares of each pixel; NaN where the map has no CRS.

    Projected: the map's own units. In degrees, and in web Mercator, whose metres are true at the equator only: on the
    WGS 84 ellipsoid, M N cos(latitude) for each radian squared, M and N the radii of curvature (Snyder: Map
    Projections, a Working Manual (1987), eq. 4-18 to 4-20), taken at the pixel's centre.
    """
    a, b, _, d, e, f = ground.grid.transform
    size = abs(a * e - b * d)
    shape = (block.height, block.width)
    if ground.kind == "none":
        return np.full(shape, np.nan)
    if ground.kind == "projected":
        return np.full(shape, size * ground.unit**2 / 1e4)
    cols, rows = np.meshgrid(np.arange(shape[1]) + block.col + 0.5, np.arange(shape[0]) + block.row + 0.5)
    y = d * cols + e * rows + f
    if ground.kind == "geographic":
        latitude, scale = np.radians(y), math.radians(1) ** 2
        local = _radii(latitude) * np.cos(latitude)
    else:
        latitude, scale = np.arctan(np.sinh(y / _MAJOR)), 1 / _MAJOR**2
        local = _radii(latitude) * np.cos(latitude) ** 2
    result: Floats = size * scale * local / 1e4
    return result


def _radii(latitude: Floats) -> Floats:
    """M N, the product of the radii of curvature along the meridian and across it, in square metres."""
    eccentricity = _FLATTENING * (2 - _FLATTENING)
    found: Floats = _MAJOR**2 * (1 - eccentricity) / (1 - eccentricity * np.sin(latitude) ** 2) ** 2
    return found


def class_names(tags: Mapping[str, str], bands: Sequence[str | None], fractions: bool) -> tuple[str, ...]:
    """Names of the classes of a map: its tags', else its bands' (fractions), else numbers for every possible value.

    Maps made before names travelled as JSON have them joined by commas, which a name may hold itself: such fractions
    are told by their bands.
    """
    if "GREENSPACE_CLASS_NAMES" in tags:
        return tuple(str(name) for name in json.loads(tags["GREENSPACE_CLASS_NAMES"]))
    joined = tuple(tags["GREENSPACE_CLASSES"].split(",")) if "GREENSPACE_CLASSES" in tags else ()
    if joined and not (fractions and len(joined) != len(bands)):
        return joined
    if fractions:
        return tuple(name or f"class {index}" for index, name in enumerate(bands))
    return tuple(f"class {index}" for index in range(NO_CLASS))


def measure(
    raster: Raster,
    classes: Sequence[str],
    zones: Sequence[Zone] = (),
    parts: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> tuple[Cover, ...]:
    """What covers the whole map, then each zone; memory stays at one block.

    parts: what to add up instead of a map's own values (bands, H, W), one band a class.
    Raises SourceError where a pixel holds what no map does, such as a reflectance.
    """
    ground = Ground.of(raster)
    k = len(classes)
    covers = []
    for zone in (None, *zones):
        cover = Cover(zone.name if zone else "whole map", np.zeros(k), np.zeros(k))
        cover.outside = zone.outside(raster.grid) if zone else 0.0
        for block, part in zone.blocks(raster.grid) if zone else _whole(raster.grid):
            values, usable = raster.read(block.row, block.col, block.height, block.width)
            if parts is not None:
                values = parts(values)
            elif KEY not in raster.tags and zone is None:
                must_be_map(raster.path, values[:, usable])
            if len(values) == 1:
                usable &= values[0] < k
            cover.add(values, usable, part, pixel_hectares(ground, block))
        covers.append(cover)
    return tuple(covers)


def must_be_map(path: Path, values: NDArray[Any]) -> None:
    """Raise SourceError unless a raster that somebody else wrote holds class numbers, or shares that sum to 1.

    values: (bands, pixels) of it.
    """
    if len(values) == 1:
        odd = values[0][(values[0] < 0) | (values[0] >= NO_CLASS) | (values[0] % 1 != 0)]
        found = f"its one band holds {odd[0]:g}, which is no class number" if odd.size else ""
    else:
        odd = np.abs(values.sum(0, dtype=np.float64) - 1)
        found = f"{len(values)} bands that are no shares: they do not sum to 1" if (odd > _SHARES_WITHIN).any() else ""
    if found:
        raise SourceError(
            path, found, "give a class map or map of fractions: `greentrain predict` makes them of images"
        )


def _whole(grid: Grid) -> Iterator[tuple[Block, Floats]]:
    for block in blocks(grid.height, grid.width, _SIDE):
        yield block, np.ones((block.height, block.width))


def summary(covers: Sequence[Cover], classes: Sequence[str], kind: str, *, fractions: bool) -> dict[str, Any]:
    """All of it, ready for JSON; hectares are None without a CRS, shares None where a zone holds no data."""
    placed = kind != "none"

    def row(cover: Cover) -> dict[str, Any]:
        total = float(cover.pixels.sum())
        return {
            "name": cover.name,
            "hectares": float(cover.hectares.sum()) if placed else None,
            "pixels": total,
            "pixels_without_data": cover.empty,
            "pixels_outside": cover.outside,
            "classes": {
                name: {
                    "hectares": float(cover.hectares[k]) if placed else None,
                    "pixels": float(cover.pixels[k]),
                    "share": float(cover.pixels[k] / total) if total > 0 else None,
                }
                for k, name in enumerate(classes)
                if fractions or len(classes) < NO_CLASS or cover.pixels[k] > 0
            },
        }

    return {
        "counted": "fractions of pixels" if fractions else "whole pixels",
        "crs": {
            "none": "none: pixels only, no hectares",
            "projected": "projected: the map's own units",
            "geographic": "degrees: areas on the WGS 84 ellipsoid",
            "web_mercator": "web Mercator: areas on the WGS 84 ellipsoid",
        }[kind],
        **row(covers[0]),
        "zones": [row(cover) for cover in covers[1:]],
    }
