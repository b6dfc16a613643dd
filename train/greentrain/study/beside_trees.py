"""Trees beside the net, fitted at the end of `fit` on the same ground: what they score, and the mean of both.

Trees and nets err in different places, so that the mean of their probabilities (a linear opinion pool; Stone 1961) may
be better than either: on real ground it was, of 30 m and of 1 m, on drawn ground it was not. So the val split decides,
as it does on the epoch. The trees see each pixel and means and deviations around it: of single pixels alone they
are no help on aerial photographs, where texture decides.

Letters: K classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from greenschemas.store import Store
from greentrain.data.loader import open_loader
from greentrain.devices import find_device
from greentrain.nets.build import OwnNet
from greentrain.nets.surroundings import SCALES, surroundings
from greentrain.nets.tree_arrays import TreeArrays
from greentrain.scores.metrics import confusion, scores
from greentrain.study.train_tiles import random_train_tiles
from greentrain.study.trees import QUICK_VALUES, TreesBaseline, quick_trees
from greentrain.training.checkpoint import TREES_NAME, Trained, load_trained
from greentrain.training.record import read_record, write_record

__all__ = ["BesideTrees", "beside_trees"]

_SCORED_PIXELS = 200_000
_SCORED_TILES = 400


@dataclass(frozen=True)
class BesideTrees:
    """Trees beside a net, and their mean, by mean IoU over the val split."""

    trees: float
    net: float
    constant: float
    both: float
    """Of the mean of their probabilities."""
    averaged: bool
    """Whether the run predicts with that mean from now on."""
    seconds: float
    """To fit and score the trees."""
    around: bool
    """Whether the trees saw surroundings, or single pixels."""

    def __str__(self) -> str:
        above, answer = self.net > self.trees, self.both if self.averaged else self.net
        text = (
            f"Gradient boosting on {'pixels and their surroundings' if self.around else 'single pixels'}, fitted in "
            f"{self.seconds:.0f} s, reaches a mean IoU of "
            f"{self.trees:.3f} on the same ground; the net's {self.net:.3f} is {'' if above else 'not '}above it, the "
            f"best constant has {self.constant:.3f}. "
        )
        if self.averaged:
            text += f"The mean of both reaches {self.both:.3f}: the run predicts with it."
        else:
            text += f"The mean of both reaches {self.both:.3f}: the net stands alone."
        return text if answer > self.trees else f"WARNING {text} Give the net more epochs or patches."


def beside_trees(
    run: Path, store: Store, best: Mapping[str, Any], model: OwnNet | None = None, which: str = "best"
) -> BesideTrees | None:
    """Fit trees to the train split and score them on the val split; None where neither has a score.

    `best`: scores of the net, as `metrics.scores` gives them; model: the net that `fit` was given, if it was; which:
    its weights. Bands, normaliser and target are the run's own. Trees see pixels and their surroundings, at most 16
    million features, or with `trees=false` 60,000 single pixels; some 200,000 pixels of at most 400 tiles are scored,
    drawn at random; the scores also go to the run's record. Where the mean of the net's and the trees' probabilities
    is better than the net's, the trees are kept beside its weights.
    """
    kept, record = run / "checkpoints" / TREES_NAME, read_record(run)
    if record.averaged:
        write_record(run, record.model_copy(update={"averaged": False}))
    kept.unlink(missing_ok=True)
    began, trained = time.monotonic(), load_trained(run, which, model)
    trained.net.to(find_device(trained.config.accelerator, "accelerator"))
    trees = _fitted(trained, store).as_arrays(trained.normaliser.channels)
    counts = _confusions(trees, trained, store)
    ious = [scores(each, trained.rule.classes)["mean"]["iou"] for each in counts]
    if None in ious or best["mean"]["iou"] is None:
        return None
    alone, of_trees, both = ious
    averaged = trained.config.trees and both > alone
    if averaged:
        trees.save(kept)
    found = {"trees_iou": of_trees, "with_trees_iou": both, "averaged": averaged}
    write_record(run, record.model_copy(update=found))
    return BesideTrees(
        of_trees,
        best["mean"]["iou"],
        best["constant"]["mean"]["iou"],
        both,
        averaged,
        time.monotonic() - began,
        around=bool(trees.scales),
    )


def _fitted(trained: Trained, store: Store) -> TreesBaseline:
    tiles = random_train_tiles(store, trained.normaliser.bands, QUICK_VALUES)
    target = trained.rule(torch.from_numpy(tiles.fraction), torch.from_numpy(tiles.valid))
    trees = TreesBaseline(scales=SCALES, iterations=[200]) if trained.config.trees else quick_trees()
    image = trained.normaliser(tiles.image, tiles.valid)
    return trees.fit(image, target.fraction.numpy(), target.counted.numpy())


def _confusions(trees: TreeArrays, trained: Trained, store: Store) -> list[Tensor]:
    """(K, K) of net, trees and both over random pixels, about as many of each tile, as if the one row of an image."""
    classes, chance = len(trained.rule.classes), torch.Generator().manual_seed(0)
    counts = [torch.zeros(classes, classes, dtype=torch.int64) for _ in range(3)]
    most = min(len(store.usable_tiles("val")), _SCORED_TILES)
    share = _SCORED_PIXELS / max(most * store.contract.tile_size**2, 1)
    batches = open_loader(store, "val", 16, normaliser=trained.normaliser, cache="none", ahead=1)  # in random order
    for batch in islice(batches, -(-most // 16)):
        target = trained.rule(batch["fraction"], batch["valid"])
        kept = target.counted & (torch.rand(target.counted.shape, generator=chance) < share)
        if not kept.any():
            continue
        image = zip(batch["image"].numpy(), kept.numpy(), strict=True)
        grown = trees.of_features(np.concatenate([surroundings(one, trees.scales)[:, here].T for one, here in image]))
        parts = target.fraction, trained.of_image(batch["image"])
        truth, alone = (part.movedim(1, -1)[kept].T[None, :, None] for part in parts)
        of_trees = torch.from_numpy(grown.T[None, :, None])
        for count, answer in zip(counts, (alone, of_trees, alone + of_trees), strict=True):
            count += confusion(answer, truth, torch.ones(1, 1, truth.shape[-1]))
    return counts
