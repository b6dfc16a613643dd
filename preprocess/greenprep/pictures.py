"""Small pictures for reports: true colour, class colours, and PNG bytes. Pure: arrays in, bytes out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import Band, Role
from greenschemas.layout import FRACTION_SCALE, UNLABELLED

__all__ = ["CLASS_COLOURS", "class_picture", "png", "thumbnail", "true_colour"]

CLASS_COLOURS = ("#9a9a9a", "#b5d56a", "#2e7d32", "#3b7dd8", "#d9a441", "#8e5bb5", "#d65f5f", "#4fb3a9")
"""In the order of the classes; repeated where there are more."""


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


def class_picture(fraction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) picture of coded fractions (K, h, w): class colours mixed by share; black where there is no label."""
    colours = np.array([_rgb(CLASS_COLOURS[k % len(CLASS_COLOURS)]) for k in range(len(fraction))], np.float64)
    shares = np.where(fraction == UNLABELLED, 0, fraction) / FRACTION_SCALE
    mixed: NDArray[np.uint8] = np.clip(np.einsum("khw,kc->hwc", shares, colours), 0, 255).astype(np.uint8)
    return mixed


def thumbnail(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Every n-th pixel of a picture, so that neither side is longer than `side`."""
    step = max(1, -(-max(picture.shape[:2]) // side))
    return picture[::step, ::step]


def png(picture: NDArray[np.uint8]) -> bytes:
    """PNG file of a (h, w, 3) picture (ISO/IEC 15948: 8-bit RGB, no filter)."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + _chunk(
        b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
