"""Pictures of the tiles of a store: the image, and the greatest class of each pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from greenschemas.errors import ConfigError
from greenschemas.files import write_whole
from greenschemas.pictures import Picture, as_png, class_picture, enlarged, labels_of, true_colour, visible_bands
from greenschemas.store import Store, open_store

__all__ = ["tile_pictures", "write_tile"]

_GAP = 4
_LEAST_SIDE = 256


def tile_pictures(store: Store, tile: int) -> tuple[Picture, Picture]:
    """(image, classes) of a tile, each (S, S, 3); what is invalid or unlabelled is white."""
    contract = store.contract
    image, fraction, valid = (store.read(name, tile) for name in ("image", "fraction", "valid"))
    planes = image[[contract.band_index(name) for name in visible_bands(contract.bands)]]
    return true_colour(planes, valid.astype(bool)), class_picture(labels_of(fraction), contract.classes)


def write_tile(location: str, tile: int, png: Path) -> tuple[str, str, str]:
    """Write image and classes side by side, enlarged to at least 256 pixels a side; the names of the bands shown.

    Raises ConfigError for an unknown tile.
    """
    store = open_store(location)
    if not 0 <= tile < store.contract.tiles:
        raise ConfigError("TILE", f"{tile}", f"ids go from 0 to {store.contract.tiles - 1}")
    image, classes = tile_pictures(store, tile)
    gap = np.full((len(image), _GAP, 3), 255, np.uint8)
    write_whole(png, as_png(enlarged(np.concatenate([image, gap, classes], axis=1), 2 * _LEAST_SIDE)))
    return visible_bands(store.contract.bands)
