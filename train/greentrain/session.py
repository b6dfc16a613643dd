"""What stands before the first step: the split checked, the devices started, loaders, net and optimiser built."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from greenschemas.contract import Contract
from greenschemas.errors import StoreError
from greenschemas.store import Store
from greenschemas.weights import class_weights
from greentrain.config import Config
from greentrain.data import Loader, open_loader
from greentrain.ema import Ema
from greentrain.losses import WeightedSum, build_loss
from greentrain.model import weight_decay_groups
from greentrain.nets import build_net
from greentrain.normalise import Normaliser, build_normaliser
from greentrain.scan import tune_allocator
from greentrain.targets import TargetRule, target_rule

__all__ = ["Place", "Session", "build_session", "check_split", "normaliser_for", "start_fabric", "weights_for"]


@dataclass
class Place:
    """How far a run has come; goes into its checkpoints as it is."""

    epoch: int = 0
    """Epochs in full."""
    batch: int = 0
    """Batches of the present epoch."""
    step: int = 0
    """Times that the weights have moved."""
    loss_sum: float = 0.0
    """Over the steps of the present epoch."""
    loss_steps: int = 0
    losses: list[float] = field(default_factory=list)
    """Mean training loss of each epoch in full."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """What each validation gave."""

    @property
    def scores(self) -> list[float]:
        """Mean IoU of each validation."""
        return [scores["mean"]["iou"] or 0.0 for scores in self.history]


@dataclass(frozen=True)
class Session:
    """What the functions of the loop share: built once, in this order."""

    run: Path
    config: Config
    fabric: Fabric
    normaliser: Normaliser
    store: Store
    train: Loader
    val: Loader | None
    rule: TargetRule
    loss: WeightedSum
    net: nn.Module
    """Plain; shares its weights with `model`."""
    model: Any
    """As Fabric wrapped it: on its device, in its precision, in step with the other processes."""
    optimiser: Any
    ema: Ema | None

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.config.epochs * -(-len(self.train) // self.config.accumulate)


def check_split(store: Store, allow_leak: bool) -> None:
    """Raise StoreError unless a store can be trained on: split, with statistics, and no ground in two splits."""
    split = store.contract.split
    if split is None or store.contract.statistics is None:
        raise StoreError(store.location, "it has no split and no statistics", "run `greenprep split` on it")
    if split.audit == "failed" and not allow_leak:
        raise StoreError(store.location, "the same ground stands in two splits (its audit failed), so that validation "
                         "would look better than the net is", "run `greenprep audit` to see where, then `greenprep "
                         "split` with a coarser `by`; or train anyway with --allow-leak")
    if not len(store.usable_tiles("train")):
        raise StoreError(store.location, "no usable tile in the train split",
                         "run `greenprep split` with smaller shares")


def start_fabric(config: Config) -> Fabric:
    """Devices and processes; under torchrun those that it started."""
    launched = "TORCHELASTIC_RUN_ID" in os.environ
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    fabric = Fabric(accelerator=config.accelerator, precision=config.precision,
                    devices=local if launched else config.devices,
                    num_nodes=int(os.environ.get("WORLD_SIZE", 1)) // local if launched else 1)
    fabric.launch()
    tune_allocator()
    return fabric


def build_session(store: Store, run: Path, config: Config, fabric: Fabric) -> Session:
    """Everything from the contract and the settings; the seed decides the weights."""
    contract, device = store.contract, fabric.device
    rule = target_rule(config.target, contract.classes, config.min_purity)
    normaliser = normaliser_for(contract, config)
    loss = build_loss(config.loss, weights_for(store, rule, config.class_weights), config.label_smoothing).to(device)
    seat = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    common: dict[str, Any] = {"normaliser": normaliser, "cache": config.cache, "ahead": config.ahead, "device": device,
                              **seat}
    train = open_loader(store, "train", config.batch_size, seed=config.seed, order=config.order, **common)
    val = open_loader(store, "val", config.batch_size, order="sequential", **common)
    torch.manual_seed(config.seed)
    net = build_net(config.model, normaliser.channels, len(rule.classes))
    model = fabric.setup_module(torch.compile(net) if config.compile else net)  # type: ignore[arg-type]
    # The fused step takes a fifth of the time; it cannot be together with a gradient scaler and clipping.
    optimiser = fabric.setup_optimizers(torch.optim.AdamW(
        weight_decay_groups(net, config.weight_decay), lr=config.learning_rate, fused=config.precision != "16-mixed"))
    ema = Ema(net, config.ema) if config.ema > 0 else None
    return Session(run, config, fabric, normaliser, store, train, val if len(val) else None, rule, loss, net, model,
                   optimiser, ema)


def normaliser_for(contract: Contract, config: Config) -> Normaliser:
    """The normaliser of the bands that the settings choose."""
    bands = config.bands
    names = tuple(name.strip() for name in bands.split(",")) if isinstance(bands, str) else bands
    return build_normaliser(contract, names, method=config.normalise, clip=config.input_clip)


def weights_for(store: Store, rule: TargetRule, scheme: str) -> Tensor | None:
    """(K,) weights of the target's classes with mean 1, or None for none.

    Those of one class against all are computed from the train groups' sums, as the store's were.
    """
    statistics = store.contract.statistics
    if scheme == "none" or statistics is None:
        return None
    if rule.index is None:
        weights = statistics.class_weights[scheme]
    else:
        groups = np.flatnonzero(store.read("split") == 0)
        sums = store.read("class_sum")[groups].astype(np.float64)
        weights = class_weights(rule.fold(sums))[scheme]
    return torch.tensor(weights, dtype=torch.float32) * len(weights)
