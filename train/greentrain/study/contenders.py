"""The models that `compare` sets against each other, all with one face: learn from a store, give probabilities.

Letters: B batch, C channels a net sees, K classes, H rows, W columns.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from greenschemas.bands import Role
from greenschemas.console import say
from greenschemas.contract import Contract
from greenschemas.errors import ConfigError, nearest
from greenschemas.files import write_whole
from greenschemas.frozen import digest
from greenschemas.store import Store, open_store
from greentrain.config import Config, load_config
from greentrain.nets.surroundings import SCALES
from greentrain.study.baselines import Baseline, ConstantBaseline, IndexBaseline, LinearBaseline
from greentrain.study.beside_trees import beside_trees
from greentrain.study.train_tiles import random_train_tiles
from greentrain.study.trees import TreesBaseline
from greentrain.training.checkpoint import load_trained
from greentrain.training.fit import fit

__all__ = ["MODELS", "TREES", "WITHOUT_CHANCE", "Learnt", "Task", "check_names", "clock", "fitting", "learn"]

MODELS = ("constant", "index", "linear", "spectral", "context", "unet", "vmunet", "detail", "tiny", "small", "base")
"""What may be compared: `index` is a threshold on a normalised difference, `spectral` gradient boosting on single
pixels, `context` on pixels and their surroundings; `vmunet` is the published net, the same as the preset `base`."""

TREES = ("spectral", "context")
"""Those that are gradient boosting."""

WITHOUT_CHANCE = ("constant", "linear")
"""Models that have nothing to draw: one seed says all."""

_MOST_VALUES = 250_000_000
"""Values (a gigabyte) of training tiles that a baseline without a net may look at."""


@dataclass(frozen=True)
class Task:
    """What every model is given alike."""

    store: Path
    seed: int
    minutes: float
    """For training, by `clock`."""
    folder: Path
    """For what a model leaves behind."""
    changes: tuple[str, ...] = ()
    """Settings of nets that differ from the defaults, as `key=value`."""
    trained: Path | None = None
    """A run that stands among them as it is."""


@dataclass(frozen=True)
class Learnt:
    """A model that has learnt."""

    bands: tuple[str, ...]
    """Names of the bands that it sees, in order."""
    probabilities: Callable[[Tensor, Tensor], Tensor]
    """Raw values (B, C, H, W) of these bands and usable pixels (B, H, W) to class probabilities (B, K, H, W)."""
    parameters: int | None
    """None where the model is no net."""
    note: str
    """What is worth knowing of how it was trained."""


def check_names(names: list[str]) -> tuple[str, ...]:
    """The names, each once and known; raises ConfigError."""
    for name in names:
        if name not in MODELS:
            raise ConfigError("--models", f"no model `{name}`", nearest(name, MODELS))
    if len(set(names)) < len(names) or not names:
        raise ConfigError("--models", f"{','.join(names) or 'none'}", "name at least one model, and each once")
    return tuple(names)


def fitting(names: Sequence[str], contract: Contract) -> tuple[str, ...]:
    """Those of the models that can learn from a store; says which cannot, raises ConfigError where none can."""
    seen = sum(band.role is Role.REFLECTANCE for band in contract.bands)
    if seen > 1 or "index" not in names:
        return tuple(names)
    why = f"`index` needs two reflectance bands, the store has {seen}"
    if set(names) == {"index"}:
        raise ConfigError("--models", why, f"give others, such as {', '.join(MODELS[2:5])}")
    say(f"{why}: it is left out.")
    return tuple(name for name in names if name != "index")


def learn(name: str, task: Task) -> Learnt:
    """Train the model of that name on the train split, unless it is trained; raises StoreError or ConfigError."""
    if task.trained is not None:
        return _learnt(task.trained)
    match name:
        case "constant":
            return _without_net(ConstantBaseline(), task)
        case "index":
            return _without_net(IndexBaseline(seed=task.seed), task, only=Role.REFLECTANCE)
        case "linear":
            return _without_net(LinearBaseline(), task)
        case "spectral":
            return _without_net(TreesBaseline(seed=task.seed), task)
        case "context":
            return _without_net(TreesBaseline(scales=SCALES, seed=task.seed), task)
        case _:
            return _net(name, task)


def _net(name: str, task: Task) -> Learnt:
    """A net by `fit` with its own defaults, for as many epochs as fit into the budget; no early stop, last weights.

    The last weights and not the best: those would be chosen by the very scores that are reported. `detail` is with its
    trees where their mean is better, as a user has it; the others, which it is compared with, stand alone.
    """
    store = open_store(task.store)
    preset = "base" if name == "vmunet" else name
    alone = [] if name == "detail" else ["trees=false"]
    config = load_config(None, [*task.changes, *alone, f"model.preset={preset}", f"seed={task.seed}", "patience=0"])
    epochs, slow = _epochs(store, task, task.folder.with_name(f"{name}_pace.json"), config)
    run = task.folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    done = fit(store, run, config.model_copy(update={"epochs": epochs}))
    if done.signal is not None:
        raise KeyboardInterrupt  # told to stop: half a run must not be scored as one
    if config.trees and done.best is not None:
        beside_trees(run, store, done.best, which="last")
    return _learnt(run, f"epochs: {epochs}" if not slow else "epochs: 1, which takes longer than the budget")


def _learnt(run: Path, note: str | None = None) -> Learnt:
    """A run as it is, with its last weights and not the best; without a note, one that was trained before."""
    trained = load_trained(run, "last")
    count = sum(weight.numel() for weight in trained.net.parameters())
    note = note or f"epochs: {trained.epoch}, trained before"
    note += "" if trained.trees is None else "; the mean of net and trees"
    return Learnt(trained.normaliser.bands, trained.probabilities, count, note)


def _epochs(store: Store, task: Task, memory: Path, config: Config) -> tuple[int, bool]:
    """(epochs that fit into the budget, whether not even one does).

    The pace is measured once and kept for all seeds, so that they train equally long; measuring does not count.
    """
    key = digest([store.contract.identity(), config.model_copy(update={"seed": 0}).hash()])
    if not memory.exists() or json.loads(memory.read_text())["key"] != key:
        start, epoch = _pace(store, memory.parent, config)
        write_whole(memory, json.dumps({"key": key, "start_seconds": start, "epoch_seconds": epoch}))
    pace = json.loads(memory.read_text())
    fitting = int((task.minutes * 60 - pace["start_seconds"]) / pace["epoch_seconds"])
    return max(fitting, 1), fitting < 1


def clock() -> float:
    """Seconds on which a budget is counted: the wall clock's on a GPU, else processor time by torch's threads.

    On a machine that does other work too, the wall clock would give each run another number of steps.
    """
    return time.perf_counter() if torch.cuda.is_available() else time.process_time() / torch.get_num_threads()


def _pace(store: Store, scratch: Path, config: Config) -> tuple[float, float]:
    """(seconds to start a run, seconds an epoch takes with its validation)."""

    def timed(epochs: int) -> float:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            began = clock()
            fit(store, Path(folder), config.model_copy(update={"epochs": epochs}))
            return clock() - began

    timed(1)  # compiles kernels and fills caches
    one = timed(1)
    if one > 30:
        return 0.0, one  # starting takes a second or so: not worth another look
    epoch = max((timed(3) - one) / 2, one / 100)
    return max(one - epoch, 0.0), epoch


def _without_net(model: Baseline, task: Task, only: Role | None = None) -> Learnt:
    """These take the time they take: far less than a net's, and no more would help them.

    `only`: see the bands of that role alone.
    """
    store = open_store(task.store)
    contract = store.contract
    bands = contract.features if only is None else tuple(band.name for band in contract.bands if band.role is only)
    tiles = random_train_tiles(store, bands, _MOST_VALUES, seed=task.seed)
    model.fit(*tiles)

    def probabilities(raw: Tensor, valid: Tensor) -> Tensor:
        return torch.from_numpy(model.predict(raw.numpy().astype(np.float32)))

    return Learnt(bands, probabilities, None, f"learnt from {len(tiles.image)} tiles")
