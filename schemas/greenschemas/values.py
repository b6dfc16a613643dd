"""What a stored number means, and which pixels may be used: one rule for whoever reads a file, on either side. Pure.

Letters: C bands, h rows, w columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from greenschemas.bands import FEATURE_ROLES, Band, Role
from greenschemas.decoding import EMPTY
from greenschemas.frozen import Frozen

__all__ = [
    "QUALITY",
    "BandLevels",
    "BandValues",
    "Holes",
    "Quality",
    "Values",
    "deciding_bands",
    "find_clouds",
    "find_holes",
    "quality_of",
]

Mask = NDArray[np.bool_]


class Quality(Frozen):
    """What the numbers of a quality band say of clouds."""

    bits: tuple[int, ...] = ()
    """Bits of which any means cloud."""
    classes: tuple[int, ...] = ()
    """Values that mean cloud."""
    highest: int
    """Greatest value that the band can hold: a band with more in it is another than its name says."""
    only: bool = False
    """Whether no other bit than these is ever set."""


QUALITY: dict[str, Quality] = {
    "qa60": Quality(bits=(10, 11), highest=1 << 10 | 1 << 11, only=True),
    "msk_classi_opaque": Quality(classes=(1,), highest=1),
    "msk_classi_cirrus": Quality(classes=(1,), highest=1),
    "scl": Quality(classes=(8, 9, 10), highest=11),
    "fmask": Quality(bits=(1,), highest=255),
    "qa_pixel": Quality(bits=(1, 2, 3), highest=65_535),
}
"""By name, in small letters. Sentinel-2: QA60 (opaque, cirrus), MSK_CLASSI_* of its newer products, scene classes
of Level-2A (cloud of medium and high probability, cirrus); HLS: Fmask; Landsat Collection 2: QA_PIXEL (dilated cloud,
cirrus, cloud)."""


class BandValues(Frozen):
    """What the numbers of one band mean."""

    scale: float = 1.0
    """Measured value = stored number * scale + offset, as the files' GDAL tags say; the store holds the raw number."""
    offset: float = 0.0
    low: float
    """Least number at any usable pixel of the store, whatever the split."""
    high: float
    """Greatest such number."""


class BandLevels(Frozen):
    """Where the numbers of one band lie, over the usable pixels of the train split."""

    dark: float
    """First percentile."""
    median: float
    bright: float
    """99th percentile."""
    between: float = Field(ge=0)
    """Robust deviation (1.4826 times the MAD) of the groups' means from each other."""


class Values(Frozen):
    """What the numbers of a store mean, beside what its recipe says. Stores made before this was recorded have none."""

    bands: tuple[BandValues, ...]
    """In the order of the contract's bands."""
    quality: dict[str, Quality] = Field(default_factory=dict)
    """How the quality bands were read, by the contract's name of the band."""
    pixel_metres: float | None = None
    """Median side of a pixel on the ground; None where no file says where it lies."""
    levels: tuple[BandLevels, ...] = ()
    """In the order of the contract's bands; empty until `greenprep split` has run."""

    @model_validator(mode="after")
    def _as_many_levels_as_bands(self) -> Self:
        if self.levels and len(self.levels) != len(self.bands):
            raise ValueError(f"levels of {len(self.levels)} bands for {len(self.bands)}")
        return self


@dataclass(frozen=True)
class Holes:
    """Where a window of an image cannot be used; None: nowhere. All (h, w)."""

    shape: tuple[int, int]
    declared: Mask | None
    """By the file's own word: nodata tag, alpha, internal mask."""
    broken: Mask | None
    """NaN or infinity in any band."""
    black: Mask | None
    """Zero in every band of `deciding_bands`, where no tag says so."""

    @property
    def usable(self) -> Mask:
        """(h, w) true where the pixel holds something that may be used."""
        out = np.ones(self.shape, bool)
        for hole in (self.declared, self.broken, self.black):
            if hole is not None:
                out &= ~hole
        return out


def find_holes(
    raw: NDArray[Any], bands: Sequence[Band], nodata: Sequence[float | None], inside: Mask | None = None
) -> Holes:
    """Which pixels of an image hold nothing; the same rule where a store is built and where a map is made.

    raw: (C, h, w) as the file stores them; nodata: (C,) each band's own tag; inside: (h, w) true where alpha or an
    internal mask says that there is something. A pixel is a hole where

    - alpha or internal mask says so, or any band is NaN or infinite;
    - every reflectance band is 0, with a tag or without one: dark water, 0 in one band, is no hole;
    - a feature band holds its nodata value; but 0, and any value of 8 bits, may as well be measured, and makes a hole
      only where every reflectance band holds it;
    - a band with a decoding holds what that calls empty, or a radar band NaN or minus infinity: declared by what they
      are.

    Without a reflectance band all features decide in its place, but for elevations: 0 is the sea. Of several dates, a
    pixel that is a hole at one of them is one.
    """
    if len(times := {band.time for band in bands}) > 1:
        return _of_dates(raw, bands, nodata, inside, times)
    features = [i for i, band in enumerate(bands) if band.role in FEATURE_ROLES] or [*range(len(bands))]
    deciding = deciding_bands(bands)
    declared = None if inside is None or inside.all() else ~inside
    measurable = {i for i in features if nodata[i] == 0 or (nodata[i] is not None and raw.dtype.itemsize == 1)}
    for i in features:
        value = nodata[i]
        if value is not None and i not in measurable and not math.isnan(value):
            declared = _join(declared, raw[i] == value)
    declared = _join(declared, _masked_code(raw, bands))
    if deciding and all(i in measurable for i in deciding):
        declared = _join(declared, _all_equal(raw, deciding, [nodata[i] for i in deciding]))
    black = None
    if len(deciding) > 1 and any(nodata[i] != 0 for i in deciding):
        black = _join(None, _all_equal(raw, deciding, [0.0] * len(deciding)))
    broken = None
    if raw.dtype.kind == "f":
        finite = np.isfinite(raw).all(axis=0)
        if not finite.all():
            broken = ~finite
            declared = _join(declared, _tagged_nan(raw, features, nodata))
            declared = _join(declared, _without_power(raw, bands))
    return Holes((raw.shape[1], raw.shape[2]), declared, broken, black)


def _of_dates(
    raw: NDArray[Any],
    bands: Sequence[Band],
    nodata: Sequence[float | None],
    inside: Mask | None,
    times: Iterable[int | None],
) -> Holes:
    """As `find_holes`, date by date."""
    parts = []
    for time in times:
        at = [i for i, band in enumerate(bands) if band.time == time]
        parts.append(find_holes(raw[at], [bands[i].plain for i in at], [nodata[i] for i in at], inside))
    declared, broken, black = (
        reduce(_join, (getattr(part, kind) for part in parts), None) for kind in ("declared", "broken", "black")
    )
    return Holes(parts[0].shape, declared, broken, black)


def deciding_bands(bands: Sequence[Band]) -> list[int]:
    """Positions of the bands whose 0 everywhere means that there is nothing: reflectances, or else other features.

    Empty where the features are all elevations; where there is no feature, every band.
    """
    for roles in ((Role.REFLECTANCE,), FEATURE_ROLES):
        if at := [i for i, band in enumerate(bands) if band.role in roles]:
            return [i for i in at if bands[i].role is not Role.ELEVATION]
    return [*range(len(bands))]


def quality_of(bands: Iterable[Band]) -> dict[str, Quality]:
    """The rules of those mask bands that the table knows, by the band's name."""
    masks = {band.name: band.plain.name.casefold() for band in bands if band.role is Role.MASK}
    return {name: QUALITY[plain] for name, plain in masks.items() if plain in QUALITY}


def find_clouds(quality: Mapping[str, Quality], values: Mapping[str, NDArray[Any]]) -> Mask | None:
    """(h, w) true where any quality band says cloud; None where no such band says anything.

    values: (h, w) of each band by name; names without a rule say nothing.
    """
    cloud: Mask | None = None
    for name, numbers in values.items():
        rule = quality.get(name)
        found = None if rule is None or not numbers.any() else _by_rule(rule, numbers)
        if found is not None:
            cloud = found if cloud is None else cloud | found
    return cloud


def _by_rule(rule: Quality, numbers: NDArray[Any]) -> Mask | None:
    """Where one quality band says cloud; None where its numbers cannot be that band's."""
    if numbers.dtype.kind == "f" or numbers.min() < 0:
        numbers = np.nan_to_num(numbers).astype(np.int64)
    if int(numbers.max()) > rule.highest:
        return None
    if rule.classes:
        return np.isin(numbers, rule.classes)
    bits = sum(1 << bit for bit in rule.bits)
    kind = numbers.dtype.type
    if rule.only and (numbers & kind(~bits & np.iinfo(numbers.dtype).max)).any():
        return None
    return np.asarray((numbers & kind(bits)) != 0)


def _all_equal(raw: NDArray[Any], at: Sequence[int], values: Sequence[float | None]) -> Mask:
    """(h, w) true where each of the bands holds its value; mostly the first band settles it."""
    same: Mask = raw[at[0]] == values[0]
    for i, value in zip(at[1:], values[1:], strict=True):
        if not same.any():
            break
        same &= raw[i] == value
    return same


def _tagged_nan(raw: NDArray[Any], features: Sequence[int], nodata: Sequence[float | None]) -> Mask | None:
    """(h, w) true where a feature band whose tag is NaN is NaN."""
    tagged = [i for i in features if (value := nodata[i]) is not None and math.isnan(value)]
    return np.isnan(raw[tagged]).any(axis=0) if tagged else None


def _masked_code(raw: NDArray[Any], bands: Sequence[Band]) -> Mask | None:
    """(h, w) true where a band with a decoding holds what that calls empty."""
    coded = [i for i, band in enumerate(bands) if band.decode is not None]
    return (raw[coded] == EMPTY).any(axis=0) if coded else None


def _without_power(raw: NDArray[Any], bands: Sequence[Band]) -> Mask | None:
    """(h, w) true where a radar band has no power: the decibels of 0 are minus infinity, or NaN."""
    radar = [i for i, band in enumerate(bands) if band.role is Role.RADAR]
    return (np.isnan(raw[radar]) | np.isneginf(raw[radar])).any(axis=0) if radar else None


def _join(one: Mask | None, other: Mask | None) -> Mask | None:
    if other is None or not other.any():
        return one
    return other if one is None else one | other
