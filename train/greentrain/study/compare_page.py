"""The page of a comparison: scores with intervals, what may be said of them, costs, pictures side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from greenschemas.pages.charts import Chart, bar_chart
from greenschemas.pages.page import write_page
from greenschemas.pictures import Shot, labels_of, visible_bands
from greenschemas.store import Store, open_store
from greentrain.study.compare import ComparePlan, picture_tiles
from greentrain.study.contenders import WITHOUT_CHANCE
from greentrain.study.tile_rows import map_row

__all__ = ["remarks", "write_comparison"]


def write_comparison(plan: ComparePlan, report: dict[str, Any], path: Path) -> None:
    """Write the page; pictures are those that the runs of the first seed left."""
    best = max(report["models"], key=lambda name: report["models"][name]["mean"]["iou"] or 0.0)
    store = open_store(plan.store)
    write_page(
        path,
        __package__,
        "compare_page.html.j2",
        report=report,
        best=best,
        bars=_bars(report["models"]),
        remarks=remarks(report),
        bands=visible_bands(store.contract.bands),
        pictures=_pictures(plan, store),
    )


def remarks(report: dict[str, Any]) -> list[str]:
    """What nobody should read into the numbers."""
    found = []
    if report["seeds"] < 3 and not set(report["models"]) <= set(WITHOUT_CHANCE):
        found.append(
            f"With {report['seeds']} seed{'s' * (report['seeds'] > 1)} it is hardly known what other seeds would "
            "give; three are the least that shows it."
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
    if before := report.get("trained_before"):
        found.append(f"{before} was trained before, for the time under Cost; the budget is that of the others.")
    found.append("The budget is one for all; a model that is still getting better at its end may win with more.")
    return found


def _bars(models: dict[str, Any]) -> Chart:
    intervals = {name: model["interval"]["mean"]["iou"] for name, model in models.items()}
    return bar_chart(
        "Mean IoU",
        {name: {"mean IoU": model["mean"]["iou"] or 0.0} for name, model in models.items()},
        "mean IoU",
        spread={name: (low_high[0], low_high[1]) for name, low_high in intervals.items() if low_high},
        dots={name: model["seed_iou"] for name, model in models.items()},
    )


def _pictures(plan: ComparePlan, store: Store) -> list[tuple[str, list[Shot]]]:
    """(where, the row of image, truth, then each model's map) of each tile."""
    maps = {name: np.load(plan.out / "runs" / f"{name}_0" / "pictures.npz")["label"] for name in plan.models}
    groups, of_tile = store.read("group_name"), store.tile_group()
    found = []
    for i, tile in enumerate(picture_tiles(store, plan.split)):
        labels = {"truth": labels_of(store.read("fraction", tile))} | {name: own[i] for name, own in maps.items()}
        found.append((f"{groups[of_tile[tile]]}, tile {tile}", map_row(store, tile, labels, store.contract.classes)))
    return found
