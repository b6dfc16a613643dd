"""Settings of a training run: one frozen model, saved in full with the run.

They come from the defaults, a YAML file and `--set key=value`, the later winning; `greentrain config` prints them all.
Settings end here: functions and nets take plain arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from greenschemas.errors import ConfigError
from greenschemas.frozen import Frozen, digest
from greenschemas.yaml_file import read_settings
from greentrain.data.augment import Augment
from greentrain.data.sampler import Order

__all__ = ["Config", "ModelConfig", "differences", "load_config"]


_EPOCHS, _STEPS = 120, 720
"""Epochs of a run that was given no number of them, and the fewest steps that it has all the same."""
_EXPLAINED = ConfigDict(use_attribute_docstrings=True)
"""So that `greentrain config` prints the text under each field."""


class ModelConfig(Frozen):
    """Which net; what is null is as the preset has it."""

    model_config = _EXPLAINED

    preset: str = "detail"
    """tiny, small or base (the published VM-UNet in three sizes), detail (full resolution, few states), unet."""
    scan: str = "auto"
    """Kernel of the selective scan: auto, reference, cpu, triton or mamba-ssm."""
    dims: tuple[int, ...] | None = None
    """Widths of the stages, the finest first."""
    depths: tuple[int, ...] | None = None
    """Blocks of each encoder stage."""
    depths_decoder: tuple[int, ...] | None = None
    """Blocks of each decoder stage, the coarsest first."""
    d_state: int | None = Field(None, ge=1)
    """States of the scan a channel."""
    drop_path: float | None = Field(None, ge=0, lt=1)
    """Largest probability with which a block is left out in training."""
    activation: Literal["silu", "gelu"] | None = None
    width: int | None = Field(None, ge=1)
    """Channels of the preset `unet` at full resolution."""
    arguments: dict[str, int | float | str | tuple[int, ...]] = Field(default_factory=dict)
    """Any further arguments of the preset's class, such as `spectral_width` of `detail`."""

    def overrides(self) -> dict[str, Any]:
        """What differs from the preset."""
        named = self.model_dump(exclude={"preset", "arguments"}, exclude_none=True, exclude_defaults=True)
        return named | self.arguments


class Config(Frozen):
    """All settings of `greentrain fit`."""

    model_config = _EXPLAINED

    seed: int = Field(0, ge=0, lt=2**32)
    """Decides weights, order and augmentation: the same seed gives the same run."""
    epochs: int | None = Field(None, ge=1)
    """Times that the net sees the train split, over which the schedule is laid out; null: 120, or until 720 steps."""
    batch_size: int = Field(8, ge=1)
    """Tiles in a step on each device, before `accumulate`; on small stores many small steps beat few large ones."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are added up before the weights move."""
    model: ModelConfig = ModelConfig()
    bands: str | tuple[str, ...] | None = None
    """Names such as B4,B8, role:reflectance, or pca:3 (pca:3:B2,B3,B4,B8); null for all feature bands."""
    normalise: Literal["channel", "global"] = "channel"
    """By each band's mean and deviation over the train split, or by those of all feature bands together."""
    input_clip: float | None = Field(4.0, gt=0)
    """Greatest distance from the mean that the net sees, in deviations; null for no limit."""
    target: str = "fractions"
    """`fractions` of a pixel, `hard` labels (the largest fraction), or one class by name against all others."""
    min_purity: float = Field(0.0, ge=0, le=1)
    """Pixels whose largest fraction is below it count in no loss and no score."""
    loss: str = "ce+dice"
    """A sum such as 0.3*ce+0.7*dice of: ce, dice, focal, tversky, lovasz."""
    class_weights: Literal["none", "inverse", "sqrt", "effective", "median"] = "sqrt"
    """Scheme of the weights that the store holds; with none, classes below half a percent may be lost."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    """Highest rate of AdamW. Not given: 2e-3 for detail, 1e-3 for any other net, 1e-4 with `pretrained`."""
    weight_decay: float = Field(0.05, ge=0)
    """Of matrices and convolutions; biases, norms and the scan's decays have none."""
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    """How the rate goes down after the warm-up, by step."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of all steps over which the rate rises."""
    rate_floor: float = Field(0.01, ge=0, le=1)
    """Lowest rate of cosine and plateau, as a share of the highest."""
    plateau_patience: int = Field(5, ge=1)
    """Schedule `plateau`: validations without a better score before the rate is divided by `plateau_divisor`."""
    plateau_divisor: float = Field(3.0, gt=1)
    gradient_clip: float | None = Field(1.0, gt=0)
    """Greatest norm of the gradient; null for no limit."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay of a moving average of the weights, which is then validated and kept; 0 for none."""
    augment: Augment = Augment()
    validate_every: int | None = Field(None, ge=1)
    """Epochs from one validation to the next, the last always among them; null: about 50 validations a run."""
    trees: bool = True
    """At the end fit gradient boosting to pixels and what is around them; averaged with the net where better on val."""
    patience: int = Field(20, ge=0)
    """Validations without a better mean IoU after which training stops; 0 never stops early; a cosine gains late."""
    order: Order = Order.RANDOM
    """random, blocks (of shards, for slow disks), weighted (rare classes more often) or sequential."""
    cache: Literal["auto", "none"] | float = "auto"
    """Memory for tiles: auto (half of what is free), none, or GB."""
    ahead: int = Field(4, ge=1)
    """Batches read ahead."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Kind of device; auto takes GPUs where torch sees any."""
    devices: int | Literal["auto"] = 1
    """Devices of this machine; under torchrun it decides."""
    compile: bool = False
    """Compile the net with torch.compile."""
    pretrained: Path | None = None
    """Checkpoint of VMamba or VM-UNet to start from."""
    stem: Literal["mean", "repeat", "copy-rgb", "random"] = "mean"
    """How a 3-band patch embedding of `pretrained` is made to fit the bands."""
    allow_partial: bool = False
    """Start from `pretrained` although it fills less than nine tenths of the encoder."""
    checkpoint_steps: int | None = Field(None, ge=1)
    """Also write a checkpoint every so many steps; null: at the ends of epochs and when told to stop."""
    checkpoint_keep: int = Field(2, ge=1)
    """Checkpoints kept beside `best`."""
    collapse_checks: int = Field(5, ge=1)
    """Validations in a row no better than a constant before the watchdog speaks up."""
    stop_on_collapse: bool = False

    @model_validator(mode="before")
    @classmethod
    def _defaults_suit_the_net(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        net = data.get("model")
        preset = net.get("preset", "detail") if isinstance(net, dict) else getattr(net, "preset", "detail")
        rate = 1e-4 if data.get("pretrained") else 2e-3 if preset == "detail" else 1e-3
        fitting = {"learning_rate": rate, "class_weights": "sqrt"}
        return data | {key: value for key, value in fitting.items() if data.get(key) is None}

    @field_validator("cache", mode="before")
    @classmethod
    def _cache_is_a_budget(cls, cache: Any) -> Any:
        if cache in ("auto", "none") or (isinstance(cache, int | float) and cache > 0):
            return cache
        raise ValueError("it is auto, none or a number of GB above 0")

    @field_validator("devices", mode="before")
    @classmethod
    def _devices_are_some(cls, devices: Any) -> Any:
        if devices == "auto" or (isinstance(devices, int) and devices >= 1):
            return devices
        raise ValueError("it is 1 or more, or auto")

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.augment.mix_tiles > 0 and self.target == "hard":
            raise ValueError("augment.mix_tiles blends labels: it needs target=fractions")
        return self

    def settled(self, tiles: int) -> Config:
        """With a number of epochs where none was given, for a train split of so many tiles, by one device's steps.

        On a handful of patches 120 epochs are too few steps for any net to come to its end.
        """
        if self.epochs is not None:
            return self
        steps = max(1, -(-tiles // (self.batch_size * self.accumulate)))
        return self.model_copy(update={"epochs": max(_EPOCHS, -(-_STEPS // steps))})

    @property
    def last_epoch(self) -> int:
        """Epochs of the whole run; there must be a number of them (`settled`)."""
        assert self.epochs is not None
        return self.epochs

    def validates_after(self, epoch: int) -> bool:
        """Whether there is a validation after that epoch (1 the first)."""
        every = self.validate_every or max(1, self.last_epoch // 50)
        return epoch % every == 0 or epoch == self.last_epoch

    def hash(self) -> str:
        """Digest of what decides the result of a run."""
        return digest(self.about_result())

    def about_result(self) -> dict[str, Any]:
        """The settings that a resumed run must share; where it runs and how it reads may change."""
        return self.model_dump(mode="json", exclude=set(_FREE))


_FREE = (
    "cache",
    "ahead",
    "checkpoint_steps",
    "checkpoint_keep",
    "stop_on_collapse",
    "collapse_checks",
    "accelerator",
    "devices",
    "compile",
)


def load_config(
    path: Path | None, changes: Iterable[str] = (), base: Config | None = None, settings: Mapping[str, Any] = {}
) -> Config:
    """The settings of a YAML file (None: those of `base`, or the defaults) with changes such as `epochs=5` on top.

    settings: more changes, by key and value; a mapping changes those keys of its section that it holds.
    Raises ConfigError for a file that cannot be read, an unknown key (naming the nearest) or an impossible value.
    """
    data: dict[str, Any] = {} if base is None else base.model_dump(mode="json")
    if path is not None:
        data = read_settings(path, ConfigError, "`greentrain config`")
    for change in changes:
        _put(data, change)
    _merge(data, settings)
    return Config.parse(path or "--set", data)


def _merge(data: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put changes into nested dicts, section by section."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(data.setdefault(key, {}), dict):
            _merge(data[key], value)
        else:
            data[key] = value


def _put(data: dict[str, Any], change: str) -> None:
    """Set the dotted key of `key=value` in nested dicts."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError("--set", f"`{change}`", "write it as key=value, such as epochs=5")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # the latter for a day that no calendar has
        value = text
    if isinstance(value, str):
        value = _number(value)
    *outer, last = key.split(".")
    for part in outer:
        inner = data.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError("--set", f"`{part}` of `{key}` holds {inner!r}", f"leave `.{last}` out")
        data = inner
    data[last] = value


def _number(text: str) -> float | str:
    """YAML takes 1e-3 for text; nobody else does."""
    try:
        return float(text)
    except ValueError:
        return text


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for each setting that differs, nested keys dotted."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a} -> {b}")
    return found
