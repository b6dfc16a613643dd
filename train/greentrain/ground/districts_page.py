"""The page of zones: a map coloured by share of green, and a table that sorts itself without a script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from greenschemas.colours import as_hex
from greenschemas.grid import Grid
from greenschemas.pages.page import write_page
from greentrain.ground.districts import Table
from greentrain.ground.zones import Zone, remarks
from greentrain.maps.style import green_shade

__all__ = ["legend", "write_zones_page"]

_ACROSS = 800.0
"""Width of the drawing; its height follows."""
_FINE = 0.4
"""Of the drawing's units: outlines are simplified by so much."""
_NAMED = 40
"""Zones that are named on the drawing, at most."""
_UNKNOWN = "#d9d9d9"


def write_zones_page(
    path: Path, map: Path, zones: Sequence[Zone], table: Table, grid: Grid, estimate: dict[str, Any] | None = None
) -> None:
    """table: of these zones of this map, row by row; estimate: as `estimates.estimate` has it, if there is one.

    Every text is escaped, and nothing comes from outside.
    """
    shapes, height = _drawing([zone.shape for zone in zones], grid)
    low, high = table.span
    green = [row["share_of_green"] for row in table.rows]
    columns = ["share_of_green", "hectares", "share_without_data", *(f"{name}_share" for name in table.classes)]
    by_name = np.argsort(np.argsort([row["name"].casefold() for row in table.rows], kind="stable"))
    places = [by_name, *(_places([row[key] for row in table.rows]) for key in columns)]
    write_page(
        path,
        __package__,
        "districts_page.html.j2",
        map=map.name,
        table=table,
        width=_ACROSS,
        height=height,
        shapes=[
            (_path(shape), _colour(share, low, high), row)
            for shape, share, row in zip(shapes, green, table.rows, strict=True)
        ],
        names=_names(shapes, table) if len(zones) <= _NAMED else [],
        legend=[*legend(low, high), ("no data", _UNKNOWN)],
        headings=["zone", "green", "hectares", "no data", *table.classes],
        rows=[(row, [int(place[i]) for place in places]) for i, row in enumerate(table.rows)],
        remarks=remarks(zones, grid),
        estimate=estimate,
    )


def legend(low: float, high: float) -> list[tuple[str, str]]:
    """Five shares and their colours, with as many digits as tell the shares apart."""
    shares = np.linspace(low, high, 5)
    digits = 0 if high - low >= 0.05 else 1
    return [(f"{at:.{digits}%}", _colour(at, low, high)) for at in shares]


def _drawing(shapes: Sequence[shapely.Geometry], grid: Grid) -> tuple[NDArray[np.object_], float]:
    """Shapes in units of the drawing, north up where the grid is not turned, and the drawing's height."""
    turn = np.array([-1 if grid.west_up else 1, -1 if grid.south_up else 1])
    turned = shapely.transform(np.array(shapes, object), lambda xy: xy * turn)
    west, north, east, south = shapely.total_bounds(turned)
    scale = (_ACROSS - 2) / max(east - west, south - north)
    offset = 1 - scale * np.array([west + min(0.0, (east - west) - (south - north)) / 2, north])
    drawn = shapely.transform(turned, lambda xy: xy * scale + offset)
    return shapely.simplify(drawn, _FINE), 2 + scale * (south - north)


def _path(shape: shapely.Geometry) -> str:
    """The outline as SVG has it; holes are left out by the even-odd rule."""
    rings = shapely.get_rings(shapely.get_parts(shape))
    corners = [" ".join(f"{x:.1f},{y:.1f}" for x, y in shapely.get_coordinates(ring)[:-1]) for ring in rings]
    return "".join(f"M{text}Z" for text in corners)


def _names(shapes: NDArray[np.object_], table: Table) -> list[tuple[float, float, str]]:
    """(x, y, name), each somewhere inside."""
    points = shapely.get_coordinates(shapely.point_on_surface(shapes))
    return [(float(x), float(y), row["name"]) for (x, y), row in zip(points, table.rows, strict=True)]


def _colour(share: float | None, low: float, high: float) -> str:
    return _UNKNOWN if share is None else as_hex(green_shade((share - low) / (high - low)))


def _places(values: Sequence[float | None]) -> NDArray[np.int64]:
    """The place of each when the largest comes first; what is unknown comes last."""
    order = np.argsort([np.inf if value is None else -value for value in values], kind="stable")
    places: NDArray[np.int64] = np.argsort(order)
    return places
