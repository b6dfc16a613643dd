"""Are these numbers in the units of those? What `greenprep clean` and `greentrain predict` ask of a scene alike. Pure.

Wrong units pass in silence: a net answers whatever it is given. They leave plain traces in where the numbers of the
bands lie. A factor (0..1, x 1000, a stretch to 8 or 16 bits) moves all bands by one ratio; the offset of Sentinel-2's
processing baseline 04.00 (+1000 in every band since January 2022) moves all by one sum, the cirrus band among them,
in which else next to nothing is seen.

Letters: C bands, N pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FILLERS",
    "FLOOR",
    "NO_FLOOR",
    "OFFSET",
    "PIXEL_RATIO",
    "Factor",
    "Levels",
    "Offset",
    "dark_enough",
    "find_factor",
    "find_offset",
    "holds_filler",
    "levels_of",
    "looks_wrapped",
    "offset_in_cirrus",
    "own_offset",
    "robust_z",
]

Floats = NDArray[np.float64]

FILLERS = (-9999.0, -32768.0, -3.4028234663852886e38, -99999.0, -1e20, 65_535.0)
"""Values that stand for no data in many collections."""
PIXEL_RATIO = 1.5
"""Ratio of pixel sizes above which things have another size than usual."""
OFFSET = 0.1
"""Reflectance that baseline 04.00 adds: 1000 of 10,000."""
_AGREE = 0.5
"""Distance from their median that seven in ten logarithms of the bands' ratios keep where these are one factor: season,
place and cloud move bands apart, units do not."""
_BRIGHTER, _DARKER, _OF_FEW, _IMPOSSIBLE = 4.5, 6.0, 8.0, 30.0
"""Ratios from which one factor is no season: of brighter and of darker scenes of three bands or more, of fewer bands,
and whatever the bands say. Noon and dusk differ by less."""
FLOOR, NO_FLOOR = 0.85, 0.6
"""Shares of the offset above which the darkest band's first percentile lies in files with it, where the surface may be
measured below 0, and below which it lies in those without."""
_CLOUD = 1.6
"""Times the offset that no four in ten bands move by, unless there is a cloud."""
_DARK = 1.7
"""Times the offset below which four in ten bands have something that is dark but for the offset: on sand and under
clouds they have not, and nothing tells."""
_UNITS: dict[float, str] = {10_000: "x 10,000", 1000: "x 1000", 100: "in percent", 1: "as 0..1"}
"""How reflectances are written, by the number that stands for 1."""
_EVEN_MEAN, _EVEN_STD = 127.5, 73.9
"""Of values that fill 0..255 evenly."""


@dataclass(frozen=True)
class Levels:
    """Where the numbers of some bands lie; all (C,), NaN where it is not known."""

    dark: Floats
    """First percentile."""
    median: Floats
    bright: Floats
    """99th percentile."""
    between: Floats
    """Robust deviation of many scenes' middles; NaN for one scene, or few."""

    def of(self, bands: Sequence[int]) -> Levels:
        """Of some of the bands."""
        at = list(bands)
        return Levels(self.dark[at], self.median[at], self.bright[at], self.between[at])


@dataclass(frozen=True)
class Factor:
    """One ratio between a scene's numbers and the usual ones, which no season explains."""

    ratio: float
    """As measured."""
    due: float
    """As the likely cause has it; as measured where none is known."""
    cause: str
    """In words."""


@dataclass(frozen=True)
class Offset:
    """One sum between a scene's numbers and the usual ones."""

    amount: float
    """In the units of the numbers: about +-0.1 of the number that stands for a reflectance of 1."""
    certain: bool
    """Whether the cirrus band or the file itself says so; else it is only likely."""
    evidence: str
    """In words."""


def levels_of(values: NDArray[Any]) -> Levels:
    """Of a scene's usable pixels (C, N); NaN throughout where there is none."""
    if values.shape[1] == 0:
        dark = median = bright = np.full(len(values), np.nan)
    else:
        dark, median, bright = np.percentile(values.astype(np.float64), (1, 50, 99), axis=1)
    return Levels(dark, median, bright, np.full(len(values), np.nan))


def holds_filler(values: NDArray[Any], filler: float) -> NDArray[np.bool_]:
    """(N) or whatever else follows the bands: where reflectances (C, ...) hold this value for no data.

    Less than 0 in any band, for nothing else is so; more only in all, for a sensor saturates band by band.
    """
    same = np.isclose(values, filler, rtol=1e-6, atol=0)
    return np.asarray(same.any(axis=0) if filler < 0 else same.all(axis=0))


def robust_z(values: Floats, middle: Floats, deviation: Floats) -> Floats:
    """|values - middle| in robust deviations, of which two percent of the middle is the least.

    Near-equal files have next to no spread: a few percent off is still nothing odd.
    """
    return np.abs(values - middle) / np.maximum(deviation, 0.02 * np.abs(middle) + 1e-12)


def find_factor(scene: Levels, usual: Levels, whole: float | None = None, *, eight_bits: bool = False) -> Factor | None:
    """The factor between a scene's reflectances and the usual ones; None where they are in the same units.

    whole: number that stands for a reflectance of 1 in the usual units, and eight_bits: whether the scene is of 8-bit
    numbers; they name the cause more precisely.
    """
    known = np.isfinite(scene.median) & np.isfinite(usual.median) & (usual.median > 0)
    if not known.any():
        return None
    # A ratio of 0 or less is as far off as can be: such a band is dark, or was cut to whole numbers of 0..1.
    ratios = np.maximum(scene.median[known] / usual.median[known], 1e-9)
    ratio = float(np.median(ratios))
    apart = float(np.quantile(np.abs(np.log(ratios / ratio)), 0.7))
    limit = _OF_FEW if len(ratios) < 3 else _BRIGHTER if ratio > 1 else _DARKER
    away = max(ratio, 1 / ratio)
    if away < _IMPOSSIBLE and (apart > _AGREE or away < limit):
        return None
    return Factor(ratio, *_cause(ratio, whole, eight_bits, float(np.nanmax(scene.bright, initial=0.0))))


def _cause(ratio: float, whole: float | None, eight_bits: bool, bright: float) -> tuple[float, str]:
    """(exact factor, in words) of what people do to numbers that multiplies them about so.

    bright: what a hundredth of some band lies above: beyond 255 it is no stretch to 8 bits.
    """
    near = [(65_535 / (whole or 10_000), "a stretch to the full range of 16 bits")]
    for due in [*_UNITS] if whole is None else [whole]:
        usual = _UNITS.get(due, f"0..{due:g}")
        near += [
            (one / due, f"reflectance {name} where {usual} is usual") for one, name in _UNITS.items() if one != due
        ]
    eight = [(255 / top, f"a stretch of 0..{top} to 8 bits") for top in (2000, 3000, 4000, 5000, 10_000)]
    if whole is not None and whole >= 1000 and bright <= 255:
        near = eight if eight_bits else near + eight
    due, cause = min(near, key=lambda one: abs(np.log(ratio / one[0])))
    known = abs(np.log(ratio / due)) < np.log(1.6)
    return (due, cause) if known else (ratio, "a change of units, or a stretch for display")


def offset_in_cirrus(dark: float, median: float, whole: float) -> bool:
    """Whether a cirrus band carries the offset: else water vapour leaves about 0.001 of reflectance, and clouds that
    reach above it leave anything, but not one value everywhere.

    dark, median: first percentile and median of the band; whole: number that stands for a reflectance of 1.
    """
    return 0.97 * OFFSET <= dark / whole <= 1.3 * OFFSET and median - dark < 0.3 * OFFSET * whole


def dark_enough(dark: Floats, step: float = OFFSET) -> bool:
    """Whether there is something dark in as many bands as tell an offset from bright ground. dark: (C,) percentiles."""
    return bool(np.quantile(dark, 0.4) <= _DARK * step)


def own_offset(
    scene: Levels, whole: float, cirrus: int | None, tags: Mapping[str, str], scaling: Sequence[tuple[float, float]]
) -> Offset | None:
    """The offset that a file shows by itself, with nothing to compare it with; None where it does not.

    Certain by the cirrus band, or the file's own word where no pixel contradicts it; likely where that word is the
    number of the baseline, which harmonised files may still bear, and nothing dark tells.

    tags: `PROCESSING_BASELINE`, `RADIO_ADD_OFFSET` as ESA names them, whatever else the name holds; scaling: (scale,
    offset) of each band by GDAL's tags.
    """
    step = OFFSET * whole
    known = np.isfinite(scene.dark)
    if not known.any():
        return None
    if cirrus is not None and known[cirrus]:
        dark, median = float(scene.dark[cirrus]), float(scene.median[cirrus])
        rest = np.delete(scene.dark, cirrus)
        if not offset_in_cirrus(dark, median, whole) or np.nanmin(rest, initial=np.inf) < FLOOR * step:
            return None
        return Offset(step, True, f"the cirrus band lies at {median:.4g}, else near {0.001 * whole:g}")
    said = _said(tags, scaling, step)
    if said is None or float(scene.dark[known].min()) < FLOOR * step:
        return None
    # Harmonised files may still bear the number of their baseline.
    certain = "BASELINE" not in said.upper() or dark_enough(scene.dark[known], step)
    return Offset(step, certain, f"{said}, and no band lies below {scene.dark[known].min():.4g}")


def _said(tags: Mapping[str, str], scaling: Sequence[tuple[float, float]], step: float) -> str | None:
    """The file's own word for the offset, in words."""
    for name, value in tags.items():
        number = _number(value)
        upper = name.upper()
        if number is not None and "PROCESSING_BASELINE" in upper and number >= 4:
            return f"{name} is {value}"
        if number is not None and "RADIO_ADD_OFFSET" in upper and np.isclose(number, -step):
            return f"{name} is {value}"
    if scaling and all(scale > 0 and np.isclose(offset / scale, -step, rtol=0.01) for scale, offset in scaling):
        return f"its tags say x * {scaling[0][0]:g} {scaling[0][1]:+g}"
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def find_offset(scene: Levels, usual: Levels, whole: float, cirrus: int | None = None) -> Offset | None:
    """The offset by which all reflectance bands of a scene lie above or below the usual ones; None where none does.

    whole: number that stands for a reflectance of 1. cirrus: which band is the cirrus band: it settles the matter, for
    no weather puts one constant into it. Without it the darkest percentiles are compared: something dark lies in
    nearly every scene, so that the bands that moved least show the offset; but scenes under cloud are left alone, whose
    middles move farther than their darkest pixels, and whose water vapour band hardly moves.
    """
    step = OFFSET * whole
    if cirrus is not None and np.isfinite(scene.dark[cirrus]):
        usual_dark = usual.dark[cirrus] if np.isfinite(usual.dark[cirrus]) else usual.median[cirrus]
        here = offset_in_cirrus(float(scene.dark[cirrus]), float(scene.median[cirrus]), whole)
        there = bool(np.isfinite(usual_dark)) and 0.9 * step <= usual_dark <= 1.3 * step
        if here == there:
            return None
        sign = 1 if here else -1
        return Offset(sign * step, True, f"cirrus {scene.median[cirrus]:.4g}, usually {usual.median[cirrus]:.4g}")
    moved = scene.dark - usual.dark
    known = np.isfinite(moved)
    if known.sum() < 3:
        return None
    least, usually = float(scene.dark[known].min()), float(usual.dark[known].min())
    moved, middle = moved[known], (scene.median - usual.median)[known]
    bright = max(np.quantile(moved, 0.4), np.quantile(middle, 0.4)) > _CLOUD * step
    up = least >= FLOOR * step and usually < NO_FLOOR * step and moved.min() >= 0.5 * step and not bright
    low, high = np.quantile(-moved, (0.1, 0.4))
    down = usually >= FLOOR * step and least < NO_FLOOR * step and low >= 0.5 * step and high <= 1.3 * step
    if not (up or down):
        return None
    sign = 1 if up else -1
    return Offset(sign * step, False, f"the darkest hundredth of no band lies below {least:.4g}, usually {usually:.4g}")


def looks_wrapped(mean: Sequence[float], std: Sequence[float], low: Sequence[float], high: Sequence[float]) -> bool:
    """Whether at least half of the bands, and at least three, fill 0..255 evenly: 16 bits cut to 8 modulo 256.

    All arguments (C,).
    """
    even = [
        least >= 0 and most <= 255 and abs(m - _EVEN_MEAN) < 25 and abs(s - _EVEN_STD) < 12
        for m, s, least, most in zip(mean, std, low, high, strict=True)
    ]
    return sum(even) >= max(3, len(even) / 2)
