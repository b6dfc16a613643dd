"""Labels that people have: finer masks counted to fractions, a class without a band, one fraction band."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from greenprep.build.run import run
from greenprep.clean.clean import clean
from greenschemas.errors import RecipeError
from greenschemas.labels import aggregated, decode_labels, guess_scale
from greenschemas.layout import UNLABELLED
from greenschemas.limits import Limits
from greenschemas.manifest import Verdict
from greenschemas.recipe import MaskRules, Recipe
from greenschemas.store import open_store
from support.raw import CLASSES, RECIPE, scene

SIDES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


@settings(deadline=None, max_examples=60)
@given(st.data(), SIDES, st.floats(0, 1))
def test_fractions_of_an_index_mask_are_the_counts_of_its_pixels(data, shape, least) -> None:  # type: ignore[no-untyped-def]
    side, rows, cols = shape
    index = data.draw(hnp.arrays(np.uint8, (rows * side, cols * side), elements=st.sampled_from([0, 1, 2, 255])))
    rules = MaskRules.model_validate({"kind": "index", "classes": list(CLASSES), "unlabelled": 255})
    fine, _ = decode_labels(index[None], rules, Limits(), nodata=None, scale=1)
    found = aggregated(fine, side, least)
    for row in range(rows):
        for col in range(cols):
            cell = index[row * side : (row + 1) * side, col * side : (col + 1) * side]
            count = np.array([(cell == k).sum() for k in range(3)])
            if count.sum() == 0 or count.sum() < least * cell.size:
                assert (found[:, row, col] == UNLABELLED).all()
            else:
                assert np.abs(found[:, row, col] - 200 * count / count.sum()).max() <= 0.5


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.uint8, (3, 8, 8), elements=st.integers(0, 66)), st.sampled_from([1, 2, 4]))
def test_aggregating_in_two_steps_is_aggregating_in_one_where_all_is_labelled(fraction, side) -> None:  # type: ignore[no-untyped-def]
    once, twice = aggregated(fraction, 2 * side, 0.5), aggregated(aggregated(fraction, side, 0.5), 2, 0.5)
    assert np.abs(once.astype(int) - twice).max() <= 1  # each of two roundings is half a step


def finer(collection, area, side, *, cut=0, top=0.0):  # type: ignore[no-untyped-def]
    """Write a pair whose mask has side x side indices a pixel; returns its fractions as counted by numpy."""
    image, fraction = scene(area, 40, 45)
    collection.write(area, 1, image, fraction)
    (path,) = collection.raw.glob(f"masks/**/*_{area}_1_*.tif")
    rng = np.random.default_rng(area)
    fine = np.repeat(np.repeat(fraction, side, 1), side, 2).cumsum(axis=0)
    index = (rng.random(fine.shape[1:]) > fine[:2]).sum(axis=0).astype(np.uint8)
    index[rng.random(index.shape) < 0.1] = 255
    index[: 3 * side, : 3 * side] = 255
    with rasterio.open(path) as file:
        profile = {**file.profile, "count": 1, "dtype": "uint8", "height": 40 * side - cut, "width": 45 * side}
        a = file.transform
    profile["transform"] = Affine(a.a / side, 0, a.c, 0, a.e / side, a.f + top)
    with rasterio.open(path, "w", **profile) as file:
        file.write(index[None, : index.shape[0] - cut])
    cells = index.reshape(40, side, 45, side)
    counts = np.stack([(cells == k).sum(axis=(1, 3)) for k in range(3)])
    with np.errstate(invalid="ignore"):
        share = counts / counts.sum(axis=0)
    return np.where(counts.sum(axis=0) >= side**2 / 2, share, np.nan)


def rules(side):  # type: ignore[no-untyped-def]
    return {"kind": "index", "classes": list(CLASSES), "unlabelled": 255, "aggregate": side}


def test_the_store_holds_the_fractions_that_numpy_counts(empty_collection) -> None:  # type: ignore[no-untyped-def]
    due = {area: finer(empty_collection, area, 4) for area in range(3)}
    outcome = run(empty_collection.recipe(mask=rules(4), tile={"size": 32, "min_cover": 0}), workers=0)
    assert outcome.summary.accepted == 3, [entry.reasons for entry in outcome.entries]
    store = open_store(outcome.store)
    for area, path in enumerate(sorted(store.texts("path"))):
        found = store.source(path, "fraction").values
        np.testing.assert_allclose(found, due[area], atol=0.5 / 200 + 1e-6)
        assert np.isnan(found[0, :3, :3]).all() and not np.isnan(found[0, 3:]).any()


def test_a_finer_mask_that_is_cut_or_moved_is_mended_or_named(empty_collection) -> None:  # type: ignore[no-untyped-def]
    due = finer(empty_collection, 1, 4, cut=4)
    finer(empty_collection, 2, 4, top=-3.0)
    recipe = Recipe.model_validate(RECIPE | {"mask": rules(4)})
    entries = clean(empty_collection.raw, empty_collection.folder / "out", recipe, workers=1).entries
    assert [entry.verdict for entry in entries] == [Verdict.REPAIRED, Verdict.REJECTED]
    assert {reason.code for reason in entries[1].reasons} == {"transform-mismatch"}
    with rasterio.open(empty_collection.folder / "out" / str(entries[0].mask)) as file:
        assert file.shape == (39 * 4, 45 * 4) and file.transform.a == 2.5
    again = clean(empty_collection.folder / "out", empty_collection.folder / "again", recipe, workers=1).entries
    assert [entry.verdict for entry in again] == [Verdict.ACCEPTED]
    assert again[0].measures["labelled"] == pytest.approx(np.mean(~np.isnan(due[0, :39])), abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.uint8, (2, 5, 6), elements=st.integers(0, 100)), st.integers(0, 2), st.sampled_from([None, 0]))
def test_the_rest_is_what_the_others_leave_of_one(hundredths, at, nodata) -> None:  # type: ignore[no-untyped-def]
    given_ = MaskRules.model_validate({"kind": "percent", "classes": list(CLASSES), "rest": CLASSES[at]})
    coded, labels = decode_labels(hundredths, given_, Limits(), nodata=nodata, scale=100)
    total = hundredths.astype(int).sum(axis=0)
    good = total <= 103  # within the tolerance, and half a step a band
    assert given_.bands == 2 and labels.labelled == good.sum() and labels.zero == 0
    others = [k for k in range(3) if k != at]
    assert np.array_equal(coded[others][:, good], 2 * hundredths[:, good])
    assert np.array_equal(coded[at, good], 2 * np.maximum(100 - total[good], 0))
    assert (coded[:, ~good] == UNLABELLED).all()


@pytest.mark.parametrize(("kind", "scale", "dtype"), [("fraction", 1, "float32"), ("one_hot", 255, "uint8")])
def test_one_band_of_tree_cover_and_0_255_masks(empty_collection, kind, scale, dtype) -> None:  # type: ignore[no-untyped-def]
    image, fraction = scene(1, 40, 45)
    trees = fraction[1:2] if kind == "fraction" else (fraction[1:2] > 0.5).astype(np.float32)
    empty_collection.write(1, 1, image, (trees * scale).astype(dtype))
    recipe = Recipe.model_validate(RECIPE | {"mask": {"kind": kind, "classes": ["trees", "other"], "rest": "other"}})
    (entry,) = clean(empty_collection.raw, empty_collection.folder / "out", recipe, workers=1).entries
    assert entry.verdict is Verdict.ACCEPTED, entry.reasons
    assert entry.measures["labelled"] == 1
    assert entry.measures["share.trees"] == pytest.approx(float(trees.mean()), abs=0.003)


@pytest.mark.parametrize("nodata", [None, 255])
def test_byte_fractions_with_a_rest_are_asked_for_their_whole_and_read_by_it(empty_collection, nodata) -> None:  # type: ignore[no-untyped-def]
    image, _ = scene(1, 40, 45)
    cover = np.linspace(0, 255, 40 * 45).round().astype(np.uint8).reshape(1, 40, 45)
    cover[0, -1] = 255
    empty_collection.write(0, 0, image, cover, nodata=nodata)
    mask = {"kind": "fraction", "classes": ["trees", "other"], "rest": "other"}
    (entry,), _ = clean(
        empty_collection.raw, empty_collection.folder / "c", Recipe.model_validate(RECIPE | {"mask": mask})
    )
    assert next(r for r in entry.reasons if r.code == "mask-range").remedy.endswith("`whole: 255` under `mask`")
    recipe = empty_collection.recipe(mask=mask | {"whole": 255}, tile={"size": 16, "min_cover": 1}, split={"val": 0})
    run(recipe, workers=0)
    stored = np.asarray(open_store(empty_collection.folder / "store.zarr").group["fraction"])
    due = np.rint(cover[0, :16, :16] / np.float64(255) * 200)
    np.testing.assert_array_equal(stored[0, 0], due)
    assert (stored.sum(axis=1, dtype=int) == 200).all(), "every pixel has a label"


@pytest.mark.parametrize("kind", ["fraction", "one_hot"])
def test_a_nodata_tag_of_255_does_not_take_the_pure_pixels_of_bytes(kind: str) -> None:
    rules = MaskRules.model_validate({"kind": kind, "classes": CLASSES})
    raw = np.array([[255, 0, 100, 255], [0, 255, 100, 255], [0, 0, 55, 255]], np.uint8).reshape(3, 1, 4)
    raw = raw[:, :, [0, 1, 3]] if kind == "one_hot" else raw
    assert guess_scale(raw, rules, 255) == 255
    coded, counts = decode_labels(raw, rules, Limits(), nodata=255, scale=255)
    assert (coded[:, 0, -1] == UNLABELLED).all() and counts.labelled == raw.shape[2] - 1
    np.testing.assert_array_equal(coded[:, 0, :2], [[200, 0], [0, 200], [0, 0]])


def test_a_mask_without_its_last_class_is_told_of_rest(empty_collection) -> None:  # type: ignore[no-untyped-def]
    image, fraction = scene(1, 40, 45)
    empty_collection.write(1, 1, image, fraction[:2])
    (entry,) = clean(empty_collection.raw, empty_collection.folder / "out", empty_collection.plain, workers=1).entries
    assert [reason.code for reason in entry.reasons] == ["mask-band-count"] and "`rest: NAME`" in entry.reasons[
        0
    ].remedy
    with pytest.raises(RecipeError, match="`rest` is one of `classes`"):
        Recipe.parse("r.yaml", {"mask": {"rest": "nothing"}}, RecipeError)
