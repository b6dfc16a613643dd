"""Which bands of a store become channels of the net: by name, by role, or mixed down by PCA.

Plain arguments: band names, their roles, and the moments of the training pixels. C bands of the store, F chosen ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import FEATURE_ROLES
from greenschemas.errors import ConfigError, nearest

__all__ = ["BandChoice", "choose_bands"]


@dataclass(frozen=True)
class BandChoice:
    """Channels of the net as functions of the store's bands; saved with the run, so that maps are made alike."""

    names: tuple[str, ...]
    """The bands that are read, F of them."""

    components: tuple[tuple[float, ...], ...] | None = None
    """Rows of the PCA, one a channel, F values each, for z-scored bands; None: each band is a channel."""


def choose_bands(
    wanted: str,
    names: Sequence[str],
    roles: Sequence[str],
    *,
    count: float | None = None,
    comoment: NDArray[np.float64] | None = None,
) -> BandChoice:
    """Read `wanted`, of the forms

    - `auto`: every band whose role is reflectance or derived;
    - `role:mask`, `role:reflectance,mask`: every band of these roles;
    - `B4,B8,QA60`: these bands, in this order, whatever their roles;
    - `pca:3`, `pca:3:B2,B3,B4,B8`: components of the bands of `auto`, or of these.

    `count` (pixels) and `comoment` (C, C) are the sums of the training pixels, needed for PCA only. The components are
    those of the correlation matrix, as the net sees z-scored bands; each has its largest coefficient positive.

    Raises ConfigError for names, roles or numbers that are not there.
    """
    if wanted.startswith("pca:"):
        _, number, *rest = wanted.split(":", 2)
        indices = _indices(rest[0] if rest else "auto", names, roles)
        return _principal(number, indices, names, count, comoment)
    indices = _indices(wanted, names, roles)
    return BandChoice(tuple(names[i] for i in indices))


def _indices(wanted: str, names: Sequence[str], roles: Sequence[str]) -> list[int]:
    if wanted == "auto":
        return [i for i, role in enumerate(roles) if role in FEATURE_ROLES]
    if wanted.startswith("role:"):
        kept = [role.strip() for role in wanted[5:].split(",")]
        for role in kept:
            if role not in roles:
                raise ConfigError("bands", f"no band has the role {role!r}", nearest(role, set(roles)))
        return [i for i, role in enumerate(roles) if role in kept]
    chosen = [name.strip() for name in wanted.split(",")]
    for name in chosen:
        if name not in names:
            raise ConfigError("bands", f"there is no band {name!r}", nearest(name, names))
        if chosen.count(name) > 1:
            raise ConfigError("bands", f"{name} is named {chosen.count(name)} times", "name each band once")
    return [list(names).index(name) for name in chosen]


def _principal(
    number: str, indices: list[int], names: Sequence[str], count: float | None, comoment: NDArray[np.float64] | None
) -> BandChoice:
    """The first components of the chosen bands (Hotelling 1933), from their co-moments."""
    if not number.isdigit() or not 1 <= int(number) <= len(indices):
        raise ConfigError("bands", f"pca:{number} of {len(indices)} bands", f"ask for 1 to {len(indices)} components")
    if count is None or comoment is None or count < 2:
        raise ConfigError("bands", "the store has no training statistics", "run `greenprep split` first")
    covariance = np.asarray(comoment, np.float64)[np.ix_(indices, indices)] / (count - 1)
    deviation = np.sqrt(np.diag(covariance))
    flat = [names[i] for i, s in zip(indices, deviation, strict=True) if not s > 0]
    if flat:
        raise ConfigError("bands", f"{', '.join(flat)} never vary in the training pixels", "leave them out of the PCA")
    _, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    rows = vectors.T[::-1][: int(number)]
    rows = rows * np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(1)])[:, None]
    return BandChoice(tuple(names[i] for i in indices), tuple(tuple(float(x) for x in row) for row in rows))
