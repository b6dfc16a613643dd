"""Devices by name: the CPU, or a GPU that torch can use here."""

from __future__ import annotations

import torch

from greenschemas.errors import ConfigError

__all__ = ["find_device"]


def find_device(name: str, setting: str) -> torch.device:
    """`cpu`, `cuda` or `cuda:N`; for `auto` a GPU where there is one.

    setting: option or key that the name came from, for the message. Raises ConfigError for what is not there.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{number}" for number in range(gpus))]
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if name not in here:
        raise ConfigError(
            setting, f"`{name}`, and torch {torch.__version__} sees {', '.join(here)}", "choose one of these, or auto"
        )
    return torch.device(name)
