"""What the numbers of a file mean: offsets, tags, order of the bands, holes; and that the contract carries it."""

import json

import numpy as np
import pytest
import rasterio
import zarr

from greenprep.build.run import run, tile
from greenprep.checks.collection import judge_collection
from greenprep.clean.clean import clean
from greenprep.inspect.verify import lacking
from greenprep.split.assign import SplitPlan, split_store
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Verdict
from greenschemas.recipe import MaskRules, Recipe, SplitRules
from greenschemas.store import open_store, write_contract
from greenschemas.value_checks import levels_of, own_offset
from support.raw import RECIPE, scene

FOUR, QA = RECIPE["bands"][:4], RECIPE["bands"][4]
WITH_CIRRUS = [*FOUR, {"name": "B10", "common": "cirrus"}, QA]


def level_1c(area, time, offset=0):
    """(6, h, w): blue, green, red, nir, cirrus, qa, and the fractions; `offset` in every reflectance."""
    image, fraction = scene(1000 * area + time, 40, 45)
    cirrus = np.random.default_rng(time).integers(6, 15, image[:1].shape)
    reflectances = np.concatenate([image[:4].astype(int), cirrus]) + offset
    return np.concatenate([reflectances, image[4:]]).astype(np.uint16), fraction


def judged(made, recipe, out="c"):
    return clean(made.raw, made.folder / out, recipe, workers=1)


def codes(entry):
    return {reason.code: reason.level.value for reason in entry.reasons}


@pytest.fixture
def mixed(empty_collection):
    """Four dates of each of two places, half of them with the offset of baseline 04.00."""
    for area in range(2):
        for time in range(4):
            empty_collection.write(area, time, *level_1c(area, time, 1000 * (time >= 2)), nodata=0)
    return empty_collection


def recipe_of(**limits):
    return Recipe.model_validate({**RECIPE, "bands": WITH_CIRRUS, "limits": limits})


def test_the_offset_is_taken_away_and_the_pixels_are_those_without_it(mixed):
    entries, summary = judged(mixed, recipe_of())
    assert (summary.accepted, summary.repaired, summary.reasons) == (4, 4, {"radiometric-offset": 4})
    for entry in entries:
        with rasterio.open(mixed.folder / "c" / entry.image) as file:
            due, _ = level_1c(*(int(part) for part in (entry.parts["area"], entry.time)))
            np.testing.assert_array_equal(file.read(), due)
    again, _ = clean(mixed.folder / "c", mixed.folder / "d", recipe_of(), workers=1)
    assert all(entry.verdict is Verdict.ACCEPTED for entry in again), "what was mended needs no mending"


def test_run_takes_it_away_as_clean_and_tile_do(mixed, files):
    path = mixed.recipe(bands=WITH_CIRRUS)
    run(path, workers=0)
    judged(mixed, Recipe.model_validate(RECIPE | {"bands": WITH_CIRRUS}))
    tile(mixed.folder / "c", mixed.folder / "other.zarr", workers=0)
    split_store(mixed.folder / "other.zarr", SplitPlan(SplitRules(val=0.3)))
    assert files(mixed.folder / "store.zarr") == files(mixed.folder / "other.zarr")
    contract = open_store(mixed.folder / "store.zarr").contract
    assert contract.statistics.bands[4].mean == pytest.approx(10, abs=1)


@pytest.mark.parametrize("offset", [0, 500, 960, 975, 1000, 1280, 1400])
def test_the_cirrus_band_alone_rules_an_offset_out_where_all_bands_do(empty_collection, offset):
    image, fraction = level_1c(0, 0, offset)
    empty_collection.write(0, 0, image, fraction)
    ((entry,), _) = judged(empty_collection, recipe_of())
    due = own_offset(levels_of(image[:5].reshape(5, -1)), 10_000, 4, {}, [(1.0, 0.0)] * 5)
    assert ("radiometric-offset" in codes(entry)) == (due is not None) == (975 <= offset <= 1280)


@pytest.mark.parametrize(
    ("policy", "verdicts", "said"),
    [
        ("reject", (4, 0, 4), {"radiometric-offset": "reject"}),
        ("keep", (8, 0, 0), {"radiometric-offset": "warn", "mixed-offsets": "warn"}),
    ],
)
def test_it_is_rejected_or_kept_and_named_as_mixed(mixed, policy, verdicts, said):
    entries, summary = judged(mixed, recipe_of(offset=policy))
    assert (summary.accepted, summary.repaired, summary.rejected) == verdicts
    assert [codes(entry) for entry in entries if entry.time in "23"] == [said] * 4
    assert all(not entry.reasons for entry in entries if entry.time in "01")


def test_a_collection_that_has_it_throughout_is_kept_without_a_word_of_mixing(empty_collection):
    for time in range(3):
        empty_collection.write(0, time, *level_1c(0, time, 1000))
    entries, _ = judged(empty_collection, recipe_of(offset="keep"))
    assert {code for entry in entries for code in codes(entry)} == {"radiometric-offset"}


def test_nodata_stays_and_values_stop_at_zero(empty_collection):
    image, fraction = level_1c(0, 0, 1000)
    image[:, :5] = 65535
    image[3, 10] = 995
    empty_collection.write(0, 0, image, fraction, nodata=65535)
    judged(empty_collection, recipe_of())
    (path,) = (empty_collection.folder / "c" / "images").rglob("*.tif")
    with rasterio.open(path) as file:
        found = file.read()
        assert file.nodata == 65535 and (found[:, :5] == 65535).all() and (found[3, 10] == 0).all()


def test_without_a_cirrus_band_the_files_own_word_counts_where_no_pixel_contradicts_it(empty_collection):
    dark, fraction = scene(1, 40, 45)
    shifted = dark.copy()
    shifted[:4] += 1000
    for time, image in enumerate((dark, shifted, shifted)):
        empty_collection.write(0, time, image, fraction)
    for time, tags in ((0, {"PROCESSING_BASELINE": "05.09"}), (1, {"S2_PROCESSING_BASELINE": "04.00"})):
        with rasterio.open(empty_collection.raw / f"images/T/T_2020_0_{time}_GeoTIFF.tif", "r+") as file:
            file.update_tags(**tags)
    with rasterio.open(empty_collection.raw / "images/T/T_2020_0_2_GeoTIFF.tif", "r+") as file:
        file.scales, file.offsets = [1e-4] * 5, [-0.1] * 5
    entries, _ = judged(empty_collection, empty_collection.plain)
    assert ["radiometric-offset" in codes(entry) for entry in entries] == [False, True, True]
    assert "x * 0.0001 -0.1" in next(reason.found for reason in entries[2].reasons if "offset" in reason.code)


def test_a_baseline_over_ground_too_bright_to_tell_is_named_and_left_as_it_is(empty_collection):
    """Sand, harmonised or not: nothing in it is dark."""
    image, fraction = scene(1, 40, 45)
    image[:4] += np.array([1100, 1900, 2800, 3500], np.uint16)[:, None, None]
    empty_collection.write(0, 0, image, fraction)
    (path,) = empty_collection.raw.glob("images/**/*.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(PROCESSING_BASELINE="05.09")
    (entry,), _ = judged(empty_collection, empty_collection.plain)
    assert codes(entry) == {"radiometric-offset": "warn"} and "too bright to tell" in entry.reasons[0].found
    with rasterio.open(empty_collection.folder / "c" / entry.image) as file:
        np.testing.assert_array_equal(file.read(), image)


def shifted_without_word(made, policy):
    """Three dates of one place without cirrus and tags, the last one shifted."""
    for time in range(3):
        image, fraction = scene(1, 40, 45)
        values = image * np.array([1, 1, 1, 1, 0])[:, None, None] * (1 - 0.03 * time) + 1000 * (time == 2)
        made.write(0, time, np.where(np.arange(5)[:, None, None] < 4, values, 0).astype(np.uint16), fraction)
    return judged(made, Recipe.model_validate({**RECIPE, "limits": {"offset": policy}}))[0]


@pytest.mark.parametrize(("policy", "level"), [("repair", "reject"), ("reject", "reject"), ("keep", "warn")])
def test_a_likely_offset_is_told_by_the_other_dates_of_the_group(empty_collection, policy, level):
    entries = shifted_without_word(empty_collection, policy)
    assert [codes(entry).get("mixed-offsets") for entry in entries] == [None, None, level]
    (reason,) = (reason for reason in entries[2].reasons if reason.code == "mixed-offsets")
    assert "1 of 3 files" in reason.found and "another date of its group" in reason.found


def test_bands_in_another_order_are_put_in_the_recipes(empty_collection):
    image, fraction = scene(1, 40, 45)
    order, names = [2, 1, 0, 3, 4], ("B04", "B03", "B02", "B08", "qa")
    empty_collection.write(0, 0, image[order], fraction)
    path = empty_collection.raw / "images/T/T_2020_0_0_GeoTIFF.tif"
    with rasterio.open(path, "r+") as file:
        file.descriptions = names
    (entry,), _ = judged(empty_collection, empty_collection.plain)
    assert codes(entry) == {"band-order": "repair"}
    with rasterio.open(empty_collection.folder / "c" / entry.image) as file:
        np.testing.assert_array_equal(file.read(), image)
        assert file.descriptions == ("blue", "green", "red", "nir", "qa")


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("blue", "green", "red", "swir16", "qa"), "band-names"),
        (("Band 1", "Band 2", "Band 3", "Band 4", "Band 5"), None),
        (("a", "b", "c", "d", "e"), None),
        (("B2", "b03", "B4_10m", "B08", "QA"), None),
    ],
)
def test_names_that_contradict_the_recipe_are_rejected_and_names_that_say_nothing_are_not(
    empty_collection, names, code
):
    empty_collection.write(0, 0, *scene(1, 40, 45))
    with rasterio.open(empty_collection.raw / "images/T/T_2020_0_0_GeoTIFF.tif", "r+") as file:
        file.descriptions = names
    (entry,), _ = judged(empty_collection, empty_collection.plain)
    assert set(codes(entry)) == ({code} if code else set())


def test_tags_that_mean_nothing_and_tags_that_differ_are_named(empty_collection):
    for time in range(4):
        empty_collection.add(0, time)
    for time, scale in enumerate((1e-4, 1e-4, 2e-4, 0.0)):
        with rasterio.open(empty_collection.raw / f"images/T/T_2020_0_{time}_GeoTIFF.tif", "r+") as file:
            file.scales = [scale] * 5
    entries, _ = judged(empty_collection, empty_collection.plain)
    assert [codes(entry) for entry in entries] == [
        {},
        {},
        {"value-tags": "warn", "unlike-tags": "warn"},
        {"value-tags": "warn", "unlike-tags": "warn"},
    ]
    units, nothing = (next(r for r in entry.reasons if r.code == "value-tags") for entry in entries[2:])
    assert "5000 would be a reflectance of 1" in units.found and units.limit == "reflectance_scale: 10000"
    assert nothing.limit == "a scale and an offset"
    again = judge_collection(
        [Entry.parse("x", json.loads(entry.to_json())) for entry in entries], (), MaskRules(), Limits()
    )
    assert [codes(entry) for entry in again] == [codes(entry) for entry in entries], "judged anew, told once"


def test_a_zero_wedge_without_a_tag_is_not_trained_on_and_dark_water_is(empty_collection):
    image, fraction = scene(1, 40, 45)
    image[:, :, :9] = 0
    image[3, 20:25, 20:25] = 0
    for time, nodata in enumerate((None, 0)):
        empty_collection.write(time, 0, image + np.uint16(time) * (image > 0), fraction, nodata=nodata)
    run(empty_collection.recipe(), workers=0)
    store = open_store(empty_collection.folder / "store.zarr")
    valid = np.asarray(store.group["valid"]).reshape(2, -1, 32, 32)
    np.testing.assert_array_equal(valid[0], valid[1])
    assert valid[0, 0, :, :9].sum() == 0 and valid[0, 0, 20:25, 20:25].all()


def test_the_contract_says_what_the_numbers_mean(collection):
    for path in (collection.raw / "images").rglob("*.tif"):
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = [1e-4] * 4 + [1.0], [0.0] * 5
    run(collection.recipe(), workers=0)
    contract = open_store(collection.folder / "store.zarr").contract
    values, statistics = contract.values, contract.statistics
    assert values is not None and statistics is not None
    assert [band.scale for band in values.bands] == [1e-4] * 4 + [1.0] and values.pixel_metres == 10
    for level, stats, band in zip(values.levels, statistics.bands, values.bands, strict=True):
        assert band.low <= stats.minimum <= level.dark <= level.median <= level.bright <= stats.maximum <= band.high
    assert lacking(str(collection.folder / "store.zarr")) == []


def test_check_says_what_an_older_store_lacks(collection):
    run(collection.recipe(), workers=0)
    store = open_store(collection.folder / "store.zarr")
    old = store.contract.model_copy(update={"values": None})
    write_contract(zarr.open_group(store.location, mode="r+"), old)
    assert open_store(store.location).contract.values is None
    assert any("what its numbers mean" in told for told in lacking(store.location))
