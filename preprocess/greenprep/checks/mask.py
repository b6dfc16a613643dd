"""Checks of a mask's labels and of how they fit the image, from a pair's evidence. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from greenprep.checks.evidence import PixelStatistics
from greenprep.findings import finding
from greenschemas.codes import Code
from greenschemas.manifest import Reason
from greenschemas.recipe import Recipe

__all__ = ["mask_findings"]

GAIN = 0.08
"""By how much a shifted place must fit better to be believed."""


def mask_findings(evidence: PixelStatistics, recipe: Recipe) -> list[Reason]:
    """All findings about the mask; none where it could not be read, which the header's findings say."""
    if evidence.labels.pixels == 0:
        return []
    found = [*_broken(evidence, recipe)]
    if evidence.labels.labelled == 0:
        found.append(
            finding(Code.MASK_EMPTY, "mask", "no pixel has a label", limit="at least one", limits=recipe.limits)
        )
    elif evidence.single:
        name = recipe.mask.classes[int(evidence.class_sum.argmax())]
        found.append(
            finding(Code.SINGLE_CLASS, "mask", f"all of it is {name}", limit="two classes", limits=recipe.limits)
        )
    return [*found, *_fit(evidence, recipe)]


def _broken(evidence: PixelStatistics, recipe: Recipe) -> Iterator[Reason]:
    labels, limits = evidence.labels, recipe.limits
    allowed = limits.bad_labels_max * labels.pixels
    if labels.out_of_range > allowed:
        yield finding(
            Code.MASK_RANGE,
            "mask",
            f"{labels.out_of_range / labels.pixels:.2%} of the pixels",
            limit=f"{limits.bad_labels_max:.2%} of the pixels outside 0..1",
            limits=limits,
        )
    if labels.bad_sum > allowed:
        yield finding(
            Code.MASK_SUM,
            "mask",
            f"fractions of {labels.bad_sum / labels.pixels:.2%} of the pixels sum to "
            f"other than 1, up to {labels.worst_sum:.4g}",
            limit=f"1 within {limits.sum_tolerance:g}",
            limits=limits,
        )
    if labels.unknown:
        yield finding(
            Code.UNKNOWN_INDEX,
            "mask",
            f"{labels.unknown_value:g} and the like in {labels.unknown / labels.pixels:.2%} of the pixels",
            limits=limits,
            limit=f"0 to {len(recipe.mask.classes) - 1}",
        )
    if labels.nan:
        yield finding(
            Code.MASK_NAN,
            "mask",
            f"{labels.nan / labels.pixels:.2%} of the pixels",
            limits=limits,
            limit="a declared value for no label",
        )
    if labels.zero:
        yield finding(
            Code.MASK_ZERO,
            "mask",
            f"{labels.zero / labels.pixels:.2%} of the pixels",
            limits=limits,
            limit="fractions that sum to 1",
        )


def _fit(evidence: PixelStatistics, recipe: Recipe) -> Iterator[Reason]:
    here = evidence.fit.here
    cloud = evidence.flagged if evidence.has_flags else evidence.bright_cloud
    hidden = cloud > recipe.limits.cloud_max * evidence.pixels
    missing = evidence.pixels - evidence.content > recipe.limits.nodata_max * evidence.pixels
    if math.isnan(here) or hidden or missing:
        return  # Where there is cloud or nothing, there are no edges that labels could fit.
    best, (rows, cols) = evidence.fit.best
    limit = recipe.limits.edge_correlation
    if here < limit or ((rows, cols) != (0, 0) and best > here + GAIN):
        yield finding(
            Code.MISALIGNED,
            "pair",
            f"edges of labels and image correlate by {here:.2f} in place, by "
            f"{best:.2f} moved by {rows} rows and {cols} columns",
            limits=recipe.limits,
            limit=f"{limit:g} in place, and best there",
        )
