"""Kind of masks, classes and the value without label, from the values in them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from greenprep.init.facts import FileFacts, commonest
from greenschemas.band_names import says_nothing
from greenschemas.choices import MaskKind
from greenschemas.recipe import MaskRules

__all__ = ["guess_labels"]

WORLDCOVER = {
    10: "trees",
    20: "shrubs",
    30: "grass",
    40: "crops",
    50: "built_up",
    60: "bare",
    70: "snow_ice",
    80: "water",
    90: "wetland",
    95: "mangroves",
    100: "moss_lichen",
}
"""ESA WorldCover 2021 v200, product user manual, table of classes; 0 is no data."""
MUCH = 0.5
"""Share of the pixels above which 0 beside other codes is taken for a class of its own, a background."""


def guess_labels(masks: Sequence[FileFacts]) -> tuple[MaskRules, dict[str, str]]:
    """(how masks are written, how that was told by key of `mask`)."""
    bands = int(str(commonest(one.bands for one in masks)))
    alike = [one for one in masks if one.bands == bands]
    return _codes(alike) if bands == 1 else _shares(alike, bands)


def _shares(masks: Sequence[FileFacts], bands: int) -> tuple[MaskRules, dict[str, str]]:
    whole = float(str(commonest(round(one.whole or 0, 1) for one in masks)))
    two = all(one.values is not None and len(one.values) <= 2 for one in masks)
    kind = MaskKind.PERCENT if abs(whole - 100) < 3 else MaskKind.ONE_HOT if two else MaskKind.FRACTION
    names = commonest(one.names for one in masks)
    words = [str(name) for name in names if not says_nothing(name)] if isinstance(names, tuple) else []
    told = "from the descriptions of the bands"
    if len(set(words)) != bands:
        words, told = [f"class_{i}" for i in range(1, bands + 1)], "COULD NOT TELL their names: write them here"
    said = {"kind": f"{bands} bands that sum to {whole:g} in {len(masks)} masks looked at", "classes": told}
    return MaskRules(kind=kind, classes=tuple(words)), said


def _codes(masks: Sequence[FileFacts]) -> tuple[MaskRules, dict[str, str]]:
    counts: Counter[int] = Counter()
    for one in masks:
        counts.update({int(value): count for value, count in one.values or ()})
    total = counts.total()
    said = {"kind": f"one band of whole numbers in {len(masks)} masks looked at"}
    tags = {one.nodata for one in masks if one.nodata is not None}
    real = {code: count for code, count in counts.items() if code not in tags}
    empty, why = _unlabelled(real, tags, coloured=all(one.zero_coloured for one in masks))
    codes = sorted(code for code in real if code != empty)
    said["unlabelled"] = why
    shares = ", ".join(f"{code} in {count / total:.1%}" for code, count in sorted(counts.items()))
    world = set(codes) <= WORLDCOVER.keys()
    classes = {code: WORLDCOVER[code] if world else f"class_{code}" for code in codes}
    if codes == [0, 255]:
        classes = {0: "other", 255: "class_255"}
    if len(classes) < 2:  # A recipe has two classes: with one alone there is nothing to tell apart.
        other = next(code for code in (1, 2, 0) if code != empty and code not in classes)
        classes |= {other: f"class_{other}"}
    told = "ESA WorldCover's codes" if world else "COULD NOT TELL their names: write them here"
    said["classes"] = f"codes in the pixels looked at: {shares}\n{told}; several codes may have one name"
    return MaskRules(kind=MaskKind.INDEX, classes=classes, unlabelled=empty), said


def _unlabelled(counts: dict[int, int], tags: set[float], *, coloured: bool) -> tuple[int | None, str]:
    codes = set(counts)
    if tags:
        return (
            None,
            f"the files' own nodata tag, {', '.join(f'{tag:g}' for tag in sorted(tags))}, says where no label is",
        )
    if codes <= {0, 255}:
        return None, "no value beside those of the two classes"
    if 255 in codes:
        return 255, f"255 beside codes up to {max(codes - {255})} usually means no label"
    if 0 not in codes:
        return None, "no code but those of the classes"
    share = counts[0] / sum(counts.values())
    if codes - {0} <= WORLDCOVER.keys():
        return 0, f"0 is no data in ESA WorldCover ({share:.1%} of the pixels)"
    if coloured:
        return None, f"the files' palettes give 0 a colour of its own ({share:.1%} of the pixels): it is a class"
    if len(codes) > 3 and share < MUCH:
        return 0, f"COULD NOT TELL: 0 in {share:.1%} of the pixels is taken for no label; name it if it is a class"
    return None, f"COULD NOT TELL: 0 in {share:.1%} of the pixels is taken for a class; write 0 if it means no label"
