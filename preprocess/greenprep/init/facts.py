"""What a first look at one file tells: all that guesses are made of. No file is opened here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["FileFacts", "commonest", "looks_like_labels", "tell_apart"]

MASK_WORDS = re.compile(
    r"(?i)(^|[^a-z])(mask|label|annotation|truth|gt|lulc|landcover|class|classes|seg|target)s?([^a-z]|$)"
)
CODES_MAX = 64
"""More values than this in one band are no class codes."""


@dataclass(frozen=True)
class FileFacts:
    """A file, from its header and some of its pixels."""

    path: str
    """Below the raw folder, with forward slashes."""
    bands: int
    dtype: str
    """NumPy name."""
    height: int
    width: int
    names: tuple[str | None, ...] = ()
    """Descriptions of the bands."""
    nodata: float | None = None
    zero_coloured: bool = False
    """Whether a palette gives 0 another colour than black."""
    place: tuple[str, tuple[float, ...]] | None = None
    """(coordinate system, transform); None where it has none."""
    high: float = 0.0
    """99th percentile of the values looked at that are finite and not 0."""
    highs: tuple[float, ...] = ()
    """As `high`, of each band."""
    middle: float = 0.0
    """Their median."""
    low: float = 0.0
    """Their first percentile."""
    nan: float = 0.0
    """Share of the pixels looked at with NaN or infinity in a band."""
    values: tuple[tuple[float, int], ...] | None = None
    """(value, count) over all bands of the values looked at; None where there are too many for class codes."""
    whole: float | None = None
    """Sum over bands of nearly every pixel that is not empty; None where the sums differ, and for one band."""


def looks_like_labels(facts: FileFacts) -> bool:
    """Whether the values are those of a mask: a few whole numbers in one band, or bands that sum to one number."""
    if facts.bands == 1:
        return facts.values is not None and all(value == int(value) for value, _ in facts.values)
    return facts.whole is not None


def tell_apart(facts: Sequence[FileFacts]) -> tuple[list[FileFacts], list[FileFacts]]:
    """(images, masks): files alike in bands, type and words of the name are all the one or all the other."""
    kinds: dict[tuple[int, str, bool], list[FileFacts]] = {}
    for one in facts:
        kinds.setdefault((one.bands, one.dtype, bool(MASK_WORDS.search(one.path))), []).append(one)
    named = any(worded for _, _, worded in kinds)
    masks = [
        one
        for (bands, _, worded), some in kinds.items()
        if sum(map(looks_like_labels, some)) * 2 > len(some) and (worded or not named or bands == 1)
        for one in some
    ]
    paths = {one.path for one in masks}
    return [one for one in facts if one.path not in paths], masks


def commonest(values: Iterable[object]) -> object:
    """The commonest of some values, the first of equals."""
    seen: dict[object, int] = {}
    for value in values:
        seen[value] = seen.get(value, 0) + 1
    return max(seen, key=lambda value: seen[value])
