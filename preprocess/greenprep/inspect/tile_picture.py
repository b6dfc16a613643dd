"""Pictures of tiles: true colour, greatest class, valid pixels. Only this module and the report draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from greenschemas.colours import class_colours
from greenschemas.contract import Contract
from greenschemas.errors import ConfigError
from greenschemas.layout import UNLABELLED
from greenschemas.store import Store, open_store

__all__ = ["tile_picture", "write_tile"]

_GREY = 128
_GAP = 4
_LEAST_SIDE = 256


def tile_picture(store: Store, tile: int) -> NDArray[np.uint8]:
    """(S, 2 S + gap, 3) picture of a tile: true colour beside its classes; what is invalid or unlabelled is grey."""
    contract = store.contract
    image, fraction, valid = (store.read(name, tile) for name in ("image", "fraction", "valid"))
    usable = valid.astype(bool)
    colour = np.stack([_stretched(image[band].astype(np.float64), usable) for band in _visible(contract)], axis=-1)
    colour[~usable] = _GREY
    labels = np.array(class_colours(contract.classes), np.uint8)[fraction.argmax(axis=0)]
    labels[fraction[0] == UNLABELLED] = _GREY
    gap = np.full((len(colour), _GAP, 3), 255, np.uint8)
    return np.concatenate([colour, gap, labels], axis=1)


def write_tile(location: str, tile: int, png: Path) -> None:
    """Write the picture of a tile, enlarged to at least 256 pixels a side; raises ConfigError for an unknown tile."""
    store = open_store(location)
    if not 0 <= tile < store.contract.tiles:
        raise ConfigError("TILE", f"{tile}", f"ids go from 0 to {store.contract.tiles - 1}")
    picture = tile_picture(store, tile)
    times = max(1, -(-_LEAST_SIDE // store.contract.tile_size))
    png.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.repeat(times, axis=0).repeat(times, axis=1)).save(png, format="PNG")


def _visible(contract: Contract) -> list[int]:
    """Red, green and blue by their common names, or else the first three features."""
    common = {band.common: i for i, band in enumerate(contract.bands)}
    if {"red", "green", "blue"} <= common.keys():
        return [common["red"], common["green"], common["blue"]]
    first = [contract.band_index(name) for name in contract.features] or [0]
    return [first[min(i, len(first) - 1)] for i in range(3)]


def _stretched(band: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """0..255 between the 2nd and 98th percentile of the usable pixels."""
    if not usable.any():
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(band[usable], (2, 98))
    return np.asarray(np.clip((band - low) / max(high - low, 1e-9), 0, 1) * 255, np.uint8)
