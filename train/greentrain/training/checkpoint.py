"""Checkpoints: written whole or not at all, read without running code from them, enough to go on bit for bit.

A run's folder holds `checkpoints/step-NNNNNNNN.pt` (all that training needs), `checkpoints/last.pt` (the newest of
them) and `checkpoints/best.pt` (what prediction needs). Random states are not among it: every step seeds torch from
(seed, epoch, position, rank), so that the position is the random state.
"""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from greenschemas.console import say
from greenschemas.contract import Contract
from greenschemas.decoding import Decoding
from greenschemas.errors import ConfigError
from greenschemas.files import whole
from greenschemas.frozen import digest
from greentrain.config import Config
from greentrain.data.normalise import Normaliser
from greentrain.data.targets import TargetRule, target_rule
from greentrain.nets.build import OwnNet, build_net, own_net
from greentrain.nets.tree_arrays import TreeArrays

__all__ = [
    "FORMAT",
    "TREES_NAME",
    "Checkpoint",
    "Trained",
    "describe_net",
    "link_last",
    "load_trained",
    "load_weights",
    "newest_checkpoint",
    "prune",
    "write_checkpoint",
]

Checkpoint = dict[str, Any]
"""What a file of a checkpoint holds: plain values and tensors by name."""

TREES_NAME = "trees.npz"
"""File beside the checkpoints with the trees that predict together with the net, where they do."""
FORMAT = "greenspace-checkpoint-1"
"""Value of `format` in every checkpoint."""


@dataclass(frozen=True)
class Trained:
    """A trained net with all that is needed to use it on new data."""

    net: nn.Module
    """In evaluation mode, on the CPU."""
    normaliser: Normaliser
    """By the statistics of the split that it was trained on."""
    rule: TargetRule
    """What its channels mean: the classes, or one against all."""
    contract: Contract
    """Of the store that it was trained on."""
    config: Config
    identity: str
    """Digest of the weights' place in training, settings and store."""
    epoch: int
    """Epochs completed."""
    temperature: float = 1.0
    """What its logits are divided by to be probabilities, found on the validation groups."""
    trees: TreeArrays | None = None
    """Whose probabilities, of the same images, are averaged with the net's; None: the net stands alone."""

    def probabilities(self, raw: Tensor, valid: Tensor) -> Tensor:
        """Class probabilities (B, K, H, W) of raw values (B, C, H, W) of `normaliser.bands`, valid (B, H, W) bool."""
        image = self._normal(raw, valid)
        return self.with_trees(self.of_image(image), image)

    def of_net(self, raw: Tensor, valid: Tensor) -> Tensor:
        """As `probabilities`, of the net alone, which knows least at the edge of what it is shown."""
        return self.of_image(self._normal(raw, valid))

    def of_trees(self, raw: Tensor, valid: Tensor) -> Tensor:
        """As `probabilities`, of the trees alone, which there must be; they see as far as `trees.reach`."""
        assert self.trees is not None
        return self.trees(self._normal(raw, valid))

    @torch.inference_mode()
    def of_image(self, image: Tensor) -> Tensor:
        """The net's probabilities (B, K, H, W), on the CPU, of normalised images (B, C, H, W)."""
        device = next(self.net.parameters()).device
        return (self.net(image.to(device)).float() / self.temperature).softmax(1).cpu()  # type: ignore[no-any-return]

    def with_trees(self, share: Tensor, image: Tensor) -> Tensor:
        """The mean of the net's probabilities (…, B, K, H, W) and the trees' of the same normalised images, if any."""
        return share if self.trees is None else (share + self.trees(image).to(share)) / 2

    def _normal(self, raw: Tensor, valid: Tensor) -> Tensor:
        return torch.from_numpy(self.normaliser(raw.cpu().numpy(), valid.cpu().numpy()))


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`, which is whole, and on the disk, at any moment."""
    with whole(path) as draft:
        try:
            torch.save({"format": FORMAT, **content}, draft)
        except RuntimeError as problem:  # As torch puts a full disk.
            raise OSError(errno.EIO, f"torch could not write it ({str(problem).splitlines()[0]})", str(path)) from None


def link_last(path: Path) -> None:
    """Let `last.pt` be the checkpoint at `path`."""
    with whole(path.with_name("last.pt")) as draft:
        os.link(path, draft)


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run; says which are broken on the way. None where there is none at all.

    Beside what the file holds, `newest_file` is the name of the newest file that was there, whole or broken.
    Raises ConfigError where all are broken: what is left of the run is not to be written over.
    """
    paths = sorted((run / "checkpoints").glob("step-*.pt"), reverse=True)
    for path in paths:
        try:
            return {**_read(path), "newest_file": paths[0].name}
        except ConfigError as problem:
            say(f"WARNING {problem}")
    if paths:
        raise ConfigError(
            run / "checkpoints",
            f"none of {len(paths)} checkpoints is whole",
            "copy them again, or delete them to start from the beginning",
        )
    return None


def prune(run: Path, keep: int) -> None:
    """Leave the newest `keep` of a run's step checkpoints, and nothing half-written."""
    folder = run / "checkpoints"
    for path in [*sorted(folder.glob("step-*.pt"))[:-keep], *folder.glob(".*.tmp")]:
        path.unlink(missing_ok=True)


def describe_net(
    normaliser: Normaliser, contract: Contract, config: Config, own: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The part of a checkpoint that says what its weights are for.

    own: names of what the caller brought instead of what the settings say: `model`, `loss`.
    """
    return {
        "config": config.model_dump(mode="json"),
        "contract": contract.model_dump(mode="json"),
        "config_hash": config.hash(),
        "store_hash": contract.identity(),
        "own": dict(own or {}),
        "normaliser": {
            "bands": list(normaliser.bands),
            "mean": torch.from_numpy(normaliser.mean),
            "scale": torch.from_numpy(normaliser.scale),
            "clip": normaliser.clip,
            "projection": None if normaliser.projection is None else torch.from_numpy(normaliser.projection),
            "decode": [how and how.value for how in normaliser.how],
        },
    }


def load_trained(run: Path, which: str = "best", model: OwnNet | None = None) -> Trained:
    """The net of a run, `best` or `last`; raises ConfigError where there is none or it cannot be read.

    model: what `fit` was given as its model; weights are put into it.
    """
    path = run / "checkpoints" / f"{which}.pt"
    if not path.is_file():
        raise ConfigError(run, f"no checkpoint `{which}`", "give the folder that `greentrain fit --out` wrote")
    content = _read(path)
    contract = Contract.parse(path, content["contract"], ConfigError)
    config = Config.parse(path, content["config"])
    normaliser = _normaliser(content["normaliser"])
    rule = target_rule(config.target, contract.classes, config.min_purity)
    own = content.get("own", {}).get("model")
    net = _net_for(run, own, model, config, (normaliser.channels, len(rule.classes), contract.tile_size))
    averaged = content.get("ema")
    load_weights(net, content["weights"] if averaged is None else averaged["average"], path, own or config.model.preset)
    net.eval()
    position = content["position"]
    identity = digest([content["config_hash"], content["store_hash"], position])
    temperature = float(position.get("temperature", 1.0))  # which a run of before has none of
    trees = TreeArrays.load(path.with_name(TREES_NAME)) if path.with_name(TREES_NAME).exists() else None
    if trees is not None:
        if (trees.channels, len(trees.start)) != (normaliser.channels, len(rule.classes)):
            found = f"trees of {trees.channels} channels and {len(trees.start)} classes, the net has others"
            raise ConfigError(path.with_name(TREES_NAME), found, "delete it: the net then stands alone")
        identity = digest([identity, trees.identity])
    elif _had_trees(run):
        say(f"WARNING {run}: its trees, checkpoints/{TREES_NAME}, are not there; its net stands alone now.")
    return Trained(net, normaliser, rule, contract, config, identity, int(position["epoch"]), temperature, trees)


def _had_trees(run: Path) -> bool:
    """Whether the record of a run, where it has one, says that it predicts with trees."""
    record = run / "run.json"
    return record.is_file() and b'"averaged": true' in record.read_bytes()


def _net_for(
    run: Path, own: str | None, model: OwnNet | None, config: Config, shape: tuple[int, int, int]
) -> nn.Module:
    """A net of (channels, classes, tile size) for a run's weights: that of the settings, or a copy of the caller's."""
    if own is not None and model is None:
        raise ConfigError(
            run,
            f"its net is its caller's `{own}`, which a checkpoint holds the weights of and not the code",
            "give it in Python: greentrain.load_run and greentrain.evaluate take it as `model`",
        )
    if own is None and model is not None:
        raise ConfigError(run, f"its net is `{config.model.preset}` of its settings", "leave `model` out")
    channels, classes, size = shape
    if model is None:
        return build_net(config.model, channels, classes)
    return own_net(deepcopy(model) if isinstance(model, nn.Module) else model, channels, classes, size).cpu()


def load_weights(net: nn.Module, weights: Mapping[str, Tensor], where: Path, name: str) -> None:
    """Fill a net from a checkpoint at `where`; ConfigError for weights of another net than that of this name."""
    try:
        net.load_state_dict(weights)
    except RuntimeError as problem:
        raise ConfigError(
            where,
            f"weights of another net than `{name}` is in this version ({str(problem).splitlines()[1].strip()[:120]})",
            "train it again",
        ) from None


def _read(path: Path) -> Checkpoint:
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # torch does not look at the checksums that it wrote
                raise ValueError(f"the checksum of {damaged} does not fit")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        zipfile.BadZipFile,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
    ) as problem:
        raise ConfigError(
            path, f"a broken checkpoint ({str(problem).splitlines()[0][:120]})", "delete it, or copy it again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(path, "not a checkpoint of greentrain", "give the folder that `greentrain fit --out` wrote")
    return content


def _normaliser(saved: Mapping[str, Any]) -> Normaliser:
    projection = saved["projection"]
    return Normaliser(
        tuple(saved["bands"]),
        np.asarray(saved["mean"]),
        np.asarray(saved["scale"]),
        saved["clip"],
        None if projection is None else np.asarray(projection),
        tuple(how and Decoding(how) for how in saved.get("decode", ())),  # runs of before have none
    )
