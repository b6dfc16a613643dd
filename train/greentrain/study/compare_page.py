"""The page of a comparison: scores with intervals, what may be said of them, costs, pictures side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from greenschemas.pictures import Shot, labels_of
from greenschemas.store import Store, open_store
from greentrain.pages.page import legend, write_page
from greentrain.study.compare import ComparePlan, picture_tiles
from greentrain.study.tile_rows import map_row

__all__ = ["remarks", "write_comparison"]

_LEFT, _SCALE, _ROW = 110, 560, 30  # pixels of the chart: names, from 0 to 1, one bar


def write_comparison(plan: ComparePlan, report: dict[str, Any], path: Path) -> None:
    """Write the page; pictures are those that the runs of the first seed left."""
    best = max(report["models"], key=lambda name: report["models"][name]["mean"]["iou"] or 0.0)
    store = open_store(plan.store)
    write_page(
        path,
        "compare.html",
        report=report,
        best=best,
        chart=_chart(report["models"]),
        remarks=remarks(report),
        legend=legend(report["classes"]),
        pictures=_pictures(plan, store),
    )


def remarks(report: dict[str, Any]) -> list[str]:
    """What nobody should read into the numbers."""
    found = []
    if report["seeds"] < 3:
        found.append(
            f"With {report['seeds']} seed{'s' * (report['seeds'] > 1)} the spread of the seeds is hardly "
            "known; three are the least that shows it."
        )
    if report["groups"] < 5:
        found.append(
            f"{report['groups']} group{'s' * (report['groups'] > 1)} cannot stand for other places: "
            "the intervals are too narrow, if there are any."
        )
    for name, model in report["models"].items():
        low = (model["interval"]["mean"]["iou"] or (None,))[0]
        nothing = model["constant"]["mean"]["iou"]
        if name != "constant" and low is not None and nothing is not None and low <= nothing:
            found.append(f"{name} is not surely better than always saying {model['constant']['class']}.")
    found += report["warnings"]
    found.append("The budget is the same for all; a model that is still getting better at its end may win with more.")
    return found


def _chart(models: dict[str, Any]) -> dict[str, Any]:
    """Where bars, dots and lines of the chart lie."""

    def x(value: float) -> float:
        return round(_LEFT + _SCALE * value, 1)

    bars = []
    for row, (name, model) in enumerate(models.items()):
        low, high = model["interval"]["mean"]["iou"] or (None, None)
        bars.append(
            {
                "name": name,
                "y": row * _ROW,
                "length": round(_SCALE * (model["mean"]["iou"] or 0), 1),
                "low": None if low is None else x(low),
                "high": None if high is None else x(high),
                "seeds": [x(value) for value in model["seed_iou"]],
            }
        )
    ticks = [{"x": x(value / 5), "text": f"{value / 5:.1f}"} for value in range(6)]
    return {"width": _LEFT + _SCALE + 20, "height": len(bars) * _ROW + 26, "left": _LEFT, "bars": bars, "ticks": ticks}


def _pictures(plan: ComparePlan, store: Store) -> list[tuple[str, list[Shot]]]:
    """(where, the row of image, truth, then each model's map) of each tile."""
    maps = {name: np.load(plan.out / "runs" / f"{name}_0" / "pictures.npz")["label"] for name in plan.models}
    groups, of_tile = store.read("group_name"), store.tile_group()
    found = []
    for i, tile in enumerate(picture_tiles(store, plan.split)):
        labels = {"truth": labels_of(store.read("fraction", tile))} | {name: own[i] for name, own in maps.items()}
        found.append((f"{groups[of_tile[tile]]}, tile {tile}", map_row(store, tile, labels, store.contract.classes)))
    return found
