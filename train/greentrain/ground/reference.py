"""A sample that was filled in, held against the map from which it was drawn.

Letters: P filled points, S strata, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import SourceError, nearest
from greentrain.ground.points import Filled, read_points
from greentrain.ground.sample import Frame, Question, frame_of, keys, pixel_of, question_of, shares
from greentrain.maps.raster import Raster

__all__ = ["Sample", "match", "read_sample"]

_SHOWN = 5
_ANOTHER = "give the map that it was drawn from; another map needs a sample of its own, as `greentrain sample` draws it"

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """The points that were filled in, and what the map says of them."""

    stratum: Counts
    """(P,)"""
    mapped: Floats
    """(P,) class of the map, or share."""
    found: Floats
    """(P,) class of the reference, or share."""
    pixel: Counts
    """(P, 2) row and column."""
    empty: tuple[str, ...]
    """Where the points stand that were not filled in."""

    def counts(self, classes: int) -> Counts:
        """(K, K) points by class on the map and in the reference."""
        cell = self.mapped.astype(np.int64) * classes + self.found.astype(np.int64)
        return np.bincount(cell, minlength=classes**2).reshape(classes, classes)


def read_sample(raster: Raster, path: Path) -> tuple[Sample, Frame, Question, dict[str, Any]]:
    """A filled sample of a map, the map as it was drawn from, what was asked, and both in a few words, for JSON.

    Raises SourceError as `match`.
    """
    rows = read_points(path)
    asked = rows[0].share_of
    if (raster.count > 1) != bool(asked):
        kind = "a map of fractions" if asked else "a class map"
        raise SourceError(path, f"not drawn from {raster.path}: it was drawn from {kind}", _ANOTHER)
    question = question_of(raster, asked)
    frame = frame_of(raster, question)
    sample = match(raster, question, frame, path, rows)
    about = {"reference": str(path), "points": len(rows), "filled": len(sample.found), "empty": list(sample.empty)}
    return sample, frame, question, about | {"says": _said(path, len(rows), sample)}


def _said(path: Path, points: int, sample: Sample) -> str:
    text = f"Estimated from {len(sample.found)} of {points} points of {path}."
    if sample.empty:
        more = f" and {len(sample.empty) - _SHOWN} more" if len(sample.empty) > _SHOWN else ""
        verb = "is" if len(sample.empty) == 1 else "are"
        text += f" {len(sample.empty)} {verb} empty ({', '.join(sample.empty[:_SHOWN])}{more}) and left out, as if the "
        text += "others of the stratum spoke for it."
    return text


def match(raster: Raster, question: Question, frame: Frame, path: Path, rows: Sequence[Filled]) -> Sample:
    """The filled points of a file against the map.

    Raises SourceError where the sample was drawn from another map, a point stands in it twice, an answer is no class
    or no share, and where a stratum has too few answers for an estimate.
    """
    _check_drawn_here(raster, question, frame, path, rows)
    filled = [row for row in rows if row.reference]
    if not filled:
        raise SourceError(path, "no point is filled in", "fill in the column `reference`")
    found = _answers(path, question, filled)
    pixels, mapped = _on_map(raster, question, frame, path, filled)
    stratum = np.array([frame.strata.index(row.stratum) for row in filled], np.int64)
    answered = np.bincount(stratum, minlength=len(frame.strata))
    few = [name for i, name in enumerate(frame.strata) if answered[i] < min(2, frame.pixels[i])]
    if few:
        raise SourceError(
            path,
            f"fewer than two points are filled in of {', '.join(f'`{name}`' for name in few)}, whose error nobody can "
            "know then",
            "fill in two points of each stratum at least; the more, the narrower the intervals",
        )
    return Sample(stratum, mapped, found, pixels, tuple(row.where for row in rows if not row.reference))


def _check_drawn_here(raster: Raster, question: Question, frame: Frame, path: Path, rows: Sequence[Filled]) -> None:
    twice = [point for point, times in Counter(row.point for row in rows).items() if times > 1]
    if twice:
        raise SourceError(path, f"point {twice[0]} stands in it {_times(rows, twice[0])} times", "keep one of them")
    there = dict(zip(frame.strata, frame.pixels.tolist(), strict=True))
    for row in rows:
        if row.share_of != question.share_of:
            wrong = f"it asks for the share of {row.share_of}" if row.share_of else "it asks for classes"
        elif row.stratum_pixels != there.get(row.stratum):
            wrong = f"`{row.stratum}` has {row.stratum_pixels:,} pixels in it, {there.get(row.stratum, 0):,} on the map"
        else:
            continue
        raise SourceError(path, f"not drawn from {raster.path}: {wrong}", _ANOTHER)


def _times(rows: Sequence[Filled], point: int) -> int:
    return sum(row.point == point for row in rows)


def _on_map(
    raster: Raster, question: Question, frame: Frame, path: Path, filled: Sequence[Filled]
) -> tuple[Counts, Floats]:
    """((P, 2) pixel of each point, (P,) class or share there)."""
    pixels, mapped = np.zeros((len(filled), 2), np.int64), np.zeros(len(filled))
    for i, row in enumerate(filled):
        pixel = pixel_of(raster, row.x, row.y)
        if pixel is None:
            raise SourceError(path, f"not drawn from {raster.path}: {row.where} lies outside the map", _ANOTHER)
        values, usable = raster.read(*pixel, 1, 1)
        key = int(keys(values, usable, question)[0, 0])
        here = frame.strata[frame.stratum[key]] if key >= 0 else "no data"
        if here != row.stratum:
            raise SourceError(
                path,
                f"not drawn from {raster.path}: {row.where} was drawn from `{row.stratum}`, the map has `{here}` there",
                _ANOTHER,
            )
        pixels[i], mapped[i] = pixel, shares(values, question)[0, 0] if question.bands else key
    return pixels, mapped


def _answers(path: Path, question: Question, filled: Sequence[Filled]) -> Floats:
    """(P,) class or share of each answer. A class may be written with spaces and in any case."""
    known = {_plain(name): index for index, name in enumerate(question.classes)}
    found, wrong = np.zeros(len(filled)), []
    for i, row in enumerate(filled):
        answer = _share(row.reference) if question.bands else known.get(_plain(row.reference))
        if answer is None:
            wrong.append(row)
        else:
            found[i] = answer
    if wrong:
        shown = "; ".join(f"{row.where}: `{row.reference}`" for row in wrong[:_SHOWN])
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        what = "no shares from 0 to 1" if question.bands else "no classes of the map"
        remedy = "give each as a number, 0.25 for a quarter of the pixel"
        raise SourceError(
            path, f"{what}: {shown}{more}", remedy if question.bands else nearest(wrong[0].reference, question.classes)
        )
    return found


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


def _share(text: str) -> float | None:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
