"""One small folder with everything under the names that README and docs/ give it: files, stores, a run, maps, a sample.

A city of six areas in summer and winter, in four bands and three classes; pixels of 10 m.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import yaml

from support.documents import run
from support.raw import RECIPE, scene, write_pair
from support.safe import SIDES, number, write_band, write_safe
from support.strangers import beside_each_other
from support.two_maps import CLASSES, answer, write_two_maps

__all__ = ["BANDS", "QUICK", "make_workplace"]

SIDE = SIDES[10]
BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}
"""Their names here and in an archive of Sentinel-2."""
QUICK = ["--set", "model.preset=tiny", "--set", "model.dims=[8,16]", "--set", "model.depths=[1,1]"]
QUICK += ["--set", "model.depths_decoder=[1,1]", "--set", "augment.crop=null"]
"""A net of which an epoch takes less than a second."""


def make_workplace(folder: Path) -> None:
    """Fill `folder`; commands are given with it as the working directory.

    Stores and runs of other names are copies; `recipe.yaml` is for a store that is not built yet.
    """
    for area in range(6):
        for time in (1, 2):
            image, fraction = scene(10 * area + time, SIDE, SIDE)
            write_pair(folder / "data/raw", area, time, image[:4], fraction)
    city = RECIPE | {"bands": RECIPE["bands"][:4], "mask": {"classes": ["impervious", "low_vegetation", "trees"]}}
    (folder / "city.yaml").write_text(yaml.safe_dump(city))
    where = {"raw": "data/raw", "clean": "mydata.clean", "store": "built.zarr"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(city | where))
    run("greenprep clean data/raw clean --recipe city.yaml")
    run("greenprep tile clean data/city.zarr")
    run("greenprep split data/city.zarr")
    run("greentrain fit data/city.zarr --out runs/city", QUICK)
    beside_each_other(folder / "mydata")
    _scenes(folder)
    _parts(folder / "downloads")
    _maps(folder)
    for name, copies in {
        "data/raw": ["inbox"],
        "data/city.zarr": ["mydata.zarr", "h0.zarr"],
        "runs/city": ["runs/second", "runs/third"],
    }.items():
        for copy in copies:
            shutil.copytree(folder / name, folder / copy)


def _scenes(folder: Path) -> None:
    """One area of the city: a file a date, a SAFE folder with the offset of baseline 04.00, an item, Landsat files."""
    images = folder / "data/raw/images/T"
    for name, time in (("scene.tif", 1), ("summer.tif", 1), ("winter.tif", 2)):
        shutil.copy(images / f"T_2020_0_{time}_GeoTIFF.tif", folder / name)
    image, _ = scene(1, SIDE, SIDE)
    of_band = dict(zip(BANDS.values(), image, strict=False))

    def numbers(band: str, metres: int) -> np.ndarray:
        return of_band[band] + np.uint16(1000) if metres == 10 else number(band, metres)

    write_safe(folder, "2A", -1000, numbers)
    assets = {}
    for at, (name, values) in enumerate(zip(BANDS, image, strict=False), 2):
        write_band(folder / f"assets/{name}.tif", values, 10)
        assets[name] = {"href": f"assets/{name}.tif", "eo:bands": [{"common_name": name}]}
        write_band(folder / f"landsat/LC08_L2SP_191027_20220315_SR_B{at}.TIF", values[:20, :20], 30)
    (folder / "item.json").write_text(json.dumps({"id": "T32TPS", "assets": assets}))


def _parts(folder: Path) -> None:
    """An image as Earth Engine exports one that is too large: its left and its right half."""
    image, _ = scene(1, SIDE, SIDE)
    half = SIDE // 2
    for col in (0, half):
        write_band(folder / f"city-0000000000-{col:010}.tif", image[:4, :, col : col + half], 10, west=10 * col)


def _maps(folder: Path) -> None:
    """Maps of a city at two dates with a filled sample of the later, and what the run draws of a scene."""
    _, after = write_two_maps(folder)
    run("greentrain sample map_2023.tif --n 100 --out sample.gpkg")
    answer(folder / "sample.csv", CLASSES, after)
    run("greentrain predict runs/city scene.tif map.tif --fractions")
