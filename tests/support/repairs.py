"""Files of unusual encodings, one of a pair mutated: where a pair is repaired, the copies hold what rasterio reads."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from greenprep.raw.tiff import GDAL_ERRORS, SAFE
from greenprep.synth.city import write_city
from greenschemas.manifest import Verdict
from greenschemas.recipe import Recipe
from support.kills import Outcome
from support.mutate import mutated_tiff

__all__ = ["repairs"]

BATCH = 150
PAGES = 19
LENIENT = Recipe.model_validate({"limits": {"levels": {"duplicate-content": "warn"}}})
"""Mutated files are the same picture many times."""


def repairs(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """What came of pairs, one file of each spoilt in its directory or the values that this points to."""
    from greenprep.clean.clean import clean

    truth = write_city(folder / "raw", areas=2, times=1, size=64, seed=3, defects=True)
    stems = [
        Path(image).stem for image, one in truth.items() if one["defect"] is None and one["dress"] != "term_ending"
    ]
    for start in range(0, many, BATCH):
        raw, out = folder / "spoilt", folder / "out"
        for number in range(min(BATCH, many - start)):
            stem, which = chance.choice(stems), chance.randrange(2)
            names = f"images/SYNTH/{stem}.tif", f"masks/SYNTH_masks/{stem}_fractional_mask.tif"
            for kind, name in enumerate(names):
                data = (folder / "raw" / name).read_bytes()
                target = raw / name.replace("SYNTH_2020", f"M{number:04d}_2020")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(mutated_tiff(data, chance) if kind == which else data)
        for entry in clean(raw, out, LENIENT, workers=2)[0]:
            if entry.verdict is not Verdict.REPAIRED:
                yield "unusual GeoTIFF mutated", entry.verdict.value
                continue
            other = [name for name in (entry.image, entry.mask) if name and not _same(raw / name, out / name)]
            codes = ", ".join(reason.code for reason in entry.reasons)
            yield "unusual GeoTIFF mutated", f"OTHER pixels: {codes}" if other else "repaired, as rasterio reads it"
        shutil.rmtree(raw)
        shutil.rmtree(out)


def _same(source: Path, copy: Path) -> bool:
    """Whether a copy holds the pixels of its source, flipped, turned, cropped or in percent."""
    with warnings.catch_warnings(), rasterio.Env(**SAFE):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(copy, driver="GTiff") as file:
            due = file.read().astype(float)
        return any(_like(turned, due) for found in _readings(source) for turned in _turned(found))


def _readings(path: Path) -> Iterator[np.ndarray]:
    """The file as one image, and its pages as bands of one."""
    for names in ([str(path)], [f"GTIFF_DIR:{page + 1}:{path}" for page in range(PAGES)]):
        bands = []
        try:
            for name in names:
                with rasterio.open(name, driver="GTiff") as file:
                    bands.append(file.read().astype(float))
        except GDAL_ERRORS:
            continue
        yield np.concatenate(bands)


def _turned(image: np.ndarray) -> Iterator[np.ndarray]:
    for one in (image, np.moveaxis(image, -1, 0)):
        for rows in (1, -1):
            for columns in (1, -1):
                yield one[:, ::rows, ::columns]


def _like(found: np.ndarray, due: np.ndarray) -> bool:
    if len(found) != len(due):
        return False
    height, width = np.minimum(found.shape[1:], due.shape[1:])
    return any(
        np.allclose(found[:, :height, :width] / scale, due[:, :height, :width], rtol=1e-6, equal_nan=True)
        for scale in (1, 100)
    )
