"""Where the pixels of a raster lie: its size, its affine transform, its coordinate system. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["IDENTITY", "Grid", "Transform"]

Transform = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f of x = a * column + b * row + c, y = d * column + e * row + f, as `affine` orders them."""
IDENTITY: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""What GDAL answers where a file has no georeference."""


@dataclass(frozen=True)
class Grid:
    """A raster without its pixels."""

    height: int
    width: int
    transform: Transform = IDENTITY
    crs: str = ""
    """As an authority code or WKT; empty where there is none."""

    @property
    def placed(self) -> bool:
        """Whether the file says where it lies."""
        return self.transform != IDENTITY

    @property
    def south_up(self) -> bool:
        """Whether rows run from south to north."""
        return self.placed and self.transform[4] > 0 and not self.rotated

    @property
    def west_up(self) -> bool:
        """Whether columns run from east to west."""
        return self.placed and self.transform[0] < 0 and not self.rotated

    @property
    def order(self) -> tuple[slice, slice]:
        """Index of (rows, columns) that puts them from north to south and from west to east."""
        return slice(None, None, -1 if self.south_up else 1), slice(None, None, -1 if self.west_up else 1)

    def turned_at(self, row: int, col: int, height: int, width: int) -> tuple[int, int]:
        """Where a window of the grid in this `order` begins in the grid as it is, or the other way round."""
        down = self.height - row - height if self.south_up else row
        return down, self.width - col - width if self.west_up else col

    @property
    def rotated(self) -> bool:
        """Whether the axes are turned or sheared."""
        return self.transform[1] != 0 or self.transform[3] != 0

    def upright(self) -> Grid:
        """The same ground with rows from north to south and columns from west to east."""
        return self.flipped(rows=self.south_up, cols=self.west_up)

    def turned_as(self, other: Grid) -> Grid:
        """The same ground as this upright grid, its rows and columns in the order of the other's."""
        return self.flipped(rows=other.south_up, cols=other.west_up)

    def flipped(self, *, rows: bool = True, cols: bool = False) -> Grid:
        """The same ground with its rows, its columns or both in the other order."""
        a, b, c, d, e, f = self.transform
        if rows:
            b, c, e, f = -b, c + b * self.height, -e, f + e * self.height
        if cols:
            a, c, d, f = -a, c + a * self.width, -d, f + d * self.width
        return Grid(self.height, self.width, (a, b, c, d, e, f), self.crs)

    def cropped(self, row: int, col: int, height: int, width: int) -> Grid:
        """The window of this grid that starts at (row, col)."""
        a, b, c, d, e, f = self.transform
        moved = (a, b, a * col + b * row + c, d, e, d * col + e * row + f) if self.placed else self.transform
        return Grid(height, width, moved, self.crs)

    def coarser(self, side: int) -> Grid:
        """The grid whose pixels are side x side of this one's; what is left at the right and lower edge is left out."""
        return self._scaled(self.height // side, self.width // side, side)

    def finer(self, side: int) -> Grid:
        """The grid of which side x side pixels are one of this one's."""
        return self._scaled(self.height * side, self.width * side, 1 / side)

    def _scaled(self, height: int, width: int, by: float) -> Grid:
        a, b, c, d, e, f = self.transform
        scaled = (a * by, b * by, c, d * by, e * by, f) if self.placed else self.transform
        return Grid(height, width, scaled, self.crs)

    def pixel_in(self, other: Grid, row: float, col: float) -> tuple[float, float]:
        """The (row, column) of `other` at which this grid's (row, column) lies; NaN where `other` has no area."""
        a, b, c, d, e, f = other.transform
        p, q, r, s, t, u = self.transform
        x, y = p * col + q * row + r - c, s * col + t * row + u - f
        area = a * e - b * d
        return ((a * y - d * x) / area, (e * x - b * y) / area) if area else (math.nan, math.nan)

    def differs(self, other: Grid) -> str | None:
        """In words, how the other grid differs; None where corners agree to a millionth of a pixel."""
        if (self.height, self.width) != (other.height, other.width):
            return f"{other.width} x {other.height} pixels instead of {self.width} x {self.height}"
        for corner in ((0, 0), (self.width, self.height)):
            row, col = other.pixel_in(self, corner[1], corner[0])
            if not max(abs(col - corner[0]), abs(row - corner[1])) <= 1e-6 * max(1, *corner):
                return f"corner {corner} lies at pixel ({col + 0.0:.3f}, {row + 0.0:.3f})"  # no minus before a zero
        return None
