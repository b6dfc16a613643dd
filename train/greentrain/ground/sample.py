"""`greentrain sample`: which pixels of a map to look at, so that what is found there speaks for the whole map.

Two passes over the map by blocks: the first counts each key (`areas.design`), the second finds the pixels whose ranks
were drawn. Letters: N keys, S strata, K classes, H rows, W columns of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import ConfigError, SourceError, nearest
from greentrain.areas.design import STEPS, Draw, allocate, expected_error, needed, share_edges
from greentrain.ground.area import Ground, class_names, must_be_map, pixel_hectares
from greentrain.ground.points import Point, write_points
from greentrain.maps.blend import Block, blocks
from greentrain.maps.outputs import BEFORE, KEY, NO_CLASS
from greentrain.maps.raster import Raster, open_raster
from greentrain.maps.style import write_form
from greentrain.maps.warp import longitude_latitude

__all__ = ["Frame", "Question", "draw_sample", "frame_of", "keys", "pixel_of", "question_of", "shares"]

SHARE_STRATA = 5
_SIDE = 1024
_RARE, _RARE_ACCURACY, _ACCURACY = 0.1, 0.7, 0.9
"""Expected user's accuracy of classes below a tenth of the map, and of the others: between what Olofsson and others
(2014, section 5.1.1) expect of classes of change, 0.6 and 0.7, and of stable ones, 0.9 and 0.95."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """What is asked of each point."""

    classes: tuple[str, ...]
    """Of the map, K."""
    bands: tuple[int, ...] = ()
    """Of a map of fractions: those whose shares are added up. Empty for a class map, where the class is asked for."""

    @property
    def share_of(self) -> str | None:
        """Their names; None where a class is asked for."""
        return " + ".join(self.classes[band] for band in self.bands) or None


@dataclass(frozen=True)
class Frame:
    """A map as a sample sees it."""

    strata: tuple[str, ...]
    """Names of S strata: the classes on the map, or ranges of the share."""
    stratum: Counts
    """(N,) stratum of each key."""
    pixels: Counts
    """(S,)"""
    hectares: Floats
    """(S,) NaN where the map has no CRS."""
    mean: Floats
    """(S,) mean share; 1 for a class map."""

    @property
    def weight(self) -> Floats:
        """(S,) share of the mapped ground: of its hectares, or of its pixels where the map has no CRS."""
        size = self.pixels.astype(np.float64) if np.isnan(self.hectares).any() else self.hectares
        weight: Floats = size / size.sum()
        return weight


def draw_sample(
    map: Path,
    out: Path,
    n: int,
    *,
    least: int | None = None,
    expected: Mapping[str, float] | None = None,
    share_of: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw n points of a map into the GeoPackage `out` and a CSV beside it; what was drawn, ready for JSON.

    least: points of each stratum at least; else 50, or what half of n allows. expected: user's accuracies that are
    expected of classes. share_of: as `question_of`. Raises ConfigError and SourceError as the functions below.
    """
    if out.suffix.lower() != ".gpkg":
        raise ConfigError("--out", f"{out} is no name of a GeoPackage", "end it in .gpkg; the CSV stands beside it")
    with open_raster(map) as raster:
        question = question_of(raster, share_of)
        frame = frame_of(raster, question)
        spread = _expected_spread(frame, question, expected or {})
        points = _draw_points(raster, question, frame, spread, n, _least_points(frame, n, least), seed)
        written = write_points(out, points, raster.grid.crs)
        of_change = BEFORE in raster.tags
    write_form(out, () if question.bands else question.classes if len(question.classes) < NO_CLASS else frame.strata)
    drawn = np.array([sum(point.stratum == name for point in points) for name in frame.strata], np.int64)
    error = expected_error(frame.weight, spread, drawn)
    return {
        "files": [str(path) for path in written],
        "points": len(points),
        "share_of": question.share_of,
        "of_change": of_change,
        "strata": {
            name: {"points": int(drawn[i]), "pixels": int(frame.pixels[i]), "share": float(frame.weight[i])}
            for i, name in enumerate(frame.strata)
        },
        "expected_standard_error": error,
        "points_for_half_of_it": needed(frame.weight, spread, error / 2),
    }


def question_of(raster: Raster, share_of: str | None = None) -> Question:
    """What can be asked of a map; share_of: names of classes joined by commas or ` + `, for a map of fractions.

    Raises ConfigError for a name that is no class of the map, and where the map asks for another question.
    """
    fractions = raster.count > 1
    classes = class_names(raster.tags, raster.names, fractions)
    if not fractions:
        if share_of:
            raise ConfigError(
                "--share-of", f"{raster.path} is a class map", "give a map of fractions, or no --share-of"
            )
        return Question(classes)
    names = [name.strip() for name in (share_of or "").replace(" + ", ",").split(",") if name.strip()]
    if not names:
        raise ConfigError(
            "--share-of",
            f"{raster.path} is a map of fractions, and nothing says of which classes",
            f"give one or more of {', '.join(classes)}, joined by commas",
        )
    for name in names:
        if name not in classes:
            raise ConfigError("--share-of", f"`{name}` is no class of {raster.path}", nearest(name, classes))
    return Question(classes, tuple(sorted({classes.index(name) for name in names})))


def shares(values: NDArray[Any], question: Question) -> Floats:
    """(...) share of the asked classes, of values (K, ...) of a map of fractions."""
    found: Floats = values[list(question.bands)].astype(np.float64).sum(0).clip(0, 1)
    return found


def frame_of(raster: Raster, question: Question) -> Frame:
    """First pass: the strata of a map. Raises SourceError where it is no map, or holds no data."""
    n = STEPS + 1 if question.bands else len(question.classes)
    pixels, hectares, sums = np.zeros(n, np.int64), np.zeros(n), np.zeros(n)
    ground = Ground.of(raster)
    for block, key, values in _keys(raster, question):
        known = key >= 0
        pixels += np.bincount(key[known], minlength=n)
        hectares += np.bincount(key[known], pixel_hectares(ground, block)[known], n)
        if question.bands:
            sums += np.bincount(key[known], shares(values, question)[known], n)
    if not pixels.any():
        raise SourceError(raster.path, "no pixel with data", "give a map that holds something")
    return _strata(question, pixels, hectares, sums)


def _strata(question: Question, pixels: Counts, hectares: Floats, sums: Floats) -> Frame:
    if question.bands:
        edges = share_edges(pixels, SHARE_STRATA)
        stratum = np.searchsorted(edges, np.arange(len(pixels)), side="right") - 1
        ends = [*(edge - 1 for edge in edges[1:]), STEPS]
        names = tuple(f"{low / STEPS:.3f} to {high / STEPS:.3f}" for low, high in zip(edges, ends, strict=True))
    else:
        held = np.flatnonzero(pixels)
        stratum = np.full(len(pixels), -1)
        stratum[held] = np.arange(len(held))
        names, sums = tuple(question.classes[key] for key in held), pixels.astype(np.float64)
    kept = stratum >= 0

    def per_stratum(each: NDArray[Any]) -> Floats:
        return np.bincount(stratum[kept], each[kept], len(names)).astype(np.float64)

    counts = per_stratum(pixels).astype(np.int64)
    return Frame(names, stratum, counts, per_stratum(hectares), per_stratum(sums) / counts)


def _expected_spread(frame: Frame, question: Question, expected: Mapping[str, float]) -> Floats:
    """(S,) standard deviation expected of a pixel's error in each stratum.

    Of a class: sqrt(U (1 - U)), U its user's accuracy (Olofsson and others 2014, eq. 13), as `expected` says or else as
    at the top of this module. Of shares: sqrt(m (1 - m)) with m their mean on the map, between 0.05 and 0.95: the most
    that a share of that mean can vary. Raises ConfigError for a name that is not on the map, or no accuracy.
    """
    for name, value in expected.items():
        if question.bands or name not in frame.strata:
            raise ConfigError("--expected", f"`{name}` is no class on the map", nearest(name, frame.strata))
        if not 0.5 <= value < 1:
            raise ConfigError("--expected", f"{name}={value:g}", "give an accuracy from 0.5 to below 1")
    if question.bands:
        likely = frame.mean.clip(0.05, 0.95)
    else:
        usual = np.where(frame.pixels / frame.pixels.sum() < _RARE, _RARE_ACCURACY, _ACCURACY)
        likely = np.array([expected.get(name, usual[i]) for i, name in enumerate(frame.strata)])
    spread: Floats = np.sqrt(likely * (1 - likely))
    return spread


def _draw_points(
    raster: Raster, question: Question, frame: Frame, spread: Floats, n: int, least: int, seed: int
) -> tuple[Point, ...]:
    """Second pass: n points, dealt to the strata as `allocate` says, in an order by chance."""
    wanted = allocate(frame.pixels, spread, n, least)
    draw = Draw(frame.pixels.tolist(), wanted.tolist(), seed)
    found: list[tuple[int, int, int, str | float]] = []
    for block, key, values in _keys(raster, question):
        flat = key.ravel()
        stratum = np.where(flat >= 0, frame.stratum[flat], -1)
        for place, index in draw.of_block(stratum):
            row, col = divmod(place, block.width)
            mapped: str | float = frame.strata[index]
            if question.bands:
                mapped = float(shares(values[:, row, col], question))
            found.append((block.row + row, block.col + col, index, mapped))
    order = np.random.default_rng((seed, 1)).permutation(len(found))
    a, b, c, d, e, f = raster.grid.transform
    places = [(found[i][1] + 0.5, found[i][0] + 0.5) for i in order]
    xs, ys = [a * col + b * row + c for col, row in places], [d * col + e * row + f for col, row in places]
    lon, lat = longitude_latitude(raster.grid, xs, ys)
    return tuple(
        Point(
            number,
            xs[number - 1],
            ys[number - 1],
            lon[number - 1],
            lat[number - 1],
            frame.strata[found[i][2]],
            int(frame.pixels[found[i][2]]),
            question.share_of,
            found[i][3],
        )
        for number, i in enumerate(order, 1)
    )


def pixel_of(raster: Raster, x: float, y: float) -> tuple[int, int] | None:
    """(row, column) of the pixel in which a place lies; None outside the map."""
    a, b, c, d, e, f = raster.grid.transform
    area = a * e - b * d
    col, row = (e * (x - c) - b * (y - f)) / area, (a * (y - f) - d * (x - c)) / area
    inside = 0 <= row < raster.grid.height and 0 <= col < raster.grid.width
    return (int(row), int(col)) if inside else None


def _keys(raster: Raster, question: Question) -> Iterator[tuple[Block, Counts, NDArray[Any]]]:
    """(block, (H, W) key of each of its pixels, -1 where there is none, its values) in reading order."""
    for block in blocks(raster.grid.height, raster.grid.width, _SIDE):
        values, usable = raster.read(block.row, block.col, block.height, block.width)
        if KEY not in raster.tags:
            must_be_map(raster.path, values[:, usable])
        yield block, keys(values, usable, question), values


def keys(values: NDArray[Any], usable: NDArray[np.bool_], question: Question) -> Counts:
    """(H, W) key of each pixel of values (bands, H, W), -1 where it has none."""
    if question.bands:
        step = np.rint(np.where(usable, shares(values, question), 0) * STEPS).astype(np.int64)
        return np.where(usable, step, -1)
    label = values[0].astype(np.int64)
    return np.where(usable & (label < len(question.classes)), label, -1)


def _least_points(frame: Frame, n: int, least: int | None) -> int:
    """Points of each stratum at least: as asked, else 50, or what half of n allows, but two.

    50 to 100 is what Olofsson and others (2014, section 5.1.2) advise for rare strata. Raises ConfigError where n does
    not hold so many.
    """
    strata = len(frame.strata)
    wanted = max(2, min(50, n // (2 * strata))) if least is None else least
    due = int(np.minimum(wanted, frame.pixels).sum())
    if due > n:
        raise ConfigError("--n", f"{n} points for {strata} strata of at least {wanted}", f"draw {due} or more")
    return wanted
