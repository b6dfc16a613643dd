"""Scores of a net on a split, always beside the best constant's.

Predictions are the largest logit, truth the largest fraction, ties to the first, over pixels valid and labelled.
Letters: B tiles of a batch, K classes, G groups, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from greenschemas.console import progress
from greenschemas.contract import Contract
from greenschemas.errors import ConfigError
from greenschemas.store import Store, open_store
from greentrain.checkpoint import Trained, load_trained
from greentrain.data import Batch, open_loader
from greentrain.devices import find_device
from greentrain.fraction_scores import calibration_error, calibration_sums, fraction_scores, fraction_sums
from greentrain.metrics import bootstrap, confusion, confusion_by_group, scores, sum_over_ranks
from greentrain.record import read_record
from greentrain.targets import TargetRule

__all__ = ["check_fits", "evaluate", "probabilities", "validate"]


@torch.no_grad()
def validate(net: nn.Module, batches: Iterable[Batch], rule: TargetRule,
             loss: Callable[[Tensor, Tensor, Tensor], Tensor], device: torch.device,
             autocast: Callable[[], AbstractContextManager[Any]] = nullcontext) -> tuple[dict[str, Any], float]:
    """(`metrics.scores`, mean loss a pixel) over all ranks; the quick look that training takes after each epoch."""
    net.eval()
    counts = torch.zeros((len(rule.classes),) * 2, dtype=torch.int64, device=device)
    total = torch.zeros(2, dtype=torch.float64, device=device)  # loss times pixels, pixels
    for batch in batches:
        image, target = batch["image"].to(device), rule(batch["fraction"].to(device), batch["valid"].to(device))
        with autocast():
            logits = net(image)
        logits = logits.float()
        counts += confusion(logits, target.fraction, target.counted)
        pixels = target.counted.sum().double()
        total += torch.stack([loss(logits, target.fraction, target.counted).double() * pixels, pixels])
    counts, total = sum_over_ranks(counts), sum_over_ranks(total)
    mean_loss = float(total[0] / total[1]) if total[1] > 0 else float("nan")
    return scores(counts, rule.classes), mean_loss


def evaluate(run: Path, location: str | None = None, split: str = "val", *, which: str = "best", batch_size: int = 16,
             device: str = "auto", flips: bool = False) -> dict[str, Any]:
    """All scores of a run's net on a split of a store (None: the run's own), ready for JSON.

    `{"mean", "micro", "classes", "confusion", "constant"}` as `metrics.scores`; `intervals` over groups as
    `metrics.bootstrap`; `fractions` as `fraction_scores`; `calibration_error`; and what was scored.
    flips: take the mean of the four mirror images' probabilities, at four times the cost.
    Raises ConfigError where the store has other bands or classes, or the split holds no labelled pixel.
    """
    where = find_device(device, "--device")
    trained = load_trained(run, which)
    store = open_store(location if location is not None else read_record(run).store)
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
        "calibration_error": calibration_error(sums.calibration),
        "run": str(run), "checkpoint": which, "epoch": trained.epoch, "store": store.location, "split": split,
        "pixels": int(sums.groups.sum()), "tiles": sums.tiles,
    }


@dataclass(frozen=True)
class _Sums:
    groups: Tensor
    """(G, K, K) confusion matrices."""
    fractions: Tensor
    calibration: Tensor
    tiles: int


@torch.inference_mode()
def _sums(trained: Trained, store: Store, split: str, batch_size: int, device: torch.device,
          flips: bool) -> _Sums:
    loader = open_loader(store, split, batch_size, normaliser=trained.normaliser, order="sequential", device=device)
    group_of = torch.from_numpy(store.tile_group())
    classes, groups = len(trained.rule.classes), store.contract.groups
    matrices, tiles = torch.zeros((groups, classes, classes), dtype=torch.int64), 0
    fractions, calibration = torch.zeros(()), torch.zeros(())
    with progress(f"evaluate {split}", len(loader)) as bar:
        for batch in loader:
            target = trained.rule(batch["fraction"], batch["valid"])
            probability = probabilities(trained.net, batch["image"], flips)
            group = group_of[batch["tile"].cpu()]
            matrices += confusion_by_group(probability, target.fraction, target.counted, group, groups).cpu()
            fractions = fractions + fraction_sums(probability, target.fraction, target.counted).cpu()
            calibration = calibration + calibration_sums(probability, target.fraction, target.counted).cpu()
            tiles += len(group)
            bar.advance()
    return _Sums(matrices, fractions, calibration, tiles)


def probabilities(net: nn.Module, image: Tensor, flips: bool) -> Tensor:
    """(B, K, H, W) of images (B, C, H, W); with `flips` the mean over four mirror images, each turned back."""
    ways: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1)) if flips else ((),)
    found = [net(image.flip(way)).float().softmax(1).flip(way) for way in ways]
    return torch.stack(found).mean(0) if flips else found[0]


def check_fits(trained: Trained, contract: Contract, where: str) -> None:
    """Raise ConfigError unless a store has the bands that a net reads, and its classes in its order."""
    known = {band.name for band in contract.bands}
    if missing := [name for name in trained.normaliser.bands if name not in known]:
        raise ConfigError(where, f"bands {', '.join(missing)} of the net are not in it (it has "
                          f"{', '.join(band.name for band in contract.bands)})", "give a store with the same bands")
    if contract.classes != trained.contract.classes:
        raise ConfigError(where, f"classes {', '.join(contract.classes)}, the net has "
                          f"{', '.join(trained.contract.classes)}", "give a store with the same classes")
