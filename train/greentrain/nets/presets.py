"""The nets that can be asked for by name, with their plain arguments, and what a net costs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from greenschemas.errors import ConfigError, nearest
from greentrain.nets.detail import DetailUNet
from greentrain.nets.unet import UNet
from greentrain.nets.vmunet import SS2D, VMUNet

__all__ = ["PRESETS", "Cost", "build_model", "cost"]

PRESETS: Final = ("tiny", "small", "base", "detail", "unet")
"""`base` is the published net; `tiny` is for tests and demonstrations, `small` for a laptop. `detail` is ours: full
resolution, few states. `unet` is the plain convolutional net that they have to beat."""


def build_model(preset: str, in_channels: int, num_classes: int, **overrides: Any) -> nn.Module:
    """A fresh net; `overrides` are arguments of its class that replace the preset's.

    Raises ConfigError for an unknown preset or argument, and for values that cannot be.
    """
    net, plan = _plan(preset)
    known = set(inspect.signature(net).parameters) - {"in_channels", "num_classes"}
    for key in overrides.keys() - known:
        raise ConfigError(f"model.{key}", f"the preset `{preset}` has no such argument", nearest(key, known))
    try:
        return net(in_channels, num_classes, **(plan | overrides))
    except ConfigError:
        raise
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"model.preset {preset}", str(problem), "change the values of `model.…`") from None


def _plan(preset: str) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """The class of a preset, and what differs from the defaults of its arguments."""
    match preset:
        case "tiny":
            plan = {"dims": (16, 32, 64, 128), "depths": (1, 1, 1, 1), "depths_decoder": (1, 1, 1, 1)}
            return VMUNet, {**plan, "d_state": 4, "drop_path": 0.0}
        case "small":
            return VMUNet, {"dims": (48, 96, 192, 384), "drop_path": 0.1}  # depths as published
        case "base":
            return VMUNet, {}
        case "detail":
            return DetailUNet, {}
        case "unet":
            return UNet, {}
    raise ConfigError("model.preset", f"{preset!r} is not known", nearest(preset, PRESETS))


@dataclass(frozen=True)
class Cost:
    """What one forward pass of one sample takes."""

    parameters: int
    multiply_adds: int
    """Of convolutions, linear layers and scans (three a state and step: decay, input, output); norms are left out."""


def cost(model: nn.Module, in_channels: int, size: int) -> Cost:
    """Count a net's parameters and its multiply-adds on a square of `size` pixels.

    The net runs once; a net on the `meta` device is counted without computing anything.
    """
    total = 0

    def linear(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Linear)
        total += out.numel() * module.in_features

    def convolution(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += out.numel() * module.weight[0].numel()

    def cross_scan(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal total
        assert isinstance(module, SS2D)
        pixels = inputs[0].shape[0] * inputs[0].shape[1] * inputs[0].shape[2]
        projections = module.x_proj_weight.numel() + module.dt_projs_weight.numel()
        total += pixels * (projections + 3 * module.A_logs.numel() + module.Ds.numel())

    hooks = {nn.Linear: linear, nn.Conv2d: convolution, SS2D: cross_scan}
    handles = [m.register_forward_hook(hooks[type(m)]) for m in model.modules() if type(m) in hooks]
    parameter = next(model.parameters())
    was_training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, in_channels, size, size, dtype=parameter.dtype, device=parameter.device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return Cost(sum(p.numel() for p in model.parameters()), total)
