"""Do the numbers of all files of a collection mean the same? Scales, radiometric offsets, tags of both. Pure.

Letters: F files, R reflectance bands.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from greenprep.checks.measure import DARK_BINS, DARK_STEP
from greenprep.findings import finding
from greenschemas.bands import Band, Role
from greenschemas.choices import OffsetPolicy
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Level, Reason
from greenschemas.value_checks import FLOOR, NO_FLOOR, OFFSET, Levels, dark_enough, find_factor, find_offset

__all__ = ["mixed_offsets", "mixed_scales", "unlike_tags"]

Floats = NDArray[np.float64]

_NEAREST, _FARTHEST = DARK_STEP / 2, (DARK_BINS - 0.5) * DARK_STEP
"""Between which medians are told apart, as reflectance."""
_DIM = 0.03
"""Mean reflectance of the brightest band that next to no land is below: fields and forest have 0.2 in the near
infrared, forest 0.04 in green."""
_ENOUGH = 3
"""Files without the offset that a likely one is compared with, where its group has none."""
_FEW_BANDS = 5
"""With so few, sand and an offset look alike but on the same ground: files of other groups say nothing."""
_COMPARED = 1000
"""Files of other groups, about, that a file is compared with."""
_NEAR = 0.025
"""Reflectance, in the mean over bands, by which a file may differ from the most similar one, once the offset is
taken away: what differs more is other ground, or under cloud."""


def mixed_scales(
    entries: Sequence[Entry], alive: Sequence[int], bands: Sequence[Band], limits: Limits
) -> Iterator[tuple[int, Reason]]:
    """(index, finding) of the files all of whose bands lie by one factor above or below those of most files.

    The factor is judged as `greentrain predict` judges that between a scene and training. Where most files are too dim
    for land, all are told so: they may be on another scale together.
    """
    names = [band.name for band in bands if band.role is Role.REFLECTANCE and band.common != "cirrus"]
    whole = limits.reflectance_scale
    keys = [f"{kind}.{name}" for kind in ("mean", "middle") for name in names]
    measured = [i for i in alive if all(key in entries[i].measures for key in keys)]
    if whole is None or not names or len(measured) <= _ENOUGH:
        return
    means, middles = (_measures(entries, measured, kind, names) for kind in ("mean", "middle"))
    unknown = np.full(len(names), np.nan)
    # Of two halves the brighter one: a median between them is like neither.
    mean_of, middle_of = (np.quantile(one, 0.5, axis=0, method="higher") for one in (means, middles))
    usual = Levels(unknown, mean_of, unknown, unknown)
    if (brightest := float(mean_of.max()) / whole) < _DIM:
        found = f"likely another scale: no band's mean is above {brightest:.2g} of reflectance in most files"
        for i in measured:
            yield i, finding(Code.SCALE, "image", found, limit=f"{_DIM:g}", limits=limits, level=Level.WARN)
        return
    # Files of 8 bits do not come here: `reflectance-scale` refuses them by themselves, or whole is 255.
    factors = [find_factor(Levels(unknown, mean, np.full(len(names), np.inf), unknown), usual, whole) for mean in means]
    unlike = [
        (i, factor)
        for i, factor, middle in zip(measured, factors, middles, strict=True)
        if factor is not None and _moved(middle, middle_of, factor.ratio)
    ]
    for i, factor in unlike:
        found = f"values about {factor.ratio:.3g} times those of most files: {factor.cause}"
        limit = f"one scale; {len(unlike)} of {len(measured)} files are on another"
        level = Level.WARN if len(names) <= _FEW_BANDS else None
        yield i, finding(Code.MIXED_SCALES, "image", found, limit=limit, limits=limits, level=level)


def _measures(entries: Sequence[Entry], which: Sequence[int], kind: str, names: Sequence[str]) -> Floats:
    """(F, R) what was measured of these bands in these entries; NaN where it was not."""
    return np.array([[entries[i].measures.get(f"{kind}.{name}", np.nan) for name in names] for i in which])


def _moved(middle: Floats, usual: Floats, ratio: float) -> bool:
    """Whether the medians (R,) moved by about that ratio, as far as they are told apart.

    A few pixels, such as undeclared no data, move means and leave medians where they were.
    """
    due = (usual * ratio).clip(_NEAREST, _FARTHEST)
    return bool(0.5 < np.median(middle / due) < 2)


def mixed_offsets(
    entries: Sequence[Entry], alive: Sequence[int], bands: Sequence[Band], limits: Limits
) -> Iterator[tuple[int, Reason]]:
    """(index, finding) of the files that carry the offset of baseline 04.00, by comparison with each other.

    Certain by the finding that their header made (the recipe keeps the offset), else likely by their darkest pixels.
    Where others do not carry it they are called mixed; what cannot be compared is told where it looks like it.
    """
    keep = limits.offset is OffsetPolicy.KEEP
    kept = {i for i in alive if keep and any(reason.code == Code.OFFSET for reason in entries[i].reasons)}
    table = _Table.of(entries, [i for i in alive if i not in kept], bands, limits.reflectance_scale)
    likely = {} if table is None else dict(_above_others(table, entries))
    carry = kept | likely.keys()
    if carry and len(carry) < len(alive):
        for i in sorted(carry):
            how = likely.get(i, "for certain")
            found = f"{len(carry)} of {len(alive)} files carry the offset of baseline 04.00, this one {how}"
            level = Level.WARN if keep else None
            yield i, finding(Code.MIXED_OFFSETS, "image", found, limit="all files alike", limits=limits, level=level)
    if table is not None and not keep:
        for i, found in _above_all(table, carry):
            limit = f"something below {OFFSET:g}, such as water, shadow or leaves"
            yield i, finding(Code.LIKELY_OFFSET, "image", found, limit=limit, limits=limits)


@dataclass(frozen=True)
class _Table:
    """Where the reflectances of some files lie; F of them have been measured."""

    files: NDArray[np.intp]
    """(F,) index of the entry."""
    dark: Floats
    """(F, R) first percentile."""
    middle: Floats
    """(F, R) median."""

    @classmethod
    def of(
        cls, entries: Sequence[Entry], which: Sequence[int], bands: Sequence[Band], whole: float | None
    ) -> Self | None:
        """None where nothing can be said: the scale is unknown, or bands are too few."""
        names = [band.name for band in bands if band.role is Role.REFLECTANCE]
        if whole is None or len(names) < 3:
            return None
        dark, middle = (_measures(entries, which, kind, names) for kind in ("dark", "middle"))
        known = np.isfinite(dark).all(axis=1) if len(which) else np.zeros(0, bool)
        return cls(np.array(which, np.intp)[known], dark[known], middle[known]) if known.any() else None

    def levels(self, row: int) -> Levels:
        unknown = np.full(self.dark.shape[1], np.nan)
        return Levels(self.dark[row], self.middle[row], unknown, unknown)


def _above_others(table: _Table, entries: Sequence[Entry]) -> Iterator[tuple[int, str]]:
    """(index, evidence) of files whose pixels lie one offset above those of the file that they are most like, else."""
    least = table.dark.min(axis=1)
    plain = np.flatnonzero(least < NO_FLOOR * OFFSET)
    others = plain[:: max(1, len(plain) // _COMPARED)] if table.dark.shape[1] > _FEW_BANDS else plain[:0]
    groups: dict[str, list[int]] = defaultdict(list)
    for row in plain.tolist():
        if group := entries[table.files[row]].group:
            groups[group].append(row)
    for row in np.flatnonzero(least >= FLOOR * OFFSET).tolist():
        entry = entries[table.files[row]]
        same = groups.get(entry.group or "", [])
        with_whom = np.union1d(others, np.array(same, np.intp)) if len(others) >= _ENOUGH else np.array(same, np.intp)
        if not len(with_whom):
            continue
        away = [np.abs(of[row] - OFFSET - of[with_whom]).mean(axis=1) for of in (table.dark, table.middle)]
        apart = np.mean(away, axis=0)
        nearest = int(with_whom[np.argmin(apart)])
        if apart.min() <= _NEAR and find_offset(table.levels(row), table.levels(nearest), 1.0) is not None:
            above = np.median(table.dark[row] - table.dark[nearest])
            other = entries[table.files[nearest]].image
            who = f"{other}, {'another date of its group' if nearest in same else 'the most similar file'}"
            yield (
                int(table.files[row]),
                f"likely: its darkest pixels lie {above:.2g} of reflectance above those of {who}",
            )


def _above_all(table: _Table, carry: Collection[int]) -> Iterator[tuple[int, str]]:
    """(index, evidence) of files none of whose bands has a dark pixel, although many would without the offset.

    Bands that are bright, as on sand, say nothing by themselves; but next to no collection is of such files alone.
    """
    least = table.dark.min(axis=1)
    rest = np.array([index not in carry for index in table.files.tolist()]) & (least >= FLOOR * OFFSET)
    if not rest.any():
        return
    all_of = dark_enough(table.dark[rest].min(axis=0)) and np.count_nonzero(least < NO_FLOOR * OFFSET) < _ENOUGH
    for row in np.flatnonzero(rest).tolist():
        if all_of or dark_enough(table.dark[row]):
            found = f"likely the offset of baseline 04.00: no band lies below {least[row]:.2g} of reflectance"
            yield int(table.files[row]), found + (f", nor in any of {np.count_nonzero(rest)} files" if all_of else "")


def unlike_tags(entries: Sequence[Entry], alive: Sequence[int], limits: Limits) -> Iterator[tuple[int, Reason]]:
    """(index, finding) of the files whose scale and offset tags are not those of most."""
    tags = {
        i: tuple(sorted(one for one in entries[i].measures.items() if one[0].startswith(("scale.", "offset."))))
        for i in alive
    }
    counted = Counter(tags.values())
    if len(counted) < 2:
        return
    usual, files = counted.most_common(1)[0]
    for i in alive:
        if tags[i] != usual:
            yield (
                i,
                finding(
                    Code.UNLIKE_TAGS,
                    "image",
                    _words(tags[i]),
                    limit=f"{_words(usual)}, as in {files} of {len(alive)} files",
                    limits=limits,
                ),
            )


def _words(tags: tuple[tuple[str, float], ...]) -> str:
    if not tags:
        return "no scale and offset tags"
    shown = ", ".join(f"{name} {value:g}" for name, value in tags[:4])
    return shown + (f" and {len(tags) - 4} more" if len(tags) > 4 else "")
