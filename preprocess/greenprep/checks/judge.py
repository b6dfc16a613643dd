"""Verdicts: from what the headers and the pixels of a pair say, by the recipe's limits. Pure: no file is opened here.

`measure_pixels` a strip, add the evidence up, `judge` the pair; when all pairs are judged, `judge_collection`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from greenprep.checks.collection import judge_collection
from greenprep.checks.evidence import PixelStatistics, checksum, image_digest, measure_pixels
from greenprep.checks.image import image_findings
from greenprep.checks.mask import mask_findings
from greenprep.checks.verdict import in_order, verdict_of
from greenprep.findings import About, finding
from greenprep.raw.pair import PairHeader
from greenprep.raw.tiff_header import BadFile
from greenschemas.manifest import Entry, Reason
from greenschemas.recipe import Recipe

__all__ = ["PixelStatistics", "bad_file", "judge", "judge_collection", "measure_pixels"]

PLACES = 6
"""Significant digits of measures in the manifest: sums made in another order agree in these."""


def judge(
    facts: PairHeader,
    evidence: PixelStatistics | None,
    recipe: Recipe,
    *,
    more: Sequence[Reason] = (),
    stamp: str | None = None,
) -> Entry:
    """The manifest line of one pair; `evidence` is None where its image could not be read, `more` says why."""
    reasons = [*facts.findings, *more]
    measures: dict[str, float] = {}
    if evidence is not None:
        reasons += image_findings(evidence, facts, recipe)
        reasons += mask_findings(evidence, recipe)
        measures = _measures(evidence, recipe)
    candidate, dtype = facts.candidate, facts.dtype
    return Entry(
        image=candidate.image,
        mask=candidate.mask,
        group=candidate.group,
        time=candidate.time,
        parts=dict(candidate.parts),
        verdict=verdict_of(reasons),
        reasons=in_order(reasons),
        shape=facts.shape,
        dtype=dtype,
        crs=facts.crs or None,
        transform=facts.transform if facts.shape else None,
        checksum=checksum(evidence, dtype) if evidence and dtype else None,
        image_checksum=image_digest(evidence, dtype) if evidence and dtype else None,
        stamp=stamp,
        measures=measures,
    )


def bad_file(problem: BadFile, about: About, recipe: Recipe) -> Reason:
    """The finding for a file that could not be read to its end."""
    return finding(
        problem.code, about, problem.found, limit="a readable TIFF", limits=recipe.limits, remedy=problem.remedy
    )


def _measures(evidence: PixelStatistics, recipe: Recipe) -> dict[str, float]:
    """Shares, and mean and deviation by band, for the report and the checks over the collection."""
    pixels, present = max(evidence.pixels, 1), max(evidence.present, 1)
    out = {
        "valid": evidence.valid / pixels,
        "content": evidence.content / pixels,
        "labelled": evidence.labels.labelled / pixels,
        "noise_correlation": float(evidence.texture.correlation.max()),
        "label_fit": evidence.fit.here,
    }
    if evidence.has_flags:
        out["cloud"] = evidence.flagged / pixels
    elif evidence.bright_cloud >= 0:
        out["cloud"] = evidence.bright_cloud / pixels
    mean = evidence.total / present
    std = (evidence.square / present - mean * mean).clip(0) ** 0.5
    for index, band in enumerate(recipe.bands):
        out[f"mean.{band.name}"] = float(mean[index])
        out[f"std.{band.name}"] = float(std[index])
    shares = evidence.class_sum / max(evidence.class_sum.sum(), 1e-12)
    out |= {f"share.{name}": float(share) for name, share in zip(recipe.mask.classes, shares, strict=True)}
    return {key: float(f"{value:.{PLACES}g}") for key, value in out.items() if math.isfinite(value)}
