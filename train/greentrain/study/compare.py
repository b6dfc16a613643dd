"""Models against each other under one budget: each trained in a process of its own, all scored on the same groups.

A process a run, so that peak memory is the run's own and a crash ends one run and not the comparison. A finished run
leaves `DIR/runs/MODEL_SEED/result.json`; a stopped comparison goes on at the first run that is missing. Long, because a
run, its scores and the table of all runs are read here in the order in which they come about.

Letters: S seeds, G groups, K classes.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from greenschemas.console import Ticker
from greenschemas.errors import ConfigError, StoreError
from greenschemas.files import write_whole
from greenschemas.frozen import digest
from greenschemas.interrupt import deaf_children
from greenschemas.lock import folder_writer
from greenschemas.store import Store, open_store
from greentrain.config import load_config
from greentrain.data.loader import open_loader
from greentrain.scores.fractions import fraction_scores, fraction_sums
from greentrain.scores.metrics import bootstrap, confusion_by_group, scores
from greentrain.study.contenders import TREES, WITHOUT_CHANCE, Learnt, Task, check_names, learn
from greentrain.study.significance import compare_pairs, mean_iou
from greentrain.training.checkpoint import load_trained
from greentrain.training.record import read_record

__all__ = ["ComparePlan", "Result", "below_trees", "compare", "picture_tiles", "ranking", "report"]

_PICTURES = 4


@dataclass(frozen=True)
class ComparePlan:
    """What is compared with what, on what, for how long."""

    store: Path
    models: tuple[str, ...]
    seeds: int
    minutes: float
    """That each run may train, by `contenders.clock`."""
    out: Path
    split: str = "val"
    """The split that scores are measured on; no model sees it while it learns."""
    changes: tuple[str, ...] = ()
    """Settings of nets that differ from the defaults, as `key=value`; the same for all."""
    trained: tuple[str, Path] | None = None
    """(name, folder) of a run that stands among them as it is; the name is one of `models`."""

    def of(self, model: str) -> Path | None:
        """The folder of that model's run, where it is trained already."""
        return self.trained[1] if self.trained is not None and self.trained[0] == model else None

    def runs(self) -> Iterable[tuple[str, int]]:
        """(model, seed) of every run, seed by seed, so that a busy hour hits all models alike."""
        for seed in range(self.seeds):
            for model in self.models:
                if seed == 0 or (model not in WITHOUT_CHANCE and self.of(model) is None):
                    yield model, seed


@dataclass(frozen=True)
class Result:
    """What one run gave."""

    model: str
    seed: int
    train_seconds: float
    """Wall clock."""
    cpu_seconds: float | None
    """Processor time of training, all threads; None of a run that began before runs recorded it."""
    score_seconds: float
    """Wall clock of predicting the whole split once."""
    peak_memory_mb: float
    """Largest resident memory of the process, libraries and all; on a GPU, its own peak instead."""
    parameters: int | None
    note: str
    groups: tuple[str, ...]
    confusion: list[list[list[int]]]
    """(G, K, K), rows truth, columns prediction."""
    fractions: dict[str, Any]
    """Scores of the predicted shares."""

    def counts(self) -> NDArray[np.int64]:
        """(G, K, K)."""
        return np.array(self.confusion, np.int64)


def compare(plan: ComparePlan, tick: Ticker | None = None) -> dict[str, Any]:
    """Train and score every run that is not there yet; the whole report, also written to `DIR/compare.json`.

    Raises ConfigError for models, seeds or a budget that cannot be, StoreError for a store without the split,
    LockedError where another process compares into the same folder.
    """
    store = _checked(plan)
    with folder_writer(plan.out, "greentrain compare"):
        return _compare(plan, store, tick)


def _compare(plan: ComparePlan, store: Store, tick: Ticker | None) -> dict[str, Any]:
    tiles = picture_tiles(store, plan.split)
    results = []
    for model, seed in plan.runs():
        folder = plan.out / "runs" / f"{model}_{seed}"
        own = plan.of(model)
        about = [store.contract.identity(), model, seed, plan.minutes, plan.split, plan.changes]
        if own is not None:
            about += [load_trained(own, "last").identity, read_record(own).cpu_seconds]
        key = digest(about)
        if not _is_done(folder, key):
            folder.mkdir(parents=True, exist_ok=True)
            task = Task(plan.store, seed, plan.minutes, folder, plan.changes, own)
            _in_process_of_its_own(model, task, plan.split, tiles, key)
        results.append(_read(folder))
        if tick is not None:
            tick.advance(note=f"{model}, seed {seed}")
    whole = report(plan, store, results)
    _write(plan.out / "compare.json", whole)
    return whole


def report(plan: ComparePlan, store: Store, results: Sequence[Result]) -> dict[str, Any]:
    """Everything that the page shows, ready for JSON."""
    classes = store.contract.classes
    by_model = {name: [r for r in results if r.model == name] for name in plan.models}
    stacked = {name: np.stack([r.counts() for r in runs]) for name, runs in by_model.items()}
    models = {name: _model_report(by_model[name], stacked[name], classes) for name in plan.models}
    return {
        "store": str(plan.store),
        "contract": store.contract.identity(),
        "split": plan.split,
        "seeds": plan.seeds,
        "budget_minutes": plan.minutes,
        "trained_before": None if plan.trained is None else plan.trained[0],
        "groups": len(results[0].groups),
        "classes": list(classes),
        "machine": _machine(),
        "settings": list(plan.changes),
        "models": models,
        "verdicts": [
            {**asdict(verdict), "interval": verdict.interval and list(verdict.interval)}
            for verdict in compare_pairs(stacked)
        ],
        "warnings": below_trees(models),
    }


def ranking(report: Mapping[str, Any]) -> str:
    """One sentence: all models by mean IoU, the best first."""
    of = {name: model["mean"]["iou"] for name, model in report["models"].items() if model["mean"]["iou"] is not None}
    best = sorted(of, key=lambda name: -of[name])
    return f"Mean IoU on {report['split']}: {' > '.join(f'{name} {of[name]:.3f}' for name in best)}."


def below_trees(models: Mapping[str, dict[str, Any]]) -> list[str]:
    """A sentence for each net whose mean IoU over its seeds is not above that of the best trees."""
    of = {name: float(np.mean(model["seed_iou"])) for name, model in models.items()}
    best = max((name for name in TREES if name in of), key=lambda name: of[name], default=None)
    if best is None:
        return []
    return [
        f"{name} is not above gradient boosting: {of[name]:.3f} against {of[best]:.3f} of {best}"
        f"{_times(models[name], models[best])}; give it more time or patches, or take the trees."
        for name, model in models.items()
        if model["parameters"] is not None and of[name] <= of[best]
    ]


def _times(model: dict[str, Any], other: dict[str, Any]) -> str:
    """How many times the processor time, as the end of a sentence; nothing where either is not known."""
    spent = model["cost"]["cpu_seconds"], other["cost"]["cpu_seconds"]
    return "" if None in spent else f", for {spent[0] / max(spent[1], 1e-9):.1f} times the processor time"


def picture_tiles(store: Store, split: str) -> tuple[int, ...]:
    """Tiles to show: spread evenly over the split's groups, the first usable tile of each."""
    usable = store.usable_tiles(split)
    _, first = np.unique(store.tile_group()[usable], return_index=True)
    chosen = np.unique(np.linspace(0, len(first) - 1, min(_PICTURES, len(first))).round().astype(int))
    return tuple(int(tile) for tile in usable[np.sort(first)][chosen])


def _checked(plan: ComparePlan) -> Store:
    check_names(list(plan.models))
    if plan.seeds < 1:
        raise ConfigError("--seeds", f"{plan.seeds}", "give at least 1; 3 show whether a difference is chance")
    if plan.minutes <= 0:
        raise ConfigError("--budget", f"{plan.minutes} minutes", "give a positive number of minutes")
    target = load_config(None, plan.changes).target
    if target not in ("fractions", "hard"):
        raise ConfigError("--set", f"target={target}: one class", "leave it out: models are compared on all classes")
    store = open_store(plan.store)
    for split in ("train", plan.split):
        if not len(store.usable_tiles(split)):
            raise StoreError(plan.store, f"no usable tile in the {split} split", "run `greenprep split` with a share")
    if plan.trained is not None:
        _check_trained(plan.trained[1], store)
    return store


def _check_trained(run: Path, store: Store) -> None:
    trained = load_trained(run, "last")
    if trained.contract.identity() != store.contract.identity():
        raise ConfigError(
            run, f"it learnt from another store, or another split of {store.location}", "give the store that it saw"
        )
    if trained.rule.classes != store.contract.classes:
        raise ConfigError(run, f"its target is {trained.config.target}", "models are compared on all classes")


def _in_process_of_its_own(model: str, task: Task, split: str, tiles: tuple[int, ...], key: str) -> None:
    """A fresh interpreter, not a fork: threads of torch do not survive a fork, and memory would be inherited."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            with deaf_children():
                run = pool.submit(_run, model, task, split, tiles, key)
            try:
                run.result()
            except KeyboardInterrupt:
                for child in active_children():
                    child.kill()  # It would go on to its end, and what it has is not kept.
                raise
    except BrokenProcessPool:
        raise ConfigError(
            f"{model}, seed {task.seed}",
            "its process was killed, most likely for want of memory",
            "give `--set batch_size=…` a smaller number; finished runs are kept",
        ) from None


def _run(name: str, task: Task, split: str, tiles: tuple[int, ...], key: str) -> None:
    """One run: train, score, leave pictures, a log and the result, which is written last."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (task.folder / "log.txt").open("w", encoding="utf-8") as log, redirect_stderr(log):
        _train_and_score(name, task, split, tiles, key)


def _end_with_parent() -> None:
    """A process that ends without a word (SIGTERM, SIGKILL) leaves nobody to keep this run's result."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train_and_score(name: str, task: Task, split: str, tiles: tuple[int, ...], key: str) -> None:
    began, worked = time.perf_counter(), time.process_time()
    learnt = learn(name, task)
    spent: tuple[float, float | None] = time.perf_counter() - began, time.process_time() - worked
    if task.trained is not None:
        record = read_record(task.trained)
        spent = record.seconds, record.cpu_seconds
    started = time.perf_counter()
    groups, counts, fractions = score(learnt, task.store, split)
    result = Result(
        name,
        task.seed,
        *spent,
        time.perf_counter() - started,
        _peak_memory_mb(),
        learnt.parameters,
        learnt.note,
        groups,
        counts.tolist(),
        fractions,
    )
    shown = open_loader(task.store, split, 1, normalise=False, bands=learnt.bands, cache="none").load(np.array(tiles))
    label = learnt.probabilities(shown["image"], shown["valid"]).argmax(1).numpy().astype(np.uint8)
    np.savez_compressed(task.folder / "pictures.npz", label=label, tile=np.array(tiles))
    _write(task.folder / "result.json", {"key": key, **asdict(result)})


@torch.inference_mode()
def score(model: Learnt, location: Path, split: str) -> tuple[tuple[str, ...], NDArray[np.int64], dict[str, Any]]:
    """(names of the G groups of the split, their confusion matrices (G, K, K), scores of the shares)."""
    store = open_store(location)
    of_tile = store.tile_group()
    present = np.unique(of_tile[store.usable_tiles(split)])
    counts = torch.zeros(len(present), *2 * (len(store.contract.classes),), dtype=torch.int64)
    sums = torch.zeros(())
    for batch in open_loader(store, split, 8, normalise=False, bands=model.bands, order="sequential", cache="none"):
        share = model.probabilities(batch["image"], batch["valid"])
        group = torch.from_numpy(np.searchsorted(present, of_tile[batch["tile"].numpy()]))
        counts += confusion_by_group(share, batch["fraction"], batch["valid"], group, len(present))
        sums = sums + fraction_sums(share, batch["fraction"], batch["valid"])
    names = store.read("group_name")[present]
    return tuple(str(name) for name in names), counts.numpy(), fraction_scores(sums, store.contract.classes)


def _model_report(runs: Sequence[Result], counts: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Scores of a model: of all its seeds pooled, seed by seed, and intervals over groups."""
    by_seed = mean_iou(counts.sum(1))
    pooled = scores(counts.sum((0, 1)), classes)
    return {
        "mean": pooled["mean"],
        "micro": pooled["micro"],
        "classes": pooled["classes"],
        "constant": pooled["constant"],
        "confusion": pooled["confusion"],
        "interval": bootstrap(counts.sum(0), classes),
        "seed_iou": [float(value) for value in by_seed],
        "fractions": {
            "mean": _mean_of([r.fractions["mean"] for r in runs]),
            "classes": {name: _mean_of([r.fractions["classes"][name] for r in runs]) for name in classes},
        },
        "parameters": runs[0].parameters,
        "note": runs[0].note,
        "cost": {
            key: _median([getattr(r, key) for r in runs])
            for key in ("train_seconds", "cpu_seconds", "score_seconds", "peak_memory_mb")
        },
    }


def _median(values: Sequence[float | None]) -> float | None:
    """None where any is."""
    return None if None in values else float(np.median([value for value in values if value is not None]))


def _mean_of(tables: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of each entry over the seeds; None where any is."""
    columns = {key: [table[key] for table in tables] for key in tables[0]}
    return {
        key: None if None in values else float(np.mean([v for v in values if v is not None]))
        for key, values in columns.items()
    }


def _peak_memory_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would report the parent's peak too: Linux hands it down over exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource  # not on every system, and only needed where /proc is not

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _machine() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "torch": torch.__version__,
    }


def _is_done(folder: Path, key: str) -> bool:
    path = folder / "result.json"
    return path.exists() and json.loads(path.read_text())["key"] == key


def _read(folder: Path) -> Result:
    data = json.loads((folder / "result.json").read_text())
    data.pop("key")
    return Result(**data | {"groups": tuple(data["groups"])})


def _write(path: Path, value: object) -> None:
    write_whole(path, json.dumps(value, indent=1, allow_nan=False))
