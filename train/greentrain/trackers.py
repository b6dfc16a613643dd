"""Where the numbers of a run go: metrics.jsonl and TensorBoard always, MLflow and Weights & Biases when asked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from greenschemas.errors import ConfigError

__all__ = ["Trackers", "read_rows"]


class Trackers:
    """Writes rows of numbers; one object a run and process that writes."""

    def __init__(self, run: Path, settings: Mapping[str, Any], *, step: int = 0, epoch: int = 0,
                 mlflow: bool = False, wandb: bool = False) -> None:
        """step, epoch: how far the run had come at the checkpoint that it goes on from; later rows are dropped."""
        self._mlflow = _package("mlflow") if mlflow else None
        self._wandb = _package("wandb") if wandb else None
        rows = [row for row in read_rows(run) if _before(row, step, epoch)]
        run.mkdir(parents=True, exist_ok=True)
        path = run / "metrics.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)
        if self._mlflow is not None:
            self._mlflow.start_run(run_name=run.name)
            self._mlflow.log_params(settings)
        if self._wandb is not None:
            self._wandb.init(name=run.name, dir=str(run), config=dict(settings))

    def write(self, row: Mapping[str, Any]) -> None:
        """A row with `step` and `epoch` and anything that JSON can say; NaN and infinity become null."""
        self._file.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")
        self._file.flush()
        step = int(row["step"])
        numbers = {name: value for name, value in _flat(row) if name not in ("step", "epoch")}
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        if self._mlflow is not None:
            self._mlflow.log_metrics({name.replace("/", "."): value for name, value in numbers.items()}, step=step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Flush everything."""
        self._file.close()
        self._board.close()
        if self._mlflow is not None:
            self._mlflow.end_run()
        if self._wandb is not None:
            self._wandb.finish()


def read_rows(run: Path) -> list[dict[str, Any]]:
    """The whole rows of RUN/metrics.jsonl; a last one that a kill cut short is left out."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _before(row: Mapping[str, Any], step: int, epoch: int) -> bool:
    if "train_loss" in row:
        return bool(row["step"] <= step)
    return bool(row["epoch"] <= epoch)


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(name/of/it, number) of all finite numbers in nested dicts."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{key}", float(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _package(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(f"--{name}", f"the package {name} is not installed", f"`pip install {name}`") from None
