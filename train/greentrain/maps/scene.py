"""A scene as training saw its own: bands matched by name, rows from north to south, only usable pixels, one unit.

Letters: C bands that the net sees, L bands of the run's layout that the file has, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from greenschemas.band_names import match_names, says_nothing
from greenschemas.bands import FEATURE_ROLES, Band, Role
from greenschemas.decoding import decoded, encoded
from greenschemas.errors import SourceError
from greenschemas.grid import Grid
from greenschemas.ground import pixel_sides
from greenschemas.values import Quality, find_clouds, find_holes
from greentrain.maps.raster import Raster, open_raster, resample

__all__ = ["Correction", "Layout", "Matched", "Scene", "Window", "match_bands", "open_scene"]

_ACROSS, _SIDE = 4, 128
"""Windows along each side of a scene that it is sampled from, and pixels a side of them."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """What a run knows of its scenes' bands."""

    bands: tuple[Band, ...]
    """All bands of the store, in order, with the roles that the recipe gave them."""
    wanted: tuple[str, ...]
    """Names of the bands that the net sees, in its order."""
    quality: Mapping[str, Quality] = field(default_factory=dict)
    """How clouds are read from the quality bands; empty: clouds are classified as anything else."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all bands."""
        return tuple(band.name for band in self.bands)


@dataclass(frozen=True)
class Matched:
    """Where a file has the bands of a layout."""

    at: Mapping[str, int]
    """Position in the file of each band of the layout that it has; all that the net wants are among them."""
    doubt: str | None = None
    """In words, what was taken on trust."""


@dataclass(frozen=True)
class Correction:
    """What is done to a scene before the net sees it, in this order."""

    tags: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """(factor, addend) of reflectances by name, from GDAL's tags: number * factor + addend, which stops at 0."""
    scale: float = 1.0
    """Its reflectances are multiplied by this, to be in the units of the store."""
    offset: float = 0.0
    """Then this is taken from its reflectances, which stop at 0."""
    metres: float | None = None
    """Side of the pixels that it is brought to; None: as they are."""


@dataclass(frozen=True)
class Window:
    """A part of a scene."""

    values: NDArray[np.float32]
    """(C, H, W) in the order that the net wants; 0 where unusable, never NaN."""
    usable: Mask
    """(H, W) True where the pixel may be classified."""
    cloud: Mask
    """(H, W) True where only a cloud keeps it from being so."""


class Scene:
    """An open scene; use as a context manager. Rows count from the north, columns from the west, whatever the file's
    order."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        correction: Correction = Correction(),
        *,
        later: Sequence[Path] = (),
        remote: bool = False,
    ) -> None:
        self.path, self.layout, self.correction = path, layout, correction
        _check_dates(path, layout, later)
        self.raster = open_raster(path, len(layout.bands), bands=layout.bands, later=later, remote=remote)
        try:
            if self.raster.dtype.startswith("complex"):
                raise SourceError(path, f"pixels of type {self.raster.dtype}", "give a scene of real numbers")
            self.matched = match_bands(path, self.raster, layout)
        except SourceError:
            self.raster.__exit__(None, None, None)
            raise
        self._here = [band for band in layout.bands if band.name in self.matched.at]
        self._at = [self.matched.at[band.name] for band in self._here]
        self._order = [[band.name for band in self._here].index(name) for name in layout.wanted]
        self._nodata = [self.raster.nodata[at] for at in self._at]
        upright = self.raster.grid.upright()
        self.grid = upright if correction.metres is None else _resized(upright, self.pixel, correction.metres)
        """The grid that the net works on: upright, with the pixels that were asked for."""
        self._step = upright.height / self.grid.height, upright.width / self.grid.width

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.raster.__exit__(kind, error, trace)

    @property
    def bands(self) -> tuple[int, ...]:
        """Position in the file of each band that the net sees."""
        return tuple(self._at[i] for i in self._order)

    @property
    def reflectance(self) -> tuple[Band, ...]:
        """The reflectance bands of the layout that the file has: what `sample` gives."""
        return tuple(band for band in self._here if band.role is Role.REFLECTANCE)

    @property
    def others(self) -> tuple[Band, ...]:
        """The other features of the layout that the file has: what `sample(others=True)` gives."""
        return tuple(band for band in self._here if band.role in FEATURE_ROLES and band.role is not Role.REFLECTANCE)

    @property
    def scaling(self) -> dict[str, tuple[float, float]]:
        """(scale, offset) of each reflectance band by GDAL's tags; (1, 0) where they say nothing."""
        return {band.name: self.raster.scaling[self.matched.at[band.name]] for band in self.reflectance}

    @property
    def pixel(self) -> tuple[float, float] | None:
        """Height and width of the file's pixels in metres; None where it does not say where it lies."""
        grid = self.raster.grid
        return pixel_sides(grid.transform, (grid.height, grid.width), self.raster.crs_kind, self.raster.linear_unit)

    @property
    def written(self) -> Grid:
        """The grid on which a map of the scene is written: its rows and columns run as the scene's do."""
        return self.grid.turned_as(self.raster.grid)

    def as_written(self, row: int, col: int, values: NDArray[Any]) -> tuple[int, int, NDArray[Any]]:
        """(first row and column, values (..., H, W)) of a piece of a map, in the order in which it is written."""
        height, width = values.shape[-2:]
        return *self.written.turned_at(row, col, height, width), values[..., *self.written.order]

    def read(self, row: int, col: int, height: int, width: int) -> Window:
        """A window of `grid`, corrected."""
        if self.correction.metres is not None:
            return self._resampled(row, col, height, width)
        return self._read(row, col, height, width)

    def sample(self, *, others: bool = False) -> NDArray[np.float64]:
        """(R, N) usable values of the `reflectance` bands, by tags and scaled, from windows spread over the file.

        others: numbers of the bands of `others` instead, as the file holds them.
        """
        bands = self.others if others else self.reflectance
        values = self._drawn[[self._here.index(band) for band in bands]].astype(np.float64)
        for i, band in enumerate(() if others else bands):
            values[i] = _by_tags(values[i], self.correction.tags.get(band.name)) * self.correction.scale
        return values

    @cached_property
    def _drawn(self) -> NDArray[Any]:
        """(L, N) usable numbers, as the file holds them, from windows spread over it; read once."""
        height, width = self.raster.grid.height, self.raster.grid.width
        rows, cols = (np.unique(np.linspace(0, max(0, n - _SIDE), _ACROSS).astype(int)) for n in (height, width))
        parts = []
        for row in rows:
            for col in cols:
                raw, usable, _ = self._raw(int(row), int(col), min(_SIDE, height), min(_SIDE, width))
                parts.append(raw[:, usable])
        return np.concatenate(parts, axis=1)

    def _raw(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[Any], Mask, Mask]:
        """((L, H, W) as stored, usable, cloud) of a window of the file's own pixels, upright."""
        at, col = self.raster.grid.turned_at(row, col, height, width)
        raw = self.raster.stored(at, col, height, width, self._at)
        alpha = self.raster.alpha
        if alpha is None or alpha in self._at:  # A band of the layout is no mask, whatever GDAL calls it.
            inside = self.raster.inside(at, col, height, width)
        else:
            inside = self.raster.stored(at, col, height, width, [alpha])[0] > 0
        order = self.raster.grid.order
        raw, inside = raw[:, *order], None if inside is None else inside[order]
        usable = find_holes(raw, self._here, self._nodata, inside).usable
        quality = {band.name: raw[i] for i, band in enumerate(self._here) if band.name in self.layout.quality}
        found = find_clouds(self.layout.quality, quality)
        cloud = np.zeros_like(usable) if found is None else found & usable
        return raw, usable & ~cloud, cloud

    def _read(self, row: int, col: int, height: int, width: int) -> Window:
        raw, usable, cloud = self._raw(row, col, height, width)
        values = raw[self._order].astype(np.float32)
        for i, at in enumerate(self._order):
            if self._here[at].role is Role.REFLECTANCE:
                values[i] = _corrected(values[i], self.correction, self._here[at].name)
        return Window(np.where(usable, values, np.float32(0)), usable, cloud)

    def _resampled(self, row: int, col: int, height: int, width: int) -> Window:
        """Means of what is usable in a larger pixel, where that is at least half of it; else bilinear."""
        (down, across), (most_rows, most_cols) = self._step, (self.raster.grid.height, self.raster.grid.width)
        margin = 2  # beyond the window, for bilinear and for rounding
        top, left = max(0, math.floor(row * down) - margin), max(0, math.floor(col * across) - margin)
        bottom = min(most_rows, math.ceil((row + height) * down) + margin)
        right = min(most_cols, math.ceil((col + width) * across) + margin)
        part = self._read(top, left, bottom - top, right - left)
        masks = np.stack([part.usable, part.cloud]).astype(np.float32)
        how = [self._here[i].decode for i in self._order]
        known = np.where(part.usable, decoded(part.values, how), np.float32(np.nan))
        at = row * down - top, col * across - left
        values = encoded(resample(known, at, self._step, (height, width)), how)
        usable, cloud = np.nan_to_num(resample(masks, at, self._step, (height, width))) >= 0.5
        usable &= np.isfinite(values).all(axis=0)
        return Window(np.where(usable, values, np.float32(0)), usable, cloud & ~usable)


def open_scene(
    path: Path,
    layout: Layout,
    correction: Correction = Correction(),
    *,
    later: Sequence[Path] = (),
    remote: bool = False,
) -> Scene:
    """A scene with its bands matched; see `match_bands`. later, remote: see `Raster`."""
    return Scene(path, layout, correction, later=later, remote=remote)


def _check_dates(path: Path, layout: Layout, later: Sequence[Path]) -> None:
    dates = max((band.time or 1 for band in layout.bands), default=1)
    if len(later) + 1 != dates:
        raise SourceError(
            path,
            f"{len(later) + 1} scenes for a run on {dates}" if later else f"one scene for a run on {dates} dates",
            "give as many scenes as the run learnt dates from, in order of time",
        )


def match_bands(path: Path, raster: Raster, layout: Layout) -> Matched:
    """Where the file has each band of the layout.

    By name where the file names its bands, in any of the names that `match_names` knows. By order only where its names
    say nothing and it has exactly the bands of the layout, the store's own: taking the first dozen of 19 is how wrong
    bands get in.

    Raises SourceError with the names that are missing, or with both counts.
    """
    names = [None if i == raster.alpha or says_nothing(name) else name for i, name in enumerate(raster.names)]
    found = match_names(names, layout.bands)
    at = {band.name: i for band, i in zip(layout.bands, found.at, strict=True) if i is not None}
    missing = [name for name in layout.wanted if name not in at]
    if not missing:
        return Matched(at)
    due = len(layout.bands)
    if not found.any and len(names) in (due, due + (raster.alpha == due)):
        said = f"their names say nothing ({', '.join(n for n in names if n)})" if any(names) else "they have no names"
        return Matched(
            {name: i for i, name in enumerate(layout.names)},
            f"its bands are taken in the order of the run ({_listed(layout.names)}): {said}",
        )
    if not any(names):
        raise SourceError(
            path,
            f"{len(names)} bands without names, the run knows {due} by name and order",
            f"describe the bands in the file (GDAL's band descriptions): {', '.join(layout.names)}",
        )
    twice = [name for name in missing if name in found.twice]
    what = f"more than one band called {', '.join(twice)}" if twice else f"no band {', '.join(missing)}"
    raise SourceError(
        path,
        f"{what}; it has {', '.join(name or '(no name)' for name in names)}",
        "give a scene with the bands that the run was trained on",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:3])}, … {names[-1]}"


def _corrected(values: NDArray[np.float32], correction: Correction, name: str) -> NDArray[np.float32]:
    moved = _by_tags(values, correction.tags.get(name))
    if correction.scale != 1:
        moved = moved * np.float32(correction.scale)
    if correction.offset:
        moved = np.maximum(moved - np.float32(correction.offset), np.float32(0))
    return moved


def _by_tags(values: NDArray[Any], tag: tuple[float, float] | None) -> NDArray[Any]:
    if tag is None:
        return values
    factor, addend = (values.dtype.type(number) for number in tag)
    moved: NDArray[Any] = values * factor
    return np.maximum(moved + addend, 0) if addend else moved


def _resized(grid: Grid, pixel: tuple[float, float] | None, metres: float) -> Grid:
    """The same ground in pixels of about `metres`: a whole number of them."""
    tall, wide = pixel or (metres, metres)
    height, width = max(1, round(grid.height * tall / metres)), max(1, round(grid.width * wide / metres))
    down, across = grid.height / height, grid.width / width
    a, b, c, d, e, f = grid.transform
    return Grid(height, width, (a * across, b * down, c, d * across, e * down, f), grid.crs)
