"""Nothing is lost without a word: quality bands that mask nothing, sources that give no tile."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from greenprep.build.run import run, tile
from greenprep.clean.clean import clean
from greenprep.clean.worker import clean_batch
from greenprep.cli.store import app
from greenprep.raw.pairs import find_pairs
from greenschemas.manifest import Verdict
from greenschemas.recipe import Recipe
from support.raw import RECIPE, scene


def judged(collection, changes):  # type: ignore[no-untyped-def]
    """Manifest lines of a collection under the usual recipe with other sections."""
    recipe = Recipe.model_validate({**RECIPE, **changes})
    found = find_pairs(collection.raw, recipe.pairing)
    return clean_batch(collection.raw, None, recipe.bands, recipe.mask, recipe.limits, found)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("qa", 0, None),
        ("qa", 21824, "`qa` (0 to 21824) has a name whose bits are not known"),
        ("QA_PIXEL", 21824, None),
        ("QA60", 21824, "`QA60` holds 21824"),
        ("MSK_CLASSI_SNOW_ICE", 1, None),
    ],
)
def test_a_quality_band_that_masks_nothing_is_named(empty_collection, name, value, named) -> None:  # type: ignore[no-untyped-def]
    image, fraction = scene(1, 40, 45)
    image[4, :20] = value
    empty_collection.write(1, 1, image, fraction)
    (entry,) = judged(empty_collection, {"bands": [*RECIPE["bands"][:4], {"name": name, "role": "mask"}]})
    assert entry.verdict is Verdict.ACCEPTED
    assert [r.found for r in entry.reasons if r.code == "quality-unknown"] == ([named] if named else [])


def test_accepted_sources_too_small_for_a_tile_are_listed(empty_collection) -> None:  # type: ignore[no-untyped-def]
    for area in range(4):
        empty_collection.add(area, 1)
    for area in (7, 8):
        empty_collection.write(area, 1, *(np.asarray(part) for part in scene(area, 15, 15)))
    small = [f"images/T/T_2020_{area}_1_GeoTIFF.tif" for area in (7, 8)]
    outcome = run(empty_collection.recipe(), workers=0)
    assert outcome.summary.accepted == 6 and list(outcome.without_tiles) == small
    clean(empty_collection.raw, empty_collection.folder / "clean", empty_collection.recipe(), workers=1)
    assert (
        list(tile(empty_collection.folder / "clean", empty_collection.folder / "t.zarr", workers=0).without_tiles)
        == small
    )
    args = ["run", str(empty_collection.recipe()), "--overwrite", "--workers", "0"]
    said = CliRunner().invoke(app, args).output
    assert "2 accepted sources gave no tile" in said and all(name in said for name in small)
    assert json.loads(CliRunner().invoke(app, [*args, "--json"]).output)["without_tiles"] == small


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
@pytest.mark.parametrize(("unlabelled", "kept"), [(None, True), (0, False), (255, True)])
def test_a_class_that_is_also_the_nodata_tag_is_kept_unless_the_recipe_says_otherwise(  # type: ignore[no-untyped-def]
    empty_collection, kind, unlabelled, kept
) -> None:
    image, fraction = scene(1, 40, 45)
    index = fraction.argmax(axis=0)
    empty_collection.write(1, 1, image, index[None].astype(kind), nodata=None)
    for path in empty_collection.raw.glob("masks/**/*.tif"):
        with rasterio.open(path, "r+") as file:
            file.nodata = 0
    rules = {"kind": "index", "classes": RECIPE["mask"]["classes"], "unlabelled": unlabelled}
    (entry,) = judged(empty_collection, {"mask": rules})
    assert entry.verdict is Verdict.ACCEPTED, entry.reasons
    assert ("nodata-class" in {reason.code for reason in entry.reasons}) is kept
    share = float(np.mean(index == 0))
    assert entry.measures["labelled"] == pytest.approx(1 if kept else 1 - share, abs=1e-5)
    assert entry.measures["share.built"] == pytest.approx(share if kept else 0, abs=1e-5)


def test_a_small_collections_split_says_what_it_lacks(empty_collection) -> None:  # type: ignore[no-untyped-def]
    for area in (1, 2):
        image, fraction = scene(area, 40, 45)
        if area == 1:
            fraction[0] += fraction[2]
            fraction[2] = 0
        empty_collection.write(area, 1, image, fraction)
    recipe = str(empty_collection.recipe(split={"val": 0.05}))
    said = CliRunner().invoke(app, ["run", recipe, "--workers", "0"]).output
    assert "val has 50% of the tiles where 5% was asked for, in 1 of 2 groups" in said
    assert "has no pixel of water" in said
    again = CliRunner().invoke(app, ["split", str(empty_collection.folder / "store.zarr"), "--val", "0.4"]).output
    assert "was asked for" not in again and "has no pixel of water" in again


def test_a_codec_that_the_wheel_lacks_is_named_with_what_to_do(empty_collection) -> None:  # type: ignore[no-untyped-def]
    empty_collection.add(1, 1)
    (path,) = empty_collection.raw.glob("images/**/*.tif")
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    for entry in range(first + 2, first + 2 + 12 * int.from_bytes(data[first : first + 2], "little"), 12):
        if int.from_bytes(data[entry : entry + 2], "little") == 259:  # Compression
            data[entry + 8 : entry + 10] = (50002).to_bytes(2, "little")  # JPEG XL
    path.write_bytes(data)
    (entry,) = judged(empty_collection, {})
    assert entry.reasons[0].code == "unreadable" and "missing codec" in entry.reasons[0].found
    assert "COMPRESS=DEFLATE" in entry.reasons[0].remedy


def test_blocks_that_a_sparse_file_leaves_out_are_zero(empty_collection) -> None:  # type: ignore[no-untyped-def]
    image, fraction = scene(1, 64, 64)
    image[:, :16] = 0
    empty_collection.write(1, 1, image, fraction, SPARSE_OK=True, blockysize=16, compress=None)
    (entry,) = judged(empty_collection, {})
    assert entry.verdict is Verdict.ACCEPTED and entry.measures["content"] == 0.75
