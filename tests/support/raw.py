"""Small raw collections: smooth pictures that follow their masks, as real ones do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from affine import Affine
from scipy.ndimage import gaussian_filter

from greenschemas.recipe import Recipe
from support.tiffs import write_tiff

BANDS = ("blue", "green", "red", "nir", "qa")
CLASSES = ("built", "green", "water")
SIGNATURE = np.array([[1500, 1400, 1500, 1800], [700, 900, 500, 3000], [900, 700, 450, 300]], np.float32)
RECIPE = {
    "bands": [*({"name": name, "common": name} for name in BANDS[:4]), {"name": "qa", "role": "mask"}],
    "mask": {"classes": list(CLASSES)},
    "tile": {"size": 32, "min_cover": 0.25},
    "split": {"val": 0.3},
}


def scene(seed, height, width, classes=3):
    """((5, h, w) uint16 image, (K, h, w) float32 fractions in hundredths) of one place."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.standard_normal((height, width)), 4) for _ in range(classes)]) * 40
    share = np.exp(fields - fields.max(axis=0))
    hundredths = np.floor(100 * share / share.sum(axis=0))
    hundredths[0] += 100 - hundredths.sum(axis=0)
    fraction = (hundredths / 100).astype(np.float32)
    image = np.einsum("kb,khw->bhw", SIGNATURE, fraction[:3] * 1.0)
    image *= 1 + 0.08 * gaussian_filter(rng.standard_normal(image.shape), (0, 1.5, 1.5)) / 0.2
    image = np.concatenate([np.clip(np.rint(image), 1, 10000), np.zeros((1, height, width))])
    return image.astype(np.uint16), fraction


def write_pair(root: Path, area: int, time: int, image, fraction, *, city="T", dtype=None, nodata=None, **options):
    """Write one pair under the names of the field; areas lie 3 km apart."""
    stem = f"{city}_2020_{area}_{time}_GeoTIFF"
    transform = Affine(10, 0, 400_000 + 3_000 * (area % 10), 0, -10, 4_000_000 - 3_000 * (area // 10))
    for path, data in (
        (root / f"images/{city}/{stem}.tif", image.astype(dtype or image.dtype)),
        (root / f"masks/{city}_masks/{stem}_fractional_mask.tif", fraction),
    ):
        profile = {
            "crs": "EPSG:32618",
            "transform": transform,
            "compress": "deflate",
            "nodata": nodata if data.dtype != np.float32 else None,
        } | options
        write_tiff(path, data, **profile)


class Collection:
    """A raw folder and what was written into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.raw = folder, folder / "raw"
        self.pixels: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, area, time, height=40, width=45, **options):
        """Write a pair and remember its pixels."""
        image, fraction = scene(1000 * area + time, height, width)
        write_pair(self.raw, area, time, image, fraction, **options)
        city = options.get("city", "T")
        self.pixels[f"images/{city}/{city}_2020_{area}_{time}_GeoTIFF.tif"] = image, fraction

    def write(self, area, time, image, fraction, **options):
        """Write a pair of these pixels."""
        write_pair(self.raw, area, time, image, fraction, **options)

    def recipe(self, name="store", **changes) -> Path:
        """A recipe file for `greenprep run`; `changes` replace whole sections."""
        path = self.folder / f"{name}.yaml"
        path.write_text(
            yaml.safe_dump({**RECIPE, "raw": "raw", "clean": f"{name}.clean", "store": f"{name}.zarr", **changes})
        )
        return path

    @property
    def plain(self) -> Recipe:
        """The recipe without paths."""
        return Recipe.model_validate(RECIPE)


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
