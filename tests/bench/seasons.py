"""What does a second date bring? Pixels of summer, of winter, and of both at once, to the same classes.

    python tests/bench/seasons.py [RAW] [--seeds 3]

RAW: a folder in the default layout whose groups have the same dates, the last of them in winter; without one, 24 areas
of `greenprep synth`. Stores of each date and of all (`--times stack`) are made beside each other, split alike; linear
unmixing and gradient boosting learn from their train splits. Printed: mean IoU and mean absolute error of the fractions
on the val split, and for boosting the mean and the extremes over the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import greenprep as gp
from greenprep.synth.city import write_city
from greenschemas.manifest import read_manifest
from greenschemas.store import Store, open_store
from greentrain.data.loader import open_loader
from greentrain.scores.metrics import class_scores, mean_scores
from greentrain.study.baselines import Baseline, LinearBaseline
from greentrain.study.train_tiles import random_train_tiles
from greentrain.study.trees import TreesBaseline


def stores(raw: Path, folder: Path) -> dict[str, Store]:
    """A store of each date, and one of all, with one split."""
    gp.clean(raw, folder / "clean")
    times = sorted({entry.time or "" for entry in read_manifest(folder / "clean")})
    made = {}
    for time in times:
        part = folder / f"raw_{time}"
        for path in raw.rglob(f"*_{time}_GeoTIFF*.tif"):
            (part / path.relative_to(raw)).parent.mkdir(parents=True, exist_ok=True)
            (part / path.relative_to(raw)).symlink_to(path.resolve())
        gp.clean(part, folder / f"clean_{time}")
        gp.tile(folder / f"clean_{time}", folder / f"{time}.zarr", size=64)
        made[f"date {time}"] = folder / f"{time}.zarr"
    gp.tile(folder / "clean", folder / "both.zarr", size=64, times="stack")
    made["all dates"] = folder / "both.zarr"
    for path in made.values():
        gp.split(path, val=0.3, seed=1)
    return {name: open_store(path) for name, path in made.items()}


def score(model: Baseline, store: Store) -> tuple[float, float]:
    """(mean IoU of the greatest classes, mean absolute error of the fractions) on the val split."""
    counts, error, pixels = np.zeros((len(store.contract.classes),) * 2, np.int64), 0.0, 0
    for batch in open_loader(store, "val", 16, normalise=False, bands=store.contract.features, cache="none"):
        share: NDArray[np.float32] = model.predict(batch["image"].numpy().astype(np.float32))
        truth = batch["fraction"].numpy()
        use = batch["valid"].numpy() & np.isfinite(truth).all(axis=1)
        flat = truth.argmax(1)[use] * len(counts) + share.argmax(1)[use]
        counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
        error += float(np.abs(share - truth).mean(axis=1)[use].sum())
        pixels += int(use.sum())
    return float(mean_scores(class_scores(counts))["iou"]), error / pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        raw = args.raw or Path(scratch) / "raw"
        if args.raw is None:
            write_city(raw, areas=24, times=2, size=133, seed=7, defects=False)
        for name, store in stores(raw, Path(scratch)).items():
            tiles = random_train_tiles(store, store.contract.features, 250_000_000)
            linear = score(LinearBaseline().fit(*tiles), store)
            print(f"{name:10} linear    mean IoU {linear[0]:.3f}  error {linear[1]:.4f}", flush=True)
            found = []
            for seed in range(args.seeds):
                trees = TreesBaseline(iterations=(100,), max_pixels=60_000, seed=seed).fit(*tiles[:3])
                found.append(score(trees, store))
            iou, error = np.array(found).T
            span = f"({iou.min():.3f} to {iou.max():.3f})"
            print(f"{name:10} boosting  mean IoU {iou.mean():.3f} {span}  error {error.mean():.4f}", flush=True)


if __name__ == "__main__":
    main()
