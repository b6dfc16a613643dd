"""Bands by any of their names: `B2`, `B02`, `B2_10m`, `blue` and `SR_B2` may all mean the same channel. Pure.

A name is first spelled one way (capitals, leading zeros, resolutions and Earth Engine's prefixes fall away), then
compared with the recipe's own names, then, where those do not fit, by the part of the spectrum: STAC's common name.

Sources of the table: Copernicus SentiWiki, S2 mission, spectral bands (B01 to B12, B8A; CDSE adds `_10m`); USGS,
Landsat 8-9 and 4-7 Collection 2 Level 2 product guides (SR_B1 to SR_B7, QA_PIXEL); NASA, HLS version 2 user guide
(B01 to B12, Fmask); Earth Engine data catalog (B1 to B12, and `toBands()`, which puts `0_` or the image's name before);
STAC, electro-optical extension 2.0 and its older list (`rededge`, `nir08`), and Element 84's assets (`rededge1`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from greenschemas.bands import Band

__all__ = ["AKIN", "Matched", "common_names", "match_names", "says_nothing", "spelling"]

_WORDS = {
    "coastal": "coastal coastal_aerosol aerosol ultra_blue",
    "blue": "blue",
    "green": "green",
    "red": "red",
    "rededge071": "rededge071 rededge1 red_edge_1 rededge red_edge",
    "rededge075": "rededge075 rededge2 red_edge_2",
    "rededge078": "rededge078 rededge3 red_edge_3",
    "nir": "nir near_infrared nearinfrared nir1",
    "nir08": "nir08 nir_narrow narrow_nir nir8a",
    "nir09": "nir09 water_vapour water_vapor watervapor",
    "cirrus": "cirrus",
    "swir16": "swir16 swir1 swir_1",
    "swir22": "swir22 swir2 swir_2",
}
_COMMON = {word: common for common, words in _WORDS.items() for word in words.split()}
"""Words for a part of the spectrum, each with STAC's name of it (Sentinel-2's red edges by their wavelength)."""


def _numbered(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


SENTINEL2 = _numbered(
    "b1:coastal b2:blue b3:green b4:red b5:rededge071 b6:rededge075 b7:rededge078 b8:nir b8a:nir08 b9:nir09 b10:cirrus "
    "b11:swir16 b12:swir22"
)
"""Also of HLS S30."""
LANDSAT8 = _numbered("b1:coastal b2:blue b3:green b4:red b5:nir08 b6:swir16 b7:swir22 b9:cirrus b10:lwir11 b11:lwir12")
"""Landsat 8 and 9, and HLS L30."""
LANDSAT7 = _numbered("b1:blue b2:green b3:red b4:nir08 b5:swir16 b7:swir22")
"""Landsat 4, 5 and 7: the thermal B6 is no reflectance, and its surface reflectance has none."""

_NUMBER = re.compile(r"(?:^|.*?[_ .-])(?P<sr>sr[_ ]?)?b(?:and)?[_ ]?0*(?P<number>\d{1,2})(?P<a>a?)(?:[_ ]\d+m)?")
_NOTHING = re.compile(r"(?:band|layer|channel|page)?[ _:#-]*\d*|gr[ae]y|undefined|(?:un)?named?|alpha", re.IGNORECASE)
AKIN = {"nir": "nir08", "nir08": "nir"}
"""Landsat has one near infrared, which STAC calls `nir08`; it stands for `nir` where a file has no other."""


@dataclass(frozen=True)
class Matched:
    """Where the bands that are due stand in a file."""

    at: tuple[int | None, ...]
    """Position of each band due; None: the file has none of that name, or several."""
    twice: tuple[str, ...] = ()
    """Bands due that several of the file's bands could be."""

    @property
    def any(self) -> bool:
        """Whether the file's names have anything to do with the bands that are due."""
        return bool(self.twice) or any(at is not None for at in self.at)


def says_nothing(name: str | None) -> bool:
    """Whether a description is none: empty, `Band 1`, `layer_2`, a number, `gray`."""
    return _NOTHING.fullmatch((name or "").strip()) is not None


def spelling(name: str) -> str:
    """A name in the one spelling in which names are compared: `B02`, `0_B2` and `B2_10m` become `b2`."""
    plain = name.strip().casefold()
    if plain in _COMMON:
        return plain
    found = _NUMBER.fullmatch(plain)
    if found is None or says_nothing(name):
        return re.sub(r"[ .-]+", "_", plain)
    return f"{'sr_' if found['sr'] else ''}b{found['number']}{found['a']}"


def common_names(names: Sequence[str]) -> tuple[str | None, ...]:
    """The part of the spectrum of each of a file's bands, None where it is not known for certain.

    Numbers mean other things with other sensors: they are read as those of the sensors that have all of them, and
    count where these agree.
    """
    spelt = [spelling(name) for name in names]
    numbers = {s.removeprefix("sr_") for s in spelt if re.fullmatch(r"(sr_)?b\d+a?", s)}
    landsat = any(s.startswith("sr_b") for s in spelt)
    old = "b7" in numbers and "b6" not in numbers and numbers <= LANDSAT7.keys()
    known = [LANDSAT7] if old and landsat else [LANDSAT8] if landsat else [SENTINEL2, LANDSAT8, *([LANDSAT7] * old)]
    sensors = [sensor for sensor in known if numbers <= sensor.keys()]

    def common(word: str) -> str | None:
        if word in _COMMON:
            return _COMMON[word]
        meant = {sensor.get(word.removeprefix("sr_")) for sensor in sensors}
        return meant.pop() if len(meant) == 1 else None

    return tuple(common(word) for word in spelt)


def match_names(found: Sequence[str | None], due: Sequence[Band]) -> Matched:
    """Where in a file whose bands are called `found` each of the bands `due` stands.

    By spelling first. A band that is not there by its name is looked for by its part of the spectrum.
    """
    names = ["" if says_nothing(name) else name or "" for name in found]
    spelt = [spelling(name) if name else "" for name in names]
    parts = [part if name else None for part, name in zip(common_names(names), names, strict=True)]
    theirs = common_names([band.name for band in due])
    at: list[int | None] = []
    twice = []
    for band, part in zip(due, theirs, strict=True):
        wanted = spelling(band.name)
        places = [i for i, word in enumerate(spelt) if word == wanted]
        part = band.common or part
        for common in (part, AKIN.get(part or "")):
            if not places and common is not None:
                places = [i for i, one in enumerate(parts) if one == common]
        at.append(places[0] if len(places) == 1 else None)
        if len(places) > 1:
            twice.append(band.name)
    taken = [i for i in at if i is not None]
    doubled = {i for i in taken if taken.count(i) > 1}  # One band cannot be two: `nir` and `nir08` of Landsat's.
    exact = [
        i is not None and (spelt[i] == spelling(band.name) or parts[i] == (band.common or part))
        for i, band, part in zip(at, due, theirs, strict=True)
    ]
    return Matched(
        tuple(None if i in doubled and not sure else i for i, sure in zip(at, exact, strict=True)), tuple(twice)
    )
