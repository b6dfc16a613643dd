"""From settings to a net: the one place where a name in the settings becomes a module."""

from __future__ import annotations

from torch import nn

from greenschemas.errors import ConfigError
from greentrain.config import ModelConfig
from greentrain.presets import build_model

__all__ = ["build_net"]


def build_net(model: ModelConfig, channels: int, classes: int) -> nn.Module:
    """A net from (B, channels, H, W) to logits (B, classes, H, W), with random weights.

    Raises ConfigError for an unknown preset and for a net that cannot be.
    """
    try:
        return build_model(model.preset, channels, classes, **model.overrides())
    except TypeError as problem:
        raise ConfigError(f"model.preset {model.preset}", str(problem),
                          "leave out what the preset does not take") from None
