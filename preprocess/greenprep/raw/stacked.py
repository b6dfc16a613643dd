"""Write one image of the bands of several pairs: the dates of a group, behind each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window

from greenprep.raw.pair import OpenPair
from greenschemas.bands import Band
from greenschemas.errors import SourceError
from greenschemas.files import whole

__all__ = ["write_stacked"]


def write_stacked(path: Path, pairs: Sequence[OpenPair], bands: Sequence[Band]) -> None:
    """The bands of some pairs of one grid as one GeoTIFF; an internal mask says where all of them are valid.

    bands: of all dates; those that no pair is there for hold 0, and then no pixel is valid. Raises SourceError where
    the file cannot be written.
    """
    first, each = pairs[0], len(pairs[0].bands)
    assert first.image_file is not None and first.header.shape is not None
    grid = first.grid_of(first.image_file)
    dtype = np.result_type(*(np.dtype(pair.header.dtype) for pair in pairs))
    profile = {
        **{"driver": "GTiff", "height": grid.height, "width": grid.width, "count": len(bands), "dtype": dtype.name},
        **{"crs": CRS.from_string(grid.crs) if grid.crs else None, "compress": "deflate", "BIGTIFF": "IF_SAFER"},
        **({"transform": Affine(*grid.transform)} if grid.placed else {}),
    }
    try:
        with (
            whole(path) as draft,
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(draft, "w", **profile) as sink,
        ):
            sink.descriptions = [band.name for band in bands]
            scaling = [tag for pair in pairs for tag in pair.header.scaling]
            sink.scales, sink.offsets = zip(*scaling, *[(1.0, 0.0)] * (len(bands) - len(scaling)), strict=True)
            for row, rows in first.strips():
                window = Window(0, row, grid.width, rows)
                valid = np.full((rows, grid.width), len(bands) == each * len(pairs))
                values = np.zeros((len(bands), rows, grid.width), dtype)
                for at, pair in enumerate(pairs):
                    pixels = pair.read(row, 0, rows, grid.width)
                    values[at * each : (at + 1) * each] = pixels.image
                    valid &= pixels.valid
                sink.write(values, window=window)
                sink.write_mask(valid, window=window)
    except OSError as problem:
        raise SourceError.unwritable(path, problem) from None
