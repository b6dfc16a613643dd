"""From raw bands to what a net sees, by the statistics of the train split, the same for training and prediction.

Letters: B tiles, C bands read, P channels the net sees, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import Role, decodings
from greenschemas.contract import Contract
from greenschemas.decoding import Decoding
from greenschemas.errors import ConfigError
from greentrain.data.compose import gather_normalised

__all__ = ["Normaliser", "band_positions", "build_normaliser", "lit_channels"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Normaliser:
    """Decoded where a band has a decoding, (value - mean) * scale, clipped, 0 where invalid; then a projection."""

    bands: tuple[str, ...]
    """Names of the C bands that it reads."""
    mean: Floats
    """(C,) in the units of the store."""
    scale: Floats
    """(C,) one over the standard deviation; 0 for a dead band, so that it gives 0 and never NaN."""
    clip: float | None = None
    """Greatest absolute value, in standard deviations."""
    projection: Floats | None = None
    """(P, C) applied to the normalised bands, such as principal components."""
    how: tuple[Decoding | None, ...] = ()
    """(C,) what makes values of the numbers of each band; empty: they are the values."""

    @property
    def channels(self) -> int:
        """P."""
        return len(self.bands) if self.projection is None else len(self.projection)

    def __call__(self, raw: NDArray[Any], valid: NDArray[np.bool_]) -> Floats:
        """(B, P, H, W) of raw values (B, C, H, W) and validity (B, H, W)."""
        out, rows = np.empty(raw.shape, np.float32), np.arange(len(raw))
        usable = np.ascontiguousarray(valid).view(np.uint8)
        values = np.ascontiguousarray(raw)
        gather_normalised(values, usable, rows, rows, self.mean, self.scale, self.clip, out, how=self.how)
        return self.project(out)

    def project(self, normalised: Floats) -> Floats:
        """(B, P, H, W) of normalised bands (B, C, H, W): themselves where there is no projection."""
        if self.projection is None:
            return normalised
        projected: Floats = np.einsum("pc,bchw->bphw", self.projection, normalised, optimize=True)
        return projected


def band_positions(contract: Contract, names: Sequence[str], where: str) -> list[int]:
    """Positions of bands on the store's band axis; raises ConfigError for those that `where` does not have."""
    known = [band.name for band in contract.bands]
    if missing := [name for name in names if name not in known]:
        raise ConfigError("bands", f"{', '.join(missing)} not in {where}", f"it has {', '.join(known)}")
    return [known.index(name) for name in names]


def build_normaliser(
    contract: Contract,
    bands: Sequence[str] | None = None,
    *,
    method: Literal["channel", "global"] = "channel",
    clip: float | None = None,
    projection: Floats | None = None,
) -> Normaliser:
    """The normaliser of some bands (None: the contract's features) by the contract's statistics.

    `channel` takes each band's own mean and deviation, `global` those of all feature bands together.
    Raises ConfigError for a band that the contract does not have and for a contract without statistics.
    """
    names = contract.features if bands is None else tuple(bands)
    at = band_positions(contract, names, "the store")
    if not names:
        known = ", ".join(band.name for band in contract.bands)
        raise ConfigError("bands", "no feature band: all are masks or dead", f"name some of {known}")
    if contract.statistics is None:
        raise ConfigError("normalise", "the store has no statistics", "run `greenprep split` on it")
    stats = [contract.statistics.bands[i] for i in at]
    std = np.array([s.std for s in stats])
    mean = np.array([s.mean for s in stats])
    if method == "global":
        mean = np.full_like(mean, contract.statistics.global_mean)
        std = np.where(std > 0, contract.statistics.global_std, 0.0)
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    how = decodings(contract.bands[i] for i in at)
    as_floats = mean.astype(np.float32), scale.astype(np.float32)
    return Normaliser(names, *as_floats, clip, projection, how if any(how) else ())


def lit_channels(contract: Contract, normaliser: Normaliser) -> tuple[bool, ...]:
    """(P,) whether light makes a channel what it is, so that haze and a change of light change it: reflectances.

    Principal components are, if any of their bands is.
    """
    roles = {band.name: band.role for band in contract.declared_bands}
    lit = tuple(roles[name] is Role.REFLECTANCE for name in normaliser.bands)
    return lit if normaliser.projection is None else (any(lit),) * normaliser.channels
