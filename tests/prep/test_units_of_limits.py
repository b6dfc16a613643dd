"""Limits follow the units of the data: the same ground gets the same verdict, however its numbers are written."""

from __future__ import annotations

import numpy as np
import pytest

from greenprep.clean.worker import clean_batch
from greenprep.raw.match import match
from greenprep.raw.pairs import find_pairs
from greenschemas.grid import Grid
from greenschemas.limits import Limits
from greenschemas.recipe import Recipe
from support.raw import CLASSES, scene

NAMES = {"blue": "blue", "green": "green", "red": "red", "nir": "nir", "swir": "swir16"}
ROWS = np.linspace(0, 1, 40)[:, None]


def codes(collection, image, scale):  # type: ignore[no-untyped-def]
    """What `clean` finds in an image (5, h, w) of the bands above; scale: what a reflectance of 1 is written as."""
    bands = [{"name": name, "common": common} for name, common in NAMES.items()]
    recipe = Recipe.model_validate(
        {"bands": bands, "mask": {"classes": CLASSES}, "limits": {"reflectance_scale": scale}}
    )
    collection.write(1, 1, image, scene(1, 40, 45)[1])
    (found,) = find_pairs(collection.raw, recipe.pairing)
    (entry,) = clean_batch(collection.raw, None, recipe.bands, recipe.mask, recipe.limits, [found])
    return {reason.code for reason in entry.reasons}


def reflectances(level):  # type: ignore[no-untyped-def]
    """(5, 40, 45) smooth reflectances about `level` in the visible bands, half of it in the infrared."""
    noise = scene(7, 40, 45)[0][:4].astype(np.float64) / 10_000 * level
    visible = level * (0.9 + 0.2 * ROWS) * np.ones((40, 45)) + 0.02 * noise[0]
    return np.stack([visible, visible * 1.02, visible * 1.01, visible * 0.6, visible * 0.45])


@pytest.mark.parametrize(("scale", "kind"), [(1, "float32"), (10_000, "uint16"), (10_000, "float32"), (100, "float32")])
def test_open_water_is_not_blank_and_nothing_is_on_every_scale(empty_collection, scale, kind) -> None:  # type: ignore[no-untyped-def]
    water = reflectances(0.008) * scale
    assert "blank" not in codes(empty_collection, water.astype(kind), scale)
    nothing = reflectances(0.008) * scale * 1e-5
    assert {"blank", "constant-image"} & codes(empty_collection, nothing.astype(kind), scale)


def test_water_in_0_to_1_under_a_recipe_of_10000_is_on_another_scale_and_not_blank(empty_collection) -> None:  # type: ignore[no-untyped-def]
    found = codes(empty_collection, reflectances(0.008).astype(np.float32), 10_000)
    assert "reflectance-scale" in found and "blank" not in found


def test_brightness_calls_clouds_cloud_on_a_known_scale_and_nothing_else(empty_collection) -> None:  # type: ignore[no-untyped-def]
    cloud = reflectances(0.6)
    assert "cloud" in codes(empty_collection, (cloud * 10_000).astype(np.uint16), 10_000)
    assert "cloud" not in codes(empty_collection, (cloud * 255).astype(np.uint8), 255)
    landsat = ((reflectances(0.08) + 0.2) / 0.0000275).astype(np.uint16)
    assert "cloud" not in codes(empty_collection, landsat, 10_000)


@pytest.mark.parametrize(("metres", "same"), [(1e-5, True), (0.09, True), (0.2, False)])
def test_less_than_a_hundredth_of_a_pixel_off_is_the_same_place(metres, same) -> None:  # type: ignore[no-untyped-def]
    image = Grid(40, 45, (10, 0, 400_000, 0, -10, 4_000_000), "EPSG:32618")
    mask = Grid(40, 45, (10, 0, 400_000 + metres, 0, -10, 4_000_000), "EPSG:32618")
    assert (match(image, mask, Limits()).findings == ()) is same
