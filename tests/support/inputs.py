"""Small collections of bands that are no reflectances: AlphaEarth's bytes, decibels, indices, elevations, all at once.

Every kind shows the same ground, of three classes in smooth patches, with a signature of its own; masks are codes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from greenschemas.bands import Band, Role
from greenschemas.decoding import Decoding
from support.strangers import SIDE, _ground, _reflectances, _write

__all__ = ["BANDS", "KINDS", "bytes_of", "ground", "recipe_of", "scene", "write_collection"]

CLASSES = 3

BANDS: dict[str, tuple[Band, ...]] = {
    "embedding": tuple(Band(name=f"A{i:02d}", role=Role.EMBEDDING, decode=Decoding.SIGNED_SQUARE) for i in range(64)),
    "radar": (Band(name="VV", role=Role.RADAR), Band(name="VH", role=Role.RADAR)),
    "derived": tuple(Band(name=name, role=Role.DERIVED) for name in ("ndvi", "ndwi", "ndbi")),
    "elevation": (Band(name="dem", role=Role.ELEVATION), Band(name="slope", role=Role.DERIVED)),
    "mixed": (
        Band(name="B4", common="red"),
        Band(name="B8", common="nir"),
        Band(name="VV", role=Role.RADAR),
        Band(name="dem", role=Role.ELEVATION),
    ),
}
KINDS = tuple(BANDS)


def ground(seed: int) -> np.ndarray:
    """(H, W) classes of a scene."""
    return _ground(seed, CLASSES)


def _smooth(seed: int, bands: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((bands, SIDE, SIDE))
    return np.asarray(gaussian_filter(noise, (0, 2, 2)) * 5)


def bytes_of(values: np.ndarray) -> np.ndarray:
    """Unit vectors (64, H, W) as AlphaEarth stores them."""
    numbers = np.rint(np.sqrt(np.abs(values)) * 127.5) * np.sign(values)
    return np.asarray(numbers.clip(-127, 127).astype(np.int8))


def _embedding(seed: int, shown: np.ndarray) -> np.ndarray:
    direction = np.random.default_rng(3).standard_normal((CLASSES, 64))
    values = np.moveaxis(direction[shown], -1, 0) + 0.3 * _smooth(seed, 64)
    image = bytes_of(values / np.linalg.norm(values, axis=0))
    image[:, :4, :9] = -128
    return image


def _decibels(seed: int, shown: np.ndarray, bands: int = 2) -> np.ndarray:
    level = np.array([[-6.0, -13], [-11, -17], [-19, -26]])[shown][..., :bands]
    speckle = 10 * np.log10(np.random.default_rng(seed).gamma(4.4, 1 / 4.4, (bands, SIDE, SIDE)))
    image = (np.moveaxis(level, -1, 0) + speckle).astype(np.float32)
    image[:, -3:] = -np.inf
    image[0, :2, :5] = np.nan
    return image


def _indices(seed: int, shown: np.ndarray) -> np.ndarray:
    level = np.array([[0.1, -0.3, 0.3], [0.7, -0.6, -0.2], [-0.3, 0.6, -0.4]])[shown]
    return (np.moveaxis(level, -1, 0) + 0.05 * _smooth(seed, 3)).clip(-1, 1).astype(np.float32)


def _heights(seed: int, shown: np.ndarray) -> np.ndarray:
    metres = np.array([12.0, 60, 0])[shown] + np.where(shown == 2, 0, _smooth(seed, 1)[0])
    slope = np.hypot(*np.gradient(metres)) * (shown != 2)
    return np.stack([metres, slope]).astype(np.float32)


def _mixed(seed: int, shown: np.ndarray) -> np.ndarray:
    reflectance = 10_000 * _reflectances(seed, shown, 2)
    return np.concatenate([reflectance, _decibels(seed, shown, 1), _heights(seed, shown)[:1]]).astype(np.float32)


_MAKE: dict[str, Callable[[int, np.ndarray], np.ndarray]] = {
    "embedding": _embedding,
    "radar": _decibels,
    "derived": _indices,
    "elevation": _heights,
    "mixed": _mixed,
}


def scene(path: Path, kind: str, seed: int = 99, change: Callable[[np.ndarray], np.ndarray] | None = None) -> Path:
    """One image, changed as asked, without a mask."""
    image = _MAKE[kind](seed, ground(seed))
    names = tuple(band.name for band in BANDS[kind])
    nodata = {"nodata": -128} if kind == "embedding" and change is None else {}
    _write(path, image if change is None else change(image), seed, names, **nodata)
    return path


def write_collection(raw: Path, kind: str, sites: int = 6, *, named: bool = True) -> Path:
    """`images/siteNN.tif` and `masks/siteNN.tif`."""
    for site in range(sites):
        shown = ground(700 + site)
        names = tuple(band.name for band in BANDS[kind]) if named else ()
        nodata = {"nodata": -128} if kind == "embedding" else {}
        _write(raw / f"images/site{site:02}.tif", _MAKE[kind](site, shown), site, names, **nodata)
        _write(raw / f"masks/site{site:02}.tif", shown.astype(np.uint8)[None], site)
    return raw


def recipe_of(kind: str) -> dict[str, Any]:
    """Its recipe, as YAML has it; written by hand, as a user does."""
    return {
        "pairing": {"images": "images/{site}.tif", "masks": "masks/{site}.tif", "group": "{site}"},
        "bands": [band.model_dump(mode="json", exclude_defaults=True) for band in BANDS[kind]],
        "mask": {"classes": {0: "impervious", 1: "trees", 2: "water"}},
        "tile": {"size": 32},
    }
