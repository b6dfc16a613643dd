"""Does a store hold values that were cut to 8 bits on the way? Such noise looks like data, and trains nothing."""

from __future__ import annotations

from greenschemas.bands import Role
from greenschemas.contract import Contract
from greenschemas.value_checks import looks_wrapped

__all__ = ["wrapped_store"]


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
