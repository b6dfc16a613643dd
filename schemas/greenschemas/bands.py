"""Bands by name and role: what a channel of an image is, so that nobody takes a quality flag for a feature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import Field

from greenschemas.decoding import Decoding
from greenschemas.frozen import Frozen

__all__ = [
    "FEATURE_ROLES",
    "HLS_19",
    "SENTINEL2_L1C_19",
    "Band",
    "Role",
    "dated",
    "decodings",
    "feature_names",
    "where_role",
]


class Role(StrEnum):
    """What a band is good for."""

    REFLECTANCE = "reflectance"
    """A measured reflectance: a feature."""
    DERIVED = "derived"
    """Computed from others or from elsewhere (index, slope): a feature, with no scale of reflectance."""
    RADAR = "radar"
    """Backscatter of a radar, in decibel or as power: a feature; NaN and minus infinity (no power) mean no data."""
    EMBEDDING = "embedding"
    """One number of many that another net made of the ground, such as AlphaEarth's 64: a feature."""
    ELEVATION = "elevation"
    """Metres above something: a feature; 0 is the sea, and flat ground is no fault."""
    MASK = "mask"
    """Quality flags: they say which pixels may be used, and are never a feature."""
    DEAD = "dead"
    """Constant over the whole store: carries nothing; found when the store is written, never declared."""


class Band(Frozen):
    """One channel of an image."""

    name: str
    """As in the file's band description where it has one, such as `B4`."""
    role: Role = Role.REFLECTANCE
    """What it is good for."""
    common: str | None = None
    """Common name of the spectral range (STAC's list: `blue`, `green`, `red`, `nir`, …), for adapting weights."""
    decode: Decoding | None = Field(None, exclude_if=lambda how: how is None)
    """What makes a value of a stored number, where that is no straight line: `signed_square` for AlphaEarth's bytes."""
    time: int | None = Field(None, ge=1, exclude_if=lambda time: time is None)
    """Of several dates as one input, which one it is of, from 1, the earliest; such bands are called `B4_t1`."""

    @property
    def plain(self) -> Band:
        """The band as a scene of its date alone has it."""
        if self.time is None:
            return self
        return self.model_copy(update={"name": self.name.removesuffix(f"_t{self.time}"), "time": None})


FEATURE_ROLES = (Role.REFLECTANCE, Role.DERIVED, Role.RADAR, Role.EMBEDDING, Role.ELEVATION)
"""What a net sees unless told otherwise: masks and dead bands are never features unless they are named."""


def feature_names(bands: Iterable[Band]) -> tuple[str, ...]:
    """Names of the bands that a net may see unless told otherwise, in their order."""
    return tuple(band.name for band in bands if band.role in FEATURE_ROLES)


def dated(bands: Sequence[Band], dates: int) -> tuple[Band, ...]:
    """The bands of the first date, then those of the next, each under a name of its own."""
    return tuple(
        band.model_copy(update={"name": f"{band.name}_t{date}", "time": date})
        for date in range(1, dates + 1)
        for band in bands
    )


def decodings(bands: Iterable[Band]) -> tuple[Decoding | None, ...]:
    """The decoding of each band."""
    return tuple(band.decode for band in bands)


def where_role(bands: Iterable[Band], *roles: Role) -> slice | list[int]:
    """Index of the bands of these roles along a band axis: a slice, which copies nothing, where they stand together."""
    at = [i for i, band in enumerate(bands) if band.role in roles]
    together = bool(at) and at[-1] - at[0] + 1 == len(at)
    return slice(at[0], at[-1] + 1) if together else at


def _bands(reflectances: str, rest: str, role: Role) -> tuple[Band, ...]:
    named = (word.partition(":") for word in reflectances.split())
    return (
        *(Band(name=name, common=common or None) for name, _, common in named),
        *(Band(name=name, role=role) for name in rest.split()),
    )


SENTINEL2_L1C_19 = _bands(
    "B1:coastal B2:blue B3:green B4:red B5:rededge071 B6:rededge075 B7:rededge078 B8:nir B8A:nir08 B9:nir09 "
    "B10:cirrus B11:swir16 B12:swir22",
    "QA10 QA20 QA60 MSK_CLASSI_OPAQUE MSK_CLASSI_CIRRUS MSK_CLASSI_SNOW_ICE",
    Role.MASK,
)
"""COPERNICUS/S2 as Earth Engine exports it: 13 reflectances, six quality bands."""

HLS_19 = (
    *_bands("coastal:coastal blue:blue green:green red:red nir:nir swir1:swir16 swir2:swir22", "fmask", Role.MASK),
    *_bands("", "ndmi cop_dem ndvi ndwi mndwi ndbi savi evi2 bsi nbr slope100", Role.DERIVED),
)
"""Harmonised Landsat and Sentinel-2 patches: 7 reflectances, the Fmask byte, 11 derived bands."""
