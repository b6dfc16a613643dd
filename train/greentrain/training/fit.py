"""The training loop, from top to bottom in the order in which things happen: one file, so that it can be read so.

Letters: B tiles of a batch, C channels, K classes, H rows, W columns. A position is (seed, epoch, batch): with it and
the weights a run goes on bit for bit, because every step draws its chance from the position alone.

Several processes train as one would: each takes its slice of a global batch, and the loss is that of the whole of it
(logits and targets are gathered), so that Dice and means over pixels do not depend on how many there are. Batch
normalisation alone, of `detail` and `unet`, takes the statistics of each process's own tiles.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import pad

from greenschemas.console import Ticker, progress, say
from greenschemas.errors import ConfigError, GreenError
from greenschemas.files import write_whole
from greenschemas.lock import folder_writer
from greenschemas.store import Store
from greenschemas.yaml_file import commented_yaml
from greentrain.config import Config, differences
from greentrain.data.augment import Samples, augment, generator_for, seed_of
from greentrain.data.loader import Batch
from greentrain.data.normalise import lit_channels
from greentrain.nets.build import OwnNet
from greentrain.scores.validate import validate
from greentrain.training.checkpoint import (
    Checkpoint,
    describe_net,
    link_last,
    load_weights,
    newest_checkpoint,
    prune,
    write_checkpoint,
)
from greentrain.training.doctor import Diagnosis, Severity, quick_checks, stop_if_failed
from greentrain.training.record import Record, make_record, read_record, write_record
from greentrain.training.schedule import best_since, rate_share
from greentrain.training.session import OwnLoss, Position, Session, build_session, check_split, start_fabric
from greentrain.training.signals import StopSignals
from greentrain.training.trackers import Trackers, check_packages
from greentrain.training.watchdogs import Finding, find_collapse, find_non_finite, find_rising, first_non_finite

__all__ = ["FitResult", "TrainingError", "fit", "settings_of"]


class TrainingError(GreenError):
    """A run that must not go on."""


@dataclass(frozen=True)
class FitResult:
    """How a run ended."""

    status: str
    """finished, stopped early, or stopped by a signal."""
    signal: Signals | None
    epochs: int
    best: dict[str, Any] | None
    """Scores of the best validation, and its `epoch`; None where nothing was validated."""
    leader: bool
    """Whether this process speaks for all."""
    beside: str | None = None
    """The best scores beside those of trees on the same ground, in a sentence; None where there are none."""


def fit(
    store: Store,
    run: Path,
    config: Config,
    *,
    resume: bool = False,
    checkpoint: Checkpoint | None = None,
    allow_leak: bool = False,
    command: tuple[str, ...] = (),
    mlflow: bool = False,
    wandb: bool = False,
    model: OwnNet | None = None,
    loss: OwnLoss | None = None,
) -> FitResult:
    """Train on a store, into a folder; with `resume` go on from the newest whole checkpoint there.

    checkpoint: that checkpoint, where the caller has read it already (`newest_checkpoint`).
    model, loss: instead of what the settings say; a run that is resumed needs them again.
    Raises ConfigError and StoreError before training, TrainingError where a loss is not finite or, with
    `stop_on_collapse`, a watchdog finds something.
    """
    _check_folder(run, resume)
    check_packages(mlflow=mlflow, wandb=wandb)
    check_split(store, allow_leak)
    config = config.settled(len(store.usable_tiles("train")))
    checks, normaliser = quick_checks(store, config, allow_leak=allow_leak)
    stop_if_failed(checks, store.location)
    assert normaliser is not None  # else the check of the bands has failed
    with folder_writer(run, "greentrain fit") if _leads() else nullcontext():
        saved = _saved_state(store, run, config, checkpoint) if resume else None
        session = build_session(store, run, config, start_fabric(config), normaliser, model, loss)
        return _fit(session, saved, checks, command, mlflow=mlflow, wandb=wandb)


def _fit(
    session: Session,
    saved: Checkpoint | None,
    checks: list[Diagnosis],
    command: tuple[str, ...],
    *,
    mlflow: bool,
    wandb: bool,
) -> FitResult:
    run, config = session.run, session.config
    position = Position()
    if saved is not None:
        _restore(session, position, saved)
    first = session.fabric.is_global_zero
    trackers, began, worked = None, time.time(), time.process_time()
    before = read_record(run) if saved is not None else None
    record = _record(session, command, began, before)
    if first:
        _write_settings(run, config, record)
        trackers = Trackers(
            run, config.model_dump(mode="json"), step=position.step, epoch=position.epoch, mlflow=mlflow, wandb=wandb
        )
        _say_start(session, position, checks)
        if before is not None:
            _say_moved(before, record)
    status, stop = "failed", StopSignals()
    try:
        with stop:
            status = _train(session, position, trackers, stop)
    finally:
        if first and trackers is not None:
            trackers.close(status)
            spent = {"seconds": record.seconds + time.time() - began}
            if record.cpu_seconds is not None:
                spent["cpu_seconds"] = record.cpu_seconds + time.process_time() - worked
            write_record(run, record.model_copy(update={"status": status, **spent}))
    best = max(position.history, key=lambda scores: scores["mean"]["iou"] or 0.0, default=None)
    return FitResult(status, stop.received, position.epoch, best, first)


def _train(session: Session, position: Position, trackers: Trackers | None, stop: StopSignals) -> str:
    """Epochs until the end, an early stop or a signal; the status for the record."""
    config, fabric = session.config, session.fabric
    saving, saved_at = 0.0, time.monotonic()
    with progress("training", session.steps) if fabric.is_global_zero else nullcontext() as bar:
        if bar is not None:
            bar.advance(position.step)
        while position.epoch < config.last_epoch:
            for row in _epoch(session, position):
                _tell(trackers, bar, row)
                stopping = _any_rank(fabric, stop.received is not None)
                if stopping or (config.checkpoint_steps and position.step % config.checkpoint_steps == 0):
                    _save(session, position)
                if stopping:
                    return "stopped by a signal"
            row = _finish_epoch(session, position)
            _tell(trackers, None, row)
            ending = _ending(session, position, validated="val_iou" in row)
            # A checkpoint an epoch, unless writing them would take more than a tenth of the time.
            if _any_rank(fabric, bool(ending) or time.monotonic() - saved_at > 10 * saving):
                began = time.monotonic()
                _save(session, position)
                saved_at = time.monotonic()
                saving = saved_at - began
            if ending:
                return ending
    return "finished"


def _tell(trackers: Trackers | None, bar: Ticker | None, row: dict[str, Any]) -> None:
    """Numbers to the files, and a glimpse of them to the terminal; on the first process alone."""
    if bar is not None:
        bar.advance(1, f"loss {row['train_loss']:.4f}")
    if trackers is not None:
        trackers.write(row)
        if "train_loss" not in row:
            say(_line(row))


def _epoch(session: Session, position: Position) -> Iterator[dict[str, Any]]:
    """Train to the end of the present epoch; a row of numbers after each step."""
    config, batches = session.config, session.train.batches(position.epoch, position.batch)
    session.model.train()
    waited, began = 0.0, time.monotonic()
    while position.batch < len(session.train):
        asked = time.monotonic()
        size = min(config.accumulate, len(session.train) - position.batch)
        group = [next(batches) for _ in range(size)]
        waited += time.monotonic() - asked
        rate = config.learning_rate * _rate_share(session, position)
        for settings in session.optimiser.param_groups:
            settings["lr"] = rate
        loss = _step(session, position, group)
        position.step += 1
        position.loss_sum += loss
        position.loss_steps += 1
        yield {
            "epoch": position.epoch + 1,
            "step": position.step,
            "train_loss": loss,
            "learning_rate": rate,
            "waited_share": waited / max(time.monotonic() - began, 1e-9),
        }


def _step(session: Session, position: Position, group: list[Batch]) -> float:
    """Move the weights once, by the gradient of the batches in `group`; the mean of their losses."""
    config, fabric = session.config, session.fabric
    total = 0.0
    for i, batch in enumerate(group):
        # What torch itself draws (drop path) is different at every step, and follows from the position alone.
        torch.manual_seed(seed_of("net", config.seed, position.epoch, position.batch, fabric.global_rank))
        batch = _filled(batch, session)
        image, fraction, valid = _augmented(batch, session, position)  # (B, C, H, W), (B, K, H, W), (B, H, W)
        target, counted = session.rule(fraction, valid)  # (B, K, H, W), (B, H, W)
        with fabric.no_backward_sync(session.model, enabled=i + 1 < len(group)):
            logits = session.model(image)  # (B, K, H, W)
            loss = session.loss(*_of_all_ranks(fabric, logits.float(), target, counted))
            value = float(loss.detach())
            _stop_if_not_finite(session, position, value, batch, image)
            # Times the number of ranks, because DistributedDataParallel takes the mean over them and not the sum.
            fabric.backward(loss * (fabric.world_size / len(group)))
        total += value
        position.batch += 1
    if config.gradient_clip is not None:
        norm = fabric.clip_gradients(
            session.model, session.optimiser, max_norm=config.gradient_clip, error_if_nonfinite=False
        )
        if config.precision != "16-mixed":  # whose scaler leaves such steps out by itself
            _stop_if_not_finite(session, position, float(norm if norm is not None else 0.0), group[-1], image)
    session.optimiser.step()
    session.optimiser.zero_grad()
    if session.ema is not None:
        session.ema.update(session.net)
    return total / len(group)


def _augmented(batch: Batch, session: Session, position: Position) -> Samples:
    chance = generator_for(session.config.seed, position.epoch, position.batch, session.fabric.global_rank)
    ground = _ground(session.store, batch["tile"]) if session.config.augment.mix_times > 0 else None
    return augment(
        Samples(batch["image"], batch["fraction"], batch["valid"]),
        session.config.augment,
        chance,
        blend_labels=not session.rule.hard,
        ground=ground,
        lit=lit_channels(session.store.contract, session.normaliser),
    )


def _ground(store: Store, tiles: Tensor) -> Tensor:
    """(B,) a number for each piece of ground: group, row and column of the tile."""
    numbers = torch.from_numpy(store.tile_group()), *(torch.from_numpy(store.read(n)) for n in ("row", "col"))
    keys = torch.stack([values[tiles.cpu()] for values in numbers], 1)
    ground: Tensor = torch.unique(keys, dim=0, return_inverse=True)[1]
    return ground


def _filled(batch: Batch, session: Session) -> Batch:
    """As many tiles as every other rank has, those added not counting in anything."""
    world = session.fabric.world_size
    if world == 1:
        return batch
    most = torch.tensor(len(batch["tile"]), device=session.fabric.device)
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    missing = int(most) - len(batch["tile"])
    if missing == 0:
        return batch
    blank = {"image": 0.0, "fraction": float("nan"), "valid": False, "tile": -1}
    return {
        name: pad(part, (0, 0) * (part.dim() - 1) + (0, missing), value=blank[name]) for name, part in batch.items()
    }


def _of_all_ranks(fabric: Fabric, logits: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """The tensors of a global batch on every rank, so that each computes the same loss, that of one process.

    The gradient flows into this rank's own logits alone: DistributedDataParallel adds up what the ranks give.
    """
    if fabric.world_size == 1:
        return logits, *rest
    others = fabric.all_gather(logits.detach())
    own = [logits if rank == fabric.global_rank else other for rank, other in enumerate(others)]
    gathered = [fabric.all_gather(part.to(torch.uint8) if part.dtype == torch.bool else part) for part in rest]
    return torch.cat(own), *(part.flatten(0, 1) for part in gathered)  # type: ignore[union-attr]


def _stop_if_not_finite(session: Session, position: Position, value: float, batch: Batch, image: Tensor) -> None:
    finding = find_non_finite(value, batch["tile"].tolist(), None)
    if finding is None:
        return
    finding = find_non_finite(value, batch["tile"].tolist(), first_non_finite(session.net, image))
    where = f"{session.run}, epoch {position.epoch + 1}, step {position.step + 1}"
    raise TrainingError(
        where,
        str(finding),
        "the last checkpoint is from before; mend the cause and start a new run, or go on from it with --resume",
    )


def _finish_epoch(session: Session, position: Position) -> dict[str, Any]:
    """Validate, count the epoch, keep the net if it is the best so far; the row of numbers."""
    fabric = session.fabric
    position.losses.append(position.loss_sum / max(position.loss_steps, 1))
    position.epoch, position.batch, position.loss_sum, position.loss_steps = position.epoch + 1, 0, 0.0, 0
    row: dict[str, Any] = {"epoch": position.epoch, "step": position.step, "mean_train_loss": position.losses[-1]}
    if session.val is not None and not session.config.validates_after(position.epoch):
        return row
    with session.ema.applied(session.net) if session.ema is not None else nullcontext():
        if session.val is None:
            if fabric.is_global_zero:
                _save_best(session, position)
            return row
        seen = validate(session.net, session.val, session.rule, session.loss, fabric.device, fabric.autocast)
        position.history.append({"epoch": position.epoch, **seen.scores})
        position.temperature = seen.temperature
        if best_since(position.scores) == 0 and fabric.is_global_zero:
            _save_best(session, position)
    return {
        **row,
        "val_loss": seen.loss,
        "temperature": seen.temperature,
        "val_iou": seen.scores["mean"]["iou"],
        "constant_iou": seen.scores["constant"]["mean"]["iou"],
        **seen.scores,
    }


def _ending(session: Session, position: Position, *, validated: bool) -> str | None:
    """Why to end after this epoch, if so; says on the way what the watchdogs find."""
    config = session.config
    findings = [find_rising(position.losses)]
    if validated:
        findings.append(find_collapse(position.history, checks=config.collapse_checks))
    for finding in findings:
        if finding is not None:
            _warn_or_end(session, position, finding)
    if position.epoch >= config.last_epoch:
        return "finished"
    if config.patience and best_since(position.scores) >= config.patience:
        return "stopped early"
    return None


def _warn_or_end(session: Session, position: Position, finding: Finding) -> None:
    if session.config.stop_on_collapse:
        _save(session, position)
        raise TrainingError(
            f"{session.run}, epoch {position.epoch}",
            str(finding),
            "look at the causes in their order; `greentrain doctor` checks most of them",
        )
    if session.fabric.is_global_zero:
        say(f"WARNING {finding}")


def _save(session: Session, position: Position) -> None:
    """A checkpoint from which training goes on bit for bit."""
    if not session.fabric.is_global_zero:
        return
    path = session.run / "checkpoints" / f"step-{position.step:08d}.pt"
    scaler = getattr(session.fabric.strategy.precision, "scaler", None)
    write_checkpoint(
        path,
        {
            **describe_net(session.normaliser, session.store.contract, session.config, session.own),
            "weights": session.net.state_dict(),
            "optimiser": session.optimiser.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "ema": None if session.ema is None else session.ema.state_dict(),
            "position": dict(vars(position)),
            "global_batch": session.config.batch_size * session.fabric.world_size,
        },
    )
    link_last(path)
    prune(session.run, session.config.checkpoint_keep)


def _save_best(session: Session, position: Position) -> None:
    """What prediction needs of the net as it is."""
    write_checkpoint(
        session.run / "checkpoints" / "best.pt",
        {
            **describe_net(session.normaliser, session.store.contract, session.config, session.own),
            "weights": session.net.state_dict(),
            "position": dict(vars(position)),
        },
    )


def _restore(session: Session, position: Position, saved: Checkpoint) -> None:
    """Put a run back to where its checkpoint was written."""
    if (before := saved.get("own", {})) != session.own:
        raise ConfigError(
            "--resume",
            f"the run has {_brought(before)}, now {_brought(session.own)}",
            "give greentrain.fit the same `model` and `loss` again",
        )
    now = session.config.batch_size * session.fabric.world_size
    if saved["global_batch"] != now:
        raise ConfigError(
            "--resume",
            f"batches of {saved['global_batch']} tiles over all devices, now {now}",
            "set batch_size and devices so that their product is the same",
        )
    name = session.own.get("model") or session.config.model.preset
    load_weights(session.net, saved["weights"], session.run / "checkpoints", name)
    session.optimiser.load_state_dict(saved["optimiser"])
    if saved["scaler"] is not None:
        session.fabric.strategy.precision.scaler.load_state_dict(saved["scaler"])  # type: ignore[attr-defined]
    if session.ema is not None:
        session.ema.load_state_dict(saved["ema"])
    for name, value in saved["position"].items():
        setattr(position, name, value)


def _brought(own: Mapping[str, str]) -> str:
    return " and ".join(f"its caller's {key} `{name}`" for key, name in own.items()) or "the settings' model and loss"


def _leads() -> bool:
    """Whether this is the first process of a run, which holds the lock for all: as whoever started them all says."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _check_folder(run: Path, resume: bool) -> None:
    """Raise ConfigError for a folder in a store, or with a run that is not to be resumed."""
    if inside := [path for path in (run.absolute(), *run.absolute().parents) if (path / "zarr.json").exists()]:
        raise ConfigError("--out", f"{run} is in the store {inside[0]}", "give a folder outside of it")
    if not resume and (run / "run.json").exists():
        raise ConfigError(run, "it holds a run already", "go on with it by --resume, or give another --out")


def _saved_state(store: Store, run: Path, config: Config, checkpoint: Checkpoint | None) -> Checkpoint | None:
    """The checkpoint to go on from, None to start anew.

    checkpoint: what was the newest before the run's folder was locked. Raises ConfigError for another store or other
    settings than the checkpoint was made of.
    """
    known = "" if checkpoint is None else checkpoint["newest_file"]
    newer = any(path.name > known for path in (run / "checkpoints").glob("step-*.pt"))
    saved = newest_checkpoint(run) if newer else checkpoint
    if saved is None:
        return None
    before = settings_of(run, saved)
    if changed := differences(before.about_result(), config.about_result()):
        raise ConfigError(
            "--resume",
            f"other settings than the run's: {'; '.join(changed)}",
            "leave them as they were, or start a new run with another --out",
        )
    if saved["store_hash"] != store.contract.identity():
        # Digests follow from the rest, and would come first.
        old, new = saved["contract"] | {"digests": {}}, store.contract.model_dump(mode="json") | {"digests": {}}
        changed = differences(old, new) or ["its arrays hold something else"]
        raise ConfigError(
            "--resume",
            f"{store.location} has changed since: {'; '.join(changed)[:500]}",
            "start a new run with another --out",
        )
    return saved


def _record(session: Session, command: tuple[str, ...], now: float, before: Record | None) -> Record:
    contract, device = session.store.contract, session.fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    location = session.store.location
    record = make_record(
        command,
        location if "://" in location else str(Path(location).resolve()),
        contract.identity(),
        contract.recipe,
        contract.recipe_hash,
        session.config.hash(),
        f"{session.fabric.world_size} x {device.type} ({name})",
    )
    if before is None:
        return record.model_copy(update={"starts": (now,), "cpu_seconds": 0.0, "own": session.own})
    spent = {"seconds": before.seconds, "cpu_seconds": before.cpu_seconds}
    return record.model_copy(update={"starts": (*before.starts, now), "own": session.own, **spent})


def _write_settings(run: Path, config: Config, record: Record) -> None:
    write_record(run, record)
    write_whole(run / "config.yaml", commented_yaml(config))


def _say_start(session: Session, position: Position, checks: list[Diagnosis]) -> None:
    for check in checks:
        if check.level is not Severity.OK:
            say(f"WARNING {check.name}: {check.found}. {check.remedy}")
    size = sum(p.numel() for p in session.net.parameters())
    kept = "kept in memory" if session.train.cached else "streamed from the store"
    net = session.own.get("model", session.config.model.preset)
    say(
        f"{net}: {size / 1e6:.2f} M parameters, {session.normaliser.channels} channels, "
        f"{len(session.rule.classes)} classes, on {session.fabric.world_size} x {session.fabric.device.type}; "
        f"{len(session.train.sampler.tiles)} tiles, {kept}"
    )
    if position.step:
        say(f"going on after epoch {position.epoch}, step {position.step} of {session.steps}")


def _say_moved(before: Record, now: Record) -> None:
    """Sums are taken in another order by another device, number of threads or version."""
    if changed := differences(before.surroundings, now.surroundings):
        say(f"WARNING resumed elsewhere ({'; '.join(changed)}): it goes on, but not bit for bit as it would have there")


def _line(row: dict[str, Any]) -> str:
    text = f"epoch {row['epoch']}  loss {row['mean_train_loss']:.4f}"
    if row.get("val_iou") is None:
        return text
    return f"{text}  val loss {row['val_loss']:.4f}  mean IoU {row['val_iou']:.4f} (constant {row['constant_iou']:.4f})"


def _rate_share(session: Session, position: Position) -> float:
    config = session.config
    return rate_share(
        position.step,
        session.steps,
        warmup=config.warmup,
        kind=config.schedule,
        floor=config.rate_floor,
        scores=position.scores,
        patience=config.plateau_patience,
        divisor=config.plateau_divisor,
    )


def _any_rank(fabric: Fabric, here: bool) -> bool:
    """Whether it is so on any process: all must stop, or write, at the same step."""
    if fabric.world_size == 1:
        return here
    return bool(fabric.all_reduce(torch.tensor(float(here), device=fabric.device), reduce_op="max"))


def settings_of(run: Path, checkpoint: Checkpoint) -> Config:
    """The settings that a run's checkpoint was made with."""
    return Config.parse(run / "checkpoints", checkpoint["config"])
