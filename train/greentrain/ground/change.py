"""`greentrain change`: what was gained and lost between two maps of one ground, and the map of it.

The map of change of class maps has a class for each pair of classes: BEFORE K + AFTER, K classes in all. That of maps
of fractions holds the differences. Both are read strip by strip. Letters: K classes, H rows, W columns of a strip.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.colours import Colour, class_colours
from greenschemas.console import Ticker
from greenschemas.errors import ConfigError, SourceError
from greentrain.ground.area import Ground, class_names, must_be_map, pixel_hectares
from greentrain.ground.sieve import find_large, only_large
from greentrain.maps.blend import Block
from greentrain.maps.outputs import AFTER, BEFORE, KEY, NO_CLASS
from greentrain.maps.raster import Layer, Raster, write_map
from greentrain.maps.stac import write_item
from greentrain.maps.style import class_style, difference_style, write_style
from greentrain.maps.warp import OnGrid

__all__ = ["Pair", "change_colours", "change_names", "origin", "pair_of", "write_change"]

_STRIP = 256
_PALE = 0.35
"""Of its class's colour what a pixel has that did not change; the rest is white."""
_MOST = 254
"""Classes of change that fit into a byte, beside no data."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two maps of one ground."""

    before: Raster
    after: OnGrid
    """On the grid of `before`."""
    classes: tuple[str, ...]
    fractions: bool

    def strips(self) -> Iterator[Block]:
        """From the top down, as wide as the map."""
        height, width = self.before.grid.height, self.before.grid.width
        for index, row in enumerate(range(0, height, _STRIP)):
            yield Block(index, row, 0, min(_STRIP, height - row), width)

    def read(self, strip: Block) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """(before, after, (H, W) where both are known); values (K, H, W), or classes (H, W)."""
        box = (strip.row, strip.col, strip.height, strip.width)
        (before, known), (after, also) = self.before.read(*box), self.after.read(*box)
        for raster, values, usable in ((self.before, before, known), (self.after.raster, after, also)):
            if KEY not in raster.tags:
                must_be_map(raster.path, values[:, usable])
        known = known & also
        if self.fractions:
            return before, after, known
        known &= (before[0] < len(self.classes)) & (after[0] < len(self.classes))
        return np.where(known, before[0], 0).astype(np.int64), np.where(known, after[0], 0).astype(np.int64), known


def pair_of(before: Raster, after: Raster) -> Pair:
    """Raises SourceError where one is a class map and the other one of fractions, or classes or grids do not fit."""
    fractions = before.count > 1
    if fractions != (after.count > 1):
        kinds = ("a class map", "a map of fractions")
        raise SourceError(
            after.path,
            f"{kinds[after.count > 1]}, and {before.path} is {kinds[fractions]}",
            "give two maps of one kind",
        )
    first, second = (class_names(each.tags, each.names, fractions) for each in (before, after))
    if first != second and NO_CLASS not in (len(first), len(second)):
        raise SourceError(
            after.path,
            f"classes {', '.join(second)}, and {before.path} has {', '.join(first)}",
            "give two maps of the same classes",
        )
    named = first if len(first) < NO_CLASS else second
    onto = OnGrid(after, before.grid)
    if len(named) == NO_CLASS:
        named = named[: _highest(before, onto) + 1]
    return Pair(before, onto, named, fractions)


def _highest(before: Raster, after: OnGrid) -> int:
    """The highest class number of two maps without names."""
    pair = Pair(before, after, ("",) * NO_CLASS, False)
    return max(
        int(max(one[known].max(initial=0), two[known].max(initial=0)))
        for one, two, known in (pair.read(strip) for strip in pair.strips())
    )


def change_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the K K classes of change: `trees to water`, and `trees` for what is trees before and after."""
    return tuple(one if one == other else f"{one} to {other}" for one in classes for other in classes)


def change_colours(classes: Sequence[str]) -> tuple[Colour, ...]:
    """The colour of what it became, with a fifth of what it was; pale where it stayed."""
    own = class_colours(classes)
    return tuple(
        _mix(before, (255, 255, 255), _PALE) if before == after else _mix(after, before, 0.8)
        for before in own
        for after in own
    )


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(share * a + (1 - share) * b) for a, b in zip(one, other, strict=True))
    return red, green, blue


def origin(pair: Pair) -> Mapping[str, str]:
    """Tags by which the map of change of two maps is known."""
    return {BEFORE: pair.before.path.name, AFTER: pair.after.raster.path.name}


@dataclass
class _Seen:
    pixels: NDArray[np.int64]
    """Of each class of change."""
    small: float = 0.0
    """Hectares that changed in patches too small to be called change."""


def write_change(pair: Pair, out: Path, min_area: float, bar: Ticker) -> float:
    """Write the map of change, its style and its STAC item.

    Gives the hectares that changed in patches below `min_area` hectares, which are given the class that they had
    before. Raises ConfigError where there is a `min_area` and no CRS, or fractions, of which nothing says what changed.
    """
    bar.total(sum(1 for _ in pair.strips()) * (2 if min_area else 1))
    tags = {**origin(pair), "GREENSPACE_MIN_AREA": f"{min_area:g}"}
    if pair.fractions:
        if min_area:
            raise ConfigError("--min-area", "maps of fractions have no patches", "leave it out, or give class maps")
        tags["GREENSPACE_CLASS_NAMES"] = json.dumps(pair.classes)
        layer = Layer(pair.classes, "float32", float("nan"))
        write_map(out, pair.before.grid, layer, _differences(pair, bar), tags)
        write_style(out, difference_style(pair.classes[0]))
        _write_item(pair, out, layer, pair.classes)
        return 0.0
    least = _least_pixels(pair, min_area)
    large = find_large(_ticked(_changed(pair), bar), least) if least > 1 else []
    names, colours = change_names(pair.classes), change_colours(pair.classes)
    tags["GREENSPACE_CLASS_NAMES"] = json.dumps(names)
    tags[KEY] = hashlib.sha256(json.dumps(tags).encode()).hexdigest()
    wide = len(names) > _MOST
    seen = _Seen(np.zeros(len(names), np.int64))
    layer = Layer(("change",), "uint16" if wide else "uint8", 65535 if wide else NO_CLASS, colours)
    write_map(out, pair.before.grid, layer, _codes(pair, large, layer, seen, bar), tags)
    write_style(out, class_style(names, colours, np.flatnonzero(seen.pixels).tolist()))
    _write_item(pair, out, layer, names)
    return seen.small


def _write_item(pair: Pair, out: Path, layer: Layer, names: Sequence[str]) -> None:
    before, after = pair.before, pair.after.raster
    write_item(out, before.grid, {out: layer}, names, Path(after.path).name, Path(before.path).name)


def _least_pixels(pair: Pair, min_area: float) -> int:
    grid, kind = pair.before.grid, pair.before.crs_kind
    if not min_area:
        return 1
    if kind == "none":
        raise ConfigError("--min-area", f"{pair.before.path} has no CRS, so its pixels no hectares", "leave it out")
    if not math.isfinite(min_area):
        raise ConfigError("--min-area", f"{min_area:g} hectares", "give a number of hectares")
    middle = Block(0, grid.height // 2, grid.width // 2, 1, 1)
    pixel = float(pixel_hectares(Ground.of(pair.before), middle)[0, 0])
    return int(np.ceil(min_area / pixel - 1e-9))


def _changed(pair: Pair) -> Iterator[NDArray[np.bool_]]:
    for strip in pair.strips():
        before, after, known = pair.read(strip)
        yield known & (before != after)


def _ticked(strips: Iterator[NDArray[np.bool_]], bar: Ticker) -> Iterator[NDArray[np.bool_]]:
    for strip in strips:
        yield strip
        bar.advance()


def _codes(
    pair: Pair, large: Sequence[NDArray[np.bool_]], layer: Layer, seen: _Seen, bar: Ticker
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Pieces for `write_map`; on the way it is counted what was seen."""
    ground = Ground.of(pair.before)
    for strip in pair.strips():
        before, after, known = pair.read(strip)
        if large:
            changed = known & (before != after)
            small = changed & ~only_large(changed, large[strip.index])
            seen.small += float(pixel_hectares(ground, strip)[small].sum())
            after = np.where(small, before, after)
        code = before * len(pair.classes) + after
        seen.pixels += np.bincount(code[known], minlength=len(seen.pixels))
        yield strip.row, strip.col, np.where(known, code, int(layer.nodata)).astype(layer.dtype)[None]
        bar.advance()


def _differences(pair: Pair, bar: Ticker) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    for strip in pair.strips():
        before, after, known = pair.read(strip)
        yield strip.row, strip.col, np.where(known, after - before, np.nan).astype(np.float32)
        bar.advance()
