"""A trained net as a program that runs without this package (torch.export)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["export_model"]


def export_model(model: nn.Module, example: Tensor, path: Path | str) -> float:
    """Write `model`, in evaluation mode, as a program for inputs of the shape of `example` and any batch size.

    Load it with `torch.export.load(path).module()`. The scan is written out in plain operators. Returns the largest
    difference between the loaded program's output and the net's, on `example`. The net must have been built with
    `scan="auto"`: other kernels would be needed where the program runs.
    """
    was_training = model.training
    model.eval()
    try:
        batch = torch.export.Dim("batch", min=1)
        two = example if len(example) > 1 else torch.cat([example, example])  # a batch of 1 would be taken as fixed
        program = torch.export.export(model, (two,), dynamic_shapes=({0: batch},))
        torch.export.save(program, path)
        with torch.inference_mode():
            found = torch.export.load(path).module()(example)
            return float((found - model(example)).abs().max())
    finally:
        model.train(was_training)
