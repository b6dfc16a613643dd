"""Pictures of images and class maps, the same on every page and in every file. Pure: arrays in, colours or bytes out.

Letters: K classes, h rows, w columns. A picture is (h, w, 3), red, green, blue, 0 to 255; nothing is white.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from greenschemas.bands import Band, Role, feature_names
from greenschemas.colours import MARK, NO_DATA, class_colours
from greenschemas.layout import UNLABELLED

__all__ = [
    "Picture",
    "Shot",
    "as_png",
    "class_picture",
    "data_uri",
    "enlarged",
    "labels_of",
    "outlined",
    "thumbnail",
    "tile_row",
    "true_colour",
    "visible_bands",
]

Picture = NDArray[np.uint8]
_OUTLINED = 320
"""Pixels a side to which a picture is enlarged before lines are drawn into it, so that they hide little."""


class Shot(NamedTuple):
    """One picture of a row on a page."""

    name: str
    """What it shows."""
    src: str
    """The picture itself, as a `data:` URI."""


def visible_bands(bands: Sequence[Band]) -> tuple[str, str, str]:
    """Names of the bands shown as red, green and blue: those called so, or else the first three features.

    A band is called by its common name, or by its own where no common name says otherwise.
    """
    shown = [band for band in bands if band.role is not Role.MASK]
    called = {band.name.lower(): band.name for band in shown} | {band.common: band.name for band in shown}
    if {"red", "green", "blue"} <= called.keys():
        return called["red"], called["green"], called["blue"]
    names = feature_names(bands) or tuple(band.name for band in bands)
    red, green, blue = (names[min(i, len(names) - 1)] for i in range(3))
    return red, green, blue


def true_colour(planes: NDArray[Any], usable: NDArray[np.bool_] | None = None) -> Picture:
    """Picture of three bands (3, h, w), each stretched from its 2nd to its 98th percentile over the usable pixels.

    usable: (h, w); by default what is finite, and not 0 in all three.
    """
    values = planes.astype(np.float32)
    finite = np.isfinite(values).all(0)
    usable = finite & (values != 0).any(0) if usable is None else finite & usable
    picture = np.full((*usable.shape, 3), NO_DATA, np.uint8)
    if usable.any():
        seen = values[:, usable]
        low, high = np.percentile(seen, (2, 98), axis=1)
        stretched = (seen - low[:, None]) / np.maximum(high - low, 1e-6)[:, None]
        picture[usable] = (stretched.clip(0, 1) * 255).round().astype(np.uint8).T
    return picture


def labels_of(fraction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w) index of the greatest class of coded fractions (K, h, w); UNLABELLED where there is no label."""
    greatest: NDArray[np.uint8] = np.where(fraction[0] == UNLABELLED, UNLABELLED, fraction.argmax(0)).astype(np.uint8)
    return greatest


def class_picture(label: NDArray[np.uint8], classes: Sequence[str]) -> Picture:
    """Colours of a class map (h, w); what is no class is white."""
    table = np.full((256, 3), NO_DATA, np.uint8)
    table[: len(classes)] = class_colours(classes)
    return table[label]


def outlined(picture: Picture, region: NDArray[np.generic]) -> Picture:
    """The picture, enlarged, with lines where `region` (h, w), True or False or a class, changes.

    What is True is outlined at the border of the picture too.
    """
    picture, region = enlarged(picture, _OUTLINED), enlarged(region, _OUTLINED)
    around = np.pad(region, 1, mode="constant" if region.dtype == np.bool_ else "edge")
    sides = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    line = np.logical_or.reduce([side != region for side in sides])
    return np.where(line[..., None], np.array(MARK, np.uint8), picture)


def enlarged(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """Every pixel repeated until the longer side has at least `side`."""
    times = max(1, -(-side // max(picture.shape[:2])))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def thumbnail(picture: Picture, side: int) -> Picture:
    """Every n-th pixel, so that neither side is longer than `side`."""
    step = max(1, -(-max(picture.shape[:2]) // side))
    return picture[::step, ::step]


def as_png(picture: Picture) -> bytes:
    """PNG file of a picture."""
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, format="PNG")
    return file.getvalue()


def data_uri(picture: Picture) -> str:
    """The picture as a PNG inside a page, for the `src` of an `img`."""
    return "data:image/png;base64," + base64.b64encode(as_png(picture)).decode("ascii")


def tile_row(pictures: Mapping[str, Picture]) -> list[Shot]:
    """Pictures of one place, side by side under their names, in the given order."""
    return [Shot(name, data_uri(picture)) for name, picture in pictures.items()]
