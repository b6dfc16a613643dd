"""The page of `greentrain area --reference`: areas with their intervals, the error matrix, the map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from greenschemas.colours import as_hex, class_colours
from greenschemas.pages.charts import Chart, bar_chart
from greenschemas.pages.page import write_page
from greenschemas.pictures import Shot, class_picture, data_uri
from greentrain.ground.area import class_names
from greentrain.maps.raster import Raster

__all__ = ["write_estimate_page"]

_LONGEST = 700


def write_estimate_page(path: Path, raster: Raster, estimate: dict[str, Any]) -> None:
    """estimate: as `estimates.estimate` or `estimates.estimate_by_groups` has it, of this map."""
    shots, legend, names = [], [], list(estimate.get("classes", ()))
    if names and raster.dtype == "uint8":
        classes = class_names(raster.tags, raster.names, False)
        picture = class_picture(raster.shrunk(_LONGEST)[0], classes)
        shots = [Shot("the map", data_uri(picture[raster.grid.order]))]
        legend = [(name, as_hex(class_colours(classes)[classes.index(name)])) for name in names]
    write_page(
        path,
        __package__,
        "estimate_page.html.j2",
        map=raster.path.name,
        estimate=estimate,
        drawn=[_chart(estimate)] if names else [],
        matrix=list(zip(names, estimate["matrix"], strict=True)) if names else [],
        shots=shots,
        legend=legend,
    )


def _chart(estimate: dict[str, Any]) -> Chart:
    unit = estimate["unit"]
    rows: dict[str, dict[str, float]] = {}
    spread: dict[str, tuple[float, float]] = {}
    for name, one in estimate["classes"].items():
        known = one[unit]
        rows[name] = {"map": one[f"mapped_{unit}"]}
        if known["value"] is not None:
            rows[name]["estimate"] = known["value"]
        if known["low"] is not None:
            spread[name] = (max(known["low"], 0.0), known["high"])
    return bar_chart(f"{unit.capitalize()} of each class, with intervals of 95 percent", rows, unit, spread=spread)
