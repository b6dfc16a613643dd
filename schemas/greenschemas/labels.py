"""Mask pixels, as a file holds them, to class fractions as a store holds them. Pure: arrays in, arrays out.

Shapes: K classes, M bands of the mask file, h rows, w columns. Coded fractions are uint8, round(fraction * 200), 255
where there is no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.choices import MaskKind
from greenschemas.layout import FRACTION_SCALE, UNLABELLED
from greenschemas.limits import Limits
from greenschemas.recipe import MaskRules

__all__ = ["SCALES", "LabelCounts", "aggregated", "decode_labels", "guess_scale", "native_scale", "to_fraction"]

SCALES = (1, 100, 200, 255, 1000, 10_000)
"""What a whole pixel may be written as: fraction, percent, coded as here, bytes, per mille, per ten thousand."""


@dataclass(frozen=True)
class LabelCounts:
    """What was found in the pixels of a mask; adds up over disjoint pieces."""

    pixels: int = 0
    labelled: int = 0
    nan: int = 0
    """Pixels with NaN that the file does not declare as nodata."""
    zero: int = 0
    """Pixels whose fractions are all zero."""
    out_of_range: int = 0
    """Labelled pixels with a fraction below 0 or above 1, or an index that is not whole."""
    bad_sum: int = 0
    """Labelled pixels whose fractions do not sum to 1."""
    unknown: int = 0
    """Pixels with an index beyond the classes."""
    tagged: int = 0
    """Pixels that hold the file's nodata tag where the recipe says that it is a class, or a fraction."""
    worst_sum: float = 1.0
    """The sum that lies farthest from 1."""
    values: tuple[tuple[int, int], ...] = ()
    """(index, pixels that hold it), of all indices of 16 bits or fewer, known or not, that are not declared empty."""

    def __add__(self, other: LabelCounts) -> LabelCounts:
        totals = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in ("worst_sum", "values")
        }
        worst = max(self.worst_sum, other.worst_sum, key=lambda s: (abs(s - 1), s))
        values = Counter(dict(self.values))
        values.update(dict(other.values))
        return LabelCounts(**totals, worst_sum=worst, values=tuple(sorted(values.items())))


def native_scale(rules: MaskRules) -> int:
    """What a whole pixel is written as in such a mask, by the recipe or by the book."""
    return rules.whole or (100 if rules.kind is MaskKind.PERCENT else 1)


def guess_scale(raw: NDArray[Any], rules: MaskRules, nodata: float | None) -> int | None:
    """The one of SCALES that the sums over bands of nearly all labelled pixels agree with; None if none does.

    raw: (M, h, w) as in the file.
    """
    if rules.whole is not None:
        return rules.whole
    if rules.rest is not None:
        # Sums say nothing; but 0 or 1 written as a byte is.
        whole = rules.kind is MaskKind.ONE_HOT and raw.dtype == np.uint8 and raw.max(initial=0) > 1
        return 255 if whole else native_scale(rules)
    for some in (raw[:, ::4], raw):  # Every fourth row will do, unless none of them has a label.
        sums = some.sum(axis=0)
        labelled = ~_empty(some, rules, nodata, SCALES) & np.isfinite(sums) & (sums != 0)
        if labelled.any():
            break
    else:
        return native_scale(rules)
    middle = float(np.median(sums[labelled]))
    for scale in SCALES:
        if abs(middle / scale - 1) < 0.05:
            return scale
    return None


def decode_labels(
    raw: NDArray[Any], rules: MaskRules, limits: Limits, *, nodata: float | None, scale: int
) -> tuple[NDArray[np.uint8], LabelCounts]:
    """((K, h, w) coded fractions, what was found). Pixels that break a rule become unlabelled.

    raw: (M, h, w) as in the file; nodata: the file's own, or None; scale: what a whole pixel is written as.
    """
    if rules.kind is MaskKind.INDEX:
        return _from_index(raw[0], rules, nodata)
    return _from_fractions(raw, rules, limits, nodata, scale)


def _from_index(raw: NDArray[Any], rules: MaskRules, nodata: float | None) -> tuple[NDArray[np.uint8], LabelCounts]:
    classes = len(rules.names)
    kept = nodata in rules.codes and nodata != rules.unlabelled
    empty = _empty(raw[None], rules, None if kept else nodata)
    nan, broken = np.zeros(raw.shape, bool), np.zeros(raw.shape, bool)
    if raw.dtype.kind == "f":
        nan = np.isnan(raw) & ~empty
        broken = ~(empty | nan) & (raw != np.trunc(raw))
    index = np.full(raw.shape, -1, np.intp)
    for code, k in rules.codes.items():
        index[raw == code] = k
    unknown = ~(empty | nan | broken) & (index < 0)
    unlabelled = empty | nan | broken | unknown
    table = np.eye(classes, dtype=np.uint8) * np.uint8(FRACTION_SCALE)
    coded = np.ascontiguousarray(table[:, index])
    coded[:, unlabelled] = UNLABELLED
    return coded, LabelCounts(
        pixels=raw.size,
        labelled=raw.size - _count(unlabelled),
        nan=_count(nan),
        unknown=_count(unknown),
        out_of_range=_count(broken),
        tagged=_count(raw == nodata) if kept else 0,
        values=_values(raw[~(empty | nan | broken)]),
    )


def _values(raw: NDArray[Any]) -> tuple[tuple[int, int], ...]:
    """(value, count) of whole numbers of at most 16 bits."""
    if raw.dtype.itemsize == 1 and raw.dtype.kind == "u":
        counts = np.bincount(raw, minlength=1)
        return tuple((int(value), int(counts[value])) for value in np.flatnonzero(counts))
    values, counts = np.unique(raw[(raw > -(1 << 16)) & (raw < 1 << 16)], return_counts=True)
    return tuple((int(value), int(count)) for value, count in zip(values, counts, strict=True))


def _from_fractions(
    raw: NDArray[Any], rules: MaskRules, limits: Limits, nodata: float | None, scale: int
) -> tuple[NDArray[np.uint8], LabelCounts]:
    # Whole numbers were rounded band by band, so that their sum may be off by half a step for each band.
    rounding = 0.0 if raw.dtype.kind == "f" else 0.5 * len(raw) / scale
    kept = rules.rest is not None and nodata in (0, scale) and rules.unlabelled != nodata
    empty = _empty(raw, rules, None if kept else nodata, (scale,))
    fractions = to_fraction(raw, scale)
    if rules.rest is not None:
        left = np.maximum(1 - fractions.sum(axis=0, keepdims=True), 0).astype(fractions.dtype)
        at = rules.names.index(rules.rest)
        fractions = np.concatenate([fractions[:at], left, fractions[at:]])
    sums = fractions.sum(axis=0)
    nan = np.isnan(sums) & ~empty
    zero = (sums == 0) & ~empty
    labelled = ~(empty | nan | zero)
    off = labelled & (np.abs(sums - 1) > limits.sum_tolerance + rounding)
    out = labelled & (
        (fractions.min(axis=0) < -limits.sum_tolerance) | (fractions.max(axis=0) > 1 + limits.sum_tolerance)
    )
    good = labelled & ~off & ~out
    if good.all():
        coded = np.rint(np.clip(fractions, 0, 1) * fractions.dtype.type(FRACTION_SCALE)).astype(np.uint8)
    else:
        coded = np.rint(np.where(good, np.clip(fractions, 0, 1), 0) * FRACTION_SCALE).astype(np.uint8)
        coded[:, ~good] = UNLABELLED
    worst = sums[off]
    return coded, LabelCounts(
        pixels=sums.size,
        labelled=_count(good),
        nan=_count(nan),
        zero=_count(zero),
        out_of_range=_count(out),
        tagged=_count((raw == nodata).all(axis=0)) if kept else 0,
        bad_sum=_count(off),
        worst_sum=float(worst[np.argmax(np.abs(worst - 1))]) if worst.size else 1.0,
    )


def aggregated(fraction: NDArray[np.uint8], side: int, labelled_min: float) -> NDArray[np.uint8]:
    """(K, h, w) coded fractions of pixels that are side x side finer ones: the means of those that have a label.

    fraction: (K, h * side, w * side) coded. labelled_min: least share of finer pixels with a label; a pixel with fewer
    of them, or with none, has no label. Sums are of whole numbers, so that nothing is rounded but the result.
    """
    if side == 1:
        return fraction
    classes, rows, cols = len(fraction), fraction.shape[1] // side, fraction.shape[2] // side
    there = fraction[0] != UNLABELLED
    count = there.reshape(rows, side, cols, side).sum(axis=(1, 3), dtype=np.int64)
    out = np.full((classes, rows, cols), UNLABELLED, np.uint8)
    enough = (count > 0) & (count >= labelled_min * side**2)
    for k in range(classes):
        total = np.where(there, fraction[k], 0).reshape(rows, side, cols, side).sum(axis=(1, 3), dtype=np.int64)
        out[k, enough] = np.rint(total[enough] / count[enough])
    return out


def to_fraction(raw: NDArray[Any], scale: int) -> NDArray[Any]:
    """Mask pixels as fractions; other scales than 1 become float32, as a repaired file holds them."""
    if raw.dtype.kind == "f" and scale == 1:
        return raw
    return (raw / np.float64(scale)).astype(np.float32)


def _count(where: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(where))


def _empty(raw: NDArray[Any], rules: MaskRules, nodata: float | None, scales: Sequence[int] = ()) -> NDArray[np.bool_]:
    """(h, w): pixels that the file or the recipe declares as without label.

    A declared 0 is also a fraction, and so is what a whole pixel may be written as (`scales`): these empty a pixel only
    where all bands hold them; any other value does in one.
    """
    empty = np.zeros(raw.shape[1:], bool)
    for value in {nodata, rules.unlabelled}:
        if value is None:
            continue
        same = np.isnan(raw) if np.isnan(value) else raw == value
        empty |= same.all(axis=0) if value in (0, *scales) and len(raw) > 1 else same.any(axis=0)
    return empty
