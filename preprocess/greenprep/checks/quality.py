"""Quality bands that mask nothing: their bits are not known, or their numbers cannot be that band's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from greenprep.checks.measure import PixelStatistics
from greenprep.findings import finding
from greenschemas.bands import Band, Role
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Reason
from greenschemas.values import QUALITY

__all__ = ["quality_findings"]

SILENT = frozenset({"qa10", "qa20", "msk_classi_snow_ice", "qa_radsat", "sr_qa_aerosol", "st_qa"})
"""Quality bands that are known, and say nothing of clouds: Sentinel-2's empty ones and snow, Landsat Collection 2's
saturation, aerosol and temperature."""


def quality_findings(statistics: PixelStatistics, bands: Sequence[Band], limits: Limits) -> Iterator[Reason]:
    """A finding for each mask band that holds something and yet masks nothing."""
    for i, band in enumerate(bands):
        name = band.name.casefold()
        low, high = float(statistics.low[i]), float(statistics.high[i])
        if band.role is not Role.MASK or name in SILENT or (low, high) == (0, 0):
            continue
        rule = QUALITY.get(name)
        if rule is None:
            limit = f"one of {', '.join(sorted(QUALITY))}"
            found = f"`{band.name}` ({low:g} to {high:g}) has a name whose bits are not known"
            yield finding(Code.QUALITY_UNKNOWN, "image", found, limit=limit, limits=limits)
        elif high > rule.highest:
            found = f"`{band.name}` holds {high:g}"
            yield finding(Code.QUALITY_UNKNOWN, "image", found, limit=f"at most {rule.highest}", limits=limits)
