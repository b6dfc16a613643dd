"""Bands from their descriptions, or from how many there are and of which type. Pure.

Sources of the layouts: Copernicus SentiWiki, S2 mission (L1C: B1 to B12 with B10; L2A: without); Earth Engine data
catalog (COPERNICUS/S2: 13 bands and six quality bands; GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL: A00 to A63); NASA, HLS
version 2 user guide (L30: B01 to B07 are coastal to short-wave infrared 2); USGS, Landsat 8-9 Collection 2 Level 2
science product guide (SR_B1 to SR_B7, the same order); USDA, NAIP (red, green, blue, near infrared, bytes); Planet,
PlanetScope product specification (4 bands: blue to near infrared; 8 bands: coastal blue to near infrared).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from greenprep.init.facts import FileFacts, commonest
from greenschemas.band_names import common_names, says_nothing
from greenschemas.bands import HLS_19, SENTINEL2_L1C_19, Band, Role
from greenschemas.decoding import Decoding

__all__ = ["guess_bands", "guess_scale"]

_QUALITY = re.compile(r"(?i).*(qa|msk|mask|scl|fmask|cloud|cldprb|snwprb|clp|cls)\d*.*|.*quality.*")
_OTHERS = {
    Role.EMBEDDING: re.compile(r"A\d\d|(?i:.*embedding.*)"),
    Role.RADAR: re.compile(r"(?i)(.*[_ ])?(vv|vh|hh|hv|rtc|sigma0|gamma0|beta0)([_ ].*)?"),
    Role.ELEVATION: re.compile(r"(?i).*(dem|dsm|dtm|elevation|altitude|height)"),
    Role.DERIVED: re.compile(r"(?i)(nd[a-z]{2}|mndwi|savi|evi2?|bsi|nbr2?|.*slope.*|.*aspect.*|.*angle.*)"),
}
"""Words for bands that are no reflectances, by role."""
_DECIBELS = -45.0, 15.0
"""Between which the middle 98 of a hundred values of a radar in decibel lie."""
_SENTINEL2 = SENTINEL2_L1C_19[:13]


def _named(words: str) -> tuple[Band, ...]:
    pairs = (word.partition(":") for word in words.split())
    return tuple(Band(name=name, common=common or None) for name, _, common in pairs)


LAYOUTS: dict[tuple[int, str], tuple[str, tuple[Band, ...]]] = {
    (19, "wide"): ("Sentinel-2 L1C as Earth Engine exports it", SENTINEL2_L1C_19),
    (19, "signed"): ("HLS patches with Fmask and 11 derived bands", HLS_19),
    (13, "wide"): ("Sentinel-2 L1C", _SENTINEL2),
    (12, "wide"): ("Sentinel-2 L2A, which has no B10", tuple(band for band in _SENTINEL2 if band.name != "B10")),
    (10, "wide"): (
        "the Sentinel-2 bands of 10 and 20 m",
        tuple(band for band in _SENTINEL2 if band.name not in ("B1", "B9", "B10")),
    ),
    (8, "wide"): (
        "PlanetScope, 8 bands",
        _named("coastal:coastal blue:blue green_i green:green yellow:yellow red:red rededge:rededge071 nir:nir"),
    ),
    (7, "wide"): (
        "Landsat 8/9 or HLS, coastal to short-wave infrared 2",
        _named("coastal:coastal blue:blue green:green red:red nir:nir swir1:swir16 swir2:swir22"),
    ),
    (4, "wide"): ("PlanetScope, 4 bands, blue first", _named("blue:blue green:green red:red nir:nir")),
    (4, "bytes"): ("NAIP or another aerial photograph, red first", _named("red:red green:green blue:blue nir:nir")),
    (3, "bytes"): ("a photograph, red first", _named("red:red green:green blue:blue")),
    (64, "wide"): ("AlphaEarth embeddings", tuple(Band(name=f"A{i:02d}", role=Role.EMBEDDING) for i in range(64))),
}
"""What a number of bands usually is, by type: bytes, signed (int16), or wide (all others)."""


def guess_bands(images: Sequence[FileFacts]) -> tuple[tuple[Band, ...], str]:
    """(bands of most images, how that was told)."""
    count = int(str(commonest(one.bands for one in images)))
    alike = [one for one in images if one.bands == count]
    names = [one.names for one in alike if len(one.names) == count and not any(map(says_nothing, one.names))]
    if len(names) * 2 > len(alike):
        best = commonest(names)
        words = [str(name) for name in best] if isinstance(best, tuple) else []
        if len(set(words)) == count:
            how = f"{count} bands, by their descriptions in {len(names)} of {len(alike)} images"
            return _told(_described(words), alike), how
    dtype = str(commonest(one.dtype for one in alike))
    if count <= 4 and all(_DECIBELS[0] < one.low < one.middle < 0 and one.high < _DECIBELS[1] for one in alike):
        radar = tuple(Band(name=name, role=Role.RADAR) for name in ("VV", "VH", "HH", "HV")[:count])
        return radar, f"COULD NOT TELL for certain: {count} bands of {dtype} below 0, read as decibels of a radar"
    width = "bytes" if dtype == "uint8" else "signed" if dtype == "int16" else "wide"
    known = LAYOUTS.get((count, width)) or LAYOUTS.get((count, "wide" if width == "signed" else width))
    if known is not None:
        name, bands = known[0], _told(known[1], alike)
        return bands, f"COULD NOT TELL for certain: {count} bands of {dtype} without descriptions, read as {name}"
    plain = tuple(Band(name=f"band{i}") for i in range(1, count + 1))
    return plain, f"COULD NOT TELL: {count} bands of {dtype} without descriptions; write their names, and `common`"


def _described(words: Sequence[str]) -> tuple[Band, ...]:
    bands = []
    for word, common in zip(words, common_names(words), strict=True):
        role = Role.MASK if _QUALITY.fullmatch(word) and common is None else Role.REFLECTANCE
        role = next((other for other, known in _OTHERS.items() if common is None and known.fullmatch(word)), role)
        bands.append(Band(name=word, role=role, common=common))
    return tuple(bands)


def _told(bands: tuple[Band, ...], images: Sequence[FileFacts]) -> tuple[Band, ...]:
    """The bands, embeddings with the decoding that bytes with a sign have."""
    signed = all(one.dtype == "int8" for one in images)
    how = Decoding.SIGNED_SQUARE if signed else None
    return tuple(band.model_copy(update={"decode": how}) if band.role is Role.EMBEDDING else band for band in bands)


def guess_scale(images: Sequence[FileFacts], bands: Sequence[Band]) -> tuple[float | None, str]:
    """(number that stands for a reflectance of 1 or None, how that was told)."""
    at = [i for i, band in enumerate(bands) if band.role is Role.REFLECTANCE]
    high = max((one.highs[i] for one in images if len(one.highs) == len(bands) for i in at), default=0.0)
    high = high or max(one.high for one in images)
    dtype = str(commonest(one.dtype for one in images))
    seen = f"values of {dtype} up to {high:.4g}"
    if any(band.name.upper().startswith("SR_B") for band in bands) and high > 5000:
        return None, f"{seen}: Landsat's own scale and offset; scales are not checked"
    if not at:
        return None, "no band is a reflectance"
    if dtype == "uint8":
        return 255, f"{seen}: the greatest value that a pixel can have"
    if dtype.startswith("float") and high <= 2:
        return 1, f"{seen}: reflectances"
    if 100 < high < 25_000:
        return 10_000, f"{seen}: reflectances times 10,000"
    return None, f"COULD NOT TELL: {seen}; scales are not checked"
