"""Patterns of names from names: what image and mask share, what tells them apart, which parts vary. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

from greenprep.init.facts import FileFacts

__all__ = ["guess_group", "guess_patterns"]

SAMPLE = 60
"""Images whose masks are looked for."""
NEAR = 6
"""Masks that are compared with an image letter by letter, of those that share most words with it."""

ENOUGH = 5
"""Fewer groups than this cannot be dealt to splits."""

_Segments = tuple[tuple[str, str, str], ...]
"""(only in the image, only in the mask, in both), from left to right."""

_Taken = dict[tuple[str, ...], str]
"""Names of parts by the values that they take."""

_DATE = re.compile(r"(19|20)\d\d[-.]?[01]\d([-.]?[0-3]\d)?(T\d{6}Z?)?")
_YEAR = re.compile(r"(19|20)\d\d")
_WORD = re.compile(r"([A-Za-z]+)[-]?\d+[A-Za-z]?")


def guess_patterns(images: Sequence[str], masks: Sequence[str]) -> tuple[str, str] | None:
    """(pattern of the images' paths, of the masks'), parts in braces; None where names do not tell.

    Each image is laid beside the mask whose name is nearest to it. What only the mask has must be the same in all.
    """
    step = max(1, len(images) // SAMPLE)
    aligned = [_align(image, mask) for image, mask in _nearest(images[::step], masks)]
    shapes: dict[tuple[str, ...], list[_Segments]] = defaultdict(list)
    for segments in aligned:
        shapes[tuple(only for _, only, _ in segments)].append(segments)
    if not shapes:
        return None
    of_image, of_mask = "", ""
    taken: _Taken = {}
    for column in zip(*max(shapes.values(), key=len), strict=True):
        of_image += _generalised([image for image, _, _ in column], taken)
        shared = _generalised([both for _, _, both in column], taken)
        of_image, of_mask = of_image + shared, of_mask + column[0][1] + shared
    return (of_image, of_mask) if "{" in of_mask else None


def _nearest(images: Sequence[str], masks: Sequence[str]) -> Iterable[tuple[str, str]]:
    words = {mask: set(_tokens(mask)) for mask in masks}
    often = Counter(word for some in words.values() for word in some)
    for image in images:
        mine = set(_tokens(image))
        shared = {mask: sum(1 / often[word] for word in mine & some) for mask, some in words.items()}
        near = sorted(shared, key=lambda mask: (-shared[mask], mask))[:NEAR]
        if near:
            yield image, max(near, key=lambda mask: SequenceMatcher(None, image, mask, autojunk=False).ratio())


def _tokens(path: str) -> list[str]:
    return re.findall(r"[A-Za-z]+|\d+|[^A-Za-z\d]", path)


def _align(image: str, mask: str) -> _Segments:
    one, other = _tokens(image), _tokens(mask)
    at, there = 0, 0
    segments = []
    for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks():
        both = "".join(one[block.a : block.a + block.size])
        segments.append(("".join(one[at : block.a]), "".join(other[there : block.b]), both))
        at, there = block.a + block.size, block.b + block.size
    return tuple(segments)


def _generalised(texts: Sequence[str], taken: _Taken) -> str:
    """One pattern for some texts: what is alike in all stays, what varies becomes a part."""
    ending = re.search(r"(\.[A-Za-z]+)*$", texts[0])
    end = ending[0] if ending is not None and all(text.endswith(ending[0]) for text in texts) else ""
    rows = [text.removesuffix(end).split("/") for text in texts]
    if len({len(row) for row in rows}) > 1:
        return _part(texts, "name", taken)  # Folders of several depths: no one pattern has them all.
    return "/".join(_of_names(column, taken) for column in zip(*rows, strict=True)) + end


def _of_names(texts: Sequence[str], taken: _Taken) -> str:
    """As `_generalised`, for texts without folders."""
    if len(set(texts)) == 1:
        return texts[0]
    marks, columns = _columns(texts)
    if any("" in column and len(set(column)) > 1 for column in columns):
        return _part(texts, "name", taken)
    out = []
    for number, column in enumerate(columns):
        before = columns[number - 1][0] if number and len(set(columns[number - 1])) == 1 else ""
        mark = marks[number - 1] if number else ""
        out.append(mark + (column[0] if len(set(column)) == 1 else _part(column, _called(column, before), taken)))
    return "".join(out)


def _columns(texts: Sequence[str]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """(what stands between the parts, the parts of all texts), cut at underscores and, where all have the same, spaces.

    Names of cities have such marks of their own: the parts are counted from the right.
    """
    for cut in (r"([_ ])", r"(_)"):
        rows = [re.split(cut, text) for text in texts]
        least = min(map(len, rows))
        rows = [["".join(row[: len(row) - least + 1]), *row[len(row) - least + 1 :]] for row in rows]
        marks = {tuple(row[1::2]) for row in rows}
        if len(marks) == 1:
            break
    return marks.pop(), list(zip(*(row[::2] for row in rows), strict=True))


def _called(values: Sequence[str], before: str) -> str:
    """What a part that takes these values is called."""
    if all(_YEAR.fullmatch(value) for value in values):
        return "year"
    if all(_DATE.fullmatch(value) for value in values):
        return "date"
    words = {match[1].lower() if (match := _WORD.fullmatch(value)) else "" for value in values}
    word = words.pop() if len(words) == 1 else ""
    word = word or (before.lower() if re.fullmatch(r"[A-Za-z]{2,}", before) else "")
    return word or ("place" if all(re.fullmatch(r"[A-Za-z_ -]+", value) for value in values) else "part")


def _part(values: Sequence[str], name: str, taken: _Taken) -> str:
    """A part in braces; one that takes the same values as another is that one again."""
    if tuple(values) not in taken:
        taken[tuple(values)] = name if name not in taken.values() else f"{name}{len(taken) + 1}"
    return f"{{{taken[tuple(values)]}}}"


def guess_group(
    parts: Sequence[str], found: Mapping[str, Mapping[str, str]], images: Iterable[FileFacts]
) -> tuple[tuple[str, ...], str]:
    """(parts that name the ground, how that was told).

    found: the parts of each image by path. Images on the very same grid show the same ground, whatever their names.
    Where nothing tells, a group rather has too many images than too few: the same ground in two splits is worse.
    """
    grounds: dict[object, list[Mapping[str, str]]] = defaultdict(list)
    for one in images:
        if one.place is not None and one.path in found:
            grounds[one.place, one.height, one.width].append(found[one.path])
    again = [some for some in grounds.values() if len(some) > 1]
    moving = {part for some in again for part in parts if len({one[part] for one in some}) > 1}
    dates = {part for part in parts if part.startswith(("date", "time"))}
    if moving and moving < set(parts) and len(grounds) > 1:
        kept = tuple(part for part in parts if part not in moving)
        differ = ", ".join(sorted(moving))
        return kept, f"{sum(map(len, again))} images lie on the grid of another one, and differ in {differ}"
    if dates and dates < set(parts):
        return tuple(part for part in parts if part not in dates), "the parts of the name that are no date"
    for count in range(1, len(parts)):
        groups = {tuple(one[part] for part in parts[:count]) for one in found.values()}
        if ENOUGH <= len(groups) < len(found):
            alike = ", ".join(parts[:count])
            return tuple(parts[:count]), f"COULD NOT TELL: images that share {alike} are taken for the same ground"
    why = "COULD NOT TELL which images show the same ground: each is its own; leave out what names the time"
    return tuple(parts), why
