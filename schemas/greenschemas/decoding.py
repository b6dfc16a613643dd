"""Stored numbers that are no straight line of what they mean: how they are decoded, and encoded again. Pure.

Letters: C bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EMPTY", "UNIT", "Decoding", "decoded", "encoded"]

UNIT = 127.5
"""Stored number that stands for 1."""
EMPTY = -128
"""Stored number that is no value but a masked pixel, whether or not a tag says so."""


class Decoding(StrEnum):
    """How a value is made of a stored number."""

    SIGNED_SQUARE = "signed_square"
    """sign(v) * (|v| / 127.5)^2, v from -127 to 127: the bytes of AlphaEarth's Satellite Embedding, as the README of
    its bucket has it (developers.google.com/earth-engine/guides/aef_on_gcs_readme)."""


def decoded(numbers: NDArray[Any], how: Sequence[Decoding | None]) -> NDArray[Any]:
    """Values (C, ...) of stored numbers (C, ...): themselves where no band has a decoding, else as float32."""
    if not any(how):
        return numbers
    values = numbers.astype(np.float32)
    for band, one in zip(values, how, strict=True):
        if one is not None:
            band /= np.float32(UNIT)
            band *= np.abs(band)
    return values


def encoded(values: NDArray[np.float32], how: Sequence[Decoding | None]) -> NDArray[np.float32]:
    """The numbers (C, ...), not rounded, that `decoded` makes these values of."""
    if not any(how):
        return values
    numbers = values.copy()
    for band, one in zip(numbers, how, strict=True):
        if one is not None:
            band[...] = np.sign(band) * np.sqrt(np.abs(band)) * np.float32(UNIT)
    return numbers
