"""From settings to a net: the one place where a name in the settings becomes a module."""

from __future__ import annotations

import torch
from torch import nn

from greenschemas.errors import ConfigError
from greentrain.config import ModelConfig
from greentrain.nets.presets import build_model
from greentrain.nets.unet import UNet

__all__ = ["build_net"]


def build_net(model: ModelConfig, channels: int, classes: int) -> nn.Module:
    """A net from (B, channels, H, W) to logits (B, classes, H, W), with random weights.

    Raises ConfigError for an unknown preset and for a net that cannot be.
    """
    try:
        net = build_model(model.preset, channels, classes, **model.overrides())
    except TypeError as problem:
        raise ConfigError(
            f"model.preset {model.preset}", str(problem), "leave out what the preset does not take"
        ) from None
    # Channels-last suits convolutions on the CPU: the plain U-Net takes two thirds of the time. Ours is so inside.
    return net.to(memory_format=torch.channels_last) if isinstance(net, UNet) else net  # type: ignore[call-overload]
