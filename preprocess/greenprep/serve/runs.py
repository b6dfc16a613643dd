"""Runs and comparisons of greentrain in a folder, from the files that they leave: read, never imported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenschemas.pages.charts import Chart, bar_chart, line_chart

__all__ = ["Comparison", "Run", "find_runs"]

_MOST = 100
"""Folders that are looked at."""
_POINTS = 400
"""Points of a curve."""


@dataclass(frozen=True)
class Run:
    """What `greentrain fit` wrote into a folder."""

    name: str
    status: str
    started: str
    epochs: int
    scores: dict[str, float]
    """Mean IoU on the val split: the best of the net, and beside it that of constant and of trees, where known."""
    charts: list[Chart]


@dataclass(frozen=True)
class Comparison:
    """What `greentrain compare` wrote into a folder."""

    name: str
    scores: Chart


def find_runs(folder: Path) -> tuple[list[Run], list[Comparison]]:
    """All that is in `folder`, itself or right below it; what cannot be read is left out."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir())[:_MOST] if folder.is_dir() else []
    runs, comparisons = [], []
    for path in (folder, *inside):
        if isinstance(record := _json(path / "run.json"), dict):
            runs.append(_run(path, record))
        if isinstance(found := _json(path / "compare.json"), dict) and (chart := _compared(found)):
            comparisons.append(Comparison(path.name, chart))
    return runs, comparisons


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _run(path: Path, record: dict[str, Any]) -> Run:
    rows = _rows(path / "metrics.jsonl")
    steps = [(row["step"], row["train_loss"]) for row in rows if _numbers(row, "step", "train_loss")]
    checks = [row for row in rows if _numbers(row, "step", "val_iou")]
    loss = [(row["step"], row["val_loss"]) for row in checks if _numbers(row, "val_loss")]
    best = max((row["val_iou"] for row in checks), default=None)
    constant = checks[-1].get("constant_iou") if checks else None
    known = {"net": best, "constant": constant, "trees": record.get("trees_iou")}
    lines = {"train": steps[:: max(1, len(steps) // _POINTS)], "val": loss}
    scores = {"net": [(row["step"], row["val_iou"]) for row in checks]}
    charts = [line_chart("Loss", lines, "step"), line_chart("Mean IoU on val", scores, "step")]
    starts = record.get("starts") or [0.0]
    return Run(
        path.name,
        str(record.get("status", "unknown")),
        f"{datetime.fromtimestamp(float(starts[0]), UTC):%Y-%m-%d %H:%M}" if starts[0] else "",
        len(checks),
        {name: float(value) for name, value in known.items() if isinstance(value, int | float)},
        [chart for chart in charts if chart is not None],
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # Half a line is still being written.
        return [row for row in map(json.loads, filter(None, lines)) if isinstance(row, dict)]
    except (OSError, ValueError):
        return []


def _numbers(row: dict[str, Any], *keys: str) -> bool:
    return all(isinstance(row.get(key), int | float) for key in keys)


def _compared(found: dict[str, Any]) -> Chart | None:
    models = found.get("models")
    if not isinstance(models, dict):
        return None
    rows = {
        name: {"mean IoU": float(model["mean"]["iou"])}
        for name, model in models.items()
        if isinstance(model, dict) and isinstance((model.get("mean") or {}).get("iou"), int | float)
    }
    return bar_chart("Mean IoU", rows, "mean IoU on val") if rows else None
