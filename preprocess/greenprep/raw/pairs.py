"""Find which image belongs to which mask: by name, never by position. Reads directories, opens no file."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from greenschemas.codes import Code
from greenschemas.errors import SourceError, as_utf8
from greenschemas.name_pattern import copy_number, has_parts, original_name, regex_of
from greenschemas.recipe import Pairing

__all__ = [
    "ANSWERS",
    "SIDECARS",
    "Candidate",
    "all_files",
    "files_below",
    "find_pairs",
    "kin_of",
    "pair_names",
    "pairs_among",
    "sidecars_of",
]

ANSWERS = (".verdict.json", ".verdict.txt")
"""Endings of what `greenprep watch` writes beside a file: no pattern finds it."""

SIDECARS = (".aux.xml", ".ovr", ".msk", ".tfw", ".tifw", ".wld", ".prj")
"""Endings of files that GDAL would read beside a TIFF: never opened here, and no strays."""


SPLIT_PART = re.compile(r"(?P<name>.+)-(?P<row>\d{10})-(?P<col>\d{10})\.(?i:tiff?)")
"""Name of a part of an export that Earth Engine split: it ends with the row and column of the part's first pixel."""

_Index = dict[tuple[str, ...] | None, dict[int, list[str]]]
"""Masks of one stem by folder (None: in any), then by which copy of it they are: no list of all is ever searched."""
_Masks = str | _Index
"""The one mask of a stem, or an index of several."""
_Stem = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)  # There may be a million.
class Candidate:
    """An image and its mask, or a file that stays alone."""

    image: str | None
    """Path below the raw folder, with forward slashes."""
    mask: str | None
    group: str | None
    """Ground that the pair shows; None where the image's name says nothing."""
    time: str | None
    """Which acquisition of the group."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """The named parts of the image's file name, without `stem`."""
    sidecars: tuple[str, ...] = ()
    """Files that GDAL would read beside the image or the mask, unless told not to."""
    problem: Code | None = None
    """Why this cannot be a pair, as far as names tell."""

    @property
    def name(self) -> str:
        """What the candidate is called in messages and sorted by: its image, or else its mask."""
        return self.image or self.mask or ""


def find_pairs(raw: Path, pairing: Pairing) -> tuple[Candidate, ...]:
    """Every pair, lone image, lone mask and stray TIFF below `raw`, sorted by path.

    A folder that may not be looked into is one of them, with that as its problem. Sidecar files are left out; other
    kinds of file that no pattern asks for are none of our business.
    """
    return pairs_among(*all_files(raw), pairing)


def pairs_among(names: set[str], unseen: set[str], pairing: Pairing) -> tuple[Candidate, ...]:
    """As `find_pairs`, of what `all_files` found."""
    sidecars = {name for name in names if name.endswith(SIDECARS)}
    strays = {as_utf8(name) for name in names - sidecars if name.lower().endswith((".tif", ".tiff"))}
    images, masks = (_found(names - sidecars, pattern) for pattern in (pairing.images, pairing.masks))
    found = pair_names(images, masks, strays - images - masks, pairing)
    found = (*found, *(_alone(folder, Code.UNREADABLE) for folder in sorted(unseen)))
    return tuple(_with_sidecars(candidate, sidecars) for candidate in found) if sidecars else found


def all_files(raw: Path) -> tuple[set[str], set[str]]:
    """(files, folders that may not be looked into) below `raw`, with forward slashes; raises as `files_below`."""
    unseen: set[str] = set()
    found = {name for name, _ in files_below(raw, unseen) if not name.endswith(ANSWERS)}
    return found, unseen


def files_below(raw: Path, unseen: set[str] | None = None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(path below `raw` with forward slashes, what the system says of it) of every file, answers too, one by one.

    Linked folders are looked into like others, but for those that lead back to a folder that they stand in, or above
    `raw`: whatever is in those is found anyway, or is none of ours. unseen: gets folders that may not be looked into.
    Raises SourceError where `raw` or the disk under it does not answer.
    """
    # Each folder with where it, and those that it stands in, really lie.
    folders: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(raw),))]
    while folders:
        below, trail = folders.pop()
        try:
            with os.scandir(os.path.join(raw, below)) as entries:
                for entry in entries:
                    if not entry.is_dir():
                        yield below + entry.name, entry
                        continue
                    real = os.path.realpath(entry.path)
                    if not any(f"{one}/".startswith(f"{real}/") for one in trail):
                        folders.append((f"{below}{entry.name}/", (*trail, real)))
        except OSError as problem:
            if not isinstance(problem, PermissionError) or not below:
                raise SourceError(
                    raw / below, f"cannot be looked into ({problem.strerror})", "see to the disk; nothing was done"
                ) from None
            if unseen is not None:
                unseen.add(as_utf8(below.removesuffix("/")))


def kin_of(name: str, pairing: Pairing) -> tuple[str, ...]:
    """What a file has in common with all that it could make a pair with: names of other kin change nothing for it."""
    image = pairing.match_image(name) if _finds(pairing.images, name) else None
    mask = pairing.match_mask(name) if _finds(pairing.masks, name) else None
    match = mask if image is None or (mask is not None and not pairing.images_stand_out) else image
    if match is None:
        return ("", name)
    # A copy, `x (1).tif`, may belong to what it is a copy of.
    return tuple(original_name(f"{match[part]}.tif") for part in pairing.shared)


def sidecars_of(path: str) -> tuple[str, ...]:
    """What files that GDAL would read beside a TIFF are called."""
    stem = path.rpartition(".")[0]
    endings = (".tfw", ".tifw", ".wld", ".prj", ".aux.xml")
    return f"{path}.aux.xml", f"{path}.msk", f"{path}.ovr", *(stem + ending for ending in endings)


def _with_sidecars(candidate: Candidate, sidecars: set[str]) -> Candidate:
    mine = {beside for path in (candidate.image, candidate.mask) if path for beside in sidecars_of(path)}
    return replace(candidate, sidecars=tuple(sorted(mine & sidecars)))


def pair_names(
    images: Iterable[str], masks: Iterable[str], strays: Iterable[str], pairing: Pairing
) -> tuple[Candidate, ...]:
    """As `find_pairs`, from the names alone: the order in which they come does not matter."""
    images, masks = set(images), set(masks)
    named = dict(_named(images, pairing.match_image))
    mask_stem = {path: match.group(*pairing.shared) for path, match in _named(masks, pairing.match_mask)}
    # Both patterns may cover one folder, and one name.
    loser: dict[str, Any] = mask_stem if pairing.images_stand_out else named
    for path in named.keys() & mask_stem.keys():
        del loser[path]
    masks_of = _by_stem(mask_stem)
    found = [_alone(path, Code.STRAY) for path in {*strays, *images, *masks} - named.keys() - mask_stem.keys()]
    taken: set[str] = set()
    spare: set[str] = set()
    for path, match in named.items():
        stem = match.group(*pairing.shared)
        # `{date}.tif` finds `x (1).tif` as it is called; its mask may be called as it was before it was copied.
        plain = None if stem in masks_of or not copy_number(path) else pairing.match_image(original_name(path))
        if plain is not None:
            match, stem = plain, plain.group(*pairing.shared)
        near = _near(path, masks_of[stem]) if stem in masks_of else []
        found.append(_pair(path, match, near, pairing))
        taken.update(near)
        spare.update(near[1:])
    found.extend(_alone(mask, Code.AMBIGUOUS_PARTNER, is_mask=True) for mask in spare)
    found.extend(_alone(mask, Code.MISSING_IMAGE, is_mask=True) for mask in mask_stem.keys() - taken)
    return tuple(sorted(found, key=lambda candidate: (candidate.name, candidate.mask or "")))


def _named(paths: Iterable[str], match: Callable[[str], re.Match[str] | None]) -> Iterator[tuple[str, re.Match[str]]]:
    for path in paths:
        if found := match(path):
            yield path, found


def _found(names: Iterable[str], pattern: str) -> set[str]:
    """Names as text: a file whose name is none is found nowhere under it, and so answered for as unreadable."""
    return {as_utf8(name) for name in names if _finds(pattern, name)}


def _finds(pattern: str, name: str) -> bool:
    """Whether a pattern with parts in braces, or a glob, finds a path."""
    if has_parts(pattern):
        return re.fullmatch(regex_of(pattern), name) is not None
    *folders, last = _steps(pattern)
    folder, _, base = name.rpartition("/")
    return last != "**" and fnmatchcase(base, last) and _leads_to(tuple(folders), folder)


@lru_cache(maxsize=64)  # It is asked for every file.
def _steps(pattern: str) -> tuple[str, ...]:
    return PurePosixPath(pattern).parts


@lru_cache(maxsize=4096)  # It is, too.
def _leads_to(steps: tuple[str, ...], folder: str) -> bool:
    """Whether a glob looks for files in a folder: `**` stands for any folders, as in pathlib."""
    return _fits(folder.split("/") if folder else [], steps)


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_fits(path[at:], pattern[1:]) for at in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])


def _pair(path: str, match: re.Match[str], masks: list[str], pairing: Pairing) -> Candidate:
    parts = match.groupdict("")
    problem = None if len(masks) == 1 else Code.AMBIGUOUS_PARTNER if masks else Code.MISSING_MASK
    return Candidate(
        image=path,
        mask=masks[0] if masks else None,
        group=pairing.group.format(**parts),
        time=pairing.time.format(**parts),
        problem=problem,
        parts={key: value for key, value in parts.items() if key != "stem"},
    )


def _by_stem(stem_of: Mapping[str, _Stem]) -> dict[_Stem, _Masks]:
    """Masks by their stem, from the stem of each."""
    masks: dict[_Stem, _Masks] = {}
    for path in sorted(stem_of):
        stem = stem_of[path]
        known = masks.setdefault(stem, path)
        if known is path:
            continue
        if isinstance(known, str):  # Few stems have two masks: an index of each would take a kilobyte.
            index: _Index = defaultdict(lambda: defaultdict(list))
            masks[stem] = index
            _enter(index, known)
            known = index
        _enter(known, path)
    return masks


def _enter(index: _Index, path: str) -> None:
    for place in (_place(path), None):
        index[place][copy_number(path)].append(path)


def _near(image: str, masks: _Masks) -> list[str]:
    """Those of `masks` in the folder that belongs to the image's, or all: one stem may occur in many folders.

    Of several there, the one that is as many times a copy as the image is, as in `x (1).tif`, or else the original.
    """
    if isinstance(masks, str):
        return [masks]
    near = masks.get(_place(image)) or masks[None]
    same = near.get(copy_number(image)) or near.get(0)
    return same or sorted(path for paths in near.values() for path in paths)


def _place(path: str) -> tuple[str, ...]:
    """The folders below the first, without the `_masks` that those of masks may carry."""
    return tuple(part.removesuffix("_masks") for part in path.split("/")[1:-1])


def _alone(path: str, problem: Code, *, is_mask: bool = False) -> Candidate:
    return Candidate(
        image=None if is_mask else path, mask=path if is_mask else None, group=None, time=None, problem=problem
    )
