"""The net of a run, with its normaliser, as a program that runs without this package."""

from __future__ import annotations

from pathlib import Path

import torch

from greenschemas.console import say
from greenschemas.decoding import encoded
from greentrain.nets.export import Agreement, FromRaw, export_model
from greentrain.training.checkpoint import load_trained

__all__ = ["export_run"]


def export_run(run: Path, path: Path, which: str = "best") -> Agreement:
    """Write the net of a run to a .pt2 or .onnx, and say how near its logits are to the run's.

    The net alone: where a run predicts with trees beside it, these do not go into the program, which is said.

    The program takes raw values (B, C, H, W), float32, NaN where a pixel has none, of the run's tile size and any
    batch size, and gives logits (B, K, H, W). Bands, classes, the normaliser and the temperature stand in it as JSON.

    Raises ConfigError as `load_trained` and `export_model` do.
    """
    trained = load_trained(run, which)
    if trained.trees is not None:
        say(f"WARNING {run}: it predicts by the mean of net and trees; the file holds the net alone.")
    seen, size = trained.normaliser, trained.contract.tile_size
    mean, scale = torch.from_numpy(seen.mean), torch.from_numpy(seen.scale)
    projection = None if seen.projection is None else torch.from_numpy(seen.projection)
    # Values as usual in the train split, some pixels missing; two samples, as a batch of one would be taken for fixed.
    chance = torch.Generator().manual_seed(0)
    spread = torch.where(scale > 0, 1 / scale, 0.0).view(1, -1, 1, 1)
    raw = mean.view(1, -1, 1, 1) + spread * torch.randn(2, len(mean), size, size, generator=chance)
    if seen.how:
        raw = torch.from_numpy(encoded(raw.numpy().swapaxes(0, 1), seen.how).swapaxes(0, 1).copy())
    raw[:, :, : size // 8, : size // 8] = torch.nan
    about = {
        "bands": list(seen.bands),
        "classes": list(trained.rule.classes),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "clip": seen.clip,
        "decode": list(seen.how),
        "temperature": trained.temperature,
        "run": trained.identity,
    }
    return export_model(
        FromRaw(trained.net, mean, scale, seen.clip, projection, [how is not None for how in seen.how]),
        raw,
        path,
        about,
    )
