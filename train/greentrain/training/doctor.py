"""What can be known before training: the quick look that `fit` takes, and the long one of `greentrain doctor`.

Letters: B tiles of a batch, C channels, K classes, H rows, W columns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from greenschemas.bands import Role
from greenschemas.errors import ConfigError, StoreError
from greenschemas.store import Store
from greentrain.config import Config
from greentrain.data.loader import Batch, open_loader
from greentrain.data.normalise import Normaliser
from greentrain.data.targets import target_rule
from greentrain.data.tiles import available_memory
from greentrain.data.value_range import wrapped_store
from greentrain.devices import find_device
from greentrain.nets.scan import selective_scan
from greentrain.training.session import Session, build_session, check_split, normaliser_for, start_fabric

__all__ = ["Diagnosis", "Severity", "all_checks", "quick_checks", "stop_if_failed"]


_RARE = 0.005
"""Share of the labelled pixels below which a class was lost without weights (train/README.md)."""


class Severity(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Diagnosis:
    """One line of the doctor's report."""

    name: str
    level: Severity
    found: str
    """With the numbers."""
    remedy: str = ""
    """What to do; empty where all is well."""


def quick_checks(
    store: Store, config: Config, *, allow_leak: bool = False
) -> tuple[list[Diagnosis], Normaliser | None]:
    """What takes a second: contract, bands, classes, a batch, the scan; and the normaliser, None where none can be."""
    try:
        check_split(store, allow_leak)
    except StoreError as problem:
        return [Diagnosis("store", Severity.FAIL, problem.found, problem.remedy)], None
    try:
        normaliser = normaliser_for(store, config)
        bands = _bands(store, normaliser)
    except ConfigError as problem:
        normaliser, bands = None, Diagnosis("bands", Severity.FAIL, problem.found, problem.remedy)
    checks = [_audit(store), bands, _values(store), _classes(store, config), _steps(store, config)]
    if normaliser is not None and not any(check.level is Severity.FAIL for check in checks):
        checks.append(_batch(store, config, normaliser))
    return [*checks, _scan(config)], normaliser


def all_checks(store: Store, config: Config, *, allow_leak: bool = False) -> Iterator[Diagnosis]:
    """All of it; builds the net and trains it for moments on one batch."""
    checks, normaliser = quick_checks(store, config, allow_leak=allow_leak)
    yield from checks
    if normaliser is None or any(check.level is Severity.FAIL for check in checks):
        return
    config = config.settled(len(store.usable_tiles("train")))
    session = build_session(store, Path(), config, start_fabric(config), normaliser)
    batch = next(iter(session.train))
    yield _memory(session, batch)
    yield _rates(session, batch)
    yield _overfit(session, batch)


def stop_if_failed(checks: list[Diagnosis], where: str) -> None:
    """Raise ConfigError for the first check that failed."""
    for check in checks:
        if check.level is Severity.FAIL:
            raise ConfigError(f"{where}, {check.name}", check.found, check.remedy)


def _audit(store: Store) -> Diagnosis:
    split = store.contract.split
    assert split is not None
    tiles = ", ".join(f"{count} {name}" for name, count in split.tiles.items())
    if split.audit == "passed":
        return Diagnosis("store", Severity.OK, f"{tiles} tiles; no ground in two splits")
    found = f"{tiles} tiles; {'ground in two splits' if split.audit == 'failed' else 'not checked for leaks'}"
    return Diagnosis("store", Severity.WARN, found, "run `greenprep audit` on it")


def _bands(store: Store, normaliser: Normaliser) -> Diagnosis:
    role = {band.name: band.role for band in store.contract.bands}
    odd = [name for name in normaliser.bands if role[name] in (Role.MASK, Role.DEAD)]
    flat = [name for name, scale in zip(normaliser.bands, normaliser.scale, strict=True) if scale == 0]
    found = f"{', '.join(normaliser.bands)}: {normaliser.channels} channels"
    if len(flat) == len(normaliser.bands):
        return Diagnosis(
            "bands",
            Severity.FAIL,
            f"{found}; none ever changes in the train split: nothing to see",
            "look at the images: `greenprep clean` says what they hold",
        )
    if flat or odd:
        why = [
            f"{', '.join(names)} {reason}"
            for names, reason in ((odd, "no feature (mask or dead)"), (flat, "constant in the train split, seen as 0"))
            if names
        ]
        return Diagnosis("bands", Severity.WARN, f"{found}; {'; '.join(why)}", "leave them out of `bands`")
    left = [band.name for band in store.contract.bands if band.name not in normaliser.bands]
    return Diagnosis("bands", Severity.OK, found + (f"; not used: {', '.join(left)}" if left else ""))


def _values(store: Store) -> Diagnosis:
    wrapped = wrapped_store(store.contract)
    if wrapped is None:
        return Diagnosis("values", Severity.OK, "not wrapped into 8 bits")
    return Diagnosis("values", Severity.WARN, wrapped, "export the images again as 16 bits: what was cut off is lost")


def _classes(store: Store, config: Config) -> Diagnosis:
    try:
        target_rule(config.target, store.contract.classes, config.min_purity)
    except ConfigError as problem:
        return Diagnosis("classes", Severity.FAIL, problem.found, problem.remedy)
    assert store.contract.statistics is not None
    shares = dict(zip(store.contract.classes, store.contract.statistics.class_share, strict=True))
    found = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    if max(shares.values()) == 1:
        return Diagnosis(
            "classes",
            Severity.FAIL,
            f"{found}: the train split holds one class only, nothing to tell apart",
            "check the masks' classes in the recipe, and that masks belong to their images",
        )
    if absent := [name for name, share in shares.items() if share == 0]:
        return Diagnosis(
            "classes",
            Severity.WARN,
            f"{found}: the train split holds no {', '.join(absent)}",
            "it cannot be learnt: split with another seed, or leave the class out",
        )
    if max(shares.values()) > 0.95:
        return Diagnosis(
            "classes", Severity.WARN, f"{found}: nearly all is one class", "a constant will be hard to beat"
        )
    rare = [name for name, share in shares.items() if share < _RARE]
    if rare and config.class_weights == "none" and config.target in ("fractions", "hard"):
        return Diagnosis(
            "classes",
            Severity.WARN,
            f"{found}: {', '.join(rare)} below {_RARE:.1%}, too rare to be learnt without class weights",
            "set class_weights=sqrt",
        )
    return Diagnosis("classes", Severity.OK, found)


def _steps(store: Store, config: Config) -> Diagnosis:
    """How often the weights will move: too seldom is why nets that could learn do not."""
    tiles, size = len(store.usable_tiles("train")), config.batch_size * config.accumulate
    epoch = -(-tiles // size)
    epochs = config.settled(tiles).last_epoch
    found = f"{epochs} epochs of {epoch} step{'s' * (epoch > 1)} of {size} tiles, on one device"
    if size > tiles:
        return Diagnosis(
            "steps",
            Severity.WARN,
            f"{found}: more than the {tiles} of the train split",
            f"set batch_size to {max(1, min(8, tiles // 4))} or so, and accumulate=1",
        )
    return Diagnosis("steps", Severity.OK, found)


def _batch(store: Store, config: Config, normaliser: Normaliser) -> Diagnosis:
    loader = open_loader(
        store, "train", config.batch_size, seed=config.seed, normaliser=normaliser, cache="none", ahead=1
    )
    batch = next(iter(loader))
    image, valid = batch["image"], batch["valid"]
    labelled = ~batch["fraction"].isnan().any(1) & valid
    low, high = float(image.min()), float(image.max())
    means = torch.stack([channel[valid].mean() for channel in image.unbind(1)]) if valid.any() else torch.zeros(1)
    found = (
        f"values {low:.2f} to {high:.2f}, channel means {float(means.min()):.2f} to {float(means.max()):.2f}, "
        f"{float(valid.float().mean()):.0%} valid, {float(labelled.float().mean()):.0%} labelled"
    )
    if not image.isfinite().all():
        return Diagnosis(
            "a batch",
            Severity.FAIL,
            f"{found}; some values are not finite",
            "mark such pixels invalid: `greenprep clean` and `tile` do",
        )
    if not labelled.any():
        return Diagnosis(
            "a batch",
            Severity.FAIL,
            f"{found}: nothing to learn from",
            "check that masks and images were paired, and the masks' unlabelled value",
        )
    if float(means.abs().max()) > 3:
        return Diagnosis("a batch", Severity.WARN, f"{found}: far from the statistics", "run `greenprep split` again")
    return Diagnosis("a batch", Severity.OK, found)


def _scan(config: Config) -> Diagnosis:
    """The kernel against the definition, forward and backward, on small random numbers."""
    chance = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=chance)

    size, states, length = 8, 16, 150  # longer than a chunk of any kernel
    series, by_state = (2, size, length), (2, 2, states, length)
    inputs = [draw(*series), draw(*series), -draw(size, states).exp(), draw(*by_state), draw(*by_state)]
    inputs += [draw(size), draw(size)]
    backend, device = config.model.scan, find_device(config.accelerator, "accelerator")
    results = []
    for kernel in (backend, "reference"):
        tensors = [part.clone().to(device).requires_grad_() for part in inputs]
        u, delta, a, b, c, d, bias = tensors
        y = selective_scan(u, delta, a, b, c, d, bias, backend=kernel)
        y.square().sum().backward()
        results.append([y.detach(), *(part.grad for part in tensors if part.grad is not None)])
    worst = max(float((a - b).abs().max() / b.abs().max().clamp_min(1)) for a, b in zip(*results, strict=True))
    if worst < 1e-3:
        return Diagnosis("scan", Severity.OK, f"kernel `{backend}` within {worst:.1e} of the definition, gradients too")
    return Diagnosis(
        "scan",
        Severity.FAIL,
        f"kernel `{backend}` is {worst:.1e} off the definition",
        "set model.scan=reference, and report it",
    )


def _memory(session: Session, batch: Batch) -> Diagnosis:
    """What a step keeps for its backward pass, measured on one tile."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    one = {name: part[:1].to(session.fabric.device) for name, part in batch.items()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _loss(session, one)
    weights = sum(p.numel() * p.element_size() for p in session.net.parameters())
    tile = sum(kept.values()) - weights
    device = session.fabric.device
    free = float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()
    fixed = 4 * weights  # weights, gradients, two moments of AdamW
    fits = int((0.8 * free - fixed) / max(tile, 1))
    size = session.config.batch_size
    found = f"about {(fixed + size * tile) / 1e9:.2f} GB for batches of {size}, {free / 1e9:.1f} GB free"
    if fits < size:
        fits = max(fits, 1)
        return Diagnosis("memory", Severity.WARN, found, f"set batch_size={fits} and accumulate={-(-size // fits)}")
    return Diagnosis("memory", Severity.OK, f"{found}; batches of {fits} would fit")


def _rates(session: Session, batch: Batch) -> Diagnosis:
    """Tiles a second that the loader can feed, without its cache, and that the net eats."""
    loader = open_loader(
        session.store,
        "train",
        len(batch["tile"]),
        normaliser=session.normaliser,
        cache="none",
        ahead=session.config.ahead,
    )
    began, fed = time.perf_counter(), 0
    for part in islice(loader, 50):
        fed += len(part["tile"])
        if time.perf_counter() - began > 2:
            break
    feeds = fed / (time.perf_counter() - began)
    few = {name: part[:4].to(session.fabric.device) for name, part in batch.items()}
    _loss(session, few)
    began = time.perf_counter()
    float(_loss(session, few))
    eats = len(few["tile"]) / (time.perf_counter() - began)
    whole = _run_seconds(session.store, session.config, min(feeds, eats))
    found = (
        f"the loader can feed {feeds / eats:.1f} times what the net eats ({feeds:.0f} and {eats:.1f} tiles a second); "
        f"the run will take about {_roughly(whole)} on this device, if it does not stop early"
    )
    if feeds < eats:
        return Diagnosis(
            "speed", Severity.WARN, found, "set cache to what memory allows, or order=blocks on a slow disk"
        )
    return Diagnosis("speed", Severity.OK, found)


def _run_seconds(store: Store, config: Config, rate: float) -> float:
    """Of all epochs and validations at a rate of training tiles a second; a forward pass is a third of a step."""
    learnt, scored = (len(store.usable_tiles(split)) for split in ("train", "val"))
    checks = sum(config.validates_after(epoch) for epoch in range(1, config.last_epoch + 1))
    return (config.last_epoch * learnt + checks * scored / 3) / rate


def _roughly(seconds: float) -> str:
    """A time in the largest unit of which it has two or more."""
    size, unit = next((one for one in ((3600, "h"), (60, "min")) if seconds >= 2 * one[0]), (1, "s"))
    return f"{seconds / size:.0f} {unit}"


def _overfit(session: Session, batch: Batch, seconds: float = 30.0) -> Diagnosis:
    """A few tiles learnt by heart: proof that labels arrive and gradients flow."""
    few = {name: part[:4].to(session.fabric.device) for name, part in batch.items()}
    for settings in session.optimiser.param_groups:
        settings["lr"] = 3e-3
    losses: list[float] = []
    began, idle = time.monotonic(), _without_gradient(session, few)
    while len(losses) < 30 and (len(losses) < 8 or time.monotonic() - began < seconds):
        session.optimiser.zero_grad()
        losses.append(float(_loss(session, few)))
        session.optimiser.step()
    found = f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} steps on {len(few['tile'])} tiles"
    if idle:
        return Diagnosis(
            "overfit", Severity.WARN, f"{found}; no gradient reaches {', '.join(idle[:3])}", "look at that layer"
        )
    if not losses[-1] < 0.9 * losses[0]:
        return Diagnosis(
            "overfit",
            Severity.FAIL,
            f"{found}: it does not even learn these by heart",
            "check that labels belong to images, and the loss",
        )
    return Diagnosis("overfit", Severity.OK, found)


def _without_gradient(session: Session, batch: Batch) -> list[str]:
    net: nn.Module = session.net
    session.optimiser.zero_grad()
    _loss(session, batch)
    # The decays of a scan over a single pixel decide nothing: small tiles end in such a map.
    return [
        name
        for name, p in net.named_parameters()
        if p.requires_grad and not name.endswith("A_logs") and (p.grad is None or not p.grad.any())
    ]


def _loss(session: Session, batch: Batch) -> Tensor:
    """The loss of a batch, its gradient added to the net's."""
    session.model.train()
    target, counted = session.rule(batch["fraction"], batch["valid"])
    loss = session.loss(session.model(batch["image"]).float(), target, counted)
    session.fabric.backward(loss)
    return loss.detach()
