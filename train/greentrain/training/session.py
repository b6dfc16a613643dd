"""What stands before the first step: the split checked, the devices started, loaders, net and optimiser built."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from greenschemas.class_weights import class_weights
from greenschemas.console import say
from greenschemas.errors import ConfigError, StoreError
from greenschemas.layout import SPLITS
from greenschemas.moments import pooled
from greenschemas.store import Store
from greentrain.config import Config
from greentrain.data.bands import choose_bands
from greentrain.data.loader import Loader, open_loader
from greentrain.data.normalise import Normaliser, build_normaliser
from greentrain.data.targets import TargetRule, target_rule
from greentrain.devices import find_device
from greentrain.nets.build import OwnNet, build_net, name_of, own_net
from greentrain.nets.scan import tune_allocator
from greentrain.nets.vmunet import weight_decay_groups
from greentrain.training.ema import Ema
from greentrain.training.losses import build_loss

__all__ = [
    "OwnLoss",
    "Position",
    "Session",
    "build_session",
    "check_split",
    "load_start",
    "normaliser_for",
    "start_fabric",
    "train_moments",
    "weights_for",
]

OwnLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A scalar from logits (B, K, H, W) float32, fractions (B, K, H, W) of 0..1 without NaN, 0 where nothing counts, and
(B, H, W) True where the pixel counts."""


@dataclass
class Position:
    """How far a run has come; goes into its checkpoints as it is."""

    epoch: int = 0
    """Epochs completed."""
    batch: int = 0
    """Batches of the present epoch."""
    step: int = 0
    """Times that the weights have moved."""
    loss_sum: float = 0.0
    """Over the steps of the present epoch."""
    loss_steps: int = 0
    losses: list[float] = field(default_factory=list)
    """Mean training loss of each completed epoch."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """What each validation gave."""
    temperature: float = 1.0
    """What the logits of the net are divided by, found by the last validation."""

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
    loss: OwnLoss
    net: nn.Module
    """Plain; shares its weights with `model`."""
    model: Any
    """As Fabric wrapped it: on its device, in its precision, in step with the other processes."""
    optimiser: Any
    ema: Ema | None
    own: Mapping[str, str]
    """Names of what the caller brought instead of what the settings say: `model`, `loss`."""

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.config.last_epoch * -(-len(self.train) // self.config.accumulate)


def check_split(store: Store, allow_leak: bool) -> None:
    """Raise StoreError unless a store can be trained on: split, with statistics, and no ground in two splits."""
    split = store.contract.split
    if split is None or store.contract.statistics is None:
        raise StoreError(store.location, "it has no split and no statistics", "run `greenprep split` on it")
    if split.audit == "failed" and not allow_leak:
        raise StoreError(
            store.location,
            "the same ground stands in two splits (its audit failed), so that validation "
            "would look better than the net is",
            "run `greenprep audit` to see where, then `greenprep "
            "split` with a coarser `by`; or train anyway with --allow-leak",
        )
    if not len(store.usable_tiles("train")):
        raise StoreError(
            store.location, "no usable tile in the train split", "run `greenprep split` with smaller shares"
        )


def start_fabric(config: Config) -> Fabric:
    """Devices and processes; under torchrun those that it started.

    Raises ConfigError for devices that are not there.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    devices = local if launched else config.devices
    kind = find_device(config.accelerator, "accelerator").type
    if kind == "cuda" and isinstance(devices, int) and devices > torch.cuda.device_count():
        raise ConfigError(
            "devices",
            f"{devices}, and torch sees {torch.cuda.device_count()} GPUs",
            "ask for fewer, or for the processor by accelerator=cpu",
        )
    fabric = Fabric(
        accelerator=kind,
        precision=config.precision,
        devices=devices,
        num_nodes=int(os.environ.get("WORLD_SIZE", 1)) // local if launched else 1,
    )
    fabric.launch()
    tune_allocator()
    return fabric


def build_session(
    store: Store,
    run: Path,
    config: Config,
    fabric: Fabric,
    normaliser: Normaliser,
    model: OwnNet | None = None,
    loss: OwnLoss | None = None,
) -> Session:
    """Everything else from the contract and the settings; the seed decides the weights.

    model, loss: instead of what the settings say. Raises ConfigError for a net that does not fit.
    """
    contract, device = store.contract, fabric.device
    rule = target_rule(config.target, contract.classes, config.min_purity)
    own = {name: name_of(given) for name, given in (("model", model), ("loss", loss)) if given is not None}
    if loss is None:
        loss = build_loss(config.loss, weights_for(store, rule, config.class_weights), config.label_smoothing)
    if isinstance(loss, nn.Module):
        loss = loss.to(device)
    rank_of = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    common: dict[str, Any] = {
        "normaliser": normaliser,
        "cache": config.cache,
        "ahead": config.ahead,
        "device": device,
        **rank_of,
    }
    train = open_loader(store, "train", config.batch_size, seed=config.seed, order=config.order, **common)
    val = open_loader(store, "val", config.batch_size, order="sequential", **common)
    torch.manual_seed(config.seed)
    channels, classes = normaliser.channels, len(rule.classes)
    if model is None:
        net = build_net(config.model, channels, classes)
    else:
        net = own_net(model, channels, classes, contract.tile_size)
    if config.pretrained is not None:
        report = load_start(net, store, normaliser, config)
        if fabric.is_global_zero:
            say(report)
    wrapped = fabric.setup_module(torch.compile(net) if config.compile else net)  # type: ignore[arg-type]
    # The fused step takes a fifth of the time; it cannot be together with a gradient scaler and clipping.
    optimiser = fabric.setup_optimizers(
        torch.optim.AdamW(
            weight_decay_groups(net, config.weight_decay), lr=config.learning_rate, fused=config.precision != "16-mixed"
        )
    )
    ema = Ema(net, config.ema) if config.ema > 0 else None
    return Session(
        run,
        config,
        fabric,
        normaliser,
        store,
        train,
        val if len(val) else None,
        rule,
        loss,
        net,
        wrapped,
        optimiser,
        ema,
        own,
    )


def normaliser_for(store: Store, config: Config) -> Normaliser:
    """The normaliser of the bands that the settings choose; principal components by the train groups' moments."""
    contract, wanted = store.contract, config.bands
    settings: dict[str, Any] = {"method": config.normalise, "clip": config.input_clip}
    if wanted is None:
        return build_normaliser(contract, None, **settings)
    text = wanted if isinstance(wanted, str) else ",".join(wanted)
    names, roles = [band.name for band in contract.bands], [band.role.value for band in contract.bands]
    count, comoment = train_moments(store) if text.startswith("pca:") else (None, None)
    choice = choose_bands(text, names, roles, count=count, comoment=comoment)
    projection = None if choice.components is None else np.array(choice.components, np.float32)
    return build_normaliser(contract, choice.names, projection=projection, **settings)


def train_moments(store: Store) -> tuple[float, NDArray[np.float64]]:
    """(pixels, co-moments (C, C)) of the train split, merged from its groups."""
    groups = np.flatnonzero(store.read("split") == SPLITS.index("train"))
    count, mean, comoment = (store.read(name)[groups] for name in ("count", "mean", "comoment"))
    total, _, whole = pooled(count, mean, [comoment])
    return float(total.max(initial=0)), whole


def load_start(net: nn.Module, store: Store, normaliser: Normaliser, config: Config) -> str:
    """Fill a fresh net from the checkpoint that the settings name; says what came from it."""
    from greentrain.nets.pretrained import load_pretrained

    common = {band.name: band.common for band in store.contract.bands}
    bands = (
        [None] * normaliser.channels
        if normaliser.projection is not None
        else [common[name] for name in normaliser.bands]
    )
    assert config.pretrained is not None
    return str(
        load_pretrained(
            net, config.pretrained, bands=bands, stem=config.stem, seed=config.seed, allow_partial=config.allow_partial
        )
    )


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
