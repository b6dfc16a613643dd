"""Do the numbers of all files of a collection mean the same? Radiometric offsets, scale and offset tags. Pure.

Letters: R reflectance bands.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from greenprep.findings import finding
from greenschemas.bands import Band, Role
from greenschemas.choices import OffsetPolicy
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Level, Reason
from greenschemas.value_checks import OFFSET, Levels, find_offset

__all__ = ["mixed_offsets", "unlike_tags"]

_ENOUGH = 3
"""Files without the offset that a likely one is compared with, where its group has none."""


def mixed_offsets(
    entries: Sequence[Entry], alive: Sequence[int], bands: Sequence[Band], limits: Limits
) -> Iterator[tuple[int, Reason]]:
    """(index, finding) of the files that carry the offset of baseline 04.00 in a collection where others do not.

    Certain by the finding that their header made (the recipe keeps the offset), else likely by their darkest pixels.
    """
    keep = limits.offset is OffsetPolicy.KEEP
    kept = {i for i in alive if keep and any(reason.code == Code.OFFSET for reason in entries[i].reasons)}
    likely = dict(_likely(entries, [i for i in alive if i not in kept], bands, limits.reflectance_scale))
    carry = kept | likely.keys()
    if not carry or len(carry) == len(alive):
        return
    level = Level.WARN if keep else None
    for i in sorted(carry):
        how = likely.get(i, "for certain")
        yield (
            i,
            finding(
                Code.MIXED_OFFSETS,
                "image",
                f"{len(carry)} of {len(alive)} files carry the offset of baseline 04.00, this one {how}",
                limit="all files alike",
                limits=limits,
                level=level,
            ),
        )


def _likely(
    entries: Sequence[Entry], others: Sequence[int], bands: Sequence[Band], whole: float | None
) -> Iterator[tuple[int, str]]:
    """(index, evidence) of files whose darkest pixels lie one offset above those of their group or collection."""
    named = [band for band in bands if band.role is Role.REFLECTANCE]
    names = [band.name for band in named]
    # A cirrus band would have said so for certain.
    if whole is None or len(names) < 3 or any(band.common == "cirrus" for band in named):
        return
    dark = {i: np.array([entries[i].measures.get(f"dark.{name}", np.nan) for name in names]) for i in others}
    middle = {i: np.array([entries[i].measures.get(f"middle.{name}", np.nan) for name in names]) for i in others}
    plain = [i for i in others if np.isfinite(dark[i]).all() and dark[i].min() < 0.6 * OFFSET]
    groups: dict[str | None, list[int]] = defaultdict(list)
    for i in plain:
        groups[entries[i].group].append(i)
    unknown = np.full(len(names), np.nan)
    for i in others:
        if not np.isfinite(dark[i]).all() or dark[i].min() < 0.95 * OFFSET:
            continue
        same = groups[entries[i].group] if entries[i].group else []
        with_whom = same or (plain if len(plain) >= _ENOUGH else [])
        if not with_whom:
            continue
        lowest, usually = (np.median([of[j] for j in with_whom], axis=0) for of in (dark, middle))
        usual = Levels(lowest, usually, unknown, unknown)
        if find_offset(Levels(dark[i], middle[i], unknown, unknown), usual, 1.0) is not None:
            who = "the other dates of its group" if same else "the collection's"
            yield i, f"likely: its darkest pixels lie {np.median(dark[i] - usual.dark):.2g} of reflectance above {who}"


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
