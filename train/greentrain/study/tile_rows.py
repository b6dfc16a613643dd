"""Rows of pictures of a tile: its image, its label, and what nets make of it.

Letters: B tiles, K classes, H rows, W columns of a tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from greenschemas.colours import MARK, NO_DATA
from greenschemas.pictures import Picture, Shot, class_picture, outlined, tile_row, true_colour, visible_bands
from greenschemas.store import Store
from greentrain.data.loader import open_loader
from greentrain.training.checkpoint import Trained

__all__ = ["find_suspects", "judged_row", "map_row"]

_RIGHT = (225, 232, 227)
"""Where a net agrees with the label."""


def map_row(store: Store, tile: int, maps: Mapping[str, NDArray[np.uint8]], classes: Sequence[str]) -> list[Shot]:
    """The image, then class maps (H, W) by name; what is no class is white."""
    return tile_row(
        {"image": _image(store, tile)} | {name: class_picture(label, classes) for name, label in maps.items()}
    )


def judged_row(trained: Trained, store: Store, tile: int, sure: float | None = None) -> list[Shot]:
    """Image, label and map of a tile, and where the two differ; with `sure`, lines around what is suspect instead."""
    seen = open_loader(store, "all", 1, normalise=False, bands=trained.normaliser.bands, cache="none").load(
        np.array([tile])
    )
    share = trained.probabilities(seen["image"], seen["valid"])
    target = trained.rule(seen["fraction"], seen["valid"])
    counted, classes = target.counted[0].numpy(), trained.rule.classes
    label = np.where(counted, target.fraction[0].argmax(0), 255).astype(np.uint8)
    mapped = share[0].argmax(0).numpy().astype(np.uint8)
    pictures = {
        "image": _image(store, tile),
        "label": class_picture(label, classes),
        "net": class_picture(mapped, classes),
    }
    if sure is None:
        error = np.where((label == mapped)[..., None], np.array(_RIGHT, np.uint8), np.array(MARK, np.uint8))
        return tile_row(pictures | {"error": np.where(counted[..., None], error, np.array(NO_DATA, np.uint8))})
    suspect = find_suspects(share, target.fraction, target.counted, sure)[0].numpy()
    return tile_row({name: outlined(picture, suspect) for name, picture in pictures.items()})


def find_suspects(share: Tensor, fraction: Tensor, counted: Tensor, sure: float) -> Tensor:
    """(B, H, W) where the net is sure of a class that the label denies.

    share: predicted probabilities, fraction: label shares, both (B, K, H, W); counted: (B, H, W) where they count.
    """
    probability, label = share.max(1)
    denied = fraction.gather(1, label.unsqueeze(1)).squeeze(1) <= 1 - sure
    return (probability >= sure) & denied & counted


def _image(store: Store, tile: int) -> Picture:
    planes = store.read("image", tile)[
        [store.contract.band_index(name) for name in visible_bands(store.contract.bands)]
    ]
    return true_colour(planes, store.read("valid", tile).astype(bool))
