"""Batch normalisation (Ioffe, Szegedy 2015) that also takes the smallest batch there is."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm2d):
    """Where a batch has one value a channel, which has no spread, by the statistics gathered so far."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
