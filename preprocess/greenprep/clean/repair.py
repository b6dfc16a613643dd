"""Write the repaired copy of a pair: the pixels as they are handed on, as plain GeoTIFFs. Never in place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window

from greenprep.raw.files import File
from greenprep.raw.pair import OpenPair
from greenprep.raw.tiff import gdal
from greenschemas.codes import Code
from greenschemas.errors import SourceError
from greenschemas.files import whole
from greenschemas.labels import native_scale, to_fraction
from greenschemas.layout import UNLABELLED
from greenschemas.manifest import Entry, Level

__all__ = ["touches", "write_repaired"]


def touches(entry: Entry) -> tuple[bool, bool]:
    """(image, mask): which of a repaired pair's files must be written anew; the others can be linked."""
    repairs = [reason for reason in entry.reasons if reason.level is Level.REPAIR]
    both = any(reason.file == "pair" or reason.code == Code.SHIFTED for reason in repairs)
    return (
        both or any(reason.file == "image" for reason in repairs),
        both or any(reason.file == "mask" for reason in repairs),
    )


def write_repaired(pair: OpenPair, entry: Entry, out: Path) -> None:
    """Write those files of a repaired pair that need it below `out`: each appears whole or not at all.

    Raises SourceError where the folder cannot be written.
    """
    image, mask = touches(entry)
    if image and entry.image is not None:
        _replace(out / entry.image, lambda draft: _write_image(draft, pair, entry))
    if mask and entry.mask is not None:
        _replace(out / entry.mask, lambda draft: _write_mask(draft, pair))


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    try:
        with whole(path) as draft, gdal(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            write(draft)
    except OSError as problem:
        raise SourceError.unwritable(path, problem) from None


def _write_image(draft: Path, pair: OpenPair, entry: Entry) -> None:
    """Whole numbers that were NaN, and what a mask or alpha band hid, are told apart by an internal mask."""
    source = pair.image_file
    if source is None or pair.header.dtype is None:
        return
    dtype, nodata = np.dtype(pair.header.dtype), source.tiff.nodata
    if nodata is not None and np.isnan(nodata) and dtype.kind != "f":
        nodata = None
    masked = (
        source.tiff.masked
        or source.tiff.alpha
        or (nodata is None and source.tiff.nodata is not None)
        or any(reason.code == Code.NAN for reason in entry.reasons)
    )
    own = any(source.tiff.names) and source.order is None
    names = source.tiff.names if own else tuple(band.name for band in pair.bands)
    with _create(draft, pair, source, dtype, nodata) as sink:
        sink.descriptions = names
        if set(pair.header.scaling) != {(1.0, 0.0)}:
            sink.scales, sink.offsets = zip(*pair.header.scaling, strict=True)
        for window, pixels in _windows(pair):
            sink.write(np.ascontiguousarray(pixels.image), window=window)
            if masked:
                sink.write_mask(pixels.present, window=window)


def _write_mask(draft: Path, pair: OpenPair) -> None:
    """Floats and rescaled values hold NaN, declared as nodata, where there is no label; integers stay as they are."""
    source = pair.mask_file
    if source is None:
        return
    native = native_scale(pair.rules)
    rescale = source.scale != native and source.scale != 255
    rescale = rescale or (source.scale == 255 and any(r.code == Code.MASK_SCALE for r in pair.header.findings))
    floating = rescale or source.tiff.dtype.kind == "f"
    dtype = np.dtype("float32") if rescale else source.tiff.dtype
    with _create(draft, pair, source, dtype, float("nan") if floating else source.tiff.nodata) as sink:
        if any(source.tiff.names):
            sink.descriptions = source.tiff.names
        for window in _mask_windows(pair, source.fine):
            values = pair.mask_values(window.row_off, 0, window.height, window.width)
            hidden = pair.stored_labels(window.row_off, 0, window.height, window.width)[0][0] == UNLABELLED
            if rescale:
                values = to_fraction(values, source.scale) * np.float32(native)
            if floating:
                values = np.where(hidden, np.float32("nan"), values).astype(dtype)
            sink.write(np.ascontiguousarray(values), window=window)
            if not floating and (source.tiff.masked or source.tiff.alpha):
                sink.write_mask(~hidden, window=window)


def _windows(pair: OpenPair) -> Any:
    for row, height in pair.strips():
        yield Window(0, row, pair.width, height), pair.read(row, 0, height, pair.width)


def _mask_windows(pair: OpenPair, side: int) -> Iterator[Window]:
    for row, height in pair.strips():
        yield Window(0, row * side, pair.width * side, height * side)


def _create(draft: Path, pair: OpenPair, source: File, dtype: np.dtype[Any], nodata: float | None) -> Any:
    grid = pair.grid_of(source).finer(source.fine)
    placed = {"transform": Affine(*grid.transform)} if grid.placed else {}
    predictor = 1 if dtype.itemsize > 4 else 3 if dtype.kind == "f" else 2
    return rasterio.open(
        draft,
        "w",
        driver="GTiff",
        height=grid.height,
        width=grid.width,
        count=source.tiff.bands,
        dtype=dtype.name,
        nodata=nodata,
        crs=CRS.from_string(grid.crs) if grid.crs else None,
        compress="deflate",
        predictor=predictor,
        BIGTIFF="IF_SAFER",
        **placed,
    )
