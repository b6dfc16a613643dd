"""Random tiles of the train split, for models that are no nets and learn from all of them at once.

Letters: N tiles, C bands, K classes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from greenschemas.store import Store
from greentrain.data.loader import Batch, open_loader

__all__ = ["TrainTiles", "random_train_tiles"]


class TrainTiles(NamedTuple):
    """Tiles, and the group of each."""

    image: NDArray[np.float32]
    """(N, C, H, W) raw values."""
    fraction: NDArray[np.float32]
    """(N, K, H, W), NaN where there is no label."""
    valid: NDArray[np.bool_]
    """(N, H, W)."""
    group: NDArray[np.integer]
    """(N,)."""


def random_train_tiles(store: Store, bands: Sequence[str], most_values: int, *, seed: int = 0) -> TrainTiles:
    """All usable tiles of the train split, or as many random ones as have about `most_values` values of these bands."""
    most = max(1, most_values // (len(bands) * store.contract.tile_size**2))
    parts: list[Batch] = []
    count = 0
    for batch in open_loader(store, "train", 16, seed=seed, normalise=False, bands=bands, cache="none", ahead=1):
        parts.append(batch)
        count += len(batch["tile"])
        if count >= most:
            break
    image, fraction, valid, tile = (
        torch.cat([part[key] for part in parts]).numpy() for key in ("image", "fraction", "valid", "tile")
    )
    return TrainTiles(image.astype(np.float32), fraction, valid, store.tile_group()[tile])
