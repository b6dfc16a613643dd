"""Clouds: where the quality bands see them, and where brightness and the cirrus band do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import Band, Role
from greenschemas.values import find_clouds, quality_of

__all__ = ["bright_clouds", "flagged_clouds"]

BLUE_MIN = 0.22
"""Reflectance of blue, averaged over a few pixels, above which a grey surface is taken for cloud."""
GREY_MAX = 0.25
"""Greatest difference of the visible bands, as a share of their mean: clouds are grey, soil and sand are not."""
SNOW_MAX = 0.4
"""Normalised difference of green and short-wave infrared above which bright ground is snow (Hall et al. 1995)."""
CIRRUS_MIN = 0.0030
"""Reflectance at 1.38 micrometres, averaged over a few pixels: water vapour hides the ground there."""
DARK_MAX = 0.6
"""Reflectance that something in some band lies below, whatever is seen: clouds are darker in the short-wave infrared.
Where nothing does, numbers are on another scale, such as Landsat Collection 2's, which begin at 7273."""
CELL = 4
"""Pixels a side over which brightness is averaged."""


def flagged_clouds(image: NDArray[Any], bands: Sequence[Band]) -> NDArray[np.bool_] | None:
    """(h, w), true where a quality band says cloud; None where no such band says anything.

    image: (C, h, w).
    """
    rules = quality_of(bands)
    return find_clouds(rules, {band.name: image[i] for i, band in enumerate(bands) if band.name in rules})


def bright_clouds(image: NDArray[Any], bands: Sequence[Band], scale: float) -> float | None:
    """Share of small cells that look like cloud: bright, grey and not snow, or bright in the cirrus band.

    image: (C, h, w); scale: what a reflectance of 1 is written as. None where that cannot be told: of bytes, which are
    pictures and no reflectances; without blue, green, red, and a band that tells clouds from roofs, sand and snow
    (short-wave infrared or cirrus). 0 where the numbers cannot be on that scale.
    """
    at = {band.common: index for index, band in enumerate(bands) if band.role is Role.REFLECTANCE and band.common}
    known = {"blue", "green", "red"} <= at.keys() and ("swir16" in at or "cirrus" in at)
    if not known or image.dtype.itemsize == 1 or min(image.shape[1:]) < CELL:
        return None
    names = [name for name in ("blue", "green", "red", "swir16", "cirrus") if name in at]
    cells = dict(zip(names, _cells(image[[at[name] for name in names]]) / np.float32(scale), strict=True))
    if min(float(cells[name].min()) for name in names) > DARK_MAX:
        return 0.0
    blue, green, red = cells["blue"], cells["green"], cells["red"]
    mean = (blue + green + red) / 3
    spread = np.maximum(np.maximum(blue, green), red) - np.minimum(np.minimum(blue, green), red)
    cloud = (blue > BLUE_MIN) & (spread < GREY_MAX * mean)
    if "swir16" in cells:
        swir = cells["swir16"]
        cloud &= green - swir < SNOW_MAX * (green + swir)
    if "cirrus" in cells:
        cloud |= cells["cirrus"] > CIRRUS_MIN
    return float(cloud.mean())


def _cells(bands: NDArray[Any]) -> NDArray[np.float32]:
    """(n, h // 4, w // 4) means over cells of CELL x CELL pixels; the rest at the right and lower edge is left out."""
    rows, cols = (side // CELL * CELL for side in bands.shape[1:])
    cells = bands[:, :rows, :cols].astype(np.float32)
    while cells.shape[1] > rows // CELL:
        cells = cells[:, ::2] + cells[:, 1::2]
        cells = cells[:, :, ::2] + cells[:, :, 1::2]
    return cells / np.float32(CELL * CELL)
