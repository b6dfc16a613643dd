"""SAFE folders of Sentinel-2 as ESA lays them out, of a few pixels; JPEG 2000 without loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

__all__ = ["SIDES", "number", "write_band", "write_safe"]

SIDES = {10: 60, 20: 30, 60: 10}
"""Pixels a side of a tile of 600 m."""
LEVEL = {
    "1C": {10: "B02 B03 B04 B08", 20: "B05 B06 B07 B8A B11 B12", 60: "B01 B09 B10"},
    "2A": {10: "B02 B03 B04 B08", 20: "B02 B05 B06 B07 B8A B11 B12 SCL", 60: "B01 B09 B02"},
}
_IDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]


def number(band: str, metres: int) -> np.ndarray:
    """(H, W) of a band: a plane of its own slope, 0 in the last fifth of the rows."""
    side = SIDES[metres]
    step = np.arange(side) * metres / 10
    values = 1000 + 100 * sum(map(ord, band)) % 700 + np.add.outer(3 * step, 2 * step)
    values[-side // 5 :] = 0
    return np.asarray(values.astype(np.uint16))


def write_band(
    path: Path, values: np.ndarray, metres: float, driver: str = "GTiff", *, west: float = 0, **options: object
) -> None:
    """One file of (H, W) or (C, H, W); west: metres that it lies to the east of the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    lossless = {"QUALITY": 100, "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    where = {"crs": "EPSG:32632", "transform": Affine(metres, 0, 600_000 + west, 0, -metres, 5_200_000)}
    size = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver=driver, dtype=values.dtype, **size, **where, **lossless, **options) as file:
        file.write(values)


def write_safe(
    folder: Path, level: str, offset: int | None, numbers: Callable[[str, int], np.ndarray] = number
) -> Path:
    """A tile of level 1C or 2A; offset: as the metadata of baseline 04.00 and later have it, None: of one before.

    numbers: (H, W) of a band in pixels of so many metres.
    """
    safe = folder / f"S2A_MSI{'L' + level}_20220315T101021_N0400_R022_T32TPS_20220315T123456.SAFE"
    granule = safe / f"GRANULE/L{level}_T32TPS_A035127_20220315T101020"
    for metres, bands in LEVEL[level].items():
        for band in bands.split():
            name = f"T32TPS_20220315T101021_{band}" + (f"_{metres}m" if level == "2A" else "")
            below = f"R{metres}m/" if level == "2A" else ""
            values = numbers(band, metres)
            if band == "SCL":
                values = np.where(np.arange(SIDES[metres]) < 5, 9, 4).astype(np.uint8) * np.ones_like(values, np.uint8)
            write_band(granule / f"IMG_DATA/{below}{name}.jp2", values, metres, "JP2OpenJPEG")
    flags = np.zeros((3, 10, 10), np.uint8)
    flags[0, :2], flags[1, :, :3] = 1, 1
    write_band(granule / "QI_DATA/MSK_CLASSI_B00.jp2", flags, 60, "JP2OpenJPEG")
    what = {"1C": ("RADIO", ""), "2A": ("BOA", "BOA_")}[level]
    added = "".join(f'<{what[0]}_ADD_OFFSET band_id="{i}">{offset}</{what[0]}_ADD_OFFSET>' for i in range(len(_IDS)))
    (safe / f"MTD_MSIL{level}.xml").write_text(
        f"<n1:Level-{level}_User_Product><PROCESSING_BASELINE>{'04.00' if offset else '02.14'}</PROCESSING_BASELINE>"
        f'<{what[1]}QUANTIFICATION_VALUE unit="none">10000</{what[1]}QUANTIFICATION_VALUE>'
        f"{added if offset is not None else ''}</n1:Level-{level}_User_Product>"
    )
    return safe
