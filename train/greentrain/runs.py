"""A run in Python: train one, open one, predict with it. The commands of `greentrain` call the same functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from greenschemas.store import Store, open_store
from greentrain.config import Config, load_config
from greentrain.devices import find_device
from greentrain.maps.in_memory import is_labelled, predict_array, predict_labelled
from greentrain.nets.build import OwnNet
from greentrain.study.beside_trees import beside_trees
from greentrain.study.run_report import write_run_report
from greentrain.training.checkpoint import Trained, load_trained, newest_checkpoint
from greentrain.training.fit import FitResult, settings_of
from greentrain.training.fit import fit as train
from greentrain.training.session import OwnLoss

__all__ = ["Run", "fit", "load_run"]


def fit(
    store: str | Path | Store,
    out: str | Path,
    *,
    config: str | Path | None = None,
    changes: Iterable[str] = (),
    model: OwnNet | str | Mapping[str, Any] | None = None,
    loss: OwnLoss | str | None = None,
    resume: bool = False,
    allow_leak: bool = False,
    mlflow: bool = False,
    wandb: bool = False,
    command: tuple[str, ...] = ("greentrain.fit",),
    **settings: Any,
) -> FitResult:
    """Train on a store into the folder `out`, and write its report: what the command `greentrain fit` does.

    config: YAML file of settings; changes: `key=value` as after `--set`; settings: by keyword, such as `epochs=5` or
    `augment={"crop": 64}`, the last of these three winning.
    model: a preset's name, its settings, or a net of your own: a torch.nn.Module of (B, C, H, W) to logits (B, K, H,
    W), or a function or class of (channels, classes) that makes one.
    loss: as in the settings, or any function of logits (B, K, H, W), fractions (B, K, H, W), 0 where nothing counts,
    and the mask of what counts (B, H, W), to a scalar.
    resume: go on from the newest checkpoint in `out`. command: what the record says that was called.
    Raises ConfigError and StoreError before training, TrainingError where it must not go on.
    """
    out, named = Path(out), dict(settings)
    own = None if model is None or isinstance(model, str | Mapping) else model
    if isinstance(model, str):
        named["model"] = {"preset": model}
    elif isinstance(model, Mapping):
        named["model"] = dict(model)
    if isinstance(loss, str):
        named["loss"] = loss
    saved = newest_checkpoint(out) if resume else None
    base = None if saved is None else settings_of(out, saved)
    wanted: Config = load_config(None if config is None else Path(config), changes, base, named)
    opened = store if isinstance(store, Store) else open_store(store)
    result = train(
        opened,
        out,
        wanted,
        resume=resume,
        checkpoint=saved,
        allow_leak=allow_leak,
        command=command,
        mlflow=mlflow,
        wandb=wandb,
        model=own,
        loss=None if isinstance(loss, str) else loss,
    )
    if result.leader and result.signal is None:
        beside = None if result.best is None else beside_trees(out, opened, result.best, own)
        write_run_report(out, model=own)
        if beside is not None:
            return replace(result, beside=str(beside))
    return result


@dataclass(frozen=True)
class Run:
    """A trained net with all that is needed to use it on new images; made by `load_run`."""

    folder: Path
    trained: Trained

    @property
    def net(self) -> nn.Module:
        """In evaluation mode, on its device; takes normalised images, see `trained.normaliser`."""
        return self.trained.net

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return self.trained.rule.classes

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands that the net sees, in its order."""
        return self.trained.normaliser.bands

    def predict(
        self, image: Any, *, window: int | None = None, overlap: float = 0.5, batch_size: int = 8, flips: bool = False
    ) -> Any:
        """Fractions (K, H, W) of an image (bands, H, W) of any size, NaN where it cannot be used.

        image: a NumPy array of all bands of the store, or of `bands`, in their order; or an xarray.DataArray with the
        axes y and x, as `Store.source` and rioxarray give, whose bands go by name. Values as in the store: what
        `greentrain predict` finds out about a file's units and offsets is not looked for here.
        window: pixels a side that the net sees at once, by default its tiles'; overlap: share of a window that the next
        one sees again; batch_size: windows at once; flips: mean over the four mirror images.
        A DataArray is answered by a DataArray (class, y, x) with the image's CRS and transform, an array by an array.
        Raises ConfigError where bands are missing.
        """
        how: dict[str, Any] = {"window": window, "overlap": overlap, "batch_size": batch_size, "flips": flips}
        if is_labelled(image):
            return predict_labelled(self.trained, image, **how)
        return predict_array(self.trained, image, **how)


def load_run(run: str | Path, which: str = "best", *, model: OwnNet | None = None, device: str = "auto") -> Run:
    """The net of a run's folder, `best` or `last`, ready to predict.

    model: the net that `fit` was given, if it was; device: auto, cpu, cuda or cuda:N. Raises ConfigError where there is
    no run, or no such device.
    """
    where = find_device(device, "device")
    trained = load_trained(Path(run), which, model)
    trained.net.to(where)
    return Run(Path(run), trained)
