"""A trained net as a program that runs without this package: torch.export, or ONNX.

Letters: B batch, C bands, K classes, H rows, W columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from greenschemas.decoding import UNIT
from greenschemas.errors import ConfigError
from greenschemas.files import whole
from greentrain.nets.vmunet import SS2D

__all__ = ["FORMATS", "Agreement", "FromRaw", "export_model"]

FORMATS = (".pt2", ".onnx")
ABOUT = "greentrain.json"
"""Extra file of a .pt2, and key of the metadata of an .onnx, that holds what the caller says of the net."""


@dataclass(frozen=True)
class Agreement:
    """How near the logits of an exported program are to the net's."""

    difference: float
    """The largest, over the samples that were tried."""
    allowed: float
    """Eight times what float32 costs this very net there: its own distance from itself in float64.

    Both sum in float32, in unlike orders, and each may be that far from the truth."""


class FromRaw(nn.Module):
    """A net behind its normaliser: logits (B, K, H, W) of raw values (B, C, H, W), NaN where a pixel has none."""

    mean: Tensor
    scale: Tensor
    projection: Tensor | None
    square: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        mean: Tensor,
        scale: Tensor,
        clip: float | None,
        projection: Tensor | None,
        square: Sequence[bool] = (),
    ):
        """square: (C,) the bands whose numbers are decoded as signed squares; empty: none."""
        super().__init__()
        self.net, self.clip = net, clip
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("projection", projection)
        self.register_buffer("square", torch.tensor(square).view(1, -1, 1, 1) if any(square) else None)

    def forward(self, raw: Tensor) -> Tensor:
        image = raw
        if self.square is not None:
            image = torch.where(self.square, (raw / UNIT) * (raw / UNIT).abs(), raw)
        image = (image - self.mean) * self.scale
        image = image if self.clip is None else image.clamp(-self.clip, self.clip)
        image = torch.where(raw.isnan(), torch.zeros_like(image), image)
        if self.projection is not None:
            image = torch.einsum("pc,bchw->bphw", self.projection, image)  # (B, components, H, W)
        return self.net(image)  # type: ignore[no-any-return]


def export_model(model: nn.Module, example: Tensor, path: Path, about: Mapping[str, Any]) -> Agreement:
    """Write a copy of `model` as a program for inputs of the shape of `example` (B >= 2, C, H, W) and any batch size.

    The suffix decides: `.pt2` is opened by `torch.export.load(path).module()`, `.onnx` by onnxruntime. Scans are
    written out in plain operators. The written program is run on `example` and on its first sample alone.

    Raises ConfigError for another suffix, where ONNX's packages are missing, and where the logits differ: then
    nothing is written.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(path, f"a name that ends in `{path.suffix}`", f"let it end in {' or '.join(FORMATS)}")
    net = deepcopy(model).cpu().eval()
    for module in net.modules():
        if isinstance(module, SS2D):
            module.scan = "auto"  # any other kernel would be needed where the program runs
    with whole(path) as draft, torch.no_grad():
        run = (_write_onnx if path.suffix == ".onnx" else _write_torch)(net, example, draft, json.dumps(dict(about)))
        logits = net(example)
        difference = max(float((run(example[:n]) - logits[:n]).abs().max()) for n in (1, len(example)))
        rounding = float((net.double()(example.double()) - logits).abs().max())
        least = torch.finfo(torch.float32).eps * float(logits.abs().max())
        found = Agreement(difference, 8 * max(rounding, least))
        if not found.difference <= found.allowed:
            raise ConfigError(
                path,
                f"its logits are {difference:.1e} from the net's, where rounding explains {found.allowed:.1e}",
                "report it, with the run's config.yaml and the versions of torch and onnx",
            )
    return found


def _write_torch(net: nn.Module, example: Tensor, path: Path, about: str) -> Any:
    program = torch.export.export(net, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    with path.open("wb") as file:  # torch wants a name that ends in .pt2, a draft's does not
        torch.export.save(program, file, extra_files={ABOUT: about})
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _write_onnx(net: nn.Module, example: Tensor, path: Path, about: str) -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter stands on it
    except ImportError as problem:
        raise ConfigError(
            ".onnx",
            f"no package `{problem.name}`",
            "install the extra: pip install 'greenspace[onnx]'; or export to .pt2",
        ) from None
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    with redirect_stdout(StringIO()):  # which the exporter fills with its progress
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            verbose=False,
            dynamic_shapes=shapes,
            input_names=["raw"],
            output_names=["logits"],
        )
    assert program is not None
    program.model.metadata_props[ABOUT] = about
    program.save(path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda raw: torch.from_numpy(session.run(None, {"raw": raw.numpy()})[0])
