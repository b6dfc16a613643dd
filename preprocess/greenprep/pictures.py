"""Small pictures for reports: true colour, class colours, and PNG bytes. Pure: arrays in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from greenschemas.bands import Band, Role
from greenschemas.colours import class_colours
from greenschemas.layout import FRACTION_SCALE, UNLABELLED

__all__ = ["class_picture", "png", "thumbnail", "true_colour"]


def true_colour(image: NDArray[Any], bands: Sequence[Band]) -> NDArray[np.uint8]:
    """(h, w, 3) picture of an image (C, h, w): red, green and blue by name, or the first bands; 2 to 98 percent."""
    at = {band.common: i for i, band in enumerate(bands) if band.role is not Role.MASK}
    chosen = [at.get(name, i % len(image)) for i, name in enumerate(("red", "green", "blue"))]
    picture = np.moveaxis(image[chosen], 0, -1).astype(np.float64)
    finite = picture[np.isfinite(picture)]
    low, high = np.percentile(finite, (2, 98)) if finite.size else (0, 1)
    scaled = (picture - low) / (high - low if high > low else 1)
    bytes_: NDArray[np.uint8] = (np.clip(np.nan_to_num(scaled), 0, 1) * 255).astype(np.uint8)
    return bytes_


def class_picture(fraction: NDArray[np.uint8], classes: Sequence[str]) -> NDArray[np.uint8]:
    """(h, w, 3) picture of coded fractions (K, h, w): class colours mixed by share; black where there is no label."""
    colours = np.array(class_colours(classes), np.float64)
    shares = np.where(fraction == UNLABELLED, 0, fraction) / FRACTION_SCALE
    mixed: NDArray[np.uint8] = np.clip(np.einsum("khw,kc->hwc", shares, colours), 0, 255).astype(np.uint8)
    return mixed


def thumbnail(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Every n-th pixel of a picture, so that neither side is longer than `side`."""
    step = max(1, -(-max(picture.shape[:2]) // side))
    return picture[::step, ::step]


def png(picture: NDArray[np.uint8]) -> bytes:
    """PNG file of a (h, w, 3) picture."""
    file = BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()
