"""Clouds: where the quality bands see them, and where brightness and the cirrus band do. Pure.

Bits: QA60 of Sentinel-2 (10 opaque, 11 cirrus), MSK_CLASSI_* of its newer products, Fmask of HLS (bit 1), scene
classification of Level-2A (8, 9, 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import Band, Role

__all__ = ["bright_clouds", "flagged_clouds"]

QA60_BITS = 1 << 10 | 1 << 11
FMASK_BITS = 1 << 1
CLOUDY_CLASSES = (8, 9, 10)
"""Of Level-2A's scene classification: cloud of medium and high probability, thin cirrus."""

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
    cloud: NDArray[np.bool_] | None = None
    for index, band in enumerate(bands):
        if band.role is not Role.MASK:
            continue
        name = band.name.casefold()
        if name not in ("qa60", "fmask", "scl", "msk_classi_opaque", "msk_classi_cirrus"):
            continue
        values = image[index]
        if not values.any():
            continue
        found = _by_name(name, values)
        if found is not None:
            cloud = found if cloud is None else cloud | found
    return cloud


def _by_name(name: str, values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where one quality band says cloud; None where its values cannot be that band's, so that it says nothing."""
    if name.startswith("msk_classi"):
        return np.asarray(values > 0) if values.max() <= 1 else None
    if values.dtype.kind == "f" or values.min() < 0:
        values = np.nan_to_num(values).astype(np.int64)
    highest = int(values.max())
    if name == "scl":
        return np.isin(values, CLOUDY_CLASSES) if highest <= 11 else None
    if name == "fmask":
        return np.asarray((values & values.dtype.type(FMASK_BITS)) != 0) if highest <= 255 else None
    others = ~QA60_BITS & np.iinfo(values.dtype).max
    if highest < 1 << 10 or (values & values.dtype.type(others)).any():
        return None
    return np.asarray((values & values.dtype.type(QA60_BITS)) != 0)


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
