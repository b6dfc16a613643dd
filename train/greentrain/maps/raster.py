"""Scenes in, maps out: the only module of greentrain that knows rasters on the ground.

Reads a scene window by window with the bands that a run asks for, and writes cloud-optimised GeoTIFFs on the scene's
own grid. Only GDAL's GTiff driver may open anything: a file that calls itself .tif cannot make GDAL fetch another.
Scenes, maps and zones share the file because it is the one exception to the wall between training and GDAL.

Letters: C bands that the net sees, H rows, W columns.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from greenschemas.colours import NO_DATA, Colour
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import whole

try:
    import rasterio
except ModuleNotFoundError as missing:
    raise ConfigError(
        "greentrain",
        f"no module `{missing.name}`: maps need GDAL, training does not",
        "install it: pip install 'greenspace[prep]'",
    ) from None
import rasterio.features
import rasterio.shutil
from rasterio import Affine
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import transform_geom
from rasterio.windows import Window

__all__ = [
    "Grid",
    "Layer",
    "Raster",
    "Scene",
    "Zone",
    "match_bands",
    "open_raster",
    "open_scene",
    "read_zones",
    "write_map",
]

# GDAL's own default is a share of the machine's memory; our bound on memory must not depend on the machine.
os.environ.setdefault("GDAL_CACHEMAX", "256")


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie."""

    height: int
    width: int
    transform: tuple[float, float, float, float, float, float]
    """Column and row to x and y (GDAL's order is another: this is a, b, c, d, e, f of the affine matrix)."""
    crs: str | None
    """WKT, or None where the file says nothing."""

    def differs(self, other: Grid) -> str | None:
        """In words, how the other grid differs; None where corners agree to a millionth of a pixel."""
        if (self.height, self.width) != (other.height, other.width):
            return f"{other.width} x {other.height} pixels instead of {self.width} x {self.height}"
        a, b = Affine(*self.transform), Affine(*other.transform)
        for corner in ((0, 0), (self.width, self.height)):
            col, row = ~a @ (b @ corner)
            if max(abs(col - corner[0]), abs(row - corner[1])) > 1e-6 * max(1, *corner):
                return f"corner {corner} lies at pixel ({col:.3f}, {row:.3f})"
        return None


@dataclass(frozen=True)
class Layer:
    """What a map to be written holds."""

    bands: tuple[str, ...]
    """Description of each band."""
    dtype: str
    nodata: float
    colours: tuple[Colour, ...] = ()
    """Colour of each value from 0; none for measured values."""


class Raster:
    """An open GeoTIFF, read window by window. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        self.grid = Grid(
            self._file.height,
            self._file.width,
            tuple(self._file.transform)[:6],
            self._file.crs.to_wkt() if self._file.crs else None,
        )
        self.names: tuple[str | None, ...] = tuple(self._file.descriptions)
        self.dtype: str = self._file.dtypes[0]
        self.tags: dict[str, str] = self._file.tags()
        self._masked = any(MaskFlags.all_valid not in flags for flags in self._file.mask_flag_enums)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def linear_unit(self) -> float:
        """Metres in a unit of the projected CRS; 1 where there is none."""
        crs = self._file.crs
        return float(crs.linear_units_factor[1]) if crs is not None and crs.is_projected else 1.0

    @property
    def crs_kind(self) -> str:
        """`none`, `geographic`, `web_mercator` or `projected`."""
        crs = self._file.crs
        if crs is None:
            return "none"
        if crs.is_geographic:
            return "geographic"
        return "web_mercator" if crs.to_epsg() == 3857 else "projected"

    def read(
        self, row: int, col: int, height: int, width: int, bands: Sequence[int] = ()
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Raw values (C, H, W) of a window, and (H, W) True where all of them may be used.

        bands: 0-based; none: all. A pixel is unusable by nodata value, internal mask, alpha, NaN or infinity.
        Raises SourceError where the file breaks off inside.
        """
        window = Window(col, row, width, height)
        indexes = [band + 1 for band in bands] or list(range(1, self._file.count + 1))
        try:
            values: NDArray[Any] = self._file.read(indexes, window=window)
            usable = np.isfinite(values).all(0)
            if self._masked:
                usable &= self._file.read_masks(indexes, window=window).all(0)
        except RasterioError as problem:
            raise SourceError(
                self.path,
                f"pixels at row {row}, column {col} cannot be read ({problem})",
                "get the file again: it is damaged or was not copied whole",
            ) from None
        return values, usable

    def shrunk(self, longest: int, *, bands: Sequence[int] = (0,), average: bool = False) -> NDArray[Any]:
        """Bands (C, h, w), masked pixels NaN or the file's nodata, at most `longest` pixels a side; uses overviews."""
        scale = min(1.0, longest / max(self.grid.height, self.grid.width))
        shape = (len(bands), max(1, round(self.grid.height * scale)), max(1, round(self.grid.width * scale)))
        how = Resampling.average if average else Resampling.nearest
        values: NDArray[Any] = self._file.read([band + 1 for band in bands], out_shape=shape, resampling=how)
        return values


class Scene(Raster):
    """A raster whose bands were matched with those a run wants."""

    def __init__(self, path: Path, wanted: Sequence[str], layout: Sequence[str]) -> None:
        super().__init__(path)
        try:
            if self._file.count == 1 and self._file.subdatasets:
                raise SourceError(
                    path,
                    f"{len(self._file.subdatasets)} pages of one band each, without georeference",
                    "rewrite it as one image of many bands: `greenprep clean` does",
                )
            self.bands = match_bands(path, self.names, wanted, layout)
        except SourceError:
            self._file.close()
            raise

    def values(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(C, H, W) in the order the run wants, and (H, W) True where the pixel may be classified.

        Beside what `read` leaves out, pixels that are 0 in every band are unusable: the black border of a scene
        that does not declare its nodata. Unusable pixels hold 0, never NaN.
        """
        raw, usable = self.read(row, col, height, width, self.bands)
        if len(self.bands) > 1:
            usable &= (raw != 0).any(0)
        return np.where(usable, raw, 0).astype(np.float32), usable

    def sample(self, longest: int = 256) -> NDArray[np.float64]:
        """(C, N) values of about 256 x 256 usable pixels spread over the scene."""
        values = self.shrunk(longest, bands=self.bands).reshape(len(self.bands), -1).astype(np.float64)
        usable = np.isfinite(values).all(0) & (values != 0).any(0)
        if self._file.nodata is not None:
            usable &= (values != self._file.nodata).all(0)
        sampled: NDArray[np.float64] = values[:, usable]
        return sampled


def match_bands(
    path: Path, names: Sequence[str | None], wanted: Sequence[str], layout: Sequence[str]
) -> tuple[int, ...]:
    """Position in the file of each wanted band.

    By name where the file names its bands (capitals do not matter). By order only where it names none and has exactly
    the bands of `layout`, the store's own: taking the first dozen of 19 is how wrong bands get in.

    Raises SourceError with the names that are missing, or with both counts.
    """
    if not any(names):
        if len(names) != len(layout):
            raise SourceError(
                path,
                f"{len(names)} bands without names, the run knows {len(layout)} by name and order",
                f"describe the bands in the file (GDAL's band descriptions): {', '.join(layout)}",
            )
        return tuple(layout.index(name) for name in wanted)
    known = [(name or "").strip().casefold() for name in names]
    missing = [name for name in wanted if known.count(name.casefold()) != 1]
    if missing:
        twice = [name for name in missing if name.casefold() in known]
        what = f"more than one band called {', '.join(twice)}" if twice else f"no band {', '.join(missing)}"
        raise SourceError(
            path,
            f"{what}; it has {', '.join(name or '(no name)' for name in names)}",
            "give a scene with the bands that the run was trained on",
        )
    return tuple(known.index(name.casefold()) for name in wanted)


def open_raster(path: Path) -> Raster:
    """A GeoTIFF as it is; raises SourceError where it cannot be opened."""
    return Raster(path)


def open_scene(path: Path, wanted: Sequence[str], layout: Sequence[str]) -> Scene:
    """A GeoTIFF with its bands matched; see `match_bands`."""
    return Scene(path, wanted, layout)


def write_map(
    path: Path, grid: Grid, layer: Layer, pieces: Iterable[tuple[int, int, NDArray[Any]]], tags: Mapping[str, str]
) -> None:
    """Write a cloud-optimised GeoTIFF; `path` appears whole or not at all.

    pieces: (row, column, values (C, H, W)) that together cover the grid. Memory stays at one piece and GDAL's cache.
    """
    draft = path.with_name(f".{path.name}.draft")
    measured = layer.dtype.startswith("float")
    packing = {"compress": "DEFLATE", "predictor": 3 if measured else 1, "bigtiff": "IF_SAFER"}
    where: dict[str, Any] = {"transform": Affine(*grid.transform)}
    if grid.crs is None and Affine(*grid.transform) == Affine.identity():
        where = {}  # an identity matrix is how rasterio says that there is none
    try:
        with whole(path) as done, _quietly():
            with rasterio.open(
                draft,
                "w",
                driver="GTiff",
                width=grid.width,
                height=grid.height,
                count=len(layer.bands),
                dtype=layer.dtype,
                nodata=layer.nodata,
                crs=grid.crs,
                tiled=True,
                blockxsize=512,
                blockysize=512,
                **packing,
                **where,
            ) as file:
                file.update_tags(**tags)
                for index, name in enumerate(layer.bands, 1):
                    file.set_band_description(index, name)
                if layer.colours:
                    file.write_colormap(
                        1,
                        dict(enumerate((*colour, 255) for colour in layer.colours))
                        | {int(layer.nodata): (*NO_DATA, 0)},
                    )
                for row, col, values in pieces:
                    file.write(values, window=Window(col, row, values.shape[2], values.shape[1]))
            rasterio.shutil.copy(
                draft,
                done,
                driver="COG",
                compress="DEFLATE",
                blocksize=512,
                bigtiff="IF_SAFER",
                predictor="FLOATING_POINT" if measured else "NO",
                overview_resampling="AVERAGE" if measured else "MODE",
            )
    finally:
        draft.unlink(missing_ok=True)


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
    if grid.crs is None:
        raise SourceError(
            path,
            "the map has no CRS, so nothing says where the zones lie on it",
            "give the scene its CRS (`rio edit-info --crs`) and predict again",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        features = data["features"] if data["type"] == "FeatureCollection" else [data]
        system = data.get("crs", {}).get("properties", {}).get("name", "OGC:CRS84")  # of 2008; RFC 7946 dropped it
        found = [(feature.get("properties") or {}, feature.get("geometry", feature)) for feature in features]
        polygons = [(about, shape) for about, shape in found if shape["type"] in ("Polygon", "MultiPolygon")]
        zones = tuple(
            Zone(_zone_name(about, index), transform_geom(system, grid.crs, dict(shape)))
            for index, (about, shape) in enumerate(polygons, 1)
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RasterioError) as problem:
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


@contextmanager
def _quietly() -> Iterator[None]:
    """A scene without georeference is said once, by whoever cares, and not by each opening."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _open(path: Path) -> Any:
    try:
        with _quietly(), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            return rasterio.open(path, driver="GTiff")
    except RasterioError as problem:
        why = "no such file" if not path.exists() else f"not a GeoTIFF that can be opened ({problem})"
        raise SourceError(path, why, "give the path of a GeoTIFF; gdal_translate makes one of other rasters") from None
