"""Are these values in the units that the net learnt? Data scaled or wrapped on the way look like data, and are not.

Two failures leave plain traces in the moments of the bands: a scene in other units (0..1, divided by 255, stretched to
8 bits) has the levels of the store times some power of ten, in all bands alike; and 16-bit values cast to 8 bits modulo
256 fill 0..255 evenly, with mean 127.5 and deviation 73.9, in every band that is wider than 256.

Letters: C bands, N pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import Role
from greenschemas.contract import Contract
from greenschemas.errors import SourceError

__all__ = ["check_units", "looks_wrapped", "usual_levels", "wrapped_store"]

_FACTOR = 30.0
"""Levels that differ by more, in the median band, are no other season or place: 8 bits of 0..10000 differ by 39."""
_EVEN_MEAN, _EVEN_STD = 127.5, 73.9
"""Of values that fill 0..255 evenly."""


def looks_wrapped(mean: Sequence[float], std: Sequence[float], low: Sequence[float], high: Sequence[float]) -> bool:
    """Whether at least half of the bands, and at least three, fill 0..255 evenly. All arguments (C,)."""
    even = [
        least >= 0 and most <= 255 and abs(m - _EVEN_MEAN) < 25 and abs(s - _EVEN_STD) < 12
        for m, s, least, most in zip(mean, std, low, high, strict=True)
    ]
    return sum(even) >= max(3, len(even) / 2)


def wrapped_store(contract: Contract) -> str | None:
    """In words, why the store seems to hold wrapped values; None if it does not, or has no statistics yet."""
    if contract.statistics is None:
        return None
    stats = [
        s for band, s in zip(contract.bands, contract.statistics.bands, strict=True) if band.role is Role.REFLECTANCE
    ]
    if not looks_wrapped(
        [s.mean for s in stats], [s.std for s in stats], [s.minimum for s in stats], [s.maximum for s in stats]
    ):
        return None
    return "the reflectance bands fill 0..255 evenly, as 16-bit values do that were cast to 8 bits modulo 256: noise"


def usual_levels(contract: Contract, bands: Sequence[str]) -> tuple[float, ...]:
    """(C,) mean over the training pixels of each band; NaN where it is no reflectance, or not known."""
    if contract.statistics is None:
        return (math.nan,) * len(bands)
    known = {
        band.name: stats.mean
        for band, stats in zip(contract.bands, contract.statistics.bands, strict=True)
        if band.role is Role.REFLECTANCE
    }
    return tuple(known.get(name, math.nan) for name in bands)


def check_units(path: Path, values: NDArray[Any], usual: Sequence[float]) -> None:
    """Raise SourceError where values (C, N) of a scene cannot be in the units in which `usual` (C,) are the means."""
    level = np.array(usual, np.float64)
    used = np.isfinite(level) & (level > 0)
    if not used.any() or values.shape[1] == 0:
        return
    here = values[used].astype(np.float64)
    found, learnt = here.mean(1), level[used]
    ratio = float(np.median(np.maximum(found, 0) / learnt))
    if not 1 / _FACTOR < ratio < _FACTOR:
        raise SourceError(
            path,
            f"its values are about {ratio:.3g} times those that the net learnt from "
            f"(band means {np.median(found):.4g}, in training {np.median(learnt):.4g})",
            "give the scene in the units of the store, neither rescaled nor divided",
        )
    if np.median(learnt) > 255 and looks_wrapped(*(list(f(here, axis=1)) for f in (np.mean, np.std, np.min, np.max))):
        raise SourceError(
            path,
            "its bands fill 0..255 evenly, as 16-bit values do that were cast to 8 bits modulo 256",
            "export the scene again as 16 bits: what was cut off cannot be had back",
        )
