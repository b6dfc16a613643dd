"""What a run was: the command, the versions, the store, the machine, in RUN/run.json."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from pydantic import Field

from greenschemas.errors import ConfigError, StoreError
from greenschemas.files import write_whole
from greenschemas.frozen import Frozen
from greenschemas.machine import installed_version
from greenschemas.store import Store, open_store

__all__ = ["Record", "make_record", "open_store_of", "read_record", "write_record"]

_PACKAGES = ("greenspace", "torch", "lightning-fabric", "numpy", "tensorstore", "zarr")


class Record(Frozen):
    """One run."""

    command: tuple[str, ...]
    """As typed; of the last start, if it was resumed."""
    store: str
    """Absolute path or URL."""
    store_hash: str
    """Identity of the store's contract."""
    recipe: dict[str, Any]
    """How the store was made."""
    recipe_hash: str
    config_hash: str
    versions: dict[str, str]
    machine: dict[str, str]
    """Host, processor, devices."""
    own: dict[str, str] = Field(default_factory=dict)
    """Names of what the caller brought instead of what the settings say: `model`, `loss`."""
    starts: tuple[float, ...] = ()
    """Seconds since 1970 at which it was started and resumed."""
    seconds: float = 0.0
    """Spent training, over all starts."""
    cpu_seconds: float | None = None
    """Processor time of that, all threads; None for a run that began before it was recorded."""
    status: str = "running"
    """running, finished, stopped early, stopped by a signal, or failed."""
    trees_iou: float | None = None
    """Mean IoU on the val split of gradient boosting, fitted at the end of `fit`; None where there is none."""
    with_trees_iou: float | None = None
    """That of the mean of the net's probabilities and the trees'."""
    averaged: bool = False
    """Whether the run predicts with that mean, being better than the net."""

    @property
    def surroundings(self) -> dict[str, str]:
        """What the last bits of a loss depend on, as far as a record knows: devices and versions."""
        return {"device": self.machine.get("device", "unknown"), **self.versions}


def make_record(
    command: tuple[str, ...],
    store: str,
    store_hash: str,
    recipe: dict[str, Any],
    recipe_hash: str,
    config_hash: str,
    device: str,
) -> Record:
    """A record of this process on this machine."""
    machine = {
        "host": platform.node(),
        "system": platform.platform(),
        "cores": str(os.cpu_count()),
        "device": device,
        "python": platform.python_version(),
    }
    return Record(
        command=command,
        store=store,
        store_hash=store_hash,
        recipe=recipe,
        recipe_hash=recipe_hash,
        config_hash=config_hash,
        versions={name: installed_version(name) for name in _PACKAGES},
        machine=machine,
    )


def write_record(run: Path, record: Record) -> None:
    """Put it in the run's folder, whole."""
    write_whole(run / "run.json", json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def read_record(run: Path) -> Record:
    """The record of a run; raises ConfigError where there is none."""
    try:
        data = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(run, "no readable run.json", "give the folder that `greentrain fit --out` wrote") from None
    return Record.parse(run / "run.json", data)


def open_store_of(run: Path, location: str | None = None) -> Store:
    """The store of a run, or another one (`location`); raises StoreError where there is none."""
    if location is not None:
        return open_store(location)
    recorded = read_record(run).store
    try:
        return open_store(recorded)
    except StoreError as problem:
        raise StoreError(
            problem.where, f"{problem.found}; the run {run} was trained on it", "give its new place by `--store`"
        ) from None
