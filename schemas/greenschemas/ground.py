"""How large pixels are on the ground. Pure."""

from __future__ import annotations

import math

__all__ = ["DEGREE", "pixel_sides"]

DEGREE = math.pi * 6_371_007.18 / 180
"""Metres in a degree of latitude, on a sphere as large as the Earth (authalic radius): good to half a percent."""


def pixel_sides(
    transform: tuple[float, float, float, float, float, float], shape: tuple[int, int], kind: str, unit: float
) -> tuple[float, float] | None:
    """(height, width) in metres of a pixel in the middle of a raster; None where nothing says where it lies.

    kind: `none`, `geographic` (degrees), `web_mercator` (metres at the equator) or `projected`, whose `unit` is so many
    metres. shape: rows and columns.
    """
    a, b, _, d, e, f = transform
    tall, wide = math.hypot(b, e), math.hypot(a, d)
    if kind == "none" or transform == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0):
        return None
    middle = d * shape[1] / 2 + e * shape[0] / 2 + f
    if kind == "geographic":
        return tall * DEGREE, wide * DEGREE * math.cos(math.radians(middle))
    shrink = 1 / math.cosh(middle / 6_378_137.0) if kind == "web_mercator" else 1.0
    return tall * unit * shrink, wide * unit * shrink
