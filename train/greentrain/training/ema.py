"""A moving average of the weights: steadier than the weights themselves, at the cost of one copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Ema"]


class Ema:
    """Exponential moving average of all floating state of a net (Polyak, Juditsky 1992; decay as in Tarvainen, Valpola
    2017, smaller in the first steps so that the random start is soon forgotten)."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: value.detach().clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the net's present weights."""
        self.updates += 1
        towards = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, towards)
            else:
                self.average[name].copy_(value)

    @contextmanager
    def applied(self, net: nn.Module) -> Iterator[None]:
        """The net with the averaged weights, inside the block."""
        own = {name: value.detach().clone() for name, value in net.state_dict().items()}
        net.load_state_dict(self.average)
        try:
            yield
        finally:
            net.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor | int | dict[str, Tensor]]:
        """For a checkpoint."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """From a checkpoint."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        for name, value in state["average"].items():
            self.average[name].copy_(value)
