"""How GDAL is let at a scene: one local file, the files of its bands, or one on a server where that was allowed.

Only the drivers of GeoTIFF and JPEG 2000 may open anything, no sidecar is looked for, and GDAL is never given a name
that is no local file: its virtual file systems, its other network protocols and names that hold names stay closed.
With `remote`, `https://` and `s3://` are read by byte ranges, window by window.

Imported by `raster` alone, which says what to install where there is no rasterio.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rasterio
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from greenschemas.band_names import match_names, says_nothing
from greenschemas.bands import Band
from greenschemas.errors import SourceError, as_utf8
from greenschemas.grid import Grid
from greenschemas.products import BandFile, find_products, is_products, is_remote, resampling_of, target_grid

__all__ = ["Opened", "grid_of", "must_be_utf8", "open_dates", "open_file", "open_products", "quietly", "safely"]

for _key, _value in {
    # GDAL's own default is a share of the machine's memory; our bound on memory must not depend on the machine.
    "GDAL_CACHEMAX": "256",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}.items():
    os.environ.setdefault(_key, _value)

_SCHEMES = {"https:": "/vsicurl/https://", "s3:": "/vsis3/"}
"""What GDAL calls the servers that may be read."""


@dataclass(frozen=True)
class Opened:
    """What a scene's pixels are read from."""

    sets: tuple[Any, ...]
    """One open file, or one for each band."""
    turned: bool = False
    """Whether (rows, columns, bands) were written as if they were (bands, rows, columns)."""
    layers: tuple[int, ...] | None = None
    """Which band of each of `sets` is meant, where each is one band."""
    files: tuple[BandFile, ...] = ()
    """Of a scene in several files, where each band lies."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of a scene in several files, what its metadata say."""


def open_file(path: Path, expected: int | None, *, remote: bool) -> Opened:
    """A GeoTIFF; raises SourceError where it cannot be opened. expected: bands that it should have, see `Raster`."""
    must_be_utf8(path)
    name = _name(path, remote)
    with ExitStack() as opened, safely():
        try:
            file = opened.enter_context(rasterio.open(name, driver="GTiff"))
            found = Opened((file,))
            if expected is not None and expected > 1 and file.count == 1 and len(file.subdatasets) == expected:
                names = [f"GTIFF_DIR:{i}:{name}" for i in range(1, expected + 1)]
                pages = [opened.enter_context(rasterio.open(page, driver="GTiff")) for page in names]
                if len({(page.shape, page.dtypes) for page in pages}) == 1:
                    found = Opened(tuple(pages), layers=(1,) * expected)
            elif expected is not None and expected > 1 and file.width == expected:
                found = Opened((file,), turned=file.count not in (1, expected, expected + 1))
        except RasterioError as problem:
            raise SourceError(
                path,
                f"not a GeoTIFF that can be opened ({problem})",
                "give the path of a GeoTIFF; gdal_translate makes one of other rasters",
            ) from None
        opened.pop_all()
    return found


def open_products(place: Path, bands: Sequence[Band], *, remote: bool) -> Opened:
    """The bands of a SAFE folder, a STAC item or a folder of single-band TIFFs, all on the pixels of the finest.

    Each is resampled, by the rule of `greenprep stack`, as its windows are read. Raises SourceError where there is none
    of the bands, or one cannot be opened.
    """
    found = find_products(place, bands)
    if not found.files:
        names = ", ".join(band.name for band in bands)
        raise SourceError(place, f"no file of any band of the run ({names})", "give a GeoTIFF, or a scene's own folder")
    by_name = {band.name: band for band in bands}
    with ExitStack() as opened, safely():
        files = [opened.enter_context(_one(file, remote)) for file in found.files]
        grids = [grid_of(file) for file in files]
        target = target_grid(grids, None)
        for at, (file, grid) in enumerate(zip(found.files, grids, strict=True)):
            if grid.crs != target.crs:
                raise SourceError(file.href, "another coordinate system than other bands", "warp it (gdalwarp -t_srs)")
            files[at] = _onto(target, files[at], by_name[file.band], file.nodata, opened)
        opened.pop_all()
    return Opened(tuple(files), layers=tuple(file.layer for file in found.files), files=found.files, tags=found.tags)


def open_dates(scenes: Sequence[Path], bands: Sequence[Band], *, remote: bool) -> Opened:
    """Scenes of several dates as one, in order of time, all on the pixels of the first.

    bands: of all dates, of which each scene has those of its own; what a scene lacks is left out, for `match_bands` to
    say. Raises SourceError as the scenes themselves do.
    """
    found: list[BandFile] = []
    files: list[Any] = []
    target: Grid | None = None
    with ExitStack() as opened, safely():
        for date, path in enumerate(scenes, 1):
            own = [band for band in bands if band.time == date]
            for band, file, layer, told in _of_date(path, own, remote, opened):
                target = grid_of(file) if target is None else target
                nodata = file.nodatavals[layer - 1] if told is None or told.nodata is None else told.nodata
                scaling = None if told is None else told.scaling
                if grid_of(file).crs != target.crs:
                    raise SourceError(path, f"another coordinate system than {scenes[0]}", "warp it (gdalwarp -t_srs)")
                found.append(BandFile(band.name, str(path), layer, nodata, scaling))
                files.append(_onto(target, file, band, nodata, opened))
        if not files:
            why = "no band of the run by name, and another number of bands than a date of it has"
            raise SourceError(scenes[0], why, "name its bands (GDAL's band descriptions)")
        opened.pop_all()
    return Opened(tuple(files), layers=tuple(one.layer for one in found), files=tuple(found))


def _of_date(
    path: Path, bands: Sequence[Band], remote: bool, opened: ExitStack
) -> Iterator[tuple[Band, Any, int, BandFile | None]]:
    """(band, open file, which of its bands, what metadata say) of each band of one date's scene that it has."""
    plain = [band.plain for band in bands]
    if is_products(path):
        scene = open_products(path, plain, remote=remote)
        by_name = {band.plain.name: band for band in bands}
        for file in scene.sets:
            opened.enter_context(file)
        for file, told in zip(scene.sets, scene.files, strict=True):
            yield by_name[told.band], file, told.layer, told
        return
    (file,) = open_file(path, None, remote=remote).sets
    opened.enter_context(file)
    names = list(file.descriptions)
    at = match_names(names, plain).at
    if all(says_nothing(name) for name in names) and file.count == len(plain):
        at = tuple(range(len(plain)))
    for band, i in zip(bands, at, strict=True):
        if i is not None:
            yield band, file, i + 1, None


def grid_of(file: Any) -> Grid:
    """Where the pixels of an open file lie."""
    return Grid(file.height, file.width, tuple(file.transform)[:6], file.crs.to_wkt() if file.crs else "")


def must_be_utf8(path: Path) -> None:
    """Raise SourceError for a file whose name GDAL cannot be told."""
    if as_utf8(path) != str(path):
        raise SourceError(path, "its name is not UTF-8, and GDAL opens no such file", "rename it")


@contextmanager
def quietly() -> Iterator[None]:
    """A scene without georeference is said once, by whoever cares, and not by each opening."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def safely() -> Iterator[None]:
    """The file alone speaks: no sidecar is looked for, as in `greenprep clean`."""
    with quietly(), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
        yield


def _one(file: BandFile, remote: bool) -> Any:
    name = _name(Path(file.href), remote)
    try:
        opened = rasterio.open(name, driver=file.driver)
    except RasterioError as problem:
        raise SourceError(file.href, f"cannot be opened ({problem})", "fetch it again") from None
    if opened.count < file.layer:
        opened.close()
        raise SourceError(file.href, f"{opened.count} bands, {file.band} is its band {file.layer}", "fetch it again")
    return opened


def _onto(target: Grid, file: Any, band: Band, nodata: float | None, opened: ExitStack) -> Any:
    """The file or, where it has another grid, a view of it on the target's."""
    if grid_of(file).differs(target) is None:
        return file
    how = resampling_of(band, abs(target.transform[0] / file.transform.a))
    return opened.enter_context(_view(file, target, how, nodata))


def _view(file: Any, target: Grid, how: str, nodata: float | None) -> Any:
    nodata = file.nodata if nodata is None else nodata
    size = {"height": target.height, "width": target.width, "transform": Affine(*target.transform), "crs": file.crs}
    return WarpedVRT(file, resampling=Resampling[how], src_nodata=nodata, nodata=nodata, **size)


def _name(path: Path, remote: bool) -> str:
    """What GDAL is told of a path; raises SourceError for what is no local file, nor a server that may be read."""
    if not is_remote(path):
        if not path.is_file():
            raise SourceError(path, "no such file", "give the path of a GeoTIFF, or of a scene's own folder")
        return str(path.absolute())
    scheme, rest = path.parts[0], path.as_posix().partition("/")[2].lstrip("/")
    if scheme not in _SCHEMES:
        raise SourceError(path, f"`{scheme}//` is not read", "give https://… or s3://…, or fetch the file first")
    if not remote:
        raise SourceError(path, "it lies on a server", "`--remote` reads it from there, window by window")
    return _SCHEMES[scheme] + rest
