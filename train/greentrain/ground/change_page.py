"""The page of `greentrain change`: both maps, the map of change, gains and losses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.colours import NO_DATA, Colour, as_hex
from greenschemas.pages.charts import Chart, bar_chart
from greenschemas.pages.page import write_page
from greenschemas.pictures import Picture, Shot, class_picture, data_uri
from greentrain.ground.change import change_colours, change_names
from greentrain.maps.raster import Raster, open_raster
from greentrain.maps.style import DIFFERENCE, difference_colours

__all__ = ["write_change_page"]

_LONGEST = 700
_NAMED = 12
"""Changes in the key, the largest first."""


def write_change_page(path: Path, before: Raster, after: Raster, found: dict[str, Any]) -> None:
    """found: as `change_summary.make_change`; the map of change lies where it says."""
    classes = list(found["classes"])
    with open_raster(Path(found["map"])) as raster:
        shots, key = (_of_shares if "transitions" not in found else _of_classes)(before, after, raster, found)
    estimate = found.get("estimate")
    write_page(
        path,
        __package__,
        "change_page.html.j2",
        found=found,
        classes=classes,
        shots=shots,
        key=key,
        names=[Path(found[which]).name for which in ("before", "after")],
        chart=_chart(found, estimate),
        estimate=estimate,
        flows=[flow for flow in ("gain", "loss", "net") if estimate and flow in estimate["classes"][classes[0]]],
        zones=[
            (zone, None if not estimate or not estimate["zones"] else estimate["zones"][i])
            for i, zone in enumerate(found["zones"])
        ],
    )


def _of_classes(
    before: Raster, after: Raster, raster: Raster, found: dict[str, Any]
) -> tuple[list[Shot], list[tuple[str, str]]]:
    classes = list(found["classes"])
    names, colours = change_names(classes), change_colours(classes)
    shots = [
        Shot(name, data_uri(class_picture(each.shrunk(_LONGEST)[0].astype(np.uint8), classes)[each.grid.order]))
        for name, each in (("before", before), ("after", after))
    ]
    shots.append(Shot("change", data_uri(_coloured(raster.shrunk(_LONGEST)[0], colours)[raster.grid.order])))
    size = [found["transitions"][one][other] for one in classes for other in classes]
    largest = sorted((i for i in range(len(size)) if size[i] and " to " in names[i]), key=lambda i: -size[i])
    return shots, [(names[i], as_hex(colours[i])) for i in largest[:_NAMED]]


def _of_shares(
    before: Raster, after: Raster, raster: Raster, found: dict[str, Any]
) -> tuple[list[Shot], list[tuple[str, str]]]:
    differences = raster.shrunk(_LONGEST, bands=range(raster.count), average=True)
    shots = [
        Shot(name, data_uri(difference_colours(values)[raster.grid.order]))
        for name, values in zip(found["classes"], differences, strict=True)
    ]
    return shots, [("lost", as_hex(DIFFERENCE[0])), ("gained", as_hex(DIFFERENCE[1]))]


def _coloured(codes: NDArray[Any], colours: Sequence[Colour]) -> Picture:
    table = np.array([*colours, NO_DATA], np.uint8)
    picture: Picture = table[np.minimum(codes, len(colours))]
    return picture


def _chart(found: dict[str, Any], estimate: dict[str, Any] | None) -> Chart:
    """Gains and losses: estimated where they are, else as the maps have them."""
    title, spread = "Gains and losses on the maps", {}
    rows = {f"{name} {way}": {way: row[way]} for name, row in found["classes"].items() for way in ("gain", "loss")}
    if estimate and "gain" in next(iter(estimate["classes"].values())):
        title = "Gains and losses, estimated, with intervals of 95 percent"
        for name, row in estimate["classes"].items():
            for way in ("gain", "loss"):
                rows[f"{name} {way}"] = {way: max(row[way]["value"], 0.0)}
                if row[way]["low"] is not None:
                    spread[f"{name} {way}"] = (max(row[way]["low"], 0.0), max(row[way]["high"], 0.0))
    return bar_chart(f"{title}, {found['unit']}", rows, found["unit"], spread=spread)
