"""What `greenprep synth` plants: defects that a cleaner must name, and unusual encodings of good data."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from greenschemas.bands import SENTINEL2_L1C_19

__all__ = ["DEFECTS", "ENCODINGS", "Raw", "write_raw"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Raw:
    """An image and its mask before they are written."""

    image: Array
    """(C, H, W)."""
    mask: Array
    """(K, H, W)."""
    origin: tuple[float, float]
    """(easting, northing) of the upper left corner, in metres."""
    mask_moved: float = 0
    """Metres by which the mask's georeference lies too far east."""
    crs: str = "EPSG:32618"
    mask_crs: str = "EPSG:32618"
    south_up: bool = False
    paged: bool = False
    channel_last: bool = False
    mask_ending: str = ".tif"
    options: tuple[tuple[str, Any], ...] = ()
    """Creation options of the image."""


Spoil = Callable[[Raw, np.random.Generator], Raw]


def _nan_image(raw: Raw, rng: np.random.Generator) -> Raw:
    image = raw.image.astype(np.float32)
    image[2, 5:20, 5:20] = np.nan
    return replace(raw, image=image)


def _nan_mask(raw: Raw, rng: np.random.Generator) -> Raw:
    mask = raw.mask.copy()
    mask[:, 8:14, 8:14] = np.nan
    return replace(raw, mask=mask)


def _almost_empty(raw: Raw, rng: np.random.Generator) -> Raw:
    image = np.zeros_like(raw.image)
    image[:, 0, :16] = raw.image[:, 0, :16]
    return replace(raw, image=image)


def _noise(raw: Raw, rng: np.random.Generator) -> Raw:
    image = raw.image.copy()
    image[:13] = rng.integers(1, 9_000, image[:13].shape)
    return replace(raw, image=image)


def _saturated(raw: Raw, rng: np.random.Generator) -> Raw:
    image = raw.image.copy()
    image[:13, : len(image[0]) // 2] = 65_535
    return replace(raw, image=image)


def _dead_band(raw: Raw, rng: np.random.Generator) -> Raw:
    image = raw.image.copy()
    image[3] = 700
    return replace(raw, image=image)


def _repeated_band(raw: Raw, rng: np.random.Generator) -> Raw:
    image = raw.image.copy()
    image[4] = image[3]
    return replace(raw, image=image)


DEFECTS: dict[str, Spoil | None] = {
    "twelve_bands": lambda raw, rng: replace(raw, image=raw.image[:12]),
    "four_class_mask": lambda raw, rng: replace(raw, mask=raw.mask[:4]),
    "nan_image": _nan_image,
    "nan_mask": _nan_mask,
    "black_image": lambda raw, rng: replace(raw, image=np.zeros_like(raw.image)),
    "almost_empty_image": _almost_empty,
    "empty_mask": lambda raw, rng: replace(raw, mask=np.zeros_like(raw.mask)),
    "noise": _noise,
    "constant_image": lambda raw, rng: replace(
        raw, image=np.broadcast_to(raw.image[:, :1, :1], raw.image.shape).copy()
    ),
    "dead_band": _dead_band,
    "repeated_band": _repeated_band,
    "saturated": _saturated,
    "wrapped": lambda raw, rng: replace(raw, image=(raw.image % 256).astype(np.uint8)),
    "scaled_to_one": lambda raw, rng: replace(raw, image=raw.image.astype(np.float32) / 10_000),
    "short_mask": lambda raw, rng: replace(raw, mask=raw.mask[:, :-5]),
    "sums_to_two": lambda raw, rng: replace(raw, mask=raw.mask * 2),
    "moved_mask": lambda raw, rng: replace(raw, mask_moved=310),
    "other_crs": lambda raw, rng: replace(raw, mask_crs="EPSG:32633"),
    "missing_mask": None,
    "truncated": None,
    "no_bytes": None,
    "html_page": None,
    "git_lfs_pointer": None,
    "duplicate": None,
}
"""By name; None: done to the files in `write_raw`."""

ENCODINGS: dict[str, Spoil] = {
    "term_ending": lambda raw, rng: replace(raw, mask_ending=".term.tif"),
    "paged": lambda raw, rng: replace(raw, paged=True),
    "channel_last": lambda raw, rng: replace(raw, channel_last=True),
    "as_uint32": lambda raw, rng: replace(raw, image=raw.image.astype(np.uint32)),
    "as_float64": lambda raw, rng: replace(raw, image=raw.image.astype(np.float64)),
    "percent_mask": lambda raw, rng: replace(raw, mask=np.rint(raw.mask * 100).astype(np.uint8)),
    "south_up": lambda raw, rng: replace(raw, south_up=True),
    "one_row_less": lambda raw, rng: replace(raw, mask=raw.mask[:, :-1]),
    "tiled": lambda raw, rng: replace(
        raw, options=(("tiled", True), ("blockxsize", 64), ("blockysize", 64), ("compress", "lzw"))
    ),
    "bigtiff": lambda raw, rng: replace(raw, options=(("BIGTIFF", "YES"),)),
}


OTHER_BYTES = {
    "no_bytes": b"",
    "html_page": b"<!DOCTYPE html><title>504 Gateway Time-out</title>\n",
    "git_lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}
"""What takes the place of the image."""


def write_raw(image: Path, mask: Path, raw: Raw, kind: str | None, rng: np.random.Generator, first: Raw) -> None:
    """Write a pair, with the defect or in the encoding that `kind` names; a duplicate repeats `first`."""
    spoil = {**DEFECTS, **ENCODINGS}.get(kind or "")
    if spoil is not None:
        raw = spoil(raw, rng)
    if kind == "duplicate":
        raw = replace(raw, image=first.image, mask=first.mask)
    mask = mask.with_name(mask.name.removesuffix(".tif") + raw.mask_ending)
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        _write_image(image, raw)
        if kind != "missing_mask":
            _write(mask, raw.mask, raw.origin[0] + raw.mask_moved, raw.origin[1], raw.mask_crs)
    if kind == "truncated":
        image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    elif kind in OTHER_BYTES:
        image.write_bytes(OTHER_BYTES[kind])


def _write_image(path: Path, raw: Raw) -> None:
    data = raw.image
    if raw.paged:
        for page, band in enumerate(data):
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                height=data.shape[1],
                width=data.shape[2],
                count=1,
                dtype=data.dtype,
                APPEND_SUBDATASET="YES" if page else "NO",
            ) as sink:
                sink.write(band, 1)
    elif raw.channel_last:
        _write(path, np.moveaxis(data, 0, -1), *raw.origin, raw.crs)
    else:
        names = tuple(band.name for band in SENTINEL2_L1C_19[: len(data)])
        _write(path, data, *raw.origin, raw.crs, names=names, south_up=raw.south_up, **dict(raw.options))


def _write(
    path: Path,
    data: Array,
    east: float,
    north: float,
    crs: str,
    *,
    names: tuple[str, ...] | None = None,
    south_up: bool = False,
    **options: Any,
) -> None:
    transform = Affine(10, 0, east, 0, -10, north)
    if south_up:
        data = data[:, ::-1]
        transform = Affine(10, 0, east, 0, 10, north - 10 * data.shape[1])
    with rasterio.open(
        path,
        "w",
        **(
            {
                "driver": "GTiff",
                "height": data.shape[1],
                "width": data.shape[2],
                "count": data.shape[0],
                "dtype": data.dtype.name,
                "crs": crs,
                "transform": transform,
                "compress": "deflate",
            }
            | options
        ),
    ) as sink:
        sink.write(np.ascontiguousarray(data))
        if names:
            sink.descriptions = names
