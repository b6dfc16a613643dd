"""Checks of an image's bands and pixels, from its statistics. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from greenprep.checks.measure import MEASURED, PixelStatistics
from greenprep.checks.quality import quality_findings
from greenprep.checks.units import undecodable
from greenprep.findings import finding
from greenprep.raw.pair import PairHeader
from greenschemas.bands import Band, Role
from greenschemas.choices import NanPolicy
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Level, Reason
from greenschemas.value_checks import FILLERS

__all__ = ["image_findings"]

JUMP_SHARE = 0.03
"""Share of neighbours more than half the 8-bit range apart that no picture has (a wrapped one has 0.1 to 0.3)."""
TEXTURE_MIN = 400
"""Pixels below which textures say nothing."""


def image_findings(
    statistics: PixelStatistics, header: PairHeader, bands: Sequence[Band], limits: Limits
) -> list[Reason]:
    """All findings about the image, in the order of the catalogue."""
    if statistics.present == 0:
        return [*_nonfinite(statistics, limits), _all_invalid(statistics, limits)]
    return [
        *_nonfinite(statistics, limits),
        *_content(statistics, header, bands, limits),
        *_bands(statistics, bands, limits),
        *_scale(statistics, header, bands, limits),
        *undecodable(statistics, header.dtype, bands, limits),
        *_shares(statistics, header, limits),
        *quality_findings(statistics, bands, limits),
        *_texture(statistics, bands, limits),
        *_lines(statistics, limits),
    ]


def _all_invalid(statistics: PixelStatistics, limits: Limits) -> Reason:
    return finding(
        Code.ALL_NODATA,
        "image",
        f"none of {statistics.pixels} pixels holds anything",
        limit="at least one",
        limits=limits,
    )


def _nonfinite(statistics: PixelStatistics, limits: Limits) -> Iterator[Reason]:
    if statistics.nonfinite:
        level = Level.REJECT if limits.nan is NanPolicy.REJECT else Level.WARN
        yield finding(
            Code.NAN,
            "image",
            f"{_share(statistics.nonfinite, statistics)} of the pixels",
            limit=f"none (nan: {limits.nan.value})",
            limits=limits,
            level=level,
        )


def _content(
    statistics: PixelStatistics, header: PairHeader, bands: Sequence[Band], limits: Limits
) -> Iterator[Reason]:
    reflectance = _reflectance(bands)
    least = limits.mean_min * _whole(statistics, header, bands, limits) / 10_000
    content = statistics.content / statistics.pixels
    mean = float(statistics.total[reflectance].mean() / statistics.present) if len(reflectance) else 0.0
    # Negative reflectances are real; an image is blank where values of either sign are next to nothing.
    size = float(np.sqrt(statistics.square[reflectance].mean() / statistics.present)) if len(reflectance) else 0.0
    if len(reflectance) and mean < least and size < max(least, 1e-12) * 10:
        yield finding(
            Code.BLANK, "image", f"mean of the reflectance bands {mean:.4g}", limit=f"{least:g}", limits=limits
        )
    if content < limits.content_min:
        yield finding(
            Code.LOW_CONTENT,
            "image",
            f"{content:.2%} of the pixels usable and not zero",
            limit=f"{limits.content_min:.2%}",
            limits=limits,
        )


def _whole(statistics: PixelStatistics, header: PairHeader, bands: Sequence[Band], limits: Limits) -> float:
    """What a reflectance of 1 is written as in this file, whose scale may be another than the recipe's."""
    reflectance = _reflectance(bands)
    highest = float(statistics.high[reflectance].max()) if reflectance else 0.0
    if str(header.dtype).startswith("float") and 0.001 < highest <= 2:
        return 1.0
    return limits.reflectance_scale or 10_000.0


def _bands(statistics: PixelStatistics, bands: Sequence[Band], limits: Limits) -> Iterator[Reason]:
    measured = [i for i, band in enumerate(bands) if band.role in MEASURED] if statistics.present > 1 else []
    constant = [i for i in measured if statistics.low[i] == statistics.high[i]]
    if constant and len(constant) == len(measured):
        yield finding(Code.CONSTANT_IMAGE, "image", "one value in each measured band", limit="a picture", limits=limits)
    else:
        for i in constant:
            cirrus = bands[i].common == "cirrus"
            yield finding(
                Code.CONSTANT_BAND,
                "image",
                f"{bands[i].name} is {statistics.low[i]:g} everywhere",
                limit="more than one value",
                limits=limits,
                level=Level.WARN if cirrus else None,
            )
    mean = statistics.total / statistics.present
    std = np.sqrt(np.maximum(statistics.square / statistics.present - mean * mean, 0))
    for i in set(measured) - set(constant):
        if std[i] < limits.constant_std * abs(mean[i]):
            yield finding(
                Code.NEAR_CONSTANT_BAND,
                "image",
                f"{bands[i].name}: deviation {std[i]:.3g}, mean {mean[i]:.4g}",
                limit=f"{limits.constant_std:g} of the mean",
                limits=limits,
            )
    for one, other in sorted(statistics.identical_bands):
        if one not in constant:
            yield finding(
                Code.IDENTICAL_BANDS,
                "image",
                f"{bands[one].name} equals {bands[other].name}",
                limit="bands that differ",
                limits=limits,
            )
    worst = max(_reflectance(bands), key=lambda i: statistics.saturated[i], default=None)
    if worst is not None and statistics.saturated[worst] > limits.saturated_max * statistics.present:
        yield finding(
            Code.SATURATED,
            "image",
            f"{bands[worst].name}: {statistics.saturated[worst] / statistics.present:.1%} at "
            f"{statistics.high[worst]:g}",
            limit=f"{limits.saturated_max:.0%}",
            limits=limits,
        )


def _scale(statistics: PixelStatistics, header: PairHeader, bands: Sequence[Band], limits: Limits) -> Iterator[Reason]:
    texture = statistics.texture
    if _reflectance(bands) and texture.greys is not None and texture.pixels >= TEXTURE_MIN:
        jumps = float(np.sort(texture.jumps / max(texture.pairs[0], 1))[-2:].mean())
        share = texture.greys / np.maximum(texture.greys.sum(axis=1, keepdims=True), 1)
        even = float(1 - np.abs(share - 1 / share.shape[1]).sum(axis=1).min() / 2)
        # Two weak signs together, or one strong one with a trace of the other: a smooth picture that was wrapped jumps
        # seldom, and one that was stretched to 8 bits fills the range evenly without a jump.
        if (jumps > JUMP_SHARE and even > limits.uniform_min * 0.5) or (even > limits.uniform_min and jumps > 0.01):
            yield finding(
                Code.WRAPPED,
                "image",
                f"values fill 0..255 to {even:.0%}, and {jumps:.0%} of neighbours are more than half the range apart",
                limit=f"{limits.uniform_min:.0%} and {JUMP_SHARE:.0%}",
                limits=limits,
            )
            return
    scale = limits.reflectance_scale
    lit = [i for i in _reflectance(bands) if bands[i].common != "cirrus"]
    if scale is None or not lit or statistics.high[lit].max() <= 0:
        return
    highest = float(statistics.high[lit].max())
    brightest = float(np.max(statistics.total[lit]) / statistics.present)
    kind = str(header.dtype)
    # Where 1000 or more stands for a reflectance of 1, a brightest pixel of 255 is a quarter of it at most: no scene
    # with land in it is so dark, but every file of bytes or of fractions is.
    if scale >= 1000 and (highest <= 255 or kind == "uint8"):
        found = "0..1" if highest <= 2 and kind.startswith("float") else "0..255"
        yield finding(
            Code.SCALE,
            "image",
            f"values up to {highest:g}, as on a scale of {found}",
            limit=f"0..{scale:g}",
            limits=limits,
        )
    # Snow and cloud reflect about 1, glints on few pixels more: a mean of 2.5 is another scale.
    elif brightest > 2.5 * scale:
        yield finding(
            Code.SCALE,
            "image",
            f"a mean of {brightest:.4g}, reflectance {brightest / scale:.3g}",
            limit=f"0..{scale:g}",
            limits=limits,
        )


def _shares(statistics: PixelStatistics, header: PairHeader, limits: Limits) -> Iterator[Reason]:
    bare = statistics.pixels - statistics.content
    if bare > limits.nodata_max * statistics.pixels:
        yield finding(
            Code.NODATA,
            "image",
            f"{_share(bare, statistics)} of the pixels are zero or without data",
            limit=f"{limits.nodata_max:.0%}",
            limits=limits,
        )
    for value, count in zip(FILLERS, statistics.undeclared_nodata.tolist(), strict=True):
        if count > limits.undeclared_max * statistics.pixels:
            yield finding(
                Code.UNDECLARED_NODATA,
                "image",
                f"{value:g} in {_share(count, statistics)} of the pixels",
                limit=f"{limits.undeclared_max:.2%}",
                limits=limits,
            )
    cloud = statistics.flagged if statistics.has_flags else statistics.bright_cloud
    if not statistics.has_flags and any(r.code == Code.OFFSET and r.level is not Level.REPAIR for r in header.findings):
        return  # All of it is too bright, the cirrus band most of all.
    if cloud > limits.cloud_max * statistics.pixels:
        how = "the quality bands" if statistics.has_flags else "brightness, greyness and cirrus"
        yield finding(
            Code.CLOUD,
            "image",
            f"{cloud / statistics.pixels:.0%} of the pixels by {how}",
            limit=f"{limits.cloud_max:.0%}",
            limits=limits,
        )


def _texture(statistics: PixelStatistics, bands: Sequence[Band], limits: Limits) -> Iterator[Reason]:
    texture = statistics.texture
    deviation = np.sqrt(texture.variance)
    if texture.pixels < TEXTURE_MIN or deviation.max() == 0 or not _reflectance(bands):
        return
    scale = limits.reflectance_scale or float(statistics.high[_reflectance(bands)].max(initial=1.0))
    lively = deviation > 0
    share = np.where(lively, texture.noise / np.where(lively, deviation, 1), 0)
    correlation, noise = float(texture.correlation.max()), float(share[lively].min())
    # Still water shows nothing but the sensor's own noise, which is faint; that is no reason to throw it away.
    if noise > limits.noise_share and float(texture.noise.min()) > NOISE_FLOOR * scale:
        level = None if correlation < limits.noise_correlation else Level.WARN
        yield finding(
            Code.NOISE,
            "image",
            f"noise is {noise:.0%} of the deviation at best, and neighbours correlate by {correlation:.2f}",
            limits=limits,
            level=level,
            limit=f"{limits.noise_share:.0%} at most, rejected below {limits.noise_correlation:g}",
        )
    impulses = texture.impulses / texture.pixels
    if impulses.max() > limits.impulse_max:
        yield finding(
            Code.SALT_PEPPER,
            "image",
            f"{impulses.max():.1%} of the pixels stand out from all neighbours",
            limit=f"{limits.impulse_max:.1%}",
            limits=limits,
        )


NOISE_FLOOR = 0.01
"""Deviation of noise, in reflectance, below which it is the sensor's own."""


def _lines(statistics: PixelStatistics, limits: Limits) -> Iterator[Reason]:
    texture = statistics.texture
    flat_rows = np.concatenate([strip.flat_rows for strip in statistics.rows])
    inner = np.flatnonzero(~flat_rows)
    if statistics.empty == 0 and len(inner):
        dropped = int(np.count_nonzero(flat_rows[inner[0] : inner[-1] + 1]))
        if dropped > limits.dropped_lines_max * len(flat_rows):
            yield finding(
                Code.DROPPED_LINES,
                "image",
                f"{dropped} of {len(flat_rows)} lines",
                limits=limits,
                limit=f"{limits.dropped_lines_max:.1%}",
            )
    if texture.pixels < TEXTURE_MIN or statistics.present < statistics.pixels:
        return
    rows = np.concatenate([strip.means for strip in statistics.rows], axis=1)
    for name, means, squared, count in (
        ("rows", rows, texture.down, texture.pairs[1]),
        ("columns", statistics.columns / max(len(flat_rows), 1), texture.across, texture.pairs[0]),
    ):
        jump = _jump(means)
        expected = np.sqrt(squared / max(count, 1))
        ratio = float(np.max(jump / np.where(expected > 0, expected, np.inf)))
        if ratio > limits.stripe_max:
            yield finding(
                Code.STRIPES,
                "image",
                f"{name}: their means jump by {ratio:.2f} of what pixels do",
                limit=f"{limits.stripe_max:g}",
                limits=limits,
            )


def _jump(means: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(N,) root median square second difference of line means: one road along a line changes it little, stripes do."""
    if means.shape[1] < 8:
        return np.zeros(len(means))
    second = np.diff(means.astype(np.float64), 2, axis=1)
    jumps: np.ndarray[tuple[int], np.dtype[np.float64]] = np.sqrt(np.mean(second * second, axis=1) / 3)
    return jumps


def _reflectance(bands: Sequence[Band]) -> list[int]:
    return [i for i, band in enumerate(bands) if band.role is Role.REFLECTANCE]


def _share(count: int, statistics: PixelStatistics) -> str:
    return f"{count / max(statistics.pixels, 1):.2%}"
