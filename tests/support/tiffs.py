"""GeoTIFFs as anybody writes them: one place for what rasterio must be told of an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

__all__ = ["write_tiff"]


def write_tiff(path: Path, values: np.ndarray, *, names: Sequence[str] = (), **profile: Any) -> Path:
    """Write (C, H, W), with band descriptions if there are `names`; profile: crs, transform, nodata, compress, …"""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    shape = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype.name}
    with rasterio.open(path, "w", **shape | profile) as file:
        file.write(values)
        for index, name in enumerate(names, 1):
            file.set_band_description(index, name)
    return path
