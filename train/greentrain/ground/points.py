"""The points of a sample as files: written with an empty column as GeoPackage and CSV, read back when it is filled.

Spreadsheets give back what they like: semicolons, commas in numbers, other cases of letters. All of these are read.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError
from shapely import Point as Place

from greenschemas.errors import SourceError
from greenschemas.files import write_whole
from greentrain.ground.vectors import write_gpkg

__all__ = ["Filled", "Point", "read_points", "write_points"]

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Point:
    """A pixel to be looked at."""

    point: int
    """Its number, from 1. The order is by chance: whoever stops half way has a sample, too."""
    x: float
    """Centre of the pixel, in the map's CRS."""
    y: float
    longitude: float | None
    """On WGS 84; None where the map has no CRS."""
    latitude: float | None
    stratum: str
    stratum_pixels: int
    """Pixels that the stratum has in the map: what the point's weight is made of."""
    share_of: str | None
    """Classes whose share is asked for, joined by ` + `; None for a class map."""
    mapped: str | float
    """Class on the map, or the share that it gives to those classes."""


@dataclass(frozen=True)
class Filled:
    """What a file says of one point."""

    where: str
    """`line 12` or `point 11`."""
    point: int
    x: float
    y: float
    stratum: str
    stratum_pixels: int
    share_of: str | None
    reference: str
    """As it was filled in, without spaces around; empty where it was not."""


_SHARED = ("point", "x", "y", "longitude", "latitude", "stratum", "stratum_pixels")
_NEEDED = ("point", "x", "y", "stratum", "stratum_pixels", "reference")


def _columns(points: Sequence[Point]) -> tuple[str, ...]:
    return (*_SHARED, *(() if points[0].share_of is None else ("share_of",)), "mapped", "reference")


def write_points(path: Path, points: Sequence[Point], crs: str) -> tuple[Path, Path]:
    """Write the sample as GeoPackage at `path`, and as CSV beside it; both with the empty column `reference`.

    Raises SourceError where one of the two is there already: somebody may have filled it in. A CSV of this very sample
    that nobody filled in is what a kill before the GeoPackage leaves.
    """
    table = path.with_suffix(".csv")
    names = _columns(points)
    empty = "" if points[0].share_of is None else None  # text to be chosen, or a number to be typed in
    columns = {name: [empty if name == "reference" else getattr(point, name) for point in points] for name in names}
    text = io.StringIO(newline="")
    csv.writer(text).writerows([names, *zip(*columns.values(), strict=True)])
    data = text.getvalue().encode()
    begun = table.is_file() and table.read_bytes() == data
    for each in (path,) if begun else (path, table):
        if each.exists():
            raise SourceError(
                each, "it is there already, and may hold somebody's work", "give another name by `--out`, or remove it"
            )
    write_whole(table, data)
    write_gpkg(path, crs, [([Place(point.x, point.y) for point in points], columns)], "Point")
    return path, table


def read_points(path: Path) -> tuple[Filled, ...]:
    """The points of a file that `write_points` wrote and a person filled in, GeoPackage or CSV.

    Raises SourceError where it cannot be read, or a column or number is missing.
    """
    try:
        rows = list(_from_geopackage(path) if path.suffix.lower() == ".gpkg" else _from_csv(path))
    except (OSError, ValueError, csv.Error, DataSourceError, DataLayerError) as problem:
        raise SourceError(
            path,
            f"no sample that can be read ({type(problem).__name__}: {problem})",
            "give the .gpkg or .csv of `greentrain sample`, filled in",
        ) from None
    missing = [name for name in _NEEDED if not rows or name not in rows[0][1]]
    if missing:
        found = "no rows" if not rows else f"no column {', '.join(f'`{name}`' for name in missing)}"
        raise SourceError(path, found, "give the .gpkg or .csv of `greentrain sample`, filled in")
    return tuple(_filled(path, where, row) for where, row in rows)


def _filled(path: Path, where: str, row: Mapping[str, Any]) -> Filled:
    def number(name: str) -> float:
        try:
            value = float(str(row[name]).replace(",", "."))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise SourceError(
                path, f"{where}: `{name}` is `{row[name]}`, and no number", "leave all columns but `reference` as drawn"
            )
        return value

    return Filled(
        where,
        int(number("point")),
        number("x"),
        number("y"),
        _text(row["stratum"]),
        int(number("stratum_pixels")),
        _text(row.get("share_of")) or None,
        _text(row["reference"]),
    )


def _text(value: object) -> str:
    """Of a cell; nothing, None and NaN are empty."""
    return "" if value is None or value != value else str(value).strip()


def _from_csv(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    text = path.read_bytes().decode("utf-8-sig")
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    for row in reader:
        if any(_text(value) for value in row.values() if not isinstance(value, list)):
            yield f"line {reader.line_num}", row


def _from_geopackage(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    with path.open("rb") as file:
        if file.read(len(_SQLITE)) != _SQLITE:  # else GDAL would try what else it could be
            raise ValueError("it is something else")
    layers = [str(name) for name, shape in pyogrio.list_layers(path) if shape is not None]
    if len(layers) != 1:
        raise ValueError(f"{len(layers)} layers of shapes ({', '.join(layers)}), and not one")
    meta, _, _, columns = pyogrio.raw.read(path, layer=layers[0], read_geometry=False)
    names = [str(name) for name in meta["fields"]]
    for index, values in enumerate(zip(*columns, strict=True)):
        row = dict(zip(names, values, strict=True))
        yield f"point {row.get('point', index + 1)}", row
