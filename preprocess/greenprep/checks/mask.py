"""Checks of a mask's labels and of how they fit the image, from a pair's statistics. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from greenprep.checks.class_codes import allowed_codes, listed, with_codes
from greenprep.checks.measure import PixelStatistics
from greenprep.findings import finding
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Reason
from greenschemas.recipe import MaskRules

__all__ = ["mask_findings"]

_WHOLE = "if the numbers are bytes or the like, say what a whole pixel is written as: `whole: 255` under `mask`"
GAIN = 0.08
"""By how much a shifted place must fit better to be believed."""


def mask_findings(statistics: PixelStatistics, rules: MaskRules, limits: Limits) -> list[Reason]:
    """All findings about the mask; none where it could not be read, which the header's findings say."""
    if statistics.labels.pixels == 0:
        return []
    found = [*_broken(statistics, rules, limits)]
    if statistics.labels.tagged:
        share = statistics.labels.tagged / statistics.labels.pixels
        said = f"the nodata tag stands in {share:.2%} of the pixels and is what the recipe takes for a label"
        found.append(finding(Code.NODATA_CLASS, "mask", said, limit="a value that is no class", limits=limits))
    if statistics.labels.labelled == 0:
        found.append(finding(Code.MASK_EMPTY, "mask", "no pixel has a label", limit="at least one", limits=limits))
    elif statistics.single:
        name = rules.names[int(statistics.class_sum.argmax())]
        found.append(finding(Code.SINGLE_CLASS, "mask", f"all of it is {name}", limit="two classes", limits=limits))
    return [*found, *_fit(statistics, limits)]


def _broken(statistics: PixelStatistics, rules: MaskRules, limits: Limits) -> Iterator[Reason]:
    labels = statistics.labels
    allowed = limits.bad_labels_max * labels.pixels
    if labels.out_of_range > allowed:
        yield finding(
            Code.MASK_RANGE,
            "mask",
            f"{labels.out_of_range / labels.pixels:.2%} of the pixels",
            limit=f"{limits.bad_labels_max:.2%} of the pixels outside 0..1",
            limits=limits,
            remedy=_WHOLE if rules.rest is not None and rules.whole is None else None,
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
            listed(labels, rules),
            limits=limits,
            limit=allowed_codes(rules),
            remedy=with_codes(labels, rules),
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


def _fit(statistics: PixelStatistics, limits: Limits) -> Iterator[Reason]:
    here = statistics.fit.here
    cloud = statistics.flagged if statistics.has_flags else statistics.bright_cloud
    hidden = cloud > limits.cloud_max * statistics.pixels
    missing = statistics.pixels - statistics.content > limits.nodata_max * statistics.pixels
    if math.isnan(here) or hidden or missing:
        return  # Where there is cloud or nothing, there are no edges that labels could fit.
    best, (rows, cols) = statistics.fit.best
    limit = limits.edge_correlation
    if here < limit or ((rows, cols) != (0, 0) and best > here + GAIN):
        yield finding(
            Code.MISALIGNED,
            "pair",
            f"edges of labels and image correlate by {here:.2f} in place, by "
            f"{best:.2f} moved by {rows} rows and {cols} columns",
            limits=limits,
            limit=f"{limit:g} in place, and best there",
        )
