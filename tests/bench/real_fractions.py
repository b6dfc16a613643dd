"""How well fractions are told on real ground: images are coarsened by means, their class masks become fractions.

    python tests/bench/real_fractions.py RAW RECIPE WORK --factor 4 [--folds 4] [--only 0,3] [--seeds 3] [--minutes 1]

RAW holds pairs as RECIPE reads them (masks of one band of class codes). Each image is averaged over FACTOR x FACTOR
pixels, its mask is left fine and read with `mask.aggregate`: the user's task in small, whose fractions are made from
maps of 1 m. Stores are built by greenprep and split by place into FOLDS; every model learns from a fold's train groups
and is scored on its other places: MAE, RMSE and bias by class over the pixels of all folds together, and in how many
places its MAE is below that of the best other kind of model. Nets train MINUTES by `greentrain compare`'s clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rasterio
import torch
import yaml
from affine import Affine
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from greenschemas.console import text_table
from greenschemas.store import Store, open_store
from greentrain.data.loader import open_loader
from greentrain.data.targets import as_fractions
from greentrain.scores.fractions import fraction_scores, fraction_sums
from greentrain.study.baselines import usable_pixels
from greentrain.study.contenders import Task, learn

FRACTIONS = ("loss=ce", "class_weights=none")
"""Settings whose optimum is the fractions themselves: weights and Dice pull them towards rare classes."""
CONTENDERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "constant": ("constant", ()),
    "linear unmixing": ("linear", ()),
    "boosted classes": ("spectral", ()),
    "boosted regression": ("regression", ()),
    "unet": ("unet", ()),
    "unet-ce": ("unet", FRACTIONS),
    "detail": ("detail", ()),
    "detail-ce": ("detail", FRACTIONS),
}
"""Row of the table: kind of model, settings. Those without chance are run once."""


def coarsen(raw: Path, recipe: dict[str, object], factor: int, out: Path) -> None:
    """Write every pair of `raw` to `out`, its image averaged, its mask cut to whole coarse pixels."""
    masks = {band["name"] for band in recipe["bands"] if band.get("role") == "mask"}  # type: ignore[attr-defined]
    stems: dict[str, int] = {}
    for path in sorted(raw.rglob("*.tif")):
        to = out / path.relative_to(raw)
        to.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(path) as file:
            pixels, names = file.read(), file.descriptions
        rows, columns = (side // factor * factor for side in pixels.shape[1:])
        pixels = pixels[:, :rows, :columns]
        image = "images" in path.relative_to(raw).parts
        if image:
            blocks = pixels.reshape(len(pixels), rows // factor, factor, columns // factor, factor)
            means = np.rint(blocks.mean((2, 4), dtype=np.float64)).astype(pixels.dtype)
            # The mean of flags is no flag: one pixel speaks for all.
            flags = np.array([name in masks for name in names])[:, None, None]
            pixels = np.where(flags, blocks[:, :, factor // 2, :, factor // 2], means)
        profile = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
        # Nowhere, but an image and its mask must lie on the same ground, and no two images.
        east = 3e5 + 1e3 * stems.setdefault(path.stem.removesuffix("_mask"), len(stems))
        where = Affine(1, 0, east, 0, -1, 5e6) * Affine.scale(factor if image else 1)
        with rasterio.open(to, "w", driver="GTiff", crs="EPSG:32618", transform=where, **profile) as file:
            file.write(pixels)
            file.descriptions = names


def build(raw: Path, recipe: dict[str, object], factor: int, folds: int, work: Path) -> list[Path]:
    """A store for each fold, by greenprep."""
    coarse = work / "coarse"
    coarsen(raw, recipe, factor, coarse)
    side = max(file.width for file in map(rasterio.open, (coarse / "images").rglob("*.tif")))
    recipe = recipe | {"mask": recipe["mask"] | {"aggregate": factor}, "tile": {"size": side}}  # type: ignore[operator]
    (work / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    call("clean", coarse, work / "clean", "--recipe", work / "recipe.yaml")
    stores = [work / f"fold{fold}.zarr" for fold in range(folds)]
    for fold, store in enumerate(stores):
        call("tile", work / "clean", store)
        call("split", store, "--folds", folds, "--fold", fold)
    return stores


def call(*words: object) -> None:
    subprocess.run(["greenprep", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def boosted_regression(store: Store, seed: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Probabilities by one regression a class, on single pixels, cut to 0..1 and made to sum to 1."""
    parts = list(open_loader(store, "train", 16, normalise=False, bands=store.contract.features, cache="none"))
    image, fraction, valid = (torch.cat([part[key] for part in parts]) for key in ("image", "fraction", "valid"))
    usable = torch.from_numpy(usable_pixels(fraction.numpy(), valid.numpy()))
    x, y = (part.movedim(1, -1)[usable].double().numpy() for part in (image, fraction))
    models = [HistGradientBoostingRegressor(max_iter=200, random_state=seed).fit(x, of_class) for of_class in y.T]

    def probabilities(raw: Tensor, valid: Tensor) -> Tensor:
        pixels = raw.movedim(1, -1).flatten(0, 2).double().numpy()
        share = np.stack([model.predict(pixels) for model in models], 1).clip(1e-6, 1)
        shape = (raw.shape[0], *raw.shape[2:], len(models))
        return torch.from_numpy(share / share.sum(1, keepdims=True)).view(shape).movedim(-1, 1)

    return probabilities


def sums_by_place(name: str, task: Task) -> NDArray[np.float64]:
    """(G, K, ...) fraction sums of each group of the val split, by a model that has learnt from the train split."""
    kind, changes = CONTENDERS[name]
    store = open_store(task.store)
    if kind == "regression":
        bands, predict = store.contract.features, boosted_regression(store, task.seed)
    else:
        learnt = learn(kind, Task(task.store, task.seed, task.minutes, task.folder, (*task.changes, *changes)))
        bands, predict = learnt.bands, learnt.probabilities
    group = store.tile_group()
    found = torch.zeros(())
    for batch in open_loader(store, "val", 1, normalise=False, bands=bands, order="sequential", cache="none"):
        target = as_fractions(batch["fraction"], batch["valid"])
        sums = fraction_sums(predict(batch["image"], batch["valid"]), target.fraction, target.counted)
        place = torch.zeros(store.contract.groups).index_fill_(0, torch.tensor(group[batch["tile"].numpy()]), 1.0)
        found = found + place.double()[:, None, None] * sums
    return found.numpy()


def mean_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) MAE of each place, over its pixels and classes."""
    pixels = sums[..., 3:].sum((1, 2))
    return np.divide(sums[..., 1].sum(1), pixels, out=np.full(len(sums), np.nan), where=pixels > 0)


def table(found: dict[str, NDArray[np.float64]], classes: Sequence[str]) -> str:
    """Rows of models: MAE, RMSE and bias in points of 100, mean and by class."""
    rows = []
    others = [mean_error(sums) for name, sums in found.items() if not name.startswith("detail")]
    best = np.min(others, 0) if others else None
    for name, sums in found.items():
        scores = fraction_scores(torch.from_numpy(sums.sum(0)), classes)
        cells = [scores["mean"], *(scores["classes"][each] for each in classes)]
        own = mean_error(sums)
        won = (
            f"{(own < best).sum()} of {(~np.isnan(own)).sum()}"
            if best is not None and name.startswith("detail")
            else ""
        )
        rows.append((name, *(" ".join(f"{100 * cell[m]:.1f}" for m in ("mae", "rmse", "bias")) for cell in cells), won))
    return text_table(("MAE RMSE bias, points", "mean", *classes, "places won"), rows)


def main() -> None:
    """Stores, models, tables; the sums go to WORK/sums.json as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--factor", type=int, required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--only", help="folds to run, such as 0,3; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--models", default=",".join(CONTENDERS))
    parser.add_argument("--set", dest="changes", action="append", default=[], help="settings of all nets, key=value")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    stores = [options.work / f"fold{fold}.zarr" for fold in range(options.folds)]
    if not all(store.exists() for store in stores):
        stores = build(
            options.raw, yaml.safe_load(options.recipe.read_text()), options.factor, options.folds, options.work
        )
    folds = range(options.folds) if options.only is None else map(int, options.only.split(","))
    chosen = [stores[fold] for fold in folds]
    classes = open_store(chosen[0]).contract.classes
    found: dict[str, NDArray[np.float64]] = {}
    for name in options.models.split(","):
        seeds = range(1 if CONTENDERS[name][0] in ("constant", "linear") else options.seeds)
        for store in chosen:
            with tempfile.TemporaryDirectory(dir=options.work) as folder:
                for seed in seeds:
                    run = Path(folder) / f"seed{seed}"  # beside the pace of this net, which is measured once
                    sums = sums_by_place(name, Task(store, seed, options.minutes, run, tuple(options.changes)))
                    found[name] = found.get(name, 0) + sums / len(seeds)
        (options.work / "sums.json").write_text(json.dumps({each: part.tolist() for each, part in found.items()}))
        print(f"\n{table(found, classes)}", flush=True)


if __name__ == "__main__":
    main()
