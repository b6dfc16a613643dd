"""What a net has to beat, known before it is trained: trees on train groups that are held out, in seconds.

The val split is not looked at. Nets are not tried: after 15 or 60 seconds of training the order of `detail` and `unet`
was not that of their ends (train/README.md).
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from greenschemas.store import Store
from greentrain.config import Config
from greentrain.data.loader import open_loader
from greentrain.data.targets import target_rule
from greentrain.scores.metrics import confusion, scores
from greentrain.study.trees import TreesBaseline
from greentrain.training.doctor import Diagnosis, Severity
from greentrain.training.session import normaliser_for

__all__ = ["find_floor"]

_VALUES = 60_000_000
"""Most values (240 MB) of random training tiles that are read."""
_ROUNDS, _PIXELS = 100, 60_000
_LEAST = 0.01
"""IoU from which a class counts as found."""


def find_floor(store: Store, config: Config) -> Diagnosis:
    """Fit trees to three quarters of the train groups and score them on the others, two at least."""
    rule = target_rule(config.target, store.contract.classes, config.min_purity)
    bands = normaliser_for(store, config).bands
    parts, values = [], 0
    for batch in open_loader(store, "train", 16, seed=config.seed, normalise=False, bands=bands, cache="none"):
        parts.append(batch)
        values += batch["image"].numel()
        if values >= _VALUES:
            break
    image, fraction, valid, tile = (torch.cat([part[key] for part in parts]) for key in parts[0])
    target, group = rule(fraction, valid), store.tile_group()[tile.numpy()]
    count = len(np.unique(group))
    if count < 4:
        found = f"{count} group{'s' * (count > 1)} in the train split: none can be held out to say what trees reach"
        return Diagnosis("trees", Severity.OK, found)
    began = time.perf_counter()
    chance = GroupShuffleSplit(1, test_size=max(2, count // 4), random_state=config.seed)
    own, others = next(chance.split(group, groups=group))
    pixels: NDArray[np.float32] = image.numpy().astype(np.float32)
    trees = TreesBaseline(max_pixels=_PIXELS, iterations=[_ROUNDS], seed=config.seed)
    trees.fit(pixels[own], target.fraction.numpy()[own], target.counted.numpy()[own])
    answer = torch.from_numpy(trees.predict(pixels[others]))
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
