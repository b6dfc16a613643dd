"""Bands that are no reflectances, in other units than the recipe says or than most files are in. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from greenprep.checks.measure import PixelStatistics
from greenprep.findings import finding
from greenschemas.bands import Band
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Reason
from greenschemas.unit_checks import Size, apart

__all__ = ["mixed_units", "undecodable"]

_DECODED = 1.1
"""Least number that values from -1 to 1 never reach, and bytes of any embedding do."""
_ENOUGH = 3
"""Files with which nothing can be called usual, or fewer."""


def undecodable(
    statistics: PixelStatistics, dtype: str | None, bands: Sequence[Band], limits: Limits
) -> Iterator[Reason]:
    """A finding where bands with a decoding do not hold numbers from -127 to 127, or only values from -1 to 1."""
    at = [i for i, band in enumerate(bands) if band.decode is not None]
    if not at or not str(dtype).startswith("float"):
        return
    most = float(np.abs([statistics.low[at], statistics.high[at]]).max())
    if most < _DECODED or most > 127:
        found = f"{bands[at[0]].name} and the like hold up to {most:.3g} as {dtype}"
        limit = f"-127 to 127, which `decode: {bands[at[0]].decode}` makes values of"
        yield finding(Code.UNDECODABLE, "image", found, limit=limit, limits=limits)


def mixed_units(
    entries: Sequence[Entry], alive: Sequence[int], bands: Sequence[Band], limits: Limits
) -> Iterator[tuple[int, Reason]]:
    """(index, finding) of the files that are in other units than most, as `greentrain predict` judges scenes."""
    # Fill that no tag declares has a size of its own, and is told by itself.
    filled = {i for i in alive if any(reason.code == Code.UNDECLARED_NODATA for reason in entries[i].reasons)}
    sizes = {i: _sizes(entries[i], bands) for i in alive if i not in filled}
    if len(sizes) <= _ENOUGH:
        return
    names = {name for one in sizes.values() for name in one}
    usual = {}
    for name in names:
        ordered = sorted((one[name] for one in sizes.values() if name in one), key=lambda size: size.rms)
        usual[name] = ordered[len(ordered) // 2]
    for i, here in sizes.items():
        if (unlike := apart(bands, here, usual)) is not None:
            found = f"{unlike.role} bands about {unlike.ratio:.3g} times those of most files: {unlike.cause}"
            yield i, finding(Code.OTHER_UNITS, "image", found, limit="one unit", limits=limits)


def _sizes(entry: Entry, bands: Sequence[Band]) -> dict[str, Size]:
    keys = {band.name: (f"mean.{band.name}", f"std.{band.name}") for band in bands}
    return {
        name: Size(entry.measures[mean], entry.measures[std])
        for name, (mean, std) in keys.items()
        if mean in entry.measures and std in entry.measures
    }
