"""Scores of a net on a split, always beside the best constant's.

Predictions are the largest logit, truth the largest fraction, ties to the first, over pixels valid and labelled.
Letters: B tiles of a batch, K classes, G groups, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from greenschemas.console import progress
from greenschemas.contract import Contract
from greenschemas.errors import ConfigError
from greenschemas.store import Store
from greentrain.data.loader import open_loader
from greentrain.devices import find_device
from greentrain.nets.build import OwnNet
from greentrain.nets.mirror import mean_over_mirrors
from greentrain.scores.boundary import boundary_iou, boundary_sums
from greentrain.scores.fractions import calibration_error, calibration_sums, fraction_scores, fraction_sums
from greentrain.scores.metrics import bootstrap, confusion_by_group, scores
from greentrain.training.checkpoint import Trained, load_trained
from greentrain.training.record import open_store_of

__all__ = ["check_fits", "confusion_of_groups", "evaluate", "probabilities"]


def evaluate(
    run: str | Path,
    location: str | Path | None = None,
    split: str = "val",
    *,
    which: str = "best",
    batch_size: int = 16,
    device: str = "auto",
    flips: bool = False,
    model: OwnNet | None = None,
) -> dict[str, Any]:
    """All scores of a run's net on a split of a store (None: the run's own), ready for JSON.

    `{"mean", "micro", "classes", "confusion", "constant"}` as `metrics.scores`; `intervals` over groups as
    `metrics.bootstrap`; `fractions` as `fraction_scores`; `boundary` as `boundary_iou`; `calibration_error`, and
    that from before the run's `temperature`; and what was scored.
    which: the weights, `best` or `last`.
    flips: take the mean of the four mirror images' probabilities, at four times the cost.
    model: the net that `fit` was given, if it was.
    Raises ConfigError where the store has other bands or classes, or the split holds no labelled pixel.
    """
    run, where = Path(run), find_device(device, "--device")
    trained = load_trained(run, which, model)
    store = open_store_of(run, None if location is None else str(location))
    check_fits(trained, store.contract, store.location)
    trained.net.to(where)
    sums = _sums(trained, store, split, batch_size, where, flips)
    if not sums.groups.sum():
        raise ConfigError(store.location, f"no valid labelled pixel in split `{split}`", "choose another split")
    names = trained.rule.classes
    seen = sums.groups[sums.groups.sum((1, 2)) > 0]
    return {
        **scores(sums.groups.sum(0), names),
        "intervals": bootstrap(seen, names),
        "fractions": fraction_scores(sums.fractions, names),
        "boundary": boundary_iou(sums.boundary, names),
        "calibration_error": calibration_error(sums.calibration),
        "calibration_error_before": calibration_error(sums.untempered),
        "temperature": trained.temperature,
        "run": str(run),
        "checkpoint": which,
        "epoch": trained.epoch,
        "store": store.location,
        "split": split,
        "pixels": int(sums.groups.sum()),
        "tiles": sums.tiles,
    }


def confusion_of_groups(
    run: str | Path, split: str = "val", *, which: str = "best", batch_size: int = 16, device: str = "auto"
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """(names of the K classes, (G, K, K) confusion matrices) of the groups of a run's own split, rows the truth.

    Groups without a labelled pixel are left out.
    """
    run, where = Path(run), find_device(device, "--device")
    trained, store = load_trained(run, which), open_store_of(run)
    trained.net.to(where)
    groups = _sums(trained, store, split, batch_size, where, flips=False).groups
    return trained.rule.classes, groups[groups.sum((1, 2)) > 0].numpy()


@dataclass(frozen=True)
class _Sums:
    groups: Tensor
    """(G, K, K) confusion matrices."""
    fractions: Tensor
    calibration: Tensor
    untempered: Tensor
    """As `calibration`, without the net's temperature."""
    boundary: Tensor
    tiles: int


@torch.inference_mode()
def _sums(trained: Trained, store: Store, split: str, batch_size: int, device: torch.device, flips: bool) -> _Sums:
    loader = open_loader(store, split, batch_size, normaliser=trained.normaliser, order="sequential", device=device)
    group_of = torch.from_numpy(store.tile_group())
    classes, groups = len(trained.rule.classes), store.contract.groups
    matrices, tiles = torch.zeros((groups, classes, classes), dtype=torch.int64), 0
    fractions, calibration, untempered = torch.zeros(()), torch.zeros(()), torch.zeros(())
    boundary = torch.zeros((), dtype=torch.int64)
    with progress(f"evaluate {split}", len(loader)) as bar:
        for batch in loader:
            target = trained.rule(batch["fraction"], batch["valid"])
            shares = probabilities(trained.net, batch["image"], flips, (trained.temperature, 1.0))
            probability, plain = trained.with_trees(shares, batch["image"])
            group = group_of[batch["tile"].cpu()]
            compared = probability, target.fraction, target.counted
            matrices += confusion_by_group(*compared, group, groups).cpu()
            fractions = fractions + fraction_sums(*compared).cpu()
            calibration = calibration + calibration_sums(*compared).cpu()
            untempered = untempered + calibration_sums(plain, target.fraction, target.counted).cpu()
            boundary = boundary + boundary_sums(*compared).cpu()
            tiles += len(group)
            bar.advance()
    return _Sums(matrices, fractions, calibration, untempered, boundary, tiles)


def probabilities(net: nn.Module, image: Tensor, flips: bool, temperatures: Sequence[float] = (1.0,)) -> Tensor:
    """(T, B, K, H, W) of images (B, C, H, W) at T temperatures.

    flips: the mean over four mirror images, each turned back.
    """

    def predict(image: Tensor) -> Tensor:
        logits = net(image).float()
        return torch.stack([(logits / temperature).softmax(1) for temperature in temperatures])

    return mean_over_mirrors(predict, image) if flips else predict(image)


def check_fits(trained: Trained, contract: Contract, where: str) -> None:
    """Raise ConfigError unless a store has the bands that a net reads, and its classes in its order."""
    known = {band.name for band in contract.bands}
    if missing := [name for name in trained.normaliser.bands if name not in known]:
        raise ConfigError(
            where,
            f"bands {', '.join(missing)} of the net are not in it (it has "
            f"{', '.join(band.name for band in contract.bands)})",
            "give a store with the same bands",
        )
    if contract.classes != trained.contract.classes:
        raise ConfigError(
            where,
            f"classes {', '.join(contract.classes)}, the net has {', '.join(trained.contract.classes)}",
            "give a store with the same classes",
        )
