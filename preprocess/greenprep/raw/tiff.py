"""Open one TIFF with GDAL, safely, and read rows of it as (bands, rows, columns), however its bands are laid out.

Safe: the GTiff driver alone, by the path of a real file whose header was looked at first; no sidecar, no virtual file,
no network. Files that are not ours are opened by GDAL nowhere else; repaired and synthetic files are written elsewhere.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.env import getenv, hasenv
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from greenprep.raw.tiff_header import BadFile, Page, read_pages
from greenschemas.codes import Code
from greenschemas.crs import stay_offline
from greenschemas.grid import Grid, Transform
from greenschemas.ground import pixel_sides
from greenschemas.limits import Limits

__all__ = ["BandLayout", "Tiff", "gdal", "open_tiff", "pixel_metres", "same_crs"]

stay_offline()

SAFE = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no .ovr, .msk or .aux.xml is looked for
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",  # no world files
    "GDAL_CACHEMAX": 64 << 20,
    "GDAL_NUM_THREADS": "1",  # one process a core already
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",
    "GTIFF_VIRTUAL_MEM_IO": "NO",
}
# What rasterio raises for a file that GDAL cannot open or decode: its own errors, OSError for reads, and ValueError,
# TypeError or AttributeError where a header holds something that rasterio itself did not expect.
GDAL_ERRORS = (RasterioError, OSError, ValueError, TypeError, AttributeError, MemoryError)


class BandLayout(StrEnum):
    """How the bands are laid out."""

    PIXEL_PLANES = "pixel_planes"
    PAGED = "paged"
    """Each band is a directory of its own."""
    CHANNELS_LAST = "channels_last"
    """(rows, columns, bands) was written as if it were (bands, rows, columns)."""


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL set up for files from unknown hands; its own log goes to the error that is raised, not to stderr."""
    if getenv().items() >= SAFE.items() if hasenv() else False:
        yield  # Set up already, by a caller that opens many files: entering again would cost as much as opening one.
        return
    log = logging.getLogger("rasterio")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with rasterio.Env(**SAFE):
            yield
    finally:
        log.setLevel(level)


@dataclass
class Tiff:
    """An open TIFF; use within `gdal()` and close it."""

    path: Path
    band_layout: BandLayout
    bands: int
    grid: Grid
    dtype: np.dtype[Any]
    nodata: float | None
    """Of the first band."""
    band_nodata: tuple[float | None, ...]
    """Of each band, as its own page says."""
    names: tuple[str | None, ...]
    """Descriptions of the bands."""
    scales: tuple[float, ...]
    """Of each band: measured value = stored number * scale + offset, by GDAL's tags; 1 where there is none."""
    offsets: tuple[float, ...]
    tags: Mapping[str, str]
    """What the file says of itself."""
    block_rows: int
    """Rows that are decoded together."""
    nbytes: int
    """Decoded size."""
    alpha: bool
    """Whether one more band says which pixels hold anything."""
    masked: bool
    """Whether an internal mask, or the tag NODATA_VALUES, says so."""
    _sets: tuple[Any, ...]
    _stack: ExitStack

    def close(self) -> None:
        """Close the file or all its pages."""
        self._stack.close()

    def colour(self, value: int) -> tuple[int, ...] | None:
        """Red, green, blue and opacity, 0 to 255, of a value of the first band; None where no palette has it."""
        try:
            found = self._sets[0].colormap(1).get(value)
        except ValueError:  # as rasterio says that there is no palette
            return None
        return None if found is None else tuple(found)

    def read(self, row: int, height: int, col: int = 0, width: int | None = None) -> NDArray[Any]:
        """(bands, height, width) as stored; raises BadFile where a block cannot be decoded."""
        width = self.grid.width - col if width is None else width
        window = Window(col, row, width, height)
        whole = (row, col, height, width) == (0, 0, self.grid.height, self.grid.width)
        try:
            if self.band_layout is BandLayout.PAGED:
                return np.stack([page.read(1, window=window) for page in self._sets])
            source = self._sets[0]
            if self.band_layout is BandLayout.CHANNELS_LAST:
                turned = source.read(list(range(row + 1, row + height + 1)), window=Window(0, col, self.bands, width))
                return np.ascontiguousarray(np.moveaxis(turned, -1, 0))
            if self.alpha:
                return _array(source.read(list(range(1, self.bands + 1)), window=window))
            return _array(source.read() if whole else source.read(window=window))
        except GDAL_ERRORS as problem:
            raise BadFile(
                self.path,
                f"a block in rows {row} to {row + height - 1} cannot be decoded ({_reason(problem)})",
                "fetch the file again, or rewrite it with gdal_translate",
                self._why(),
            ) from None

    def read_mask(self, row: int, height: int, col: int, width: int) -> NDArray[np.bool_] | None:
        """(height, width), true where the alpha band or internal mask says that there is something; None: no such."""
        if not (self.alpha or self.masked):
            return None
        window = Window(col, row, width, height)
        try:
            inside = (
                self._sets[0].read(self.bands + 1, window=window)
                if self.alpha
                else self._sets[0].read_masks(1, window=window)
            )
        except GDAL_ERRORS as problem:
            raise BadFile(
                self.path, f"its mask cannot be decoded ({_reason(problem)})", "fetch the file again", self._why()
            ) from None
        return _array(inside) > 0

    def _why(self) -> Code:
        pages, size = read_pages(self.path)
        return Code.TRUNCATED if max(page.end for page in pages) > size else Code.UNREADABLE


def open_tiff(path: Path, limits: Limits, bands: int) -> Tiff:
    """Open a TIFF that should have `bands` bands, its header checked first.

    Raises BadFile where it is no TIFF, claims too much, is cut off, or GDAL does not open it.
    """
    pages, size = read_pages(path)
    _check_claims(path, pages, size, limits)
    band_layout = _band_layout(pages, bands)
    stack = ExitStack()
    try:
        names = [path] if band_layout is not BandLayout.PAGED else [f"GTIFF_DIR:{i + 1}:{path}" for i in range(bands)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # Asking PROJ what a coordinate system is costs as much as decoding a small file.
            known = {"GEOREF_SOURCES": "NONE"} if pages[0].georeference in _GEOREFERENCES else {}
            # `rasterio.open` would set up a session for each file, as if it might lie on a server.
            sets = tuple(stack.enter_context(DatasetReader(str(name), driver="GTiff", **known)) for name in names)
        return _describe(path, pages, band_layout, bands, sets, stack)
    except GDAL_ERRORS as problem:
        stack.close()
        if isinstance(problem, BadFile):
            raise
        cut = max(page.end for page in pages) > size
        raise BadFile(
            path,
            f"GDAL does not open it ({_reason(problem)})",
            _CODEC if "missing codec" in _reason(problem) else "fetch the file again",
            Code.TRUNCATED if cut else Code.UNREADABLE,
        ) from None


_CODEC = "write it anew where that codec is known: gdal_translate -co COMPRESS=DEFLATE IN OUT"


def _check_claims(path: Path, pages: tuple[Page, ...], size: int, limits: Limits) -> None:
    """Raise BadFile where a header claims what no real file has, before anything is allocated for it."""
    for page in pages[:1] if len({(p.width, p.height) for p in pages}) > 1 else pages:
        blocks = -(-page.height // max(page.block[0], 1)) * -(-page.width // max(page.block[1], 1))
        claim = (
            f"{page.width} x {page.height} pixels, {page.samples} bands, blocks of {page.block[1]} x {page.block[0]}"
        )
        if max(page.width, page.height) > limits.size_max:
            remedy = f"cut it into files of at most {limits.size_max} rows and columns, or raise limits.size_max"
            raise BadFile(path, f"a header of {claim}", remedy, Code.ABSURD_SIZE)
        if page.listed < page.blocks:
            found = f"{page.listed} of the {page.blocks} blocks that hold {claim} have a place and a size in it"
            raise BadFile(path, found, "fetch the file again", Code.UNREADABLE)
        if page.nbytes > limits.bytes_max or page.block_nbytes > limits.block_bytes_max or blocks > 1 << 24:
            raise BadFile(
                path,
                f"a header of {claim}, {page.nbytes:.3g} bytes, from {size} bytes",
                "cut it into smaller files, or raise limits.bytes_max or limits.block_bytes_max",
                Code.ABSURD_SIZE,
            )


def _band_layout(pages: tuple[Page, ...], bands: int) -> BandLayout:
    first = pages[0]
    alike = {(page.width, page.height, page.samples, page.bits) for page in pages}
    if bands > 1 and len(pages) == bands and len(alike) == 1 and first.samples == 1:
        return BandLayout.PAGED
    # One more than a few bands: a real image of exactly as many columns as bands, but of another count, is not one.
    if first.samples not in (bands, bands + 1) and first.width == bands and len(pages) == 1 and first.samples > 1:
        return BandLayout.CHANNELS_LAST
    return BandLayout.PIXEL_PLANES


def _describe(
    path: Path, pages: tuple[Page, ...], band_layout: BandLayout, bands: int, sets: tuple[Any, ...], stack: ExitStack
) -> Tiff:
    source = sets[0]
    kinds = {np.dtype(_numpy_name(kind)) for one in sets for kind in one.dtypes}
    if len(kinds) > 1 or next(iter(kinds)).kind not in "uif":
        raise BadFile(path, f"pixels of type {', '.join(sorted(map(str, kinds)))}", "export as uint16", Code.DTYPE)
    alpha = (
        band_layout is BandLayout.PIXEL_PLANES
        and source.count == bands + 1
        and (source.colorinterp[-1] is ColorInterp.alpha or (source.descriptions[-1] or "").casefold() == "alpha")
    )
    plain = band_layout is BandLayout.PIXEL_PLANES
    flags = source.mask_flag_enums[0] if plain else []
    height, width = (
        (source.count, source.height) if band_layout is BandLayout.CHANNELS_LAST else (source.height, source.width)
    )
    count = (
        len(sets)
        if band_layout is BandLayout.PAGED
        else bands
        if band_layout is BandLayout.CHANNELS_LAST
        else source.count - alpha
    )
    return Tiff(
        path=path,
        band_nodata=_by_band(sets, "nodatavals", count),
        scales=_by_band(sets, "scales", count),
        offsets=_by_band(sets, "offsets", count),
        tags=source.tags(),
        band_layout=band_layout,
        bands=count,
        dtype=kinds.pop(),
        nodata=source.nodata,
        alpha=alpha,
        grid=Grid(height, width, *_placed(path, source, pages[0].georeference)),
        names=tuple(source.descriptions)[:count] if plain else (None,) * count,
        block_rows=1 if band_layout is BandLayout.CHANNELS_LAST else max(1, min(pages[0].block[0], height)),
        masked=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
        nbytes=sum(page.nbytes for page in pages[: len(sets)]),
        _sets=sets,
        _stack=stack,
    )


def _by_band(sets: tuple[Any, ...], name: str, count: int) -> tuple[Any, ...]:
    """What each band says; turned files have one set of tags for all, a last alpha band is none."""
    said = tuple(value for each in sets for value in getattr(each, name))
    return said[:count] if len(said) >= count else said[:1] * count


_GEOREFERENCES: dict[bytes, tuple[Transform, str]] = {}
"""What GDAL made of georeferences in this process: many files stand on the same ground, image and mask at least."""
_GEOREFERENCES_MAX = 4096


def _placed(path: Path, source: Any, georeference: bytes) -> tuple[Transform, str]:
    """As `_georeference`; raises BadFile for numbers that place nothing."""
    transform, crs = _georeference(source, georeference)
    if not all(math.isfinite(number) for number in transform):
        raise BadFile(path, f"a georeference of {transform}", "write its transform again (`rio edit-info`)")
    return transform, crs


def _georeference(source: Any, georeference: bytes) -> tuple[Transform, str]:
    """(transform, coordinate system) of an open file."""
    if georeference in _GEOREFERENCES:
        return _GEOREFERENCES[georeference]
    a = source.transform
    found = (a.a, a.b, a.c, a.d, a.e, a.f), _crs_name(source.crs)
    if georeference:
        if len(_GEOREFERENCES) >= _GEOREFERENCES_MAX:
            _GEOREFERENCES.clear()
        _GEOREFERENCES[georeference] = found
    return found


def pixel_metres(grid: Grid) -> float | None:
    """Side of a pixel on the ground, the mean of height and width; None where the file does not say where it lies."""
    kind, unit = _crs_kind(grid.crs) if grid.crs else ("none", 1.0)
    sides = pixel_sides(grid.transform, (grid.height, grid.width), kind, unit)
    return None if sides is None else math.sqrt(sides[0] * sides[1])


@lru_cache(maxsize=1024)
def _crs_kind(crs: str) -> tuple[str, float]:
    known = rasterio.crs.CRS.from_string(crs)
    if known.is_geographic:
        return "geographic", 1.0
    if not known.is_projected:  # A local system, heights alone: GDAL knows of no unit then.
        return "none", 1.0
    return "web_mercator" if crs == "EPSG:3857" else "projected", float(known.linear_units_factor[1])


def same_crs(one: str, other: str) -> bool:
    """Whether two coordinate systems are the same, or one is unknown."""
    return not one or not other or one == other or _equal_crs(one, other)


@lru_cache(maxsize=1024)
def _equal_crs(one: str, other: str) -> bool:
    return bool(rasterio.crs.CRS.from_string(one) == rasterio.crs.CRS.from_string(other))


def _crs_name(crs: Any) -> str:
    return _shorten(crs.wkt) if crs else ""


@lru_cache(maxsize=1024)
def _shorten(wkt: str) -> str:
    """An authority code where there is one, else the WKT; asking PROJ is slow, so answers are kept."""
    code = rasterio.crs.CRS.from_wkt(wkt).to_authority(confidence_threshold=100)
    return ":".join(code) if code else wkt


def _numpy_name(kind: str) -> str:
    return "complex64" if kind.startswith("complex") else kind


def _array(data: Any) -> NDArray[Any]:
    return np.asarray(data)


def _reason(problem: BaseException) -> str:
    """GDAL's own words where it gave any, on one line."""
    cause = problem.__cause__ or problem.__context__
    text = str(cause if cause is not None else problem).strip() or type(problem).__name__
    return " ".join(text.split())[:200]
