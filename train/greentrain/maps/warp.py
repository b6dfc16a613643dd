"""A map's pixels in longitude and latitude, and on another map's grid: GDAL's warper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio._err import CPLE_BaseError  # what warp raises: no other name leads to it
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject, transform

from greenschemas.errors import SourceError
from greenschemas.grid import Grid
from greenschemas.ground import pixel_sides
from greentrain.maps.outputs import NO_CLASS
from greentrain.maps.raster import Raster, crs_facts

__all__ = ["OnGrid", "authority_code", "longitude_latitude", "pixel_metres"]


def longitude_latitude(
    grid: Grid, xs: Sequence[float], ys: Sequence[float]
) -> tuple[Sequence[float | None], Sequence[float | None]]:
    """Places of a grid on WGS 84, in degrees; None where the grid has no CRS."""
    if not grid.crs or not xs:
        return (None,) * len(xs), (None,) * len(ys)
    longitude, latitude = (np.round(each, 8).tolist() for each in transform(grid.crs, "OGC:CRS84", xs, ys))
    return longitude, latitude


class OnGrid:
    """A map read as if it lay on another map's grid: classes by the nearest pixel, shares by their average."""

    def __init__(self, raster: Raster, grid: Grid) -> None:
        """Raises SourceError where the grids differ and one of them has no CRS."""
        same_crs = (not raster.grid.crs and not grid.crs) or (
            bool(raster.grid.crs and grid.crs)
            and rasterio.CRS.from_user_input(raster.grid.crs) == rasterio.CRS.from_user_input(grid.crs)
        )
        self.raster, self.grid = raster, grid
        self.why = grid.differs(raster.grid) if same_crs else "another CRS"
        """In words, how the map's own grid differs; None where it is the same, and nothing is brought anywhere."""
        if self.why and not (raster.grid.crs and grid.crs):
            raise SourceError(
                raster.path,
                f"not on the grid of the other map ({self.why}), and without a CRS it cannot be brought there",
                "give both maps their CRS (`rio edit-info --crs`), or two maps of one scene",
            )

    def read(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `Raster.read`, of a window of the grid; raises SourceError, too, where nothing can be brought there."""
        if self.why is None:
            return self.raster.read(row, col, height, width)
        shares = self.raster.count > 1
        nothing = np.nan if shares else NO_CLASS
        values = np.full((self.raster.count, height, width), nothing, np.float32 if shares else np.uint8)
        try:
            reproject(
                rasterio.band(self.raster.dataset, list(range(1, self.raster.count + 1))),
                values,
                dst_transform=Affine(*self.grid.transform) @ Affine.translation(col, row),
                dst_crs=self.grid.crs,
                src_nodata=self.raster.nodata[0],
                dst_nodata=nothing,
                resampling=Resampling.average if shares else Resampling.nearest,
            )
        except (RasterioError, CPLE_BaseError) as problem:
            raise SourceError(
                self.raster.path,
                f"pixels below row {row} of the other map cannot be read ({problem})",
                "get the file again: it is damaged or was not copied whole",
            ) from None
        return values, np.isfinite(values).all(0) if shares else values[0] != NO_CLASS


def authority_code(grid: Grid) -> str | None:
    """The CRS of a grid as `EPSG:32618`; None where it has none, or no such code."""
    found = rasterio.CRS.from_user_input(grid.crs).to_authority() if grid.crs else None
    return None if found is None else ":".join(found)


def pixel_metres(grid: Grid) -> float | None:
    """Side of a pixel in the middle of the grid, the mean of height and width; None where it has no place."""
    kind, unit = crs_facts(rasterio.CRS.from_user_input(grid.crs) if grid.crs else None)
    sides = pixel_sides(grid.transform, (grid.height, grid.width), kind, unit)
    return None if sides is None else sum(sides) / 2
