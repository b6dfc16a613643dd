"""From settings, or from what the caller brings, to a net: the one place where a name becomes a module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from greenschemas.errors import ConfigError
from greentrain.config import ModelConfig
from greentrain.nets.presets import build_model
from greentrain.nets.unet import UNet

__all__ = ["OwnNet", "build_net", "name_of", "own_net"]

OwnNet = nn.Module | Callable[[int, int], nn.Module]
"""A net that is none of ours: a module, or a function (or class) of (channels, classes) that makes one."""


def build_net(model: ModelConfig, channels: int, classes: int) -> nn.Module:
    """A net from (B, channels, H, W) to logits (B, classes, H, W), with random weights.

    Raises ConfigError for an unknown preset and for a net that cannot be.
    """
    net = build_model(model.preset, channels, classes, **model.overrides())
    # Channels-last suits convolutions on the CPU: the plain U-Net takes two thirds of the time. Ours is so inside.
    return net.to(memory_format=torch.channels_last) if isinstance(net, UNet) else net  # type: ignore[call-overload]


def own_net(given: OwnNet, channels: int, classes: int, size: int) -> nn.Module:
    """The net that the caller brings, tried on one blank tile of `size` pixels a side.

    Raises ConfigError where it is no net, or does not give logits (1, classes, size, size) of an image
    (1, channels, size, size).
    """
    net = given if isinstance(given, nn.Module) else given(channels, classes)
    if not isinstance(net, nn.Module):
        raise ConfigError(
            "model",
            f"`{name_of(given)}` gave {type(net).__name__}",
            "give a torch.nn.Module, or a function that makes one",
        )
    training, parameter = net.training, next(net.parameters(), None)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            out = net.eval()(
                torch.zeros(1, channels, size, size, device=None if parameter is None else parameter.device)
            )
    finally:
        net.train(training)
    found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    if found != (1, classes, size, size):
        raise ConfigError(
            "model",
            f"`{name_of(given)}` gives {found} of an image (1, {channels}, {size}, {size})",
            f"let it give logits (1, {classes}, {size}, {size})",
        )
    return net


def name_of(given: object) -> str:
    """What a function or class is called, or the class of anything else."""
    return str(getattr(given, "__qualname__", type(given).__qualname__))
