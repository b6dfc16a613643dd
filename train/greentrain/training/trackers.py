"""Where the numbers of a run go: metrics.jsonl and TensorBoard always, MLflow and Weights & Biases when asked.

metrics.jsonl is the run's own record. The others watch: one that fails on the way is named once and left out from then
on, and the run goes on. The ids that MLflow and Weights & Biases gave stand in RUN/trackers.json, so that a run that is
resumed goes on in theirs. Steps done again after a kill stand twice in MLflow, with the same values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from torch.utils.tensorboard import SummaryWriter

from greenschemas.console import say
from greenschemas.errors import ConfigError
from greenschemas.files import write_whole

__all__ = ["Trackers", "check_packages", "read_rows"]


def check_packages(*, mlflow: bool, wandb: bool) -> None:
    """Raise ConfigError where a package that is asked for cannot be imported: before anything is written."""
    for name, wanted in (("mlflow", mlflow), ("wandb", wandb)):
        if wanted:
            _package(name)


class Tracker(Protocol):
    """A package that keeps and draws numbers."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """All numbers of a step, by name/of/it."""

    def close(self, status: str) -> None:
        """The end: `finished`, `stopped …` or `failed`."""


class Trackers:
    """Writes rows of numbers; one object a run and process that writes."""

    def __init__(
        self,
        run: Path,
        settings: Mapping[str, Any],
        *,
        step: int = 0,
        epoch: int = 0,
        mlflow: bool = False,
        wandb: bool = False,
    ) -> None:
        """step, epoch: how far the run had come at the checkpoint that it goes on from; later rows are dropped.

        Raises ConfigError where MLflow or Weights & Biases is wanted and does not start.
        """
        ids = _ids(run)
        self._watching: dict[str, Tracker] = {}
        for name, wanted, start in (("mlflow", mlflow, _Mlflow), ("wandb", wandb, _Wandb)):
            if wanted:
                tracker = _started(name, start, run, settings, ids.get(name))
                self._watching[name], ids[name] = tracker, tracker.id
        rows = [row for row in read_rows(run) if _before(row, step, epoch)]
        write_whole(run / "trackers.json", json.dumps(ids))
        write_whole(run / "metrics.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        self._file = (run / "metrics.jsonl").open("a", encoding="utf-8")
        self._watching["TensorBoard"] = _TensorBoard(run, step)

    def write(self, row: Mapping[str, Any]) -> None:
        """A row with `step` and `epoch` and anything that JSON can say; NaN and infinity become null."""
        self._file.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")
        self._file.flush()
        numbers = {name: value for name, value in _flat(row) if name not in ("step", "epoch")}
        self._each(lambda tracker: tracker.log(numbers, int(row["step"])))

    def close(self, status: str = "finished") -> None:
        """Flush everything; tell the trackers how the run ended."""
        self._file.close()
        self._each(lambda tracker: tracker.close(status))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._watching.items()):
            try:
                act(tracker)
            except Exception as problem:  # of whatever kind: it is theirs, and the run does not need them
                del self._watching[name]
                said = ": ".join([type(problem).__name__, *str(problem).strip().splitlines()[:1]])
                say(
                    f"WARNING {name} failed ({said}) and is left out from here on; the run goes on, its numbers are in "
                    "metrics.jsonl"
                )


class _TensorBoard:
    def __init__(self, run: Path, step: int) -> None:
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)

    def close(self, status: str) -> None:
        self._board.close()


class _Mlflow:
    def __init__(self, package: ModuleType, run: Path, settings: Mapping[str, Any], known: str | None) -> None:
        self._package = package
        began = package.start_run(run_id=known) if known else package.start_run(run_name=run.name)
        self.id: str = began.info.run_id
        if known is None:  # a parameter is written once
            package.log_params(dict(_leaves(settings)))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._package.log_metrics({_mlflow_name(name): value for name, value in numbers.items()}, step=step)

    def close(self, status: str) -> None:
        ends = {"failed": "FAILED", "stopped by a signal": "KILLED"}
        self._package.end_run(status=ends.get(status, "FINISHED"))


class _Wandb:
    def __init__(self, package: ModuleType, run: Path, settings: Mapping[str, Any], known: str | None) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self._run = package.init(
            name=run.name, dir=str(run), config=dict(settings), id=known, resume="allow" if known else None
        )
        self.id: str = self._run.id

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self, status: str) -> None:
        self._run.finish(exit_code=1 if status == "failed" else 0)


def _started(name: str, start: Callable[..., Any], run: Path, settings: Mapping[str, Any], known: str | None) -> Any:
    package = _package(name)
    try:
        return start(package, run, settings, known)
    except Exception as problem:  # of whatever kind: no server, no login, no such run
        raise ConfigError(
            f"--{name}", f"it does not start: {problem}", f"mend that, or train without --{name}"
        ) from None


def _ids(run: Path) -> dict[str, str]:
    path = run / "trackers.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def read_rows(run: Path) -> list[dict[str, Any]]:
    """The whole rows of RUN/metrics.jsonl; a last one that a kill cut short is left out.

    Raises ConfigError for a line that is no JSON, which we do not write.
    """
    path, rows = run / "metrics.jsonl", []
    if not path.exists():
        return []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise ConfigError(path, f"line {number} is not JSON", "copy the file again, or delete that line") from None
    return rows


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


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name.of.it, value) of all settings in nested dicts."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _mlflow_name(name: str) -> str:
    """MLflow takes letters, digits and a few signs; classes may be named otherwise."""
    return re.sub(r"[^\w.\- ]", "_", name.replace("/", "."))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _package(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name != name:
            raise _broken(name, problem) from None
        raise ConfigError(f"--{name}", f"the package {name} is not installed", f"`pip install {name}`") from None
    except Exception as problem:  # of whatever kind: it does not get on with its own dependencies
        raise _broken(name, problem) from None


def _broken(name: str, problem: Exception) -> ConfigError:
    return ConfigError(
        f"--{name}",
        f"the package {name} does not import: {type(problem).__name__}: {problem}",
        f"`pip install --upgrade {name}`, or train without --{name}",
    )
