"""RUN/report.html: what a run did, on one page that needs no network.

Letters: K classes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from greenschemas.errors import GreenError
from greenschemas.store import Store, open_store
from greentrain.config import commented_yaml
from greentrain.nets.build import OwnNet
from greentrain.pages.page import legend, write_page
from greentrain.study.mistakes import find_mistakes
from greentrain.study.tile_rows import judged_row
from greentrain.training.checkpoint import Trained, load_trained
from greentrain.training.record import read_record
from greentrain.training.trackers import read_rows

__all__ = ["curve", "write_run_report"]

_SHOWN = 4
"""Best and worst tiles on the page."""
_WIDTH, _HEIGHT, _LEFT, _FOOT = 560, 220, 56, 24


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
        "run.html",
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
        legend=legend(names),
        settings=commented_yaml(trained.config),
        **_pictures(trained, store, record.store),
    )
    return path


def curve(lines: Sequence[tuple[str, Sequence[tuple[float, float | None]]]]) -> dict[str, Any]:
    """Lines of (x, y) points as what an SVG of the page needs; points that are no number are left out."""
    points = np.array([p for _, line in lines for p in line if p[1] is not None and np.isfinite(p[1])], np.float64)
    if not len(points):
        return {}
    (left, low), (right, high) = points.min(0), points.max(0)
    wide, tall = max(right - left, 1e-12), max(high - low, 1e-12)

    def place(x: float, y: float) -> str:
        return f"{_LEFT + (x - left) / wide * (_WIDTH - _LEFT - 10):.1f},{10 + (high - y) / tall * (_HEIGHT - 40):.1f}"

    drawn = [
        {"name": name, "points": " ".join(place(x, y) for x, y in line if y is not None and np.isfinite(y))}
        for name, line in lines
    ]
    return {
        "lines": drawn,
        "width": _WIDTH,
        "height": _HEIGHT,
        "low": low,
        "high": high,
        "left": left,
        "right": right,
        "foot": _HEIGHT - _FOOT + 16,
        "floor": _HEIGHT - 30,
    }


def _curves(steps: list[dict[str, Any]], epochs: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    every = max(1, len(steps) // 500)
    loss = [(row["step"], row["train_loss"]) for row in steps[::every]]
    found = [
        ("Loss by step", curve([("train", loss), ("val", [(r["step"], r.get("val_loss")) for r in epochs])])),
        (
            "Mean IoU by epoch",
            curve(
                [
                    ("net", [(r["epoch"], r.get("val_iou")) for r in epochs]),
                    ("constant", [(r["epoch"], r.get("constant_iou")) for r in epochs]),
                ]
            ),
        ),
        ("Rate by step", curve([("rate", [(row["step"], row["learning_rate"]) for row in steps[::every]])])),
    ]
    return [(title, drawn) for title, drawn in found if drawn]


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
