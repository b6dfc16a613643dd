"""Is this scene like those that the net learnt from? The checks that `greenprep clean` makes of values, on a sample.

Letters: R reflectance bands, N pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import Role, decodings
from greenschemas.contract import Contract
from greenschemas.decoding import decoded
from greenschemas.errors import SourceError
from greenschemas.unit_checks import Size, apart
from greenschemas.value_checks import (
    FILLERS,
    PIXEL_RATIO,
    Levels,
    Offset,
    find_factor,
    find_offset,
    holds_filler,
    levels_of,
    looks_wrapped,
    robust_z,
)
from greentrain.maps.scene import Scene

__all__ = ["Doubt", "Usual", "believed", "check", "doubts", "farthest", "offset_in", "tags_of", "usual_of"]

Floats = NDArray[np.float64]

_OUTLIER = 8.0
"""Robust deviations from the usual above which a band is told; as `limits.outlier_z` of a recipe by default."""
_BELOW = 0.02
"""Negative reflectance that no correction for the atmosphere leaves in the darkest hundredth of a band."""
_UNSAID = (1.0, 0.0)
"""Scale and offset of a band without tags."""
_UNDECLARED = 1e-3
"""Share of pixels with a usual value for no data that is told; as `limits.undeclared_max` of a recipe by default."""
_STRETCHED = 0.01
"""Share of a band at the greatest value of its type that no sensor gives, but a stretch for display does."""


@dataclass(frozen=True)
class Usual:
    """What a run knows of the numbers in its scenes."""

    names: tuple[str, ...]
    """Of the R reflectance bands that are not dead."""
    levels: Levels
    """(R,) over the training pixels; of stores that do not say more, means in place of medians."""
    high: float
    """Greatest number in any of these bands."""
    dtype: str
    whole: float | None = None
    """Number that stands for a reflectance of 1."""
    cirrus: str | None = None
    """Name of the cirrus band."""
    pixel_metres: float | None = None
    tags: tuple[tuple[float, float], ...] = ()
    """(scale, offset) by GDAL's tags of each band; empty: not known."""
    others: Mapping[str, Size] = field(default_factory=dict)
    """How large the values of the other bands are, by name; of what they are decoded to, where they are."""

    def at(self, names: Sequence[str]) -> Levels:
        """Of these bands, NaN where nothing is known."""
        where = {name: i for i, name in enumerate(self.names)}
        columns = (self.levels.dark, self.levels.median, self.levels.bright, self.levels.between)
        return Levels(
            *(np.array([one[where[name]] if name in where else np.nan for name in names], float) for one in columns)
        )


@dataclass(frozen=True)
class Doubt:
    """Something about a scene that its map may suffer from."""

    refused: bool
    """Whether the map would mean nothing; else it is only told."""
    found: str
    """What was found, and the likely cause."""
    remedy: str
    """What mends it: a switch of `greentrain predict`, or what to do with the file."""


def usual_of(contract: Contract) -> Usual | None:
    """What is usual for the scenes of a store; None where it has no statistics."""
    if contract.statistics is None:
        return None
    at = [i for i, band in enumerate(contract.bands) if band.role is Role.REFLECTANCE]
    stats = [contract.statistics.bands[i] for i in at]
    unknown = np.full(len(at), np.nan)
    levels = Levels(unknown, np.array([s.mean for s in stats], float), unknown, unknown)
    values = contract.values
    if values is not None and values.levels:
        rows = [values.levels[i] for i in at]
        fields = ("dark", "median", "bright", "between")
        levels = Levels(*(np.array([getattr(row, name) for row in rows], float) for name in fields))
    return Usual(
        tuple(contract.bands[i].name for i in at),
        levels,
        max((s.maximum for s in stats), default=0.0),
        contract.dtype,
        contract.reflectance_scale,
        next((contract.bands[i].name for i in at if contract.bands[i].common == "cirrus"), None),
        None if values is None else values.pixel_metres,
        () if values is None else tuple((values.bands[i].scale, values.bands[i].offset) for i in at),
        {band.name: Size(s.mean, s.std) for band, s in zip(contract.bands, contract.statistics.bands, strict=True)},
    )


def check(scene: Scene, usual: Usual, *, force: bool) -> tuple[str, ...]:
    """What is to be told of the scene; raises SourceError where its map would mean nothing, unless `force`."""
    told = []
    for doubt in doubts(scene, usual):
        if doubt.refused and not force:
            raise SourceError(scene.path, doubt.found, f"{doubt.remedy}; `--force` maps it as it is")
        told.append(f"{doubt.found}; {doubt.remedy}")
    return tuple(told)


def doubts(scene: Scene, usual: Usual) -> Iterator[Doubt]:
    """Everything about a scene's place and numbers that is unlike the run's own scenes, the gravest of a kind alone."""
    yield from _placed(scene, usual)
    values, others = scene.sample(), scene.sample(others=True)
    if values.shape[1] == 0:
        return
    yield from _units(scene, usual, others)
    names = [band.name for band in scene.reflectance]
    seen = [i for i, name in enumerate(names) if name in usual.names]
    found = [*_tags(scene, usual, values), *_fillers(scene, values, others)]
    found += _numbers(scene, usual, values[seen], [names[i] for i in seen]) if seen else []
    yield from found
    offset = None if any(doubt.refused for doubt in found) else offset_in(scene, usual, values)
    if offset is not None:
        yield _offset_doubt(offset)
    elif not found and seen:
        yield from _unlike(levels_of(values[seen]), usual, [names[i] for i in seen])


def offset_in(scene: Scene, usual: Usual, values: Floats | None = None) -> Offset | None:
    """The radiometric offset between the scene and the run's own scenes, from a sample of it; None where there is none.

    values: `scene.sample()`, where it is at hand.
    """
    sample = scene.sample() if values is None else values
    if usual.whole is None or sample.shape[1] == 0 or scene.correction.offset:
        return None
    names = [band.name for band in scene.reflectance]
    cirrus = names.index(usual.cirrus) if usual.cirrus in names and usual.cirrus is not None else None
    return find_offset(levels_of(sample), usual.at(names), usual.whole, cirrus)


def _offset_doubt(offset: Offset) -> Doubt:
    scene, training = ("carries", "do not") if offset.amount > 0 else ("lacks", "carry it")
    sure = "it" if offset.certain else "it probably"
    return Doubt(
        True,
        f"{sure} {scene} the offset of {abs(offset.amount):g} that Sentinel-2's processing baseline 04.00 (since "
        f"January 2022) adds to every band, and the training data {training} ({offset.evidence})",
        f"`--harmonise` {'takes it from' if offset.amount > 0 else 'adds it to'} every reflectance",
    )


def tags_of(scene: Scene, usual: Usual) -> dict[str, tuple[float, float]]:
    """(factor, addend) by band that make of the scene's numbers what training's mean, by the GDAL tags of both.

    Empty where they mean the same, or where either says nothing. Training files without tags mean reflectances from 0
    to `usual.whole`.
    """
    theirs = dict(zip(usual.names, usual.tags, strict=bool(usual.tags)))
    out = {}
    for name, (scale, offset) in scene.scaling.items():
        due = theirs.get(name, _UNSAID)
        due = (1 / usual.whole, 0.0) if due == _UNSAID and usual.whole is not None and theirs else due
        if _UNSAID not in (due, (scale, offset)) and scale > 0 and due[0] > 0 and np.isfinite([scale, offset]).all():
            out[name] = scale / due[0], (offset - due[1]) / due[0]
    least = 1e-3 * (usual.whole or usual.high)
    return out if any(abs(factor - 1) > 1e-3 or abs(addend) > least for factor, addend in out.values()) else {}


def farthest(tags: Mapping[str, tuple[float, float]]) -> str:
    """The band whose numbers `tags_of` changes most: in a scene with one wrong tag, that one."""
    return max(tags, key=lambda name: (abs(np.log(tags[name][0])), abs(tags[name][1])))


def believed(scene: Scene, usual: Usual, tags: Mapping[str, tuple[float, float]], values: Floats) -> bool:
    """Whether the scene's numbers, brought to training's by its tags, lie where reflectances can.

    values: `scene.sample()` without the tags.
    """
    if values.shape[1] == 0:
        return False
    names = [band.name for band in scene.reflectance]
    by_tag = np.stack([row * factor + addend for row, (factor, addend) in _rows(values, names, tags)])
    as_is, moved, due = levels_of(values), levels_of(by_tag), usual.at(names)
    negative = float(np.nanmin(moved.dark)) < -_BELOW * (usual.whole or usual.high)
    worse = find_factor(moved, due, usual.whole) is not None and find_factor(as_is, due, usual.whole) is None
    return not (negative or worse)


def _rows(
    values: Floats, names: Sequence[str], tags: Mapping[str, tuple[float, float]]
) -> Iterator[tuple[Floats, tuple[float, float]]]:
    return ((row, tags.get(name, _UNSAID)) for row, name in zip(values, names, strict=True))


def _tags(scene: Scene, usual: Usual, values: Floats) -> Iterator[Doubt]:
    """GDAL's scale and offset tags that are not those of the training data."""
    if scene.correction.tags or not (tags := tags_of(scene, usual)):
        return
    name = farthest(tags)
    (scale, offset), due = scene.scaling[name], dict(zip(usual.names, usual.tags, strict=True))[name]
    said = f"its tags say that {name} is x * {scale:.6g} {offset:+g}"
    meant = f"x * {due[0]:.6g} {due[1]:+g}" if due != _UNSAID else f"0 to {usual.whole:g}, without tags"
    if believed(scene, usual, tags, values):
        yield Doubt(True, f"{said}, in training {meant}", "`--harmonise` brings its numbers to training's by the tags")
    else:
        yield Doubt(
            False, f"{said}, in training {meant}, but its numbers contradict that", "they are taken as they are"
        )


def _placed(scene: Scene, usual: Usual) -> Iterator[Doubt]:
    grid, kind = scene.raster.grid, scene.raster.crs_kind
    if not grid.crs:
        yield Doubt(False, "no CRS", "the map has none either")
    if grid.transform[1] != 0 or grid.transform[3] != 0:
        yield Doubt(False, "the grid is turned against its CRS", "warp it to north-up (gdalwarp) if the map looks odd")
    sides = scene.pixel
    if sides is None or usual.pixel_metres is None or scene.correction.metres is not None:
        return
    tall, wide = sides
    away = max(max(side / usual.pixel_metres, usual.pixel_metres / side) for side in sides)
    size = f"{tall:.3g} m" if abs(tall / wide - 1) < 0.02 else f"{tall:.3g} x {wide:.3g} m"
    remedy = f"`--resample {usual.pixel_metres:.3g}` brings it to the pixels of training"
    degrees = "its CRS is in degrees: " if kind == "geographic" else ""
    if away > PIXEL_RATIO:
        yield Doubt(True, f"{degrees}pixels of {size}, in training {usual.pixel_metres:.3g} m", remedy)
    elif degrees:
        yield Doubt(False, f"{degrees}pixels are {size}", f"{remedy}, if the map looks odd")


def _numbers(scene: Scene, usual: Usual, values: Floats, names: Sequence[str]) -> Iterator[Doubt]:
    """Type, wrapping, stretches and factors."""
    kind, due = np.dtype(scene.raster.dtype), usual.at(names)
    moments = (list(f(values, axis=1)) for f in (np.mean, np.std, np.min, np.max))
    if usual.high > 255 and looks_wrapped(*moments):
        yield Doubt(
            True,
            "its bands fill 0..255 evenly, as 16-bit values do that were cast to 8 bits modulo 256",
            "export the scene again as 16 bits: what was cut off cannot be had back",
        )
        return
    here = [i for i, name in enumerate(names) if name != usual.cirrus]
    eight = kind.itemsize == 1 and scene.correction.scale == 1
    factor = find_factor(levels_of(values[here]), due.of(here), usual.whole, eight_bits=eight) if here else None
    if factor is not None:
        yield Doubt(
            True,
            f"its values are about {factor.ratio:.3g} times those that the net learnt from "
            f"(median {np.median(values[here]):.4g}, in training {np.nanmedian(due.median[here]):.4g}): {factor.cause}",
            f"give the scene in the units of the store, or `--scale {1 / factor.due:.6g}` if it was multiplied so",
        )
    elif eight and usual.high > 255:
        yield Doubt(
            True,
            f"8-bit values where training had up to {usual.high:g}: a picture for the eye, stretched band by band",
            "export the scene again as 16 bits, unscaled",
        )
    elif kind.kind in "iu" and kind.itemsize > 1:
        greatest = np.iinfo(kind).max * scene.correction.scale
        # In all bands at once it is no data: see `_fillers`.
        single = ~holds_filler(values, greatest) if np.iinfo(kind).max in FILLERS else np.ones(values.shape[1], bool)
        worst = float(((values >= greatest) & single).mean(axis=1).max())
        if worst > _STRETCHED and greatest > 2 * usual.high:
            yield Doubt(
                True,
                f"{worst:.1%} of a band at {greatest:g}, the greatest value of its type: a stretch for display",
                "export the scene again, unscaled",
            )


def _units(scene: Scene, usual: Usual, others: Floats) -> Iterator[Doubt]:
    """Decibels, embeddings and indices in other units than in training."""
    filled = np.any([holds_filler(others, filler) for filler in FILLERS if filler < 0], axis=0)
    values = decoded(others[:, ~filled], decodings(scene.others))
    if not values.size:
        return
    here = {band.name: Size(row.mean(), row.std()) for band, row in zip(scene.others, values, strict=True)}
    if (unlike := apart(scene.others, here, usual.others)) is not None:
        found = f"the values of its {unlike.role} bands are about {unlike.ratio:.3g} times those of training"
        yield Doubt(True, f"{found}: {unlike.cause}", "give the scene in the units of the store")


def _fillers(scene: Scene, values: Floats, others: Floats) -> Iterator[Doubt]:
    """Values for no data that no tag declares: each would be given a class."""
    if scene.correction.tags:
        return  # The numbers are no longer the file's own.
    for filler in FILLERS:
        held = holds_filler(others, filler) if filler < 0 else np.zeros(others.shape[1], bool)
        held |= bool(len(values)) & holds_filler(values, filler * scene.correction.scale)
        share = float(held.mean())
        if share > _UNDECLARED:
            yield Doubt(
                False,
                f"{filler:g} in {share:.1%} of the pixels, which often stands for no data, and no tag says so",
                f"set the scene's nodata tag (gdal_edit.py -a_nodata {filler:g}) if it does",
            )


def _unlike(scene: Levels, usual: Usual, names: Sequence[str]) -> Iterator[Doubt]:
    """Bands far from where the groups of the train split lie; only told, for ground and season differ."""
    due = usual.at(names)
    score = robust_z(scene.median, due.median, due.between)
    odd = [i for i in range(len(names)) if np.isfinite(score[i]) and due.between[i] > 0 and score[i] > _OUTLIER]
    if odd:
        worst = max(odd, key=lambda i: score[i])
        yield Doubt(
            False,
            f"{names[worst]} has the median {scene.median[worst]:.4g}, {score[worst]:.1f} robust deviations from "
            f"the {due.median[worst]:.4g} of training; {len(odd)} of {len(names)} bands so",
            "look at the scene: snow, cloud, smoke, or another sensor",
        )
