"""What a net has to beat, known before it is trained: trees on train groups that are held out, in seconds.

The val split is not looked at. Nets are not tried: after 15 or 60 seconds of training the order of `detail` and `unet`
was not that of their ends (train/README.md).
"""

from __future__ import annotations

import time

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit

from greenschemas.store import Store
from greentrain.config import Config
from greentrain.data.targets import target_rule
from greentrain.scores.metrics import confusion, scores
from greentrain.study.train_tiles import random_train_tiles
from greentrain.study.trees import QUICK_VALUES, quick_trees
from greentrain.training.doctor import Diagnosis, Severity
from greentrain.training.session import normaliser_for

__all__ = ["find_floor"]

_LEAST = 0.01
"""IoU from which a class counts as found."""


def find_floor(store: Store, config: Config) -> Diagnosis:
    """Fit trees to three quarters of the train groups and score them on the others, two at least."""
    rule = target_rule(config.target, store.contract.classes, config.min_purity)
    bands = normaliser_for(store, config).bands
    image, fraction, valid, group = random_train_tiles(store, bands, QUICK_VALUES, seed=config.seed)
    target = rule(torch.from_numpy(fraction), torch.from_numpy(valid))
    count = len(np.unique(group))
    if count < 4:
        found = f"{count} group{'s' * (count > 1)} in the train split: none can be held out to say what trees reach"
        return Diagnosis("trees", Severity.OK, found)
    began = time.perf_counter()
    chance = GroupShuffleSplit(1, test_size=max(2, count // 4), random_state=config.seed)
    own, others = next(chance.split(group, groups=group))
    trees = quick_trees(config.seed).fit(image[own], target.fraction.numpy()[own], target.counted.numpy()[own])
    answer = torch.from_numpy(trees.predict(image[others]))
    reached = scores(confusion(answer, target.fraction[others], target.counted[others]), rule.classes)
    ious = {name: row["iou"] for name, row in reached["classes"].items() if row["iou"] is not None}
    found = (
        f"gradient boosting on single pixels, fitted to {count - len(np.unique(group[others]))} train groups in "
        f"{time.perf_counter() - began:.0f} s, reaches a mean IoU of {reached['mean']['iou']:.3f} on "
        f"{len(np.unique(group[others]))} others ({', '.join(f'{name} {iou:.3f}' for name, iou in ious.items())}), the "
        f"best constant {reached['constant']['mean']['iou']:.3f}"
    )
    if lost := [name for name, iou in ious.items() if iou < _LEAST]:
        found += f"; single pixels do not tell {', '.join(lost)}"
        return Diagnosis("trees", Severity.WARN, found, "look at its labels; if they are right, texture has to tell it")
    return Diagnosis("trees", Severity.OK, f"{found}: a net is worth its time where it is above that")
