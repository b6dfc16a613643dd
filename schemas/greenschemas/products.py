"""Which file holds which band: of a SAFE folder, a STAC item, or a folder of single-band TIFFs. Reads names and text.

Sources: ESA, Sentinel-2 products specification (SAFE folders, `MTD_MSIL1C.xml`, `MTD_MSIL2A.xml`); STAC 1.0 and 1.1
with the extensions eo and raster. Earth Search writes an offset of -0.1 even where its pixels have lost it already, and
says so by `earthsearch:boa_offset_applied`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from greenschemas.band_names import AKIN, common_names, spelling
from greenschemas.bands import Band, Role
from greenschemas.errors import SourceError
from greenschemas.grid import Grid

__all__ = [
    "BandFile",
    "Products",
    "find_products",
    "is_products",
    "is_remote",
    "is_safe",
    "resampling_of",
    "scene_name",
    "state_of",
    "target_grid",
]

_BANDS = ("b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b8a", "b9", "b10", "b11", "b12")
"""In the order of Sentinel-2's `band_id`."""
_LAYERS = {"msk_classi_opaque": 1, "msk_classi_cirrus": 2, "msk_classi_snow_ice": 3}
"""Layers of MSK_CLASSI_B00, by the name that Earth Engine gives each."""
_ENDINGS = (".tif", ".tiff", ".jp2")
_METRES = re.compile(r"_(\d+)m$", re.IGNORECASE)
_LANDSAT, _NUMBERED = re.compile(r"l[cotem]0[4-9]"), re.compile(r"b\d+")
_TEXT_MAX = 16 << 20
"""Bytes of metadata that are read."""


@dataclass(frozen=True)
class BandFile:
    """Where a band lies."""

    band: str
    """Its name in the recipe."""
    href: str
    """Path of the file, or the URL of one that is not here."""
    layer: int = 1
    """Band of that file, from 1."""
    nodata: float | None = None
    """By the metadata; None: as the file's own tag says."""
    scaling: tuple[float, float] | None = None
    """(scale, offset) by the metadata: measured value = number * scale + offset; None: as the file's tags say."""

    @property
    def remote(self) -> bool:
        """Whether it lies on a server."""
        return is_remote(Path(self.href))

    @property
    def driver(self) -> str:
        """The one of GDAL's drivers that may open it."""
        return "JP2OpenJPEG" if _ending(self.href) == ".jp2" else "GTiff"


@dataclass(frozen=True)
class Products:
    """The files of one scene."""

    files: tuple[BandFile, ...]
    """In the order of the bands that were asked for, without those that are missing."""
    missing: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the metadata say of the scene, under the names that ESA gives it."""


@dataclass(frozen=True)
class _Asset:
    """A file with the names of what is in it."""

    names: tuple[str, ...]
    href: str
    metres: float
    layer: int = 1
    nodata: float | None = None
    scaling: tuple[float, float] | None = None


def is_products(path: Path) -> bool:
    """Whether a path is that of a scene in several files: a folder, or a STAC item."""
    return path.is_dir() or (path.suffix.lower() in (".json", ".geojson") and path.is_file())


def scene_name(path: Path) -> str:
    """What a scene is called in tags and titles: without the query of a URL, which may hold a signature."""
    return path.name.partition("?")[0] if is_remote(path) else path.name


def is_remote(path: Path) -> bool:
    """Whether a path is a URL: pathlib makes `https:/host/scene.tif` of one, with one slash."""
    return path.parts[:1] != () and path.parts[0] in ("https:", "http:", "s3:", "gs:", "ftp:")


def state_of(path: Path, bands: Sequence[Band]) -> object:
    """What changes when a scene's files do: sizes and times of modification; of what is remote, where it lies."""
    if is_products(path):
        return [[file.href, file.layer, state_of(Path(file.href), ())] for file in find_products(path, bands).files]
    if is_remote(path):
        return path.as_posix().partition("?")[0]
    if not path.exists():
        return None
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]


def is_safe(place: Path) -> bool:
    """Whether a folder is a SAFE of Sentinel-2, whose metadata stand in it."""
    return _metadata(place) is not None


def find_products(place: Path, bands: Sequence[Band]) -> Products:
    """Where each of the bands lies in the scene at `place`, by name, of several resolutions in the finest.

    Raises SourceError where metadata cannot be read, and where several files could be one band.
    """
    if place.is_file():
        return _of_item(place, bands)
    if (metadata := _metadata(place)) is not None:
        return _of_safe(place, _text(metadata), bands)
    files = [path for path in sorted(place.iterdir()) if path.suffix.lower() in _ENDINGS[:2] and path.is_file()]
    return _chosen(place, [_of_file(path) for path in files], bands, {})


def target_grid(grids: Sequence[Grid], metres: float | None) -> Grid:
    """The grid of the finest, or with pixels of so many metres (units of its CRS) over the ground of that one."""
    finest = min(grids, key=lambda grid: abs(grid.transform[0]))
    if metres is None:
        return finest
    a, b, c, d, e, f = finest.transform
    down, across = metres / abs(e), metres / abs(a)
    height, width = max(1, round(finest.height / down)), max(1, round(finest.width / across))
    return Grid(height, width, (a * across, b * down, c, d * across, e * down, f), finest.crs)


def resampling_of(band: Band, ratio: float) -> str:
    """How a band is brought to other pixels, by GDAL's names; ratio: side of the new pixel over that of the old one.

    What is no quantity, flags and bytes that are decoded, keeps a value that was there; larger pixels are means.
    """
    if band.role is Role.MASK or band.decode is not None:
        return "nearest"
    return "average" if ratio > 1 else "bilinear"


def _metadata(place: Path) -> Path | None:
    return next((path for path in sorted(place.glob("MTD_MSIL*.xml")) if path.is_file()), None)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_TEXT_MAX).decode("utf-8", "replace")
    except OSError as problem:
        raise SourceError(path, f"cannot be read ({problem.strerror})", "see to its permissions") from None


def _of_safe(place: Path, text: str, bands: Sequence[Band]) -> Products:
    """A SAFE folder of Sentinel-2, Level-1C or 2A: 0 is no data in every image, and numbers have an offset."""
    images = [path for path in sorted(place.glob("GRANULE/*/IMG_DATA/**/*")) if path.suffix.lower() in _ENDINGS]
    flags = [path for path in sorted(place.glob("GRANULE/*/QI_DATA/MSK_CLASSI_B00.*")) if path.suffix in _ENDINGS]
    whole = re.search(r"<(?:BOA_)?QUANTIFICATION_VALUE[^>]*>\s*([\d.]+)", text)
    offsets = dict(re.findall(r"<(?:BOA|RADIO)_ADD_OFFSET band_id=\"(\d+)\">\s*(-?[\d.]+)", text))
    unit = float(whole[1]) if whole else 10_000.0
    assets = [_of_file(path, nodata=0.0) for path in images]
    for at, name in enumerate(_BANDS):
        meant = (1 / unit, float(offsets.get(str(at), 0)) / unit)
        assets = [replace(one, scaling=meant) if name in one.names else one for one in assets]
    assets += [_Asset((name,), str(path), 60.0, layer) for path in flags for name, layer in _LAYERS.items()]
    tags = {"PRODUCT": place.name}
    if baseline := re.search(r"<PROCESSING_BASELINE>\s*([\d.]+)", text):
        tags["PROCESSING_BASELINE"] = baseline[1]
    return _chosen(place, assets, bands, tags)


def _of_file(path: Path, nodata: float | None = None) -> _Asset:
    """A file of one band, called so at the end: `…_B02_10m.jp2`, `…_SR_B4.TIF`, `VV.tif`.

    Landsat's numbers are never taken for Sentinel-2's: its B5 is the near infrared, and not a red edge.
    """
    stem = path.stem
    metres = _METRES.search(stem)
    words = _METRES.sub("", stem).casefold().split("_")
    if _LANDSAT.fullmatch(words[0]) and words[-2:-1] != ["sr"] and _NUMBERED.fullmatch(words[-1]):
        words.insert(-1, "sr")
    tails = ["_".join(words[at:]) for at in range(len(words))]
    if words[-2:-1] == ["sr"]:
        tails = tails[:-1]
    names = dict.fromkeys([*tails, *(spelling(tail) for tail in tails)])
    return _Asset(tuple(names), str(path), float(metres[1]) if metres else 0.0, nodata=nodata)


def _of_item(path: Path, bands: Sequence[Band]) -> Products:
    try:
        item = json.loads(_text(path))
        assets, properties = item["assets"], item.get("properties", {})
        found = [one for key, asset in assets.items() for one in _of_asset(path.parent, key, asset, properties)]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise SourceError(
            path, f"no STAC item ({problem})", "give the JSON of one item: it has `assets` with an `href` each"
        ) from None
    tags = {"PRODUCT": str(item.get("id", path.stem))}
    if baseline := properties.get("s2:processing_baseline", properties.get("processing:version")):
        tags["PROCESSING_BASELINE"] = str(baseline)
    return _chosen(path, found, bands, tags)


def _of_asset(folder: Path, key: str, asset: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[_Asset]:
    """The bands of an asset that is a raster of measurements; none of a picture or a document."""
    href = str(asset["href"])
    if _ending(href) not in _ENDINGS:
        return
    if {"thumbnail", "overview", "visual", "metadata"} & set(asset.get("roles", ())):
        return
    href = href.removeprefix("file://")
    if "://" not in href:
        href = str(folder / href)
    described = asset.get("bands") or asset.get("eo:bands") or [{}]
    measured = asset.get("raster:bands") or [{}] * len(described)
    applied = properties.get("earthsearch:boa_offset_applied") is True
    for layer, (eo, raster) in enumerate(zip(described, measured, strict=False), 1):
        told = {**asset, **eo, **raster}
        scale = told.get("raster:scale", told.get("scale"))
        offset = 0.0 if applied else float(told.get("raster:offset", told.get("offset")) or 0)
        nodata = told.get("nodata")
        common = told.get("eo:common_name", told.get("common_name"))
        names = [eo.get("name"), common, *([key] if len(described) == 1 else ())]
        yield _Asset(
            tuple(dict.fromkeys(spelling(str(name)) for name in names if name)),
            href,
            float(told.get("spatial_resolution", told.get("gsd", 0)) or 0),
            layer,
            float(nodata) if isinstance(nodata, int | float) else None,
            None if scale is None else (float(scale), offset),
        )


def _chosen(place: Path, assets: Sequence[_Asset], bands: Sequence[Band], tags: Mapping[str, str]) -> Products:
    files, missing = [], []
    wanted = {_part(band) for band in bands}
    for band in bands:
        other = AKIN.get(_part(band) or "")
        asset = _finest(place, band, assets, None if other in wanted else other)
        if asset is None:
            missing.append(band.name)
        else:
            files.append(BandFile(band.name, asset.href, asset.layer, asset.nodata, asset.scaling))
    return Products(tuple(files), tuple(missing), tags)


def _part(band: Band) -> str | None:
    """Its part of the spectrum."""
    return band.common or common_names([band.name])[0]


def _finest(place: Path, band: Band, assets: Sequence[_Asset], akin: str | None) -> _Asset | None:
    """The file of a band by its name, or else by its part of the spectrum; TIFFs rather than JPEG 2000.

    akin: a part that stands for the band's own where nothing shows that.
    """
    own = spelling(band.name)
    known = [one for one in assets if own in one.names or band.name.casefold() in one.names]
    for part in (_part(band), akin):
        known = known or [one for one in assets if part is not None and part in _parts(one.names)]
    known = [one for one in known if _ending(one.href) != ".jp2"] or known
    if not known:
        return None
    least = min(one.metres for one in known)
    finest = {(one.href, one.layer): one for one in known if one.metres == least}
    if len(finest) > 1:
        names = ", ".join(sorted(PurePosixPath(href).name for href, _ in finest)[:3])
        raise SourceError(place, f"several files could be {band.name}: {names}", "leave one of them there")
    return next(iter(finest.values()))


def _ending(href: str) -> str:
    """The ending of a file's name, in small letters; of a URL without its query."""
    return PurePosixPath(href.partition("?")[0]).suffix.lower()


def _parts(names: Iterable[str]) -> set[str | None]:
    return {*names, *common_names(list(names))}
