"""`greenprep stack`: the bands of a SAFE folder, a STAC item or single TIFFs as one file, in the recipe's order.

Numbers stay as they are. What they mean, scale and offset, nodata, the processing baseline, goes into the file's tags,
where `greenprep clean` and `greentrain predict` read it; so does how each band was brought to the common pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from greenprep.raw.tiff import gdal
from greenschemas.bands import FEATURE_ROLES, Band
from greenschemas.console import Ticker
from greenschemas.errors import SourceError
from greenschemas.files import whole
from greenschemas.grid import Grid
from greenschemas.products import BandFile, Products, find_products, resampling_of, target_grid

__all__ = ["stack"]

_BLOCK = 512
_ROWS = 1024
"""Rows, of the whole width, that are in memory at a time; a multiple of _BLOCK."""


@dataclass(frozen=True)
class _Layer:
    """A band on the common grid."""

    source: Any
    """The open file, or a view of it on the common grid."""
    layer: int
    nodata: float | None
    scaling: tuple[float, float]
    how: str
    """In words, how it came to the common pixels."""


def stack(
    place: Path, out: Path, bands: Sequence[Band], *, metres: float | None = None, tick: Ticker | None = None
) -> Grid:
    """Write the scene at `place` to the GeoTIFF `out`, which appears whole or not at all; returns its grid.

    metres: side of the pixels; None: those of the finest band. Raises SourceError where a band is missing, lies on a
    server or on other ground, or cannot be decoded.
    """
    found = find_products(place, bands)
    _check(place, found)
    with gdal(), ExitStack() as opened:
        layers, grid = _layers(found, bands, metres, opened)
        strips = range(0, grid.height, _ROWS)
        if tick is not None:
            tick.total(len(strips))
        try:
            with whole(out) as draft, _created(draft, bands, layers, grid, found) as sink:
                for row in strips:
                    window = Window(0, row, grid.width, min(_ROWS, grid.height - row))
                    for at, layer in enumerate(layers, 1):
                        sink.write(_read(layer, window, sink.nodata).astype(sink.dtypes[0]), at, window=window)
                    if tick is not None:
                        tick.advance(note=place.name)
        except RasterioError as problem:
            raise SourceError(place, f"a band cannot be decoded ({problem})", "fetch it again") from None
        except OSError as problem:
            raise SourceError.unwritable(out, problem) from None
    return grid


def _check(place: Path, found: Products) -> None:
    if found.missing:
        here = ", ".join(file.band for file in found.files) or "none of the recipe's"
        raise SourceError(place, f"no file for {', '.join(found.missing)}; found {here}", "give a recipe of its bands")
    if away := [file.href for file in found.files if file.remote]:
        raise SourceError(place, f"{away[0]} lies on a server", "fetch the assets first: stack reads files alone")


def _layers(
    found: Products, bands: Sequence[Band], metres: float | None, opened: ExitStack
) -> tuple[list[_Layer], Grid]:
    files = [opened.enter_context(_open(file)) for file in found.files]
    grids = [
        Grid(one.height, one.width, tuple(one.transform)[:6], one.crs.to_wkt() if one.crs else "") for one in files
    ]
    target = target_grid(grids, metres)
    layers = []
    for band, file, source, grid in zip(bands, found.files, files, grids, strict=True):
        if grid.crs != target.crs:
            raise SourceError(file.href, "another coordinate system than the other bands", "warp it (gdalwarp -t_srs)")
        nodata = source.nodata if file.nodata is None else file.nodata
        scaling = file.scaling or (source.scales[file.layer - 1], source.offsets[file.layer - 1])
        how = "as it is"
        if grid.differs(target) is not None:
            ratio = abs(target.transform[0] / grid.transform[0])
            name = resampling_of(band, ratio)
            how = f"{name} from {abs(grid.transform[0]):g} to {abs(target.transform[0]):g}"
            source = opened.enter_context(_view(source, target, name, nodata))
        layers.append(_Layer(source, file.layer, nodata, scaling, how))
    return layers, target


def _open(file: BandFile) -> Any:
    try:
        source = rasterio.open(Path(file.href).absolute(), driver=file.driver)
    except RasterioError as problem:
        raise SourceError(file.href, f"cannot be opened ({problem})", "fetch it again") from None
    if source.count < file.layer:
        source.close()
        raise SourceError(file.href, f"{source.count} bands, {file.band} is its band {file.layer}", "fetch it again")
    return source


def _view(source: Any, target: Grid, how: str, nodata: float | None) -> Any:
    """The file on another grid, computed window by window; where it has nothing, its nodata value, or else 0."""
    return WarpedVRT(
        source,
        crs=source.crs,
        transform=Affine(*target.transform),
        height=target.height,
        width=target.width,
        resampling=Resampling[how],
        src_nodata=nodata,
        nodata=nodata,
    )


@contextmanager
def _created(
    draft: Path, bands: Sequence[Band], layers: Sequence[_Layer], grid: Grid, found: Products
) -> Iterator[Any]:
    dtype = np.result_type(*(layer.source.dtypes[layer.layer - 1] for layer in layers))
    predictor = 1 if dtype.itemsize > 4 else 3 if dtype.kind == "f" else 2
    with rasterio.open(
        draft,
        "w",
        driver="GTiff",
        height=grid.height,
        width=grid.width,
        count=len(layers),
        dtype=dtype.name,
        nodata=_common_nodata(bands, layers, dtype),
        crs=grid.crs or None,
        transform=Affine(*grid.transform),
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
        interleave="band",  # bands are written one by one: no block is written twice
        compress="deflate",
        predictor=predictor,
        BIGTIFF="IF_SAFER",
    ) as sink:
        sink.descriptions = [band.name for band in bands]
        sink.scales, sink.offsets = zip(*(layer.scaling for layer in layers), strict=True)
        how = {band.name: layer.how for band, layer in zip(bands, layers, strict=True)}
        sink.update_tags(**found.tags, GREENSPACE_RESAMPLING=json.dumps(how))
        yield sink


def _common_nodata(bands: Sequence[Band], layers: Sequence[_Layer], dtype: np.dtype[Any]) -> float | None:
    """A TIFF has one nodata value for all its bands: NaN for floats, else that of the first feature that has one."""
    known = [
        layer.nodata
        for band, layer in zip(bands, layers, strict=True)
        if band.role in FEATURE_ROLES and layer.nodata is not None
    ]
    if not known:
        return None
    return math.nan if dtype.kind == "f" else known[0]


def _read(layer: _Layer, window: Window, nodata: float | None) -> NDArray[Any]:
    """(h, w) of a band, its own nodata value replaced by the file's."""
    values: NDArray[Any] = layer.source.read(layer.layer, window=window)
    own = layer.nodata
    if own is None or nodata is None or own == nodata or math.isnan(own):
        return values
    if math.isnan(nodata):
        return np.where(values == own, np.float32(np.nan), values)
    return np.where(values == own, np.asarray(nodata, np.result_type(values.dtype, np.min_scalar_type(nodata))), values)
