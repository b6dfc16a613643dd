"""What covers each zone, for those who use the numbers: as CSV and as GeoPackage."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenschemas.errors import ConfigError
from greenschemas.files import write_whole
from greentrain.ground.area import Cover
from greentrain.ground.vectors import write_gpkg
from greentrain.ground.zones import Zone
from greentrain.maps.outputs import NO_CLASS
from greentrain.maps.style import write_style, zone_style

__all__ = ["Table", "green_classes", "tabulate", "write_csv", "write_districts"]

_PLANTS = (
    "crop cropland conifer deciduous evergreen forest garden grass grassland green greenery hay hedge lawn mangrove "
    "meadow orchard park pasture shrub shrubland tree vegetation vineyard wood woodland"
)
_DENIED = "no non not other without"


@dataclass(frozen=True)
class Table:
    """A row a zone."""

    classes: tuple[str, ...]
    """Names of the classes, no two alike but for capitals, as columns must be."""
    green: tuple[str, ...]
    """Those of them that count as green."""
    rows: tuple[dict[str, Any], ...]
    """name, hectares (with data), share_without_data (of the zone), share_of_green, then of each class CLASS_ha and
    CLASS_share. Shares but the one without data are of the ground with data; None where there is none."""

    @property
    def span(self) -> tuple[float, float]:
        """The least and the largest share of green; (0, 1) where there are no two."""
        known = [row["share_of_green"] for row in self.rows if row["share_of_green"] is not None]
        return (min(known), max(known)) if known and min(known) < max(known) else (0.0, 1.0)


def green_classes(classes: Sequence[str], wanted: Sequence[str] = (), *, needed: bool = False) -> tuple[str, ...]:
    """The classes wanted, or else those whose names say plants.

    Raises ConfigError where a wanted one is not there, and, if needed, where there are none.
    """
    known = ", ".join(classes) if len(classes) < NO_CLASS else "numbers, such as `class 1`"
    if unknown := [name for name in wanted if name not in classes]:
        raise ConfigError("--green", f"the map has no class {unknown[0]}", f"its classes are: {known}")
    found = tuple(wanted) or tuple(name for name in classes if _says_plants(name))
    if needed and not found:
        raise ConfigError("--green", "no class of the map sounds green", f"name some; its classes are: {known}")
    return found


def tabulate(covers: Sequence[Cover], classes: Sequence[str], green: Sequence[str]) -> Table:
    """covers: of the zones, one a row. Of a map without names, classes that no zone has are left out."""
    shown = [k for k in range(len(classes)) if len(classes) < NO_CLASS or any(cover.pixels[k] for cover in covers)]
    is_green = [k for k in shown if classes[k] in green]
    columns: list[str] = []
    for k in shown:
        name = classes[k]
        while name.casefold() in (other.casefold() for other in columns):
            name += "_"
        columns.append(name)

    def row(cover: Cover) -> dict[str, Any]:
        known = cover.pixels.sum()
        shares = [cover.pixels[k] / known if known else None for k in shown]
        found = {
            "name": cover.name,
            "hectares": float(cover.hectares.sum()),
            "share_without_data": (cover.empty + cover.outside) / (known + cover.empty + cover.outside),
            "share_of_green": sum(cover.pixels[k] for k in is_green) / known if known and green else None,
        }
        for k, name, share in zip(shown, columns, shares, strict=True):
            found |= {f"{name}_ha": float(cover.hectares[k]), f"{name}_share": share}
        return found

    return Table(tuple(columns), tuple(green), tuple(row(cover) for cover in covers))


def write_csv(path: Path, table: Table) -> None:
    """A header, then one line a zone."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.rows)
    write_whole(path, text.getvalue())


def write_districts(path: Path, zones: Sequence[Zone], table: Table) -> None:
    """The zones in their file's CRS as GeoPackage, the table as columns, and a style that colours them by green."""
    columns = {key: [row[key] for row in table.rows] for key in table.rows[0]}
    write_gpkg(path, zones[0].crs, [([zone.source for zone in zones], columns)])
    if table.green:
        write_style(path, zone_style("share_of_green", *table.span))


def _says_plants(name: str) -> bool:
    words = {form for word in re.findall(r"[^\W\d_]+", name.casefold()) for form in (word, word.removesuffix("s"))}
    return not words.isdisjoint(_PLANTS.split()) and words.isdisjoint(_DENIED.split())
