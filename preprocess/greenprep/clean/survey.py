"""One pair, from its files to its verdict: open, read each pixel once, examine, judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from greenprep.checks.evidence import PixelStatistics
from greenprep.checks.judge import bad_file, judge, measure_pixels
from greenprep.findings import About
from greenprep.raw.pair import OpenPair, Pixels, open_pair
from greenprep.raw.pairs import Candidate
from greenprep.raw.stamps import stamp_of
from greenprep.raw.tiff_header import BadFile
from greenschemas.manifest import Entry
from greenschemas.recipe import Recipe

__all__ = ["survey", "survey_open"]


def survey(
    root: Path, candidate: Candidate, recipe: Recipe, *, align: int = 1, each: Callable[[Pixels], None] | None = None
) -> Entry:
    """The verdict on one candidate; never raises for what is wrong with its files.

    each: called with every strip as it is read, so that others need not read it again; strips start at multiples of
    `align` rows.
    """
    stamp = stamp_of(root, candidate.image, candidate.mask)
    with open_pair(root, candidate, recipe) as pair:
        return survey_open(pair, recipe, stamp=stamp, align=align, each=each)


def survey_open(
    pair: OpenPair,
    recipe: Recipe,
    *,
    stamp: str | None = None,
    align: int = 1,
    each: Callable[[Pixels], None] | None = None,
) -> Entry:
    """As `survey`, for a pair that is already open."""
    evidence: PixelStatistics | None = None
    try:
        for row, height in pair.strips(align):
            pixels = pair.read(row, 0, height, pair.facts.shape[2] if pair.facts.shape else 0)
            if each is not None:
                each(pixels)
            part = measure_pixels(pixels, recipe)
            evidence = part if evidence is None else evidence + part
    except BadFile as problem:
        mask = pair.mask_file
        about: About = "mask" if mask is not None and str(mask.tiff.path) == problem.where else "image"
        return judge(pair.facts, None, recipe, more=[bad_file(problem, about, recipe)], stamp=stamp)
    return judge(pair.facts, evidence, recipe, stamp=stamp)
