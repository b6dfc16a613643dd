"""An open pair to its verdict: each pixel read once, measured, judged. `clean` and `run` both go through here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from greenprep.checks.judge import judge
from greenprep.checks.measure import PixelStatistics, measure_pixels
from greenprep.findings import About, finding
from greenprep.raw.pair import OpenPair, Pixels
from greenprep.raw.tiff_header import BadFile
from greenschemas.manifest import Entry

__all__ = ["judge_open", "judge_unreadable", "survey"]


def survey(
    pair: OpenPair, strips: Sequence[tuple[int, int]], stamp: str, each: Callable[[Pixels], None] | None = None
) -> Entry:
    """The verdict on a pair, read strip by strip; never raises for what is wrong with its files.

    strips: (row, height) from `pair.strips`. each: is given every strip as it is read, so that nobody reads it again.
    """
    statistics: PixelStatistics | None = None
    try:
        for row, height in strips:
            pixels = pair.read(row, 0, height, pair.width)
            if each is not None:
                each(pixels)
            more = measure_pixels(pixels, pair.bands, pair.limits.reflectance_scale)
            statistics = more if statistics is None else statistics + more
    except BadFile as problem:
        return judge_unreadable(pair, problem, stamp)
    return judge_open(pair, statistics, stamp)


def judge_open(pair: OpenPair, statistics: PixelStatistics | None, stamp: str) -> Entry:
    """The verdict from what the headers and the pixels say; None where no pixel was read."""
    return judge(pair.header, statistics, pair.bands, pair.rules, pair.limits, stamp=stamp)


def judge_unreadable(pair: OpenPair, problem: BadFile, stamp: str) -> Entry:
    """The verdict on a pair one of whose files cannot be decoded to its end."""
    mask = pair.mask_file
    about: About = "mask" if mask is not None and str(mask.tiff.path) == problem.where else "image"
    reason = finding(
        problem.code, about, problem.found, limit="a readable TIFF", limits=pair.limits, remedy=problem.remedy
    )
    return judge(pair.header, None, pair.bands, pair.rules, pair.limits, more=[reason], stamp=stamp)
