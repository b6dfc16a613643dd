"""RUN/report.html: what a run did, on one page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenschemas.errors import GreenError
from greenschemas.pages.charts import Chart, line_chart
from greenschemas.pages.page import write_page
from greenschemas.pictures import visible_bands
from greenschemas.store import Store, open_store
from greenschemas.yaml_file import commented_yaml
from greentrain.nets.build import OwnNet
from greentrain.study.mistakes import find_mistakes
from greentrain.study.tile_rows import judged_row
from greentrain.training.checkpoint import Trained, load_trained
from greentrain.training.record import read_record
from greentrain.training.trackers import read_rows

__all__ = ["write_run_report"]

_SHOWN = 4
"""Best and worst tiles on the page."""


def write_run_report(run: Path, store: Store | None = None, model: OwnNet | None = None) -> Path:
    """Write the page of a run that has at least one checkpoint; `store`: its own unless given; `model`: the net that
    `fit` was given, if it was.

    Pictures are of the val split (train where there is none). Raises ConfigError where there is no run.
    """
    record, rows = read_record(run), read_rows(run)
    trained = load_trained(run, model=model)
    steps = [row for row in rows if "train_loss" in row]
    epochs = [row for row in rows if "train_loss" not in row]
    scored = [row for row in epochs if row.get("val_iou") is not None]
    best = max(scored, key=lambda row: row["val_iou"], default=None)
    names = trained.rule.classes
    path = run / "report.html"
    write_page(
        path,
        __package__,
        "run_report.html.j2",
        title=run.resolve().name,
        record=record,
        command=" ".join(record.command),
        started=[datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC") for at in record.starts],
        minutes=record.seconds / 60,
        epochs=len(epochs),
        best=best,
        confusion=_confusion(best, names),
        metrics=("iou", "f1", "accuracy", "specificity", "sensitivity"),
        curves=_curves(steps, epochs),
        classes=names,
        bands=visible_bands(trained.contract.bands),
        settings=commented_yaml(trained.config),
        **_pictures(trained, store, record.store),
    )
    return path


def _curves(steps: list[dict[str, Any]], epochs: list[dict[str, Any]]) -> list[Chart]:
    some = steps[:: max(1, len(steps) // 500)]
    loss = {
        "train": [(row["step"], row["train_loss"]) for row in some],
        "val": [(row["step"], row.get("val_loss")) for row in epochs],
    }
    score = {
        "net": [(row["epoch"], row.get("val_iou")) for row in epochs],
        "constant": [(row["epoch"], row.get("constant_iou")) for row in epochs],
    }
    rate = {"rate": [(row["step"], row["learning_rate"]) for row in some]}
    found = (
        line_chart("Loss", loss, "step"),
        line_chart("Mean IoU on val", score, "epoch"),
        line_chart("Learning rate", rate, "step"),
    )
    return [drawn for drawn in found if drawn]


def _confusion(best: dict[str, Any] | None, names: Sequence[str]) -> list[tuple[str, list[tuple[int, float]]]]:
    """(class, (pixels, share of the class's pixels) by prediction) a row."""
    if best is None:
        return []
    rows = []
    for name, counts in zip(names, best["confusion"], strict=True):
        whole = max(sum(counts), 1)
        rows.append((name, [(count, count / whole) for count in counts]))
    return rows


def _pictures(trained: Trained, store: Store | None, location: str) -> dict[str, Any]:
    """Best and worst tiles; none where the store has moved away."""
    try:
        opened = store or open_store(location)
        split = next(s for s in ("val", "train") if len(opened.usable_tiles(s)))
    except (GreenError, StopIteration):
        return {"worst": [], "good": [], "split": ""}
    tiles = find_mistakes(trained, opened, split)
    good = tiles[::-1][:_SHOWN]
    return {
        "worst": [(tile, judged_row(trained, opened, tile.tile)) for tile in tiles[:_SHOWN]],
        "good": [(tile, judged_row(trained, opened, tile.tile)) for tile in good],
        "split": split,
    }
