"""Are the numbers of bands that are no reflectances in the units of most? Decibels or power, bytes or values. Pure.

What `greenprep clean` asks of files and `greentrain predict` of scenes. Letters: B bands of one role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from greenschemas.bands import Band, Role

__all__ = ["Apart", "Size", "apart"]

_LIMITS = {Role.RADAR: 8.0, Role.EMBEDDING: 8.0, Role.DERIVED: 100.0}
"""Ratio of sizes beyond which no ground explains it. Decibels are 4 to 30 in size, power and amplitude below 1;
embeddings have one length, and their bytes are some 300 times that; indices differ by what they are multiplied by.
Elevations are left out: coasts and mountains differ by as much as any units."""


class Size(NamedTuple):
    """How large the numbers of a band are, over some pixels."""

    mean: float
    std: float

    @property
    def rms(self) -> float:
        """Root mean square."""
        return float(np.hypot(self.mean, self.std))


class Apart(NamedTuple):
    """Bands of one role whose numbers are in other units than the usual ones."""

    role: Role
    ratio: float
    """Median over the bands of size here over size usually."""
    cause: str
    """In words."""


def apart(bands: Sequence[Band], here: Mapping[str, Size], usual: Mapping[str, Size]) -> Apart | None:
    """The first role whose sizes, by name of the band, lie apart as units do in the median; None where none does."""
    for role, limit in _LIMITS.items():
        names = [band.name for band in bands if band.role is role and band.name in here and band.name in usual]
        pairs = [(here[name], usual[name]) for name in names if usual[name].rms > 0 and here[name].rms > 0]
        if not pairs:
            continue
        ratio = float(np.median([one.rms / other.rms for one, other in pairs]))
        if max(ratio, 1 / ratio) > limit:
            return Apart(role, ratio, _cause(role, ratio, pairs))
    return None


def _cause(role: Role, ratio: float, pairs: Sequence[tuple[Size, Size]]) -> str:
    if role is Role.EMBEDDING:
        return "decoded values where bytes are usual" if ratio < 1 else "bytes where decoded values are usual"
    if role is Role.RADAR:
        below = [float(np.median([pair[which].mean for pair in pairs])) < 0 for which in (0, 1)]
        if below == [False, True]:
            return "power or amplitude where decibels are usual (decibels are 10 log10 of the power)"
        if below == [True, False]:
            return "decibels where power or amplitude is usual"
    return "they were multiplied by something"
