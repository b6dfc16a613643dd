"""Checks that need the whole collection: duplicates, twice the same time, grids and values unlike the others'. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from greenprep.checks.class_codes import one_off
from greenprep.checks.offsets import mixed_offsets, mixed_scales, unlike_tags
from greenprep.checks.units import mixed_units
from greenprep.checks.verdict import with_reasons
from greenprep.findings import finding
from greenschemas.bands import Band, Role
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Level, Reason, Verdict
from greenschemas.recipe import MaskRules
from greenschemas.value_checks import PIXEL_RATIO, robust_z

__all__ = ["judge_collection", "judge_newcomers"]

ENOUGH = 8
"""Files below which nothing is said about outliers."""
COLLECTIVE = frozenset(
    {
        Code.DUPLICATE,
        Code.SAME_GROUP_TIME,
        Code.MIXED_SCALES,
        Code.MIXED_OFFSETS,
        Code.LIKELY_OFFSET,
        Code.UNLIKE_TAGS,
        Code.OTHER_UNITS,
        Code.OUTLIER,
        Code.GRID_UNLIKE_GROUP,
        Code.CLASS_CODES,
    }
)


def judge_collection(
    entries: Iterable[Entry], bands: Sequence[Band], rules: MaskRules, limits: Limits
) -> tuple[Entry, ...]:
    """The entries, sorted by path, with the findings that only the whole collection shows.

    Findings of an earlier call are dropped first, so that a grown collection is judged anew. Of equal files the first
    by path stays. Rejected files are compared with nothing.
    """
    base = [_without(entry) for entry in _by_path(entries)]
    return _with_findings(base, _findings(base, bands, rules, limits))


def judge_newcomers(
    known: Sequence[Entry], new: Iterable[Entry], bands: Sequence[Band], rules: MaskRules, limits: Limits
) -> tuple[Entry, ...]:
    """The entries of `new`, sorted by path, with what they show beside those that were judged before, which stay.

    Of equal files the one that was there stays, whatever its path.
    """
    base = [*known, *(_without(entry) for entry in _by_path(new))]
    return _with_findings(base, _findings(base, bands, rules, limits))[len(known) :]


def _by_path(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.image or entry.mask or "", entry.mask or ""))


def _with_findings(entries: Sequence[Entry], found: Mapping[int, list[Reason]]) -> tuple[Entry, ...]:
    return tuple(
        with_reasons(entry, [*entry.reasons, *found[i]]) if i in found else entry for i, entry in enumerate(entries)
    )


def _findings(
    base: Sequence[Entry], bands: Sequence[Band], rules: MaskRules, limits: Limits
) -> dict[int, list[Reason]]:
    """What is found of each entry, by its place; of those that are alike in something, the first stays."""
    found: dict[int, list[Reason]] = defaultdict(list)
    for i, reason in one_off(base, rules, limits):
        found[i].append(reason)
    alive = [i for i, entry in enumerate(base) if entry.verdict is not Verdict.REJECTED]
    for i, first in _repeats(base, alive, lambda entry: entry.image_checksum):
        masks = "the same labels" if base[i].checksum == base[first].checksum else "other labels"
        found[i].append(
            finding(
                Code.DUPLICATE,
                "image",
                f"the pixels of {base[first].image}, with {masks}",
                limit="one of a kind",
                limits=limits,
            )
        )
    alive = [i for i in alive if not _rejects(found[i])]
    for i, first in _repeats(base, alive, lambda entry: (entry.group, entry.time) if entry.group else None):
        found[i].append(
            finding(
                Code.SAME_GROUP_TIME,
                "pair",
                f"{base[i].group} at time {base[i].time}, as {base[first].image}",
                limit="one pair",
                limits=limits,
            )
        )
    alive = [i for i in alive if not _rejects(found[i])]
    _unlike_group(base, alive, found, limits)
    _unlike_pixels(base, alive, found, limits)
    for i, reason in (*mixed_scales(base, alive, bands, limits), *mixed_units(base, alive, bands, limits)):
        found[i].append(reason)
    alive = [i for i in alive if not _rejects(found[i])]
    for i, reason in (*mixed_offsets(base, alive, bands, limits), *unlike_tags(base, alive, limits)):
        found[i].append(reason)
    alive = [i for i in alive if not _rejects(found[i])]
    _outliers(base, alive, found, bands, limits)
    return {i: reasons for i, reasons in found.items() if reasons}


def _without(entry: Entry) -> Entry:
    kept = [reason for reason in entry.reasons if reason.code not in COLLECTIVE]
    return entry if len(kept) == len(entry.reasons) else with_reasons(entry, kept)


def _rejects(reasons: Iterable[Reason]) -> bool:
    return any(reason.level is Level.REJECT for reason in reasons)


def _repeats(entries: Sequence[Entry], alive: Iterable[int], key: Callable[[Entry], Hashable]) -> list[tuple[int, int]]:
    """[(index, index of the first with the same key)]; a key of None is like no other."""
    first: dict[Hashable, int] = {}
    return [
        (i, before) for i in alive if (of := key(entries[i])) is not None and (before := first.setdefault(of, i)) != i
    ]


def _unlike_group(
    entries: Sequence[Entry], alive: Iterable[int], found: dict[int, list[Reason]], limits: Limits
) -> None:
    groups: dict[str, list[int]] = defaultdict(list)
    for i in alive:
        if entries[i].group and entries[i].crs:
            groups[entries[i].group or ""].append(i)
    for members in groups.values():
        grids = [_grid(entries[i]) for i in members]
        usual = max(grids, key=grids.count)
        for i, grid in zip(members, grids, strict=True):
            if grid != usual and grids.count(usual) > grids.count(grid):
                found[i].append(
                    finding(Code.GRID_UNLIKE_GROUP, "image", _words(grid), limit=_words(usual), limits=limits)
                )


def _unlike_pixels(
    entries: Sequence[Entry], alive: Iterable[int], found: dict[int, list[Reason]], limits: Limits
) -> None:
    """Files in whose pixels things have another size than in most files', as `greentrain predict` compares scenes."""
    metres = {i: side for i in alive if (side := entries[i].measures.get("pixel_metres"))}
    usual = float(np.median([*metres.values()])) if metres else 0.0
    for i, side in metres.items():
        if max(side / usual, usual / side) > PIXEL_RATIO:
            words = f"pixels of {side:.3g} m", f"{usual:.3g} m, as in most files, within a factor of {PIXEL_RATIO:g}"
            found[i].append(finding(Code.GRID_UNLIKE_GROUP, "image", words[0], limit=words[1], limits=limits))


def _grid(entry: Entry) -> tuple[str, float, float, float, float]:
    """(CRS, pixel width and height, place of the first corner in hundredths of a pixel)."""
    a, b, c, d, e, f = entry.transform or (1, 0, 0, 0, 1, 0)
    return (
        entry.crs or "",
        round(a, 9),
        round(e, 9),
        round(c / (abs(a) or abs(b) or 1), 2),
        round(f / (abs(e) or abs(d) or 1), 2),
    )


def _words(grid: tuple[str, float, float, float, float]) -> str:
    crs, wide, tall, left, top = grid
    return f"{crs[:40]}, pixels of {wide:g} x {abs(tall):g}, corner at pixel ({left:.10g}, {top:.10g})"


def _outliers(
    entries: Sequence[Entry],
    alive: Sequence[int],
    found: dict[int, list[Reason]],
    bands: Sequence[Band],
    limits: Limits,
) -> None:
    """Robust z-scores of means and deviations by band, by median and MAD, over all files that are not rejected."""
    if len(alive) < ENOUGH:
        return
    names = [band.name for band in bands if band.role in (Role.REFLECTANCE, Role.RADAR)]
    keys = [
        key
        for kind in ("mean", "std")
        for name in names
        if any((key := f"{kind}.{name}") in entries[i].measures for i in alive)
    ]
    table = np.array([[entries[i].measures.get(key, np.nan) for key in keys] for i in alive])
    middle = np.nanmedian(table, axis=0)
    mad = 1.4826 * np.nanmedian(np.abs(table - middle), axis=0)
    score = robust_z(table, middle, mad)
    for i, row, values in zip(alive, score, table, strict=True):
        odd = [j for j in range(len(keys)) if row[j] > limits.outlier_z]
        if odd:
            worst = max(odd, key=lambda j: row[j])
            found[i].append(
                finding(
                    Code.OUTLIER,
                    "image",
                    f"{keys[worst]} = {values[worst]:.4g}, {row[worst]:.1f} robust deviations from "
                    f"{middle[worst]:.4g}; {len(odd)} values so",
                    limit=f"{limits.outlier_z:g}",
                    limits=limits,
                )
            )
