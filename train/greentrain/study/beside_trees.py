"""What trees would have scored in place of the net: fitted in seconds at the end of `fit`, on the same ground.

Letters: K classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from greenschemas.store import Store
from greentrain.data.loader import open_loader
from greentrain.nets.build import OwnNet
from greentrain.scores.metrics import confusion, scores
from greentrain.study.train_tiles import random_train_tiles
from greentrain.study.trees import QUICK_VALUES, TreesBaseline, quick_trees
from greentrain.training.checkpoint import Trained, load_trained
from greentrain.training.record import read_record, write_record

__all__ = ["BesideTrees", "beside_trees"]

_SCORED_PIXELS = 200_000


@dataclass(frozen=True)
class BesideTrees:
    """Trees beside a net, both by mean IoU over the val split."""

    trees: float
    net: float
    constant: float
    seconds: float
    """To fit and score the trees."""

    def __str__(self) -> str:
        above = self.net > self.trees
        text = (
            f"Gradient boosting on single pixels, fitted in {self.seconds:.0f} s, reaches a mean IoU of "
            f"{self.trees:.3f} on the same ground; the net's {self.net:.3f} is {'' if above else 'not '}above it, the "
            f"best constant has {self.constant:.3f}."
        )
        return text if above else f"WARNING {text} Give the net more epochs or patches, or take the trees."


def beside_trees(run: Path, store: Store, best: Mapping[str, Any], model: OwnNet | None = None) -> BesideTrees | None:
    """Fit trees to the train split and score them on the val split; None where neither has a score.

    `best`: scores of the net, as `metrics.scores` gives them; model: the net that `fit` was given, if it was. Bands and
    target are the run's own. At most 60,000 pixels are learnt from and some 200,000 scored, drawn at random; the score
    also goes to the run's record.
    """
    began, trained = time.monotonic(), load_trained(run, model=model)
    counts = _confusion(_fitted(trained, store), trained, store)
    iou = scores(counts, trained.rule.classes)["mean"]["iou"]
    if iou is None or best["mean"]["iou"] is None:
        return None
    write_record(run, read_record(run).model_copy(update={"trees_iou": iou}))
    return BesideTrees(iou, best["mean"]["iou"], best["constant"]["mean"]["iou"], time.monotonic() - began)


def _fitted(trained: Trained, store: Store) -> TreesBaseline:
    tiles = random_train_tiles(store, trained.normaliser.bands, QUICK_VALUES)
    target = trained.rule(torch.from_numpy(tiles.fraction), torch.from_numpy(tiles.valid))
    return quick_trees().fit(tiles.image, target.fraction.numpy(), target.counted.numpy())


def _confusion(trees: TreesBaseline, trained: Trained, store: Store) -> Tensor:
    """(K, K) over random pixels, about as many of each tile, as if they were the one row of an image."""
    classes, chance = len(trained.rule.classes), torch.Generator().manual_seed(0)
    share = _SCORED_PIXELS / max(len(store.usable_tiles("val")) * store.contract.tile_size**2, 1)
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    bands = trained.normaliser.bands
    for batch in open_loader(store, "val", 16, normalise=False, bands=bands, order="sequential", cache="none", ahead=1):
        target = trained.rule(batch["fraction"], batch["valid"])
        kept = target.counted & (torch.rand(target.counted.shape, generator=chance) < share)
        if kept.any():
            image, truth = (part.movedim(1, -1)[kept].T[None, :, None] for part in (batch["image"], target.fraction))
            found = torch.from_numpy(trees.predict(image.numpy().astype(np.float32)))
            counts += confusion(found, truth, torch.ones(1, 1, truth.shape[-1]))
    return counts
