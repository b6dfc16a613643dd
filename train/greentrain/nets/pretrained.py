"""Weights of a VMamba or VM-UNet checkpoint for a VM-UNet of any bands and classes.

A VM-UNet's keys are taken as they are. Of a VMamba (first version only: the later ones are other networks), the encoder
takes the keys of equal name, and the decoder the same stages once more from the other end: `layers.0` also fills
`layers_up.3`, and so on, but for the downsampling (Ruan, Li, Xiang: VM-UNet, 2024). What a checkpoint has not (the
upsampling, the head) stays as it was.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from greenschemas.errors import ConfigError

__all__ = ["STEMS", "LoadReport", "PretrainedError", "adapt_stem", "load_pretrained", "read_weights"]

Stem = Literal["mean", "repeat", "copy-rgb", "random"]
STEMS: tuple[Stem, ...] = ("mean", "repeat", "copy-rgb", "random")
"""How bands that the checkpoint does not know get their weights; see `adapt_stem`."""

RGB = ("red", "green", "blue")
"""The order of a pretrained stem's three channels."""

STEM = "patch_embed.proj.weight"
HEAD = ("final_conv.weight", "final_conv.bias")
ENOUGH = 0.9

VERSIONS = (
    (r"(^|\.)op\.", "a later VMamba (its blocks hold `op`)"),
    (r"\.mlp\.fc1\.", "a later VMamba, with feed-forward parts"),
    (r"self_attention\.x_proj\.\d", "VMamba's development version, with unmerged projections"),
    (r"(^|\.)(mixer|mamba)\.", "a network of plain Mamba blocks, such as Vision Mamba"),
    (r"attn\.relative_position_bias_table", "a Swin Transformer"),
)
"""Networks that do not fit, by keys that only they have."""


class PretrainedError(ConfigError):
    """A checkpoint that cannot be read, or does not fit."""


@dataclass(frozen=True)
class LoadReport:
    """What came from the checkpoint."""

    loaded: float
    """Share of the net's parameters."""

    encoder: float
    """Share of the parameters of patch_embed and layers."""

    fresh: tuple[str, ...]
    """Keys of the net that kept their own values."""

    unused: tuple[str, ...]
    """Keys of the checkpoint that went nowhere."""

    adapted: tuple[str, ...]
    """Keys whose values were made to fit: the stem, for other bands."""

    def __str__(self) -> str:
        lines = [f"{self.loaded:.1%} of the parameters loaded, {self.encoder:.1%} of the encoder's"]
        for title, keys in (("adapted", self.adapted), ("fresh", self.fresh), ("unused", self.unused)):
            if keys:
                shown = ", ".join(keys[:6]) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
                lines.append(f"{title} ({len(keys)}): {shown}")
        return "\n".join(lines)


def load_pretrained(
    model: nn.Module,
    path: Path | str,
    *,
    bands: Sequence[str | None],
    stem: Stem = "mean",
    allow_partial: bool = False,
    seed: int = 0,
) -> LoadReport:
    """Fill `model`, a VM-UNet, from a checkpoint; `bands` are its channels' common names (red, nir, …) or None.

    A head for another number of classes stays fresh. Raises PretrainedError if the file cannot be read, holds another
    network, has a weight of another shape, or fills less than 90 percent of the encoder (unless `allow_partial`).
    """
    path = Path(path)
    own = model.state_dict()
    if STEM not in own:
        raise PretrainedError(
            path, f"a net without `{STEM}` takes none of its weights", "set `model.preset` to base, small or tiny"
        )
    weights = read_weights(path)
    _refuse_other_networks(path, weights)
    filled, used = _assign(own, weights, stages=_stages(own))
    adapted = []
    if _wants_adapting(own, filled, bands):
        filled[STEM] = adapt_stem(filled[STEM], bands, stem, seed=seed)
        adapted.append(STEM)
    if any(key in filled and filled[key].shape != own[key].shape for key in HEAD):
        for key in HEAD:
            used.discard(key)
            filled.pop(key, None)
    _refuse_other_shapes(path, own, filled)
    report = LoadReport(
        loaded=_share(own, filled, ""),
        encoder=_share(own, filled, ("patch_embed.", "layers.")),
        fresh=tuple(key for key in own if key not in filled),
        unused=tuple(sorted(key for key in weights if key not in used)),
        adapted=tuple(adapted),
    )
    if report.encoder < ENOUGH and not allow_partial:
        found = f"fills {report.encoder:.1%} of the encoder; missing: {', '.join(report.fresh[:5])}"
        raise PretrainedError(path, found, "give the net the checkpoint's depths and dims, or allow a partial load")
    model.load_state_dict(own | {key: value.to(own[key].dtype) for key, value in filled.items()})
    return report


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by key, without wrappers (`model`, `state_dict`, `vmunet.`, …)."""
    if not path.is_file():
        raise PretrainedError(path, "there is no such file", "give a .safetensors or .pth file")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = refused[1] if refused else "an unknown object"
        found = f"holds more than weights ({what}), and loading that would run its code"
        remedy = (
            "if you trust it, convert it once: python -c \"import torch; torch.save(torch.load('in.pth', "
            "map_location='cpu', weights_only=False)['model'], 'out.pth')\""
        )
        raise PretrainedError(path, found, remedy) from error
    except (SafetensorError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise PretrainedError(path, f"cannot be read: {error}", "give a .safetensors or .pth file") from error
    return _unwrap(path, content)


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    for wrapper in ("model", "state_dict", "model_state_dict", "model_ema"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    weights = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not weights:
        raise PretrainedError(path, "holds no weights by name", "give a state_dict")
    for prefix in ("module.", "vmunet.", "backbone."):
        if all(key.startswith(prefix) for key in weights):
            weights = {key[len(prefix) :]: value for key, value in weights.items()}
    return weights


def adapt_stem(weight: Tensor, bands: Sequence[str | None], stem: Stem, *, seed: int = 0) -> Tensor:
    """A stem (dim, 3, k, k) for red, green and blue as one for `bands`, (dim, C, k, k).

    Bands called red, green or blue take their own weights. The others take, by `stem`:

    - `mean`: the mean of the three; `repeat`: red, green and blue in turn; `random`: noise of the same deviation;
    - `copy-rgb`: zero, so that the net starts by seeing the three alone.

    All but the last are then scaled by sqrt(3 / C), so that independent bands of unit variance give activations of the
    variance that they had with three.
    """
    if stem not in STEMS:
        raise PretrainedError("stem", repr(stem), f"use one of {', '.join(STEMS)}")
    if weight.shape[1] != 3:
        found = f"the checkpoint's has {weight.shape[1]} bands, the net's {len(bands)}"
        raise PretrainedError(STEM, found, "choose as many bands, or a checkpoint of 3 bands")
    noise = torch.randn(weight.shape[0], len(bands), *weight.shape[2:], generator=torch.Generator().manual_seed(seed))
    planes = []
    for i, band in enumerate(bands):
        if band in RGB:
            planes.append(weight[:, RGB.index(band)])
        elif stem == "mean":
            planes.append(weight.mean(1))
        elif stem == "repeat":
            planes.append(weight[:, i % 3])
        else:
            planes.append(noise[:, i].to(weight) * (weight.std() if stem == "random" else 0.0))
    scale = 1.0 if stem == "copy-rgb" else (3 / len(bands)) ** 0.5
    return torch.stack(planes, dim=1) * scale


def _wants_adapting(own: Mapping[str, Tensor], filled: Mapping[str, Tensor], bands: Sequence[str | None]) -> bool:
    """Whether the stem has other bands, or the three in another order."""
    if STEM not in filled or filled[STEM].shape[0] != own[STEM].shape[0]:
        return False
    others = filled[STEM].shape != own[STEM].shape
    return others or (len(bands) == 3 and tuple(bands) != RGB and any(band in RGB for band in bands))


def _stages(own: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[1] for key in own if key.startswith("layers.")})


def _assign(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], stages: int
) -> tuple[dict[str, Tensor], set[str]]:
    """Which weight fills which key of the net, and which of the checkpoint's keys are used."""
    filled = {key: weights[key] for key in own if key in weights}
    used = set(filled)
    if any(key.startswith("layers_up.") for key in weights):  # a VM-UNet brings its own decoder
        return filled, used
    for key, value in weights.items():
        stage = re.match(r"layers\.(\d+)\.(?!downsample)(.*)", key)
        mirrored = f"layers_up.{stages - 1 - int(stage[1])}.{stage[2]}" if stage else ""
        if mirrored in own:
            filled[mirrored] = value
            used.add(key)
    return filled, used


def _refuse_other_networks(path: Path, weights: Mapping[str, Tensor]) -> None:
    if any(key.endswith("self_attention.x_proj_weight") for key in weights):
        return
    for pattern, name in VERSIONS:
        if any(re.search(pattern, key) for key in weights):
            raise PretrainedError(
                path, f"holds {name}", "only VMamba's first version fits (vmamba_*_e292.pth, _e238_ema.pth)"
            )
    shown = ", ".join(list(weights)[:3])
    raise PretrainedError(path, f"holds neither VMamba nor VM-UNet: its keys begin {shown}", "give a checkpoint of one")


def _refuse_other_shapes(path: Path, own: Mapping[str, Tensor], filled: Mapping[str, Tensor]) -> None:
    for key, value in filled.items():
        shapes = tuple(value.shape), tuple(own[key].shape)
        if shapes[0] != shapes[1]:
            # x_proj_weight is (4, R + 2N, D), A_logs (4D, N): at equal D the states differ.
            states = (key.endswith("x_proj_weight") and shapes[0][2:] == shapes[1][2:]) or (
                key.endswith("A_logs") and shapes[0][:1] == shapes[1][:1]
            )
            remedy = f"set {'model.d_state' if states else 'model.dims'} to the checkpoint's"
            raise PretrainedError(path, f"{key} is {shapes[0]}, the net's {shapes[1]}", remedy)


def _share(own: Mapping[str, Tensor], filled: Mapping[str, Tensor], prefixes: str | tuple[str, ...]) -> float:
    """Share of the parameters under these prefixes that are filled."""
    counted = {key: value.numel() for key, value in own.items() if key.startswith(prefixes)}
    return sum(n for key, n in counted.items() if key in filled) / sum(counted.values())
