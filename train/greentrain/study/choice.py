"""Which model and which class weights suit a store, by a minute's trial on train groups that are held out.

The val split is not looked at: what is chosen here may be scored there. A trial so short says which net learns sooner,
not how far each would come, and where it cannot tell two apart it says so.

Letters: N tiles, C channels, K classes, H rows, W columns, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor, nn

from greenschemas.store import Store
from greentrain.config import Config, load_config
from greentrain.data.augment import Samples, augment, generator_for
from greentrain.data.loader import open_loader
from greentrain.data.targets import TargetRule, target_rule
from greentrain.devices import find_device
from greentrain.nets.build import build_net
from greentrain.nets.vmunet import weight_decay_groups
from greentrain.scores.metrics import class_scores, confusion_by_group
from greentrain.study.contenders import clock
from greentrain.study.significance import compare_pairs, mean_iou
from greentrain.study.trees import TreesBaseline
from greentrain.training.doctor import Diagnosis, Severity
from greentrain.training.ema import Ema
from greentrain.training.losses import build_loss
from greentrain.training.schedule import rate_share
from greentrain.training.session import normaliser_for, weights_for

__all__ = ["Trial", "judge", "try_models"]

_VALUES = 60_000_000
"""Most values (240 MB) of random training tiles that are read."""
_TREES, _PIXELS = (100,), 60_000
_LEAST = 0.01
"""IoU from which a class counts as found."""


@dataclass(frozen=True)
class Trial:
    """What each candidate made of the train groups held out."""

    counts: Mapping[str, NDArray[np.int64]]
    """(1, G, K, K) confusion matrices by candidate: `trees`, `as set`, and what the settings might be instead."""
    seconds: float
    """That each net trained, by `clock`."""
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Tiles in memory, on the device of the nets."""

    image: Tensor
    fraction: Tensor
    valid: Tensor
    group: NDArray[np.integer]

    def at(self, places: NDArray[np.integer] | Tensor) -> Samples:
        where = torch.as_tensor(places, device=self.image.device)
        return Samples(self.image[where], self.fraction[where], self.valid[where])


def try_models(store: Store, config: Config, seconds: float = 15.0) -> Trial | None:
    """Fit trees, and train each candidate net for some seconds, on three quarters of the train groups.

    At least two are held out; None where there are fewer than four in all: a place says nothing about another.
    """
    device = find_device(config.accelerator, "accelerator")
    whole = _read(store, config, device)
    groups = len(np.unique(whole.group))
    if groups < 4:
        return None
    chance = GroupShuffleSplit(1, test_size=max(2, groups // 4), random_state=config.seed)
    own, held_out = next(chance.split(whole.group, groups=whole.group))
    rule = target_rule(config.target, store.contract.classes, config.min_purity)
    target = rule(*whole.at(np.arange(len(whole.group)))[1:])
    image, share, counted = (part.cpu().numpy() for part in (whole.image, *target))
    trees = TreesBaseline(max_pixels=_PIXELS, iterations=_TREES, seed=config.seed)
    trees.fit(image[own], np.where(counted[own][:, None], share[own], np.nan), counted[own])
    found = {"trees": torch.from_numpy(trees.predict(image[held_out]))}
    for name, settings in _candidates(config).items():
        weights = weights_for(store, rule, settings.class_weights)
        found[name] = _answer(_trained(settings, rule, whole, own, weights, seconds), whole, held_out)
    _, group = np.unique(whole.group[held_out], return_inverse=True)
    truth, counts = target.fraction[held_out].cpu(), target.counted[held_out].cpu()
    return Trial(
        {
            name: confusion_by_group(answer, truth, counts, torch.from_numpy(group), group.max() + 1)[None].numpy()
            for name, answer in found.items()
        },
        seconds,
        rule.classes,
    )


def judge(trial: Trial | None) -> Diagnosis:
    """What a trial says to the user, with its numbers."""
    if trial is None:
        found = "fewer than four groups in the train split: none can be held out to try models on"
        return Diagnosis("models", Severity.OK, found)
    scores = {name: float(mean_iou(counts.sum(1))[0]) for name, counts in trial.counts.items()}
    ious = {name: class_scores(counts.sum((0, 1)))["iou"] for name, counts in trial.counts.items()}
    places = next(iter(trial.counts.values())).shape[1]
    found = (
        f"mean IoU on {places} train groups held out, nets after {trial.seconds:.0f} s: "
        f"{', '.join(f'{name} {score:.3f}' for name, score in scores.items())}"
    )
    ahead = {pair.better: pair for pair in compare_pairs(trial.counts) if pair.worse == "as set" and pair.sure}
    lost = [
        name
        for k, name in enumerate(trial.classes)
        if ious["as set"][k] < _LEAST and max(each[k] for each in ious.values()) >= _LEAST
    ]
    if lost:
        found += f"; as set, {', '.join(lost)} is not found at all, which another finds"
    others = [name for name in ahead if name != "trees"]
    if others:
        best = max(others, key=lambda name: scores[name])
        return Diagnosis("models", Severity.WARN, f"{found}. {ahead[best].text}", f"set {best}")
    if "trees" in ahead:
        remedy = "take them if the net does not pass them: `fit` says so at its end, `compare` measures it"
        return Diagnosis("models", Severity.OK, f"{found}. {ahead['trees'].text}", remedy)
    return Diagnosis("models", Severity.OK, f"{found}; none is surely ahead of the settings as they are")


def _candidates(config: Config) -> dict[str, Config]:
    """The settings as they are, the other class weights, and the other net, named as `--set` takes them."""
    weights = "none" if config.class_weights != "none" else "sqrt"
    preset = "unet" if config.model.preset != "unet" else "detail"
    base = config.model_dump(mode="json", exclude={"model", "learning_rate"})
    other = load_config(None, (), None, {**base, "model": {"preset": preset}})
    return {
        "as set": config,
        f"class_weights={weights}": config.model_copy(update={"class_weights": weights}),
        f"model.preset={preset}": other,
    }


def _read(store: Store, config: Config, device: torch.device) -> _Part:
    """Random tiles of the train split, as many as fit in memory, as a net sees them."""
    normaliser = normaliser_for(store, config)
    parts, values = [], 0
    for batch in open_loader(store, "train", 16, seed=config.seed, normaliser=normaliser, cache="none"):
        parts.append(batch)
        values += batch["image"].numel()
        if values >= _VALUES:
            break
    image, fraction, valid, tile = (
        torch.cat([part[key] for part in parts]) for key in ("image", "fraction", "valid", "tile")
    )
    return _Part(image.to(device), fraction.to(device), valid.to(device), store.tile_group()[tile.numpy()])


def _trained(
    config: Config, rule: TargetRule, whole: _Part, own: NDArray[np.integer], weights: Tensor | None, seconds: float
) -> nn.Module:
    """A net trained on the tiles `own` until the time is up, its rate laid out over that; the moving average of it."""
    torch.manual_seed(config.seed)
    device = whole.image.device
    net = build_net(config.model, whole.image.shape[1], len(rule.classes)).to(device).train()
    loss = build_loss(config.loss, weights, config.label_smoothing).to(device)
    optimiser = torch.optim.AdamW(weight_decay_groups(net, config.weight_decay), lr=config.learning_rate)
    average, order = Ema(net, config.ema), np.random.default_rng(config.seed)
    how = config.augment.model_copy(update={"mix_times": 0.0})  # which needs to know what ground each tile is
    began, step = clock(), 0
    while (spent := clock() - began) < seconds or step == 0:
        done = min(999, int(1000 * spent / seconds))
        share = rate_share(done, 1000, warmup=config.warmup, kind="cosine", floor=config.rate_floor)
        for settings in optimiser.param_groups:
            settings["lr"] = share * config.learning_rate
        batch = whole.at(order.choice(own, min(config.batch_size, len(own)), replace=False))
        seen = augment(batch, how, generator_for(config.seed, 0, step), blend_labels=not rule.hard)
        optimiser.zero_grad()
        loss(net(seen.image).float(), *rule(seen.fraction, seen.valid)).backward()
        if config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), config.gradient_clip)
        optimiser.step()
        average.update(net)
        step += 1
    net.load_state_dict(average.average)
    return net


@torch.inference_mode()
def _answer(net: nn.Module, whole: _Part, places: NDArray[np.integer]) -> Tensor:
    """Logits (N, K, H, W) of the tiles at `places`, on the CPU."""
    net.eval()
    parts = np.array_split(places, -(-len(places) // 8))
    return torch.cat([net(whole.at(some).image).float().cpu() for some in parts])
