"""The card of a trained net as a STAC item with the machine-learning model extension. Pure.

STAC 1.1, MLM 1.4 (Charette-Migneault and others, SIGSPATIAL 2024), EO 2.0, file 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from greenschemas.colours import as_hex, class_colours
from greenschemas.contract import Contract
from greentrain.config import Config
from greentrain.data.normalise import Normaliser
from greentrain.training.record import Record

__all__ = ["Subject", "mlm_item"]

_EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
_NETS = {"unet": "U-Net", "detail": "greenspace detail"} | dict.fromkeys(("tiny", "small", "base"), "VM-UNet")
_COMMON = (
    "coastal blue green green05 yellow red rededge rededge071 rededge075 rededge078 nir nir08 nir09 cirrus swir16 "
    "swir22 lwir lwir11 lwir12 pan"
)
"""Names of ranges of the spectrum that the extension EO knows."""
_IMAGE = ["batch", "channel", "height", "width"]


@dataclass(frozen=True)
class Subject:
    """What a card is about."""

    name: str
    """Of the run's folder."""
    record: Record
    config: Config
    contract: Contract
    """Of the store that the net was trained on."""
    normaliser: Normaliser
    classes: tuple[str, ...]
    """What the net tells apart."""
    parameters: int
    weights_bytes: int
    """Memory of the weights."""
    file_bytes: int
    """Of the checkpoint."""
    temperature: float
    trees: bool
    """Whether the mean of its shares and those of boosted trees is predicted."""
    licence: str | None
    """Of the weights: an SPDX identifier; None: not stated."""


def mlm_item(of: Subject, found: Mapping[str, Any]) -> dict[str, Any]:
    """The item. found: as `greentrain evaluate` gives it."""
    tasks = ["semantic-segmentation", *(["regression"] if of.config.target == "fractions" else [])]
    started = datetime.fromtimestamp(min(of.record.starts), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    pretrained, device = of.config.pretrained, of.record.machine.get("device", "an unknown device")
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": of.name,
        "geometry": None,
        "properties": {
            "datetime": started,
            "title": f"{', '.join(of.classes)} from {len(of.normaliser.bands)} bands",
            "description": f"Net trained by greentrain; mean IoU {_number(found['mean']['iou'])} on the split "
            f"`{found['split']}`, of a constant answer {_number(found['constant']['mean']['iou'])}; see card.md.",
            "license": of.licence or "other",
            "mlm:name": _slug(of.name),
            "mlm:architecture": of.record.own.get("model") or _NETS.get(of.config.model.preset, of.config.model.preset),
            "mlm:tasks": tasks,
            "mlm:framework": "PyTorch",
            "mlm:framework_version": of.record.versions["torch"],
            "mlm:memory_size": of.weights_bytes,
            "mlm:total_parameters": of.parameters,
            "mlm:pretrained": pretrained is not None,
            "mlm:pretrained_source": None if pretrained is None else pretrained.name,
            "mlm:batch_size_suggestion": of.config.batch_size,
            "mlm:accelerator": "cuda" if device.startswith("cuda") else None,
            "mlm:accelerator_constrained": False,
            "mlm:accelerator_summary": f"trained on {device}; a CPU will do",
            "mlm:hyperparameters": of.config.model_dump(mode="json"),
            "mlm:input": [_input(of)],
            "mlm:output": [_output(of, tasks)],
        },
        "links": [],
        "assets": {
            "weights": {
                "href": "./checkpoints/best.pt",
                "type": "application/octet-stream; application=pytorch",
                "title": "Weights, settings and contract, read by greentrain.load_run",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "torch.save",
                "file:size": of.file_bytes,
                "bands": [_band(of.contract, name) for name in of.normaliser.bands],
            },
            "card": {"href": "./card.md", "type": "text/markdown", "roles": ["metadata"]},
            "report": {"href": "./report.html", "type": "text/html", "roles": ["metadata"]},
            "record": {"href": "./run.json", "type": "application/json", "roles": ["metadata"]},
        },
    }


def _input(of: Subject) -> dict[str, Any]:
    size, bands = of.contract.tile_size, list(of.normaliser.bands)
    scaling = [
        {"type": "z-score", "mean": float(mean), "stddev": float(1 / scale)} if scale else None  # a dead band gives 0
        for mean, scale in zip(of.normaliser.mean, of.normaliser.scale, strict=True)
    ]
    clip = of.normaliser.clip
    said = [f"What lies further than {clip:g} deviations from the mean is set to that."] if clip is not None else []
    if of.normaliser.projection is not None:
        said.append(f"The net sees {of.normaliser.channels} principal components of the bands.")
    return {
        "name": "image",
        "description": " ".join(["Raw values of the bands, in the units of the store.", *said]),
        "bands": bands,
        "input": {"shape": [-1, len(bands), size, size], "dim_order": _IMAGE, "data_type": "float32"},
        "value_scaling": scaling,
        "resize_type": None,
        "pre_processing_function": None,
    }


def _output(of: Subject, tasks: list[str]) -> dict[str, Any]:
    size = of.contract.tile_size
    return {
        "name": "classes",
        "description": f"Logits; divided by {of.temperature:.4g}, the softmax of them is the share of each class."
        + " They are averaged with those of checkpoints/trees.npz." * of.trees,
        "tasks": tasks,
        "result": {
            "shape": [-1, len(of.classes), size, size],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {"value": value, "name": _slug(name), "description": name, "color_hint": as_hex(colour)[1:].upper()}
            for value, (name, colour) in enumerate(zip(of.classes, class_colours(of.classes), strict=True))
        ],
        "post_processing_function": None,
    }


def _band(contract: Contract, name: str) -> dict[str, Any]:
    common = contract.bands[contract.band_index(name)].common
    return {"name": name, "data_type": contract.dtype} | (
        {"eo:common_name": common} if common in _COMMON.split() else {}
    )


def _slug(name: str) -> str:
    """A name as MLM wants it: letters, digits, points, dashes, and a letter first."""
    text = re.sub(r"[^0-9A-Za-z_.-]+", "_", name).strip("_.-")
    return text if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.-]+[a-zA-Z0-9]", text) else f"net_{text or 'x'}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
