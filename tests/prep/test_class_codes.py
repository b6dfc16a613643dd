"""Index masks as they are: codes from 0, from 1, in tens, shared by classes; what is one off is named for all files."""

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import greenprep as gp
from greenprep.checks.class_codes import listed, one_off, with_codes
from greenschemas.choices import MaskKind
from greenschemas.errors import RecipeError
from greenschemas.labels import decode_labels
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Verdict
from greenschemas.recipe import MaskRules, Recipe
from support.raw import CLASSES, RECIPE, Collection, scene

LIMITS = Limits()


def decoded(raw: NDArray[np.generic], rules: MaskRules):
    return decode_labels(raw[None], rules, LIMITS, nodata=None, scale=1)


@given(
    st.dictionaries(st.integers(-300, 300), st.sampled_from("abc"), min_size=2, max_size=9).filter(
        lambda classes: len(set(classes.values())) > 1
    ),
    st.lists(st.integers(-310, 310), min_size=1, max_size=40),
)
def test_each_pixel_is_of_the_class_that_its_code_stands_for_or_of_none(classes, pixels) -> None:
    rules = MaskRules(classes=classes)
    coded, counts = decoded(np.array([pixels], np.int16), rules)
    for column, code in enumerate(pixels):
        expected = [200 * (name == classes[code]) for name in rules.names] if code in classes else [255] * len(coded)
        assert coded[:, 0, column].tolist() == expected
    assert dict(counts.values) == {code: pixels.count(code) for code in pixels}
    assert counts.unknown == sum(code not in classes for code in pixels)


def test_a_list_of_classes_is_a_mapping_from_0() -> None:
    raw = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5
    of_list = decoded(raw, MaskRules(kind=MaskKind.INDEX, classes=("a", "b", "c")))
    of_mapping = decoded(raw, MaskRules(classes={0: "a", 1: "b", 2: "c"}))
    np.testing.assert_array_equal(of_list[0], of_mapping[0])
    assert of_list[1] == of_mapping[1]


def test_counts_add_up_whatever_the_cut() -> None:
    raw = np.random.default_rng(0).integers(0, 9, (8, 8)).astype(np.uint16)
    rules = MaskRules(classes={1: "a", 2: "b"})
    assert decoded(raw[:3], rules)[1] + decoded(raw[3:], rules)[1] == decoded(raw, rules)[1]


def test_the_order_in_which_codes_are_written_does_not_matter() -> None:
    one, other = ({"mask": {"classes": dict(codes)}} for codes in (((20, "a"), (3, "b")), ((3, "b"), (20, "a"))))
    assert Recipe.model_validate(one).hash() == Recipe.model_validate(other).hash()
    assert Recipe.model_validate(one).mask.names == ("b", "a")


def test_a_recipe_with_codes_survives_its_own_file(tmp_path) -> None:
    from greenschemas.recipe import load_recipe, write_recipe

    recipe = Recipe.model_validate({"mask": {"classes": {10: "trees", 20: "low", 100: "low"}, "unlabelled": 0}})
    write_recipe(tmp_path / "recipe.yaml", recipe)
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ({"kind": "fraction", "classes": {1: "a", 2: "b"}}, "kind: index"),
        ({"classes": {1: "a", 2: "a"}}, "two classes"),
        ({"classes": ["a"]}, "two classes"),
        ({"classes": ["a", "a", "b"]}, "differ"),
        ({"classes": {0: "a", 2: "b"}, "unlabelled": 0}, "not both"),
    ],
)
def test_classes_that_cannot_be_are_refused(mask, says) -> None:
    with pytest.raises(RecipeError, match=says):
        Recipe.parse("recipe.yaml", {"mask": mask}, RecipeError)


def test_unknown_codes_are_all_named_with_the_line_to_write() -> None:
    rules = MaskRules(classes={10: "trees", 20: "low"})
    _, counts = decoded(np.array([[10, 20, 30, 30], [10, 20, 95, 30]], np.uint8), rules)
    assert listed(counts, rules) == "30 in 37.50%, 95 in 12.50% of the pixels"
    assert "{10: trees, 20: low, 30: NAME, 95: NAME}" in (with_codes(counts, rules) or "")
    assert "unlabelled: 30" in (with_codes(counts, rules) or "")


def entry(*codes: int) -> Entry:
    return Entry(
        image="x", mask="y", group="g", time="1", verdict=Verdict.ACCEPTED, measures={f"code.{c}": 0.1 for c in codes}
    )


@pytest.mark.parametrize(
    ("masks", "named"),
    [
        ([(1, 2), (1, 2, 3), (2,)], "codes 1 to 3"),
        ([(0, 1, 2), (1, 2, 3), (2,)], "0 means no label"),
        ([(0, 1, 2), (1, 2)], None),
        ([(1, 2, 3, 9), (1, 2)], None),
        ([(0, 1, 2)] * 30 + [(3,)], None),
    ],
)
def test_a_collection_that_counts_from_1_is_named_for_all_of_its_masks(masks, named) -> None:
    rules = MaskRules(kind=MaskKind.INDEX, classes=("a", "b", "c"))
    found = list(one_off([entry(*codes) for codes in masks], rules, LIMITS))
    assert [i for i, _ in found] == (list(range(len(masks))) if named else [])
    for _, reason in found:
        assert named in f"{reason.found}; {reason.remedy}"
        assert "classes: {1: a, 2: b, 3: c}" in reason.remedy


def from_fractions(fraction):
    return fraction.argmax(axis=0).astype(np.uint8)[None]


def test_masks_that_count_from_1_are_refused_as_one_and_read_by_their_codes(tmp_path) -> None:
    made = Collection(tmp_path)
    for area in range(4):
        image, fraction = scene(area, 40, 45)
        codes = from_fractions(fraction) + 1
        made.write(area, 1, image, np.minimum(codes, 2) if area == 0 else codes, nodata=None)
    one_off_by_list = {**RECIPE, "mask": {"kind": "index", "classes": list(CLASSES)}}
    entries, summary = gp.clean(made.raw, tmp_path / "a", Recipe.model_validate(one_off_by_list), workers=1)
    assert summary.rejected == summary.reasons["class-codes"] == 4
    line = "classes: {1: built, 2: green, 3: water}"
    assert all(any(line in reason.remedy for reason in entry.reasons) for entry in entries)

    by_code = {**RECIPE, "mask": {"classes": dict(enumerate(CLASSES, 1))}}
    entries, summary = gp.clean(made.raw, tmp_path / "b", Recipe.model_validate(by_code), workers=1)
    assert summary.accepted == 4
    contract = gp.tile(tmp_path / "b", str(tmp_path / "b.zarr"), workers=0).contract
    assert contract.classes == CLASSES


def test_a_palette_is_no_more_than_a_picture_of_the_codes(tmp_path) -> None:
    made = Collection(tmp_path)
    image, fraction = scene(1, 40, 45)
    made.write(1, 1, image, from_fractions(fraction) * 10, nodata=None)
    (mask,) = (made.raw / "masks").rglob("*.tif")
    with rasterio.open(mask, "r+") as file:
        codes = file.read(1)
        profile = file.profile
    with rasterio.open(mask, "w", **profile | {"photometric": "palette"}) as file:
        file.write_colormap(1, {0: (255, 0, 0), 10: (0, 255, 0), 20: (0, 0, 255)})
        file.write(codes, 1)
    recipe = {**RECIPE, "mask": {"classes": dict(zip((0, 10, 20), CLASSES, strict=True))}}
    _, summary = gp.clean(made.raw, tmp_path / "out", Recipe.model_validate(recipe), workers=1)
    assert (summary.accepted, summary.reasons) == (1, {})
