"""The verdict on a pair, from what its headers and its pixels say, by the recipe's limits. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from greenprep.checks.class_codes import code_shares
from greenprep.checks.image import image_findings
from greenprep.checks.mask import mask_findings
from greenprep.checks.measure import PixelStatistics, checksum, darkest, image_digest
from greenprep.checks.verdict import in_order
from greenprep.raw.pair import PairHeader
from greenschemas.bands import Band, Role
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Reason, Verdict
from greenschemas.recipe import MaskRules

__all__ = ["judge"]

PLACES = 6
"""Significant digits of measures in the manifest: sums made in another order agree in these."""


def judge(
    header: PairHeader,
    statistics: PixelStatistics | None,
    bands: Sequence[Band],
    rules: MaskRules,
    limits: Limits,
    *,
    more: Sequence[Reason] = (),
    stamp: str | None = None,
) -> Entry:
    """The manifest line of one pair; `statistics` is None where its image could not be read, `more` says why."""
    reasons = [*header.findings, *more]
    measures: dict[str, float] = {}
    if statistics is not None:
        reasons += image_findings(statistics, header, bands, limits)
        reasons += mask_findings(statistics, rules, limits)
        measures = _measures(statistics, bands, rules.names) | _scaling(header, bands)
    candidate, dtype = header.candidate, header.dtype
    return Entry(
        image=candidate.image,
        mask=candidate.mask,
        group=candidate.group,
        time=candidate.time,
        parts=dict(candidate.parts),
        verdict=Verdict.of(reason.level for reason in reasons),
        reasons=in_order(reasons),
        shape=header.shape,
        dtype=dtype,
        crs=header.crs or None,
        transform=header.transform if header.shape else None,
        checksum=checksum(statistics, dtype) if statistics and dtype else None,
        image_checksum=image_digest(statistics, dtype) if statistics and dtype else None,
        stamp=stamp,
        measures=measures,
    )


def _measures(statistics: PixelStatistics, bands: Sequence[Band], classes: Sequence[str]) -> dict[str, float]:
    """Shares, and mean and deviation by band, for the report and the checks over the collection."""
    pixels, present = max(statistics.pixels, 1), max(statistics.present, 1)
    out = {
        "valid": statistics.valid / pixels,
        "content": statistics.content / pixels,
        "labelled": statistics.labels.labelled / pixels,
        "noise_correlation": float(statistics.texture.correlation.max()),
        "label_fit": statistics.fit.here,
    }
    if statistics.has_flags:
        out["cloud"] = statistics.flagged / pixels
    elif statistics.bright_cloud >= 0:
        out["cloud"] = statistics.bright_cloud / pixels
    mean = statistics.total / present
    std = (statistics.square / present - mean * mean).clip(0) ** 0.5
    for index, band in enumerate(bands):
        out[f"mean.{band.name}"] = float(mean[index])
        out[f"std.{band.name}"] = float(std[index])
    reflectance = [band.name for band in bands if band.role is Role.REFLECTANCE]
    for kind, share in (("dark", 0.01), ("middle", 0.5)):
        found = darkest(statistics.dark, share)
        out |= {f"{kind}.{name}": float(value) for name, value in zip(reflectance, found, strict=True)}
    shares = statistics.class_sum / max(statistics.class_sum.sum(), 1e-12)
    out |= {f"share.{name}": float(share) for name, share in zip(classes, shares, strict=True)}
    out |= code_shares(statistics.labels)
    return {key: float(f"{value:.{PLACES}g}") for key, value in out.items() if math.isfinite(value)}


def _scaling(header: PairHeader, bands: Sequence[Band]) -> dict[str, float]:
    """Side of a pixel, and GDAL's scale and offset of the bands that have any, for the comparison with other files."""
    metres = header.pixel_metres
    out: dict[str, float] = {} if metres is None else {"pixel_metres": float(f"{metres:.{PLACES}g}")}
    for band, (scale, offset) in zip(bands, header.scaling, strict=bool(header.scaling)):
        if (scale, offset) != (1.0, 0.0):
            out |= {f"scale.{band.name}": scale, f"offset.{band.name}": offset}
    return {key: value for key, value in out.items() if math.isfinite(value)}
