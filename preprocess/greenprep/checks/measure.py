"""What the pixels of a pair say, as sums that add up over strips read in any order, on any worker. Pure.

Minima, maxima, sums and digests are over every pixel; textures are over a few bands (see `texture`).
Letters: C bands, K classes, h rows, w columns of a strip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.checks.texture import Fit, Texture, fit_of, looked_at, texture_of
from greenprep.raw.clouds import bright_clouds
from greenprep.raw.pair import Pixels
from greenschemas.bands import FEATURE_ROLES, Band, Role, where_role
from greenschemas.labels import LabelCounts
from greenschemas.layout import FRACTION_SCALE, UNLABELLED
from greenschemas.value_checks import FILLERS, holds_filler

__all__ = ["MEASURED", "PixelStatistics", "RowStatistics", "checksum", "darkest", "image_digest", "measure_pixels"]

Array = NDArray[Any]
MEASURED = (Role.REFLECTANCE, Role.RADAR, Role.EMBEDDING)
"""Roles of bands that never hold one value throughout, nor another's: an elevation may, and an index of two bands."""
CENTRE = 0.15
"""Reflectance that textures are centred on: any constant near the data does."""
DARK_STEP, DARK_BINS = 0.0025, 160
"""Reflectance, and how many such steps are told apart, when the darkest pixels of a band are looked for."""
IMPULSE = 0.15
"""Reflectance by which a pixel must stand out from its four neighbours to be an impulse."""


@dataclass(frozen=True)
class RowStatistics:
    """What is kept of the rows of a strip."""

    row: int
    """First row."""
    image: bytes
    """SHA-256 of the pixels: of the whole strip, band after band, if it is the whole of a small pair; else row by row,
    so that it does not matter how the pair was cut."""
    labels: bytes
    """As `image`, of the coded fractions and validity."""
    flat_rows: Array
    """(h,) bool: some reflectance or radar band has one value all along the row, or the row repeats the one before."""
    means: Array
    """(N, h) float32: mean of each row of the bands looked at."""


@dataclass(frozen=True)
class PixelStatistics:
    """Sums over disjoint strips of one pair; `+` joins them in any order."""

    pixels: int
    valid: int
    """Pixels that may be used."""
    present: int
    """Pixels that hold something: valid or cloud. Sums below are over these."""
    content: int
    """Present pixels, of reflectances those with a band that is not 0."""
    nonfinite: int
    empty: int
    flagged: int
    """Pixels that a quality band calls cloud; 0 with `has_flags` False: no band says anything."""
    has_flags: bool
    bright_cloud: float
    """Sum over strips of pixels * share of cells that look like cloud; -1 a pixel where that cannot be told."""
    undeclared_nodata: Array
    """(len(FILLERS),) pixels with that value in a feature band, not declared as empty."""
    labels: LabelCounts
    class_sum: Array
    """(K,) sum of fractions over labelled pixels."""
    single: bool
    """One class alone has labels in these strips."""
    low: Array
    """(C,) least value over present pixels, +inf where there is none."""
    high: Array
    total: Array
    """(C,) float64 sum over present pixels."""
    square: Array
    """(C,) float64 sum of squares over present pixels."""
    dark: Array
    """(R, DARK_BINS) how many of the present pixels, every third column, lie in each step of DARK_STEP of reflectance
    from 0; what is brighter is in the last. All 0 where the scale of reflectance is unknown."""
    saturated: Array
    """(C,) values equal to the greatest that the type can hold; all 0 for floats."""
    identical_bands: frozenset[tuple[int, int]]
    """Pairs of MEASURED bands that are equal in every pixel."""
    texture: Texture
    columns: Array
    """(N, W) sums down the columns of the bands looked at."""
    fit: Fit
    rows: tuple[RowStatistics, ...]

    def __add__(self, other: PixelStatistics) -> PixelStatistics:
        joined: dict[str, Any] = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in _OTHERWISE
        }
        return PixelStatistics(
            **joined,
            has_flags=self.has_flags or other.has_flags,
            single=self.single and other.single and int(np.argmax(self.class_sum)) == int(np.argmax(other.class_sum)),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            identical_bands=self.identical_bands & other.identical_bands,
            rows=tuple(sorted(self.rows + other.rows, key=lambda strip: strip.row)),
        )


_OTHERWISE = frozenset({"has_flags", "single", "low", "high", "identical_bands", "rows"})


def measure_pixels(pixels: Pixels, bands: Sequence[Band], reflectance_scale: float | None) -> PixelStatistics:
    """The statistics of one strip of full width.

    reflectance_scale: number that stands for a reflectance of 1; None where it is unknown.
    """
    image = pixels.image
    reflectance = where_role(bands, Role.REFLECTANCE)
    if not reflectance:
        reflectance_scale = None
    present = pixels.present
    whole = bool(present.all())
    values = image.reshape(len(image), -1) if whole else image[:, present]
    low, high = _range(values)
    looked = looked_at(bands)
    scale = reflectance_scale or float(max(high[reflectance].max(initial=1), 1))
    seen = image[looked].astype(np.float32)
    if not whole:
        seen = np.where(present, seen, np.float32(CENTRE * scale))  # A hole is no texture.
    with np.errstate(all="ignore"):  # NaN and infinity are counted elsewhere; here they may do what they like.
        sums = values.sum(axis=1, dtype=np.float64)
        texture = texture_of(seen, CENTRE * scale, IMPULSE * scale)
        fit = fit_of(seen[::2], pixels.fraction, None if whole else present)
        bright_cloud = bright_clouds(image, bands, scale) if reflectance_scale else None
    # Zero is a value where there is no reflectance: what is empty is another question, see `find_holes`.
    content = image[reflectance].any(axis=0) & present if reflectance else present
    # Where there is no label, all classes hold UNLABELLED.
    without = _count(pixels.fraction[0] == UNLABELLED) * UNLABELLED
    coded = pixels.fraction.reshape(len(pixels.fraction), -1).sum(axis=1, dtype=np.int64) - without
    return PixelStatistics(
        pixels=present.size,
        valid=_count(pixels.valid),
        present=_count(present),
        content=_count(content),
        nonfinite=pixels.nonfinite,
        empty=_count(pixels.empty),
        flagged=_count(pixels.cloud),
        has_flags=pixels.cloud is not None,
        bright_cloud=present.size * (-1.0 if bright_cloud is None else bright_cloud),
        undeclared_nodata=_fillers(image, bands, pixels.empty, low, high),
        labels=pixels.labels,
        class_sum=coded / FRACTION_SCALE,
        single=int(np.count_nonzero(coded)) == 1,
        low=low,
        high=high,
        total=sums,
        square=_squares(values),
        dark=_dark(image[reflectance], present, reflectance_scale),
        saturated=_top(values, high),
        identical_bands=_twins(image, sums, where_role(bands, *MEASURED)),
        texture=texture,
        columns=seen.sum(axis=1, dtype=np.float64),
        fit=fit,
        rows=(_rows(pixels, where_role(bands, Role.REFLECTANCE, Role.RADAR), seen),),
    )


def _count(where: NDArray[np.bool_] | None) -> int:
    return 0 if where is None else int(np.count_nonzero(where))


def _range(values: Array) -> tuple[Array, Array]:
    if values.shape[1] == 0:
        return np.full(len(values), np.inf), np.full(len(values), -np.inf)
    return values.min(axis=1).astype(np.float64), values.max(axis=1).astype(np.float64)


def _squares(values: Array) -> Array:
    """(C,) sums of squares: products in float32 would do for a deviation, but not for its comparison with 0."""
    if values.dtype.kind == "f":
        return np.asarray(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    small = values.astype(np.float32)
    return np.asarray(np.einsum("ij,ij->i", small, small), np.float64)


def _dark(reflectances: Array, present: NDArray[np.bool_], scale: float | None) -> Array:
    counts = np.zeros((len(reflectances), DARK_BINS), np.int64)
    if scale is None:
        return counts
    # Columns, not rows: a strip may begin at any row, and sums over strips must not depend on where.
    seen, lit = reflectances[:, :, ::3], present[:, ::3] & (reflectances[:, :, ::3] != 0).any(axis=0)
    known = seen.dtype in (np.uint8, np.uint16)
    steps = _dark_table(scale)[seen] if known else _dark_steps(seen, scale)
    for band, row in enumerate(steps if lit.all() else steps[:, lit]):
        counts[band] = np.bincount(row.ravel(), minlength=DARK_BINS)
    return counts


def _dark_steps(values: Array, scale: float) -> Array:
    """The step of DARK_STEP of reflectance that each value lies in, in the shape of `values`."""
    with np.errstate(all="ignore"):  # NaN is counted elsewhere.
        steps = np.nan_to_num(values.astype(np.float32) * np.float32(1 / (DARK_STEP * scale)))
    inside: Array = steps.clip(0, DARK_BINS - 1).astype(np.uint8)
    return inside


@lru_cache(maxsize=16)
def _dark_table(scale: float) -> Array:
    """`_dark_steps` of every number of 16 bits."""
    return _dark_steps(np.arange(1 << 16), scale)


def darkest(counts: Array, share: float) -> Array:
    """(R,) reflectance below which `share` of the pixels of `PixelStatistics.dark` lie; NaN where none was counted."""
    total = counts.sum(axis=1, keepdims=True)
    first = (counts.cumsum(axis=1) >= np.maximum(share * total, 1)).argmax(axis=1)
    return np.where(total[:, 0] > 0, (first + 0.5) * DARK_STEP, np.nan)


def _top(values: Array, high: Array) -> Array:
    if values.dtype.kind == "f" or not values.size:
        return np.zeros(len(values), np.int64)
    greatest = np.iinfo(values.dtype).max
    out = np.zeros(len(values), np.int64)
    for band in np.flatnonzero(high == greatest):
        out[band] = np.count_nonzero(values[band] == greatest)
    return out


def _fillers(image: Array, bands: Sequence[Band], empty: NDArray[np.bool_] | None, low: Array, high: Array) -> Array:
    """(len(FILLERS),) pixels that hold it: below 0 in any feature band, above in all the reflectances."""
    out = np.zeros(len(FILLERS), np.int64)
    features, reflectance = where_role(bands, *FEATURE_ROLES), where_role(bands, Role.REFLECTANCE)
    for at, value in enumerate(FILLERS):
        where = features if value < 0 else reflectance
        if not where:
            continue
        if low[where].min(initial=0) <= value * (1 - 1e-7) if value < 0 else high[where].min(initial=np.inf) >= value:
            same = holds_filler(image[where], value)
            out[at] = np.count_nonzero(same if empty is None else same & ~empty)
    return out


def _twins(image: Array, sums: Array, measured: slice | list[int]) -> frozenset[tuple[int, int]]:
    """Equal pairs among some bands: bands of another sum are never looked at."""
    by_sum: dict[float, list[int]] = {}
    for band in np.arange(len(image))[measured].tolist():
        by_sum.setdefault(float(sums[band]), []).append(band)
    return frozenset(
        (one, other)
        for group in by_sum.values()
        for i, one in enumerate(group)
        for other in group[i + 1 :]
        if np.array_equal(image[one], image[other], equal_nan=image.dtype.kind == "f")
    )


def _rows(pixels: Pixels, lined: slice | list[int], seen: Array) -> RowStatistics:
    labels = np.concatenate([pixels.fraction, pixels.valid[None].view(np.uint8)])
    means = seen.mean(axis=2)
    part = pixels.image[lined]
    flat_rows = np.zeros(part.shape[1], bool)
    if lined and part.shape[2] > 1:
        flat_rows = (part == part[:, :, :1]).all(axis=2).any(axis=0)
        for row in np.flatnonzero((means[:, 1:] == means[:, :-1]).all(axis=0)) + 1:
            flat_rows[row] |= np.array_equal(part[:, row], part[:, row - 1])
    return RowStatistics(
        pixels.row, _digest(pixels.image, pixels.whole), _digest(labels, pixels.whole), flat_rows, means
    )


def _digest(pixels: Array, whole: bool) -> bytes:
    if whole:
        return hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
    return b"".join(hashlib.sha256(row.data).digest() for row in np.ascontiguousarray(pixels.transpose(1, 0, 2)))


def image_digest(statistics: PixelStatistics, dtype: str) -> str:
    """SHA-256 (hex) of the image's pixels as handed on: equal pixels, equal digest, however they were read."""
    return hashlib.sha256(dtype.encode() + b"".join(strip.image for strip in statistics.rows)).hexdigest()


def checksum(statistics: PixelStatistics, dtype: str) -> str:
    """SHA-256 (hex) of image, labels and validity as handed on."""
    rows = (strip for kind in ("image", "labels") for strip in (getattr(p, kind) for p in statistics.rows))
    return hashlib.sha256(dtype.encode() + b"".join(rows)).hexdigest()
