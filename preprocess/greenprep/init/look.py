"""Open some of a folder's files and note what they hold: the only part of `init` that reads pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.init.facts import CODES_MAX, FileFacts
from greenprep.raw.pairs import SIDECARS
from greenprep.raw.tiff import Tiff, gdal, open_tiff
from greenprep.raw.tiff_header import BadFile, read_pages
from greenschemas.limits import Limits

__all__ = ["look", "tiff_names"]

MOST = 240
"""Files looked at, evenly over the sorted names."""
ROWS, COLUMNS = 256, 1024
"""Pixels looked at, from the middle of a file."""


def tiff_names(raw: Path) -> list[str]:
    """Paths of the TIFFs below `raw`, sorted, with forward slashes."""
    found = (Path(folder, name).relative_to(raw).as_posix() for folder, _, names in os.walk(raw) for name in names)
    return sorted(path for path in found if path.lower().endswith((".tif", ".tiff")) and not path.endswith(SIDECARS))


def look(raw: Path, names: list[str]) -> list[FileFacts]:
    """Facts of those of `names` that are looked at; files that cannot be read are left out."""
    some = names if len(names) <= MOST else [names[i] for i in np.linspace(0, len(names) - 1, MOST).astype(int)]
    found = []
    with gdal():
        for name in some:
            try:
                found.append(_facts(raw, name))
            except BadFile:
                continue  # `clean` says what is wrong with it; here it only tells nothing.
    return found


def _facts(raw: Path, name: str) -> FileFacts:
    tiff = _open(raw.absolute() / name)
    try:
        grid = tiff.grid
        height, width = min(grid.height, ROWS), min(grid.width, COLUMNS)
        pixels = tiff.read((grid.height - height) // 2, height, (grid.width - width) // 2, width)
        numbers = pixels[np.isfinite(pixels)]
        some = numbers[numbers != 0]
        low, middle, high = np.quantile(some, (0.01, 0.5, 0.99)).tolist() if some.size else (0.0, 0.0, 0.0)
        values, counts = np.unique(numbers[:: max(1, numbers.size // 1_000_000)], return_counts=True)
        return FileFacts(
            path=name,
            bands=tiff.bands,
            dtype=str(tiff.dtype),
            height=grid.height,
            width=grid.width,
            names=tiff.names,
            nodata=tiff.nodata,
            zero_coloured=any((tiff.colour(0) or (0, 0, 0))[:3]),
            place=(grid.crs, grid.transform) if grid.crs else None,
            low=low,
            middle=middle,
            high=high,
            highs=tuple(_high(band) for band in pixels),
            nan=float(1 - np.isfinite(pixels).all(axis=0).mean()),
            values=tuple(zip(values.tolist(), counts.tolist(), strict=True)) if len(values) <= CODES_MAX else None,
            whole=_whole(pixels),
        )
    finally:
        tiff.close()


def _high(values: NDArray[Any]) -> float:
    """99th percentile of those that are finite and not 0; 0 where there is none."""
    some = values[np.isfinite(values) & (values != 0)]
    return float(np.quantile(some, 0.99)) if some.size else 0.0


def _open(path: Path) -> Tiff:
    """Opened as a file of the bands that it has: a last band that is called alpha is one where it holds 0 and 255."""
    pages, _ = read_pages(path)
    first = pages[0]
    if first.samples == 1:
        return open_tiff(path, Limits(), len(pages))
    tiff = open_tiff(path, Limits(), first.samples - 1)
    if tiff.alpha and first.samples > 2:
        again = open_tiff(path, Limits(), first.samples)
        last = again.read(0, min(ROWS, again.grid.height))[-1]
        if np.isin(last, (0, 255)).all():
            again.close()
            return tiff
        tiff.close()
        return again
    return tiff


def _whole(pixels: NDArray[np.generic]) -> float | None:
    """(bands, h, w) to the sum that nine in ten pixels with anything in them have, within 2 %."""
    if len(pixels) < 2:
        return None
    sums = pixels.astype(np.float64).sum(axis=0)
    sums = sums[np.isfinite(sums) & (sums != 0)]
    if not sums.size:
        return None
    middle = float(np.median(sums))
    near = np.abs(sums - middle) <= max(abs(middle) * 0.02, 1e-9)
    return middle if near.mean() > 0.9 and middle > 0 else None
