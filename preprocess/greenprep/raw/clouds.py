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

    image: (C, h, w); scale: what a reflectance of 1 is written as. None where blue, green and red are not all there.
    """
    at = {band.common: index for index, band in enumerate(bands) if band.role is Role.REFLECTANCE and band.common}
    if not {"blue", "green", "red"} <= at.keys() or min(image.shape[1:]) < CELL:
        return None
    names = [name for name in ("blue", "green", "red", "swir16", "cirrus") if name in at]
    cells = dict(zip(names, _cells(image[[at[name] for name in names]]) / np.float32(scale), strict=True))
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
