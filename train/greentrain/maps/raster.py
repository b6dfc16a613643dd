"""GeoTIFFs in and out: with `opening`, `warp` and those of points and polygons, all of greentrain that knows GDAL.

Reads a raster window by window, however its bands are laid out, and writes cloud-optimised GeoTIFFs on the scene's own
grid. What GDAL may open at all says `opening`.

Letters: C bands, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import Band
from greenschemas.colours import NO_DATA, Colour
from greenschemas.crs import stay_offline
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import beside, whole
from greenschemas.grid import Grid
from greenschemas.products import is_products

try:
    import rasterio
except ModuleNotFoundError as missing:
    raise ConfigError(
        "greentrain",
        f"no module `{missing.name}`: maps need GDAL, training does not",
        "install it: pip install 'greenspace[prep]'",
    ) from None
import rasterio.shutil
from rasterio import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window

from greentrain.maps.opening import must_be_utf8, open_dates, open_file, open_products, quietly, safely

__all__ = ["Layer", "Raster", "crs_facts", "must_be_utf8", "open_raster", "resample", "write_map"]

stay_offline()


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
    """An open GeoTIFF, read window by window. Use as a context manager.

    expected: how many bands the file should have, if that is known. By it a file is told whose bands are pages of one
    band each, and one whose axes were turned, (rows, columns, bands) written as if it were (bands, rows, columns).
    bands: those that are looked for where `path` is a scene in several files. later: scenes of later dates, in
    order of time. remote: whether servers may be read.
    """

    def __init__(
        self,
        path: Path,
        expected: int | None = None,
        *,
        bands: Sequence[Band] = (),
        later: Sequence[Path] = (),
        remote: bool = False,
    ) -> None:
        self.path = path
        if later:
            opened = open_dates((path, *later), bands, remote=remote)
        elif bands and is_products(path):
            opened = open_products(path, bands, remote=remote)
        else:
            opened = open_file(path, expected, remote=remote)
        self._sets, self._turned, self._layers = opened.sets, opened.turned, opened.layers
        file = self._sets[0]
        each = self._layers
        self.count: int = len(each) if each else expected if self._turned and expected else file.count
        self.grid = Grid(
            *((file.count, file.height) if self._turned else (file.height, file.width)),
            tuple(file.transform)[:6],
            file.crs.to_wkt() if file.crs else "",
        )
        plain = each is None and not self._turned
        self.names: tuple[str | None, ...] = tuple(file.descriptions) if plain else (None,) * self.count
        if opened.files:
            self.names = tuple(one.band for one in opened.files)
        kinds = [np.dtype(each) for each in self._by_band("dtypes", [])]
        self.dtype: str = str(np.result_type(*kinds)) if opened.files else file.dtypes[0]
        self.tags: dict[str, str] = {**opened.tags} if opened.files else file.tags()
        self.nodata: tuple[float | None, ...] = self._by_band("nodatavals", [one.nodata for one in opened.files])
        """Of each band, as its own page says."""
        told = [one.scaling for one in opened.files]
        tagged = zip(self._by_band("scales", []), self._by_band("offsets", []), strict=True)
        self.scaling: tuple[tuple[float, float], ...] = tuple(
            pair if one is None else one for pair, one in zip_longest(tagged, told)
        )
        """(scale, offset) of each band by GDAL's tags: measured value = number * scale + offset."""
        with safely():
            flags = [each for one in self._sets for each in one.mask_flag_enums]
        self._masked = any(MaskFlags.all_valid not in each for each in flags)
        self._inside = plain and MaskFlags.per_dataset in flags[0] and MaskFlags.alpha not in flags[0]
        interpreted = file.colorinterp if plain else ()
        self.alpha: int | None = next((i for i, one in enumerate(interpreted) if one is ColorInterp.alpha), None)
        """Position of the band that is called alpha; None: no band is."""

    def _by_band(self, name: str, told: Sequence[Any]) -> tuple[Any, ...]:
        """What each band says under the name that rasterio gives it, or else what is `told` of it."""
        if self._turned:
            return tuple(getattr(self._sets[0], name)[:1] * self.count)
        if self._layers is None:
            return tuple(getattr(self._sets[0], name))
        said = [getattr(one, name)[layer - 1] for one, layer in zip(self._sets, self._layers, strict=True)]
        return tuple(own if other is None else other for own, other in zip_longest(said, told))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._sets:
            each.close()

    @property
    def dataset(self) -> Any:
        """The open file, as rasterio has it."""
        return self._sets[0]

    @property
    def linear_unit(self) -> float:
        """Metres in a unit of the projected CRS; 1 where there is none."""
        return crs_facts(self._sets[0].crs)[1]

    @property
    def crs_kind(self) -> str:
        """`none`, `geographic`, `web_mercator` or `projected`."""
        return crs_facts(self._sets[0].crs)[0]

    def stored(self, row: int, col: int, height: int, width: int, bands: Sequence[int]) -> NDArray[Any]:
        """(C, H, W) of a window as the file holds it; bands: 0-based.

        Raises SourceError where the file breaks off inside.
        """
        window = Window(col, row, width, height)
        with self._told(row, col):
            if self._layers is not None:
                return np.stack([self._sets[band].read(self._layers[band], window=window) for band in bands])
            if self._turned:
                lines = list(range(row + 1, row + height + 1))
                turned = self._sets[0].read(lines, window=Window(0, col, self.count, width))
                return np.ascontiguousarray(np.moveaxis(turned, -1, 0)[list(bands)])
            values: NDArray[Any] = self._sets[0].read([band + 1 for band in bands], window=window)
            return values

    def inside(self, row: int, col: int, height: int, width: int) -> NDArray[np.bool_] | None:
        """(H, W) true where the internal mask says that there is something; None where the file has none."""
        if not self._inside:
            return None
        with self._told(row, col):
            found: NDArray[np.bool_] = self._sets[0].read_masks(1, window=Window(col, row, width, height)) > 0
        return found

    def read(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Raw values (C, H, W) of a window of a map or mask, and (H, W) True where all of them are known.

        A pixel is unknown by nodata value, internal mask, alpha, NaN or infinity; what a scene's pixels are good for
        is another question, see `Scene.read`. Raises SourceError where the file breaks off inside.
        """
        values = self.stored(row, col, height, width, range(self.count))
        usable = np.isfinite(values).all(0)
        if self._masked:
            with self._told(row, col):
                usable &= self._sets[0].read_masks(window=Window(col, row, width, height)).all(0)
        return values, usable

    def shrunk(self, longest: int, *, bands: Sequence[int] = (0,), average: bool = False) -> NDArray[Any]:
        """Bands (C, h, w), masked pixels NaN or the file's nodata, at most `longest` pixels a side; uses overviews."""
        scale = min(1.0, longest / max(self.grid.height, self.grid.width))
        shape = max(1, round(self.grid.height * scale)), max(1, round(self.grid.width * scale))
        how = Resampling.average if average else Resampling.nearest
        if self._turned:
            step = -(-max(self.grid.height, self.grid.width) // longest)
            return self.stored(0, 0, self.grid.height, self.grid.width, bands)[:, ::step, ::step]
        if self._layers is not None:
            at = [(self._sets[band], self._layers[band]) for band in bands]
            return np.stack([file.read(layer, out_shape=shape, resampling=how) for file, layer in at])
        values: NDArray[Any] = self._sets[0].read(
            [band + 1 for band in bands], out_shape=(len(bands), *shape), resampling=how
        )
        return values

    @contextmanager
    def _told(self, row: int, col: int) -> Iterator[None]:
        try:
            yield
        except RasterioError as problem:
            raise SourceError(
                self.path,
                f"pixels at row {row}, column {col} cannot be read ({problem})",
                "get the file again: it is damaged or was not copied whole",
            ) from None


def crs_facts(crs: rasterio.CRS | None) -> tuple[str, float]:
    """(`none`, `geographic`, `web_mercator` or `projected`; metres in a unit of a projected one, else 1)."""
    if crs is None:
        return "none", 1.0
    unit = float(crs.linear_units_factor[1]) if crs.is_projected else 1.0
    if crs.is_geographic:
        return "geographic", unit
    return "web_mercator" if crs.to_epsg() == 3857 else "projected", unit


def open_raster(
    path: Path,
    expected: int | None = None,
    *,
    bands: Sequence[Band] = (),
    later: Sequence[Path] = (),
    remote: bool = False,
) -> Raster:
    """A raster as it is; raises SourceError where it cannot be opened. For its arguments see `Raster`."""
    return Raster(path, expected, bands=bands, later=later, remote=remote)


def resample(
    values: NDArray[np.float32], at: tuple[float, float], step: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """(C, *shape) of values (C, H, W), NaN where there is nothing: means over larger pixels, else bilinear.

    at: row and column of the values' pixels where the first pixel begins; step: their pixels a pixel, down and across.
    """
    out = np.full((len(values), *shape), np.nan, np.float32)
    place: dict[str, Any] = {"src_crs": "EPSG:3857", "dst_crs": "EPSG:3857", "src_nodata": np.nan, "dst_nodata": np.nan}
    reproject(
        values,
        out,
        src_transform=Affine.identity(),
        dst_transform=Affine.translation(at[1], at[0]) @ Affine.scale(step[1], step[0]),
        resampling=Resampling.average if max(step) > 1 else Resampling.bilinear,
        **place,
    )
    return out


def write_map(
    path: Path, grid: Grid, layer: Layer, pieces: Iterable[tuple[int, int, NDArray[Any]]], tags: Mapping[str, str]
) -> None:
    """Write a cloud-optimised GeoTIFF; `path` appears whole or not at all.

    pieces: (row, column, values (C, H, W)) that together cover the grid. Memory stays at one piece and GDAL's cache.
    """
    draft = beside(path, ".draft")
    measured = layer.dtype.startswith("float")
    packing = {"compress": "DEFLATE", "predictor": 3 if measured else 1, "bigtiff": "IF_SAFER"}
    where: dict[str, Any] = {"transform": Affine(*grid.transform)}
    if not grid.crs and not grid.placed:
        where = {}  # an identity matrix is how rasterio says that there is none
    try:
        with whole(path) as done, quietly():
            with rasterio.open(
                draft,
                "w",
                driver="GTiff",
                width=grid.width,
                height=grid.height,
                count=len(layer.bands),
                dtype=layer.dtype,
                nodata=layer.nodata,
                crs=grid.crs or None,
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
